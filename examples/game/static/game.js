// The page of an arena: draws what the server sends 20 times a second, and sends where the player steers.

import { GreenroomSocket } from "/greenroom.js";
import { byId, element } from "/static/page.js";

const STATES = {
  connecting: "Connecting…", open: "Connected", waiting: "Disconnected, trying again…", closed: "Disconnected",
};
const [WIDTH, HEIGHT] = [1000, 600]; // the server's units
const DELAY = 100; // ms: the page draws the past, so that it has a later snapshot to move towards
const KEYS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  KeyA: [-1, 0], KeyD: [1, 0], KeyW: [0, -1], KeyS: [0, 1],
};

let me = null; // the id of this player; null for a spectator
let people = new Map(); // id to name
let host = null;
let snapshots = []; // the last few, the newest last: { at, players: Map(id to [x, y, score]), sparks }

document.title = `${arena()} · Sparks`;
byId("arena").textContent = `Arena ${arena()}`;

const socket = new GreenroomSocket(location.pathname + location.search);
socket.addEventListener("statechange", ({ state }) => {
  byId("status").dataset.state = state;
  byId("status").textContent = STATES[state] ?? "";
  if (state !== "open") snapshots = [];
});
socket.addEventListener("close", ({ code, reason }) => note(code === 4001 ? "The host removed you." : reason || "The game ended."));
socket.addEventListener("message", ({ data }) => {
  const event = JSON.parse(data);
  HANDLERS[event.type]?.(event);
});

const HANDLERS = {
  you: ({ id }) => { me = id; snapshots = []; },
  people: ({ players }) => {
    people = new Map(players);
    host = players[0]?.[0] ?? null;
    const to = byId("to");
    const chosen = to.value;
    to.replaceChildren(new Option("Everyone", ""), ...players.filter(([id]) => id !== me).map(([id, name]) => new Option(name, id)));
    if (people.has(Number(chosen))) to.value = chosen;
  },
  moved: ({ players, sparks }) => {
    snapshots.push({ at: performance.now(), players: new Map(players.map(([id, place, score]) => [id, [...place, score]])), sparks });
    if (snapshots.length > 10) snapshots.shift();
  },
  said: ({ from, text }) => say(from, text),
  whispered: ({ from, text }) => say(`${from}, only to you`, text, "whisper"),
};

function arena() {
  return decodeURIComponent(location.pathname.split("/")[2]);
}

function send(message) {
  socket.send(JSON.stringify(message));
}

// Talk

function say(who, text, kind = "") {
  const line = element("p", kind);
  line.append(element("b", "", `${who}: `), text);
  append(line);
}

function note(text) {
  append(element("p", "note", text));
}

function append(line) {
  const log = byId("log");
  log.append(line);
  while (log.childElementCount > 100) log.firstChild.remove();
  log.scrollTop = log.scrollHeight;
}

byId("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const [text, to] = [byId("text").value.trim(), byId("to").value];
  if (!text) return;
  send(to ? { type: "whisper", to: Number(to), text } : { type: "say", text });
  if (to) say(`You to ${people.get(Number(to))}`, text, "whisper");
  byId("text").value = "";
});

// Steering: a direction of length 0 to 1, sent when it changes

const held = new Set();
let pointer = null;
let sent = "0,0";

function steer() {
  if (me === null) return;
  let [x, y] = [0, 0];
  for (const key of held) [x, y] = [x + KEYS[key][0], y + KEYS[key][1]];
  const own = pointer && snapshots.at(-1)?.players.get(me);
  if (own) [x, y] = [(pointer[0] - own[0]) / 40, (pointer[1] - own[1]) / 40];
  const length = Math.max(1, Math.hypot(x, y));
  const next = [x / length, y / length].map((part) => Math.round(part * 100) / 100);
  if (String(next) === sent) return;
  sent = String(next);
  send({ type: "steer", x: next[0], y: next[1] });
}

const board = byId("board");
for (const kind of ["keydown", "keyup"]) {
  document.addEventListener(kind, (event) => {
    if (!(event.code in KEYS) || /INPUT|SELECT/.test(event.target.tagName)) return;
    event.preventDefault();
    if (kind === "keydown") held.add(event.code); else held.delete(event.code);
    steer();
  });
}
window.addEventListener("blur", () => { held.clear(); pointer = null; steer(); });
for (const kind of ["pointerdown", "pointermove"]) {
  board.addEventListener(kind, (event) => {
    if (!(event.buttons & 1)) return;
    if (kind === "pointerdown") board.setPointerCapture(event.pointerId);
    const box = board.getBoundingClientRect();
    pointer = [(event.clientX - box.left) / box.width * WIDTH, (event.clientY - box.top) / box.height * HEIGHT];
    steer();
  });
}
for (const kind of ["pointerup", "pointercancel"]) board.addEventListener(kind, () => { pointer = null; steer(); });

// Drawing

const context = board.getContext("2d");
const colour = (id, light = 45) => `hsl(${(id * 137) % 360} 65% ${light}%)`;

/** Where everyone was DELAY ms ago: between two snapshots. */
function now() {
  const at = performance.now() - DELAY;
  const next = snapshots.findIndex((snapshot) => snapshot.at > at);
  const [before, after] = next > 0 ? [snapshots[next - 1], snapshots[next]] : [snapshots.at(-1), snapshots.at(-1)];
  if (!after) return null;
  const part = before === after ? 1 : (at - before.at) / (after.at - before.at);
  const players = [...after.players].map(([id, [x, y, score]]) => {
    const [oldX, oldY] = before.players.get(id) ?? [x, y];
    return { id, x: oldX + (x - oldX) * part, y: oldY + (y - oldY) * part, score };
  });
  return { players, sparks: after.sparks };
}

function draw() {
  requestAnimationFrame(draw);
  if (pointer) steer();
  const world = now();
  const styles = getComputedStyle(document.documentElement);
  const scale = board.width / WIDTH;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, WIDTH, HEIGHT);
  context.strokeStyle = styles.getPropertyValue("--line");
  context.lineWidth = 1;
  context.beginPath();
  for (let x = 50; x < WIDTH; x += 50) { context.moveTo(x, 0); context.lineTo(x, HEIGHT); }
  for (let y = 50; y < HEIGHT; y += 50) { context.moveTo(0, y); context.lineTo(WIDTH, y); }
  context.stroke();
  if (!world) return;
  context.fillStyle = "hsl(45 95% 52%)";
  for (const [x, y] of world.sparks) drawSpark(x, y, 12 + 3 * Math.sin(performance.now() / 200 + x));
  for (const { id, x, y } of world.players) {
    context.fillStyle = colour(id);
    context.beginPath();
    context.arc(x, y, 14, 0, 7);
    context.fill();
    if (id === me) { context.strokeStyle = styles.getPropertyValue("--ink"); context.lineWidth = 3; context.stroke(); }
  }
  // Names stand above all players, with a rim, and at least 11 px high on a small screen.
  context.font = `600 ${Math.max(14, 11 * WIDTH / board.clientWidth)}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.lineJoin = "round";
  context.lineWidth = 4;
  context.strokeStyle = styles.getPropertyValue("--surface");
  context.fillStyle = styles.getPropertyValue("--ink");
  for (const { id, x, y } of world.players) {
    const name = people.get(id) ?? "";
    const half = context.measureText(name).width / 2 + 4;
    const place = [Math.min(Math.max(x, half), WIDTH - half), y < 40 ? y + 32 : y - 20];
    context.strokeText(name, ...place);
    context.fillText(name, ...place);
  }
}

/** A star with four points. */
function drawSpark(x, y, size) {
  context.beginPath();
  context.moveTo(x, y - size);
  for (const [dx, dy] of [[1, 0], [0, 1], [-1, 0], [0, -1]]) context.quadraticCurveTo(x, y, x + dx * size, y + dy * size);
  context.fill();
}

/** The list of players, four times a second: the best first. */
function list() {
  const players = [...(snapshots.at(-1)?.players ?? [])].sort(([a, [, , x]], [b, [, , y]]) => y - x || a - b);
  byId("count").textContent = players.length;
  const own = players.find(([id]) => id === me);
  byId("role").textContent = me === null ? "Watching" : people.get(me) ?? "";
  byId("score").hidden = !own;
  byId("score").textContent = own?.[1][2] ?? "";
  const list = byId("players");
  for (const [index, [id, [, , score]]] of players.entries()) {
    const row = list.children[index] ?? list.appendChild(newRow());
    row.dataset.id = id;
    row.className = [id === me && "you", id === host && "host"].filter(Boolean).join(" ");
    const [dot, name, points, kick] = row.children;
    dot.firstChild.setAttribute("fill", colour(id));
    name.textContent = people.get(id) ?? "";
    points.textContent = score;
    kick.hidden = me === null || host !== me || id === me;
    kick.ariaLabel = kick.title = `Remove ${people.get(id) ?? ""}`;
  }
  while (list.childElementCount > players.length) list.lastChild.remove();
}

function newRow() {
  const row = element("li");
  const dot = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  dot.setAttribute("viewBox", "0 0 2 2");
  dot.setAttribute("class", "dot");
  const circle = dot.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "circle"));
  for (const name of ["cx", "cy", "r"]) circle.setAttribute(name, 1);
  const kick = element("button", "quiet", "×");
  kick.addEventListener("click", () => send({ type: "kick", id: Number(row.dataset.id) }));
  row.append(dot, element("bdi"), element("span"), kick);
  return row;
}

setInterval(list, 250);
requestAnimationFrame(draw);
