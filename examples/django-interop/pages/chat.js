// The page of a room, the same on both servers. It connects to the server that it came from.

import { byId, element } from "/static/page.js";

const server = document.documentElement.dataset.server;
const room = decodeURIComponent(location.pathname.split("/")[2]);
const TIME = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const LINES = 500;
const RETRY = 1_000;
// A typing notice is sent at most every `every` ms, and shown for `shown` ms.
const TYPING = { every: 2_000, shown: 4_000 };

byId("room-name").textContent = room;
document.title = `${room} · ${server}`;
byId("name").value = ownName();

let socket;
let connected = false;
const log = byId("log");
let pinned = true;
log.addEventListener("scroll", () => (pinned = log.scrollHeight - log.scrollTop - log.clientHeight < 48));
// A phone's keyboard shrinks the log. If it was scrolled to the end, it stays at the end.
new ResizeObserver(toEnd).observe(log);

function connect() {
  setState("connecting", "Connecting…");
  const mine = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/chat/${room}/`);
  socket = mine;
  mine.addEventListener("open", () => {
    connected = true;
    setState("open", "Connected");
    line("status", "connected");
  });
  mine.addEventListener("message", ({ data }) => show(JSON.parse(data)));
  // A connection that could not be made ends with this event too. Only a connection that was open is reported as lost.
  mine.addEventListener("close", ({ code }) => {
    if (connected) line("lost", `${server} closed the connection (${code})`);
    connected = false;
    setState("waiting", "Trying again…");
    setTimeout(connect, RETRY);
  });
}

function show(event) {
  switch (event.type) {
    case "chat.message":
      message(String(event.user ?? ""), String(event.text ?? ""));
      break;
    case "rust.typing":
      typing(event.user);
      break;
    case "layer.gap":
      line("gap", `Redis was away for ${event.seconds.toFixed(1)} s, and this connection lived; something may be missing`);
      break;
  }
}

function setState(state, text) {
  byId("status").dataset.state = state;
  byId("status").textContent = text;
  byId("send").disabled = state !== "open";
}

function message(user, text) {
  const own = user === byId("name").value;
  const before = log.lastElementChild?.dataset;
  const box = element("div", "message");
  box.classList.toggle("own", own);
  box.classList.toggle("follow", before?.kind === "message" && before.user === user);
  box.dataset.kind = "message";
  box.dataset.user = user;
  const said = element("span", "text", text);
  said.dir = "auto";
  const bubble = element("div", "bubble");
  bubble.append(said, element("time", "", TIME.format(new Date())));
  box.append(element("bdi", "who", user), bubble);
  append(box);
  if (typing.user === user) typing("");
}

function line(kind, text) {
  const box = element("p", "quiet-line", text);
  box.dataset.kind = kind;
  append(box);
}

function append(box) {
  log.append(box);
  while (log.querySelectorAll("[data-kind]").length > LINES) log.querySelector("[data-kind]").remove();
  toEnd();
}

/** Scrolls to the newest line, unless the reader has scrolled back. */
function toEnd() {
  if (pinned) log.scrollTop = log.scrollHeight;
}

function typing(user) {
  typing.user = user;
  clearTimeout(typing.timer);
  byId("typing").textContent = user ? `${user} is typing…` : "";
  if (user) typing.timer = setTimeout(typing, TYPING.shown, "");
}

function ownName() {
  const asked = new URLSearchParams(location.search).get("name")?.trim().slice(0, 32);
  return asked || `Guest ${1000 + Math.floor(Math.random() * 9000)}`;
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("input").value;
  if (!connected || text.trim() === "") return;
  socket.send(JSON.stringify({ user: byId("name").value, text }));
  byId("input").value = "";
  told = 0;
});

// Only for the Rust server: a message without a text would end Django's consumer.
let told = 0;
byId("input").addEventListener("input", () => {
  const now = performance.now();
  if (server !== "Rust" || !connected || (told && now - told < TYPING.every)) return;
  told = now;
  socket.send(JSON.stringify({ user: byId("name").value }));
});

byId("input").addEventListener("keydown", (event) => {
  // An Enter that ends an input method's composition picks a word and does not send.
  if (event.key === "Enter" && (event.isComposing || event.keyCode === 229)) event.preventDefault();
});

connect();
// On a phone this would open the keyboard over the page.
if (!matchMedia("(pointer: coarse)").matches) byId("input").focus();
