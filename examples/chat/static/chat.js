// The script of both chat pages. It finds out which of them it is on.

import { GreenroomSocket } from "/greenroom.js";
import { byId, element } from "/static/page.js";

const WORDS = {
  en: {
    welcome: "Join a room", lead: "Everyone who opens the same room sees one chat.",
    roomLabel: "Room", roomHelp: "Letters, digits, _ and -", nameLabel: "Your name", nameHint: "Guest",
    enter: "Enter", home: "All rooms", members: "Members", youAre: "You are", you: "you", rename: "Change name",
    log: "Messages", newer: "New messages", message: "Message", placeholder: "Type a message", send: "Send",
    close: "Close connection", reconnect: "Reconnect",
    transport: "Connection", automatic: "Automatic",
    websocket: "WebSocket", sse: "Server-sent events", "long-poll": "Long polling", poll: "Polling",
    connecting: "Connecting…", open: "Connected", closing: "Disconnecting…", closed: "Disconnected",
    waiting: (seconds) => (seconds > 1 ? `Trying again in ${seconds} s` : "Trying again…"),
    unsent: (count) => `${count} to send`,
    opened: "[connected]", dropped: "[disconnected]", recovered: "[connected, nothing missed]",
    missing: (reason) => `Some messages may be missing here (${reason})`,
    guest: (number) => `Guest ${number}`,
    joined: (user) => `${user} joined`,
    left: (user) => `${user} left`,
    error: (reason) => `Error: ${reason}`,
  },
  "zh-CN": {
    welcome: "进入房间", lead: "打开同一个房间的人，看到的是同一个群聊。",
    roomLabel: "房间", roomHelp: "字母、数字、_ 和 -", nameLabel: "你的名字", nameHint: "访客",
    enter: "进入", home: "全部房间", members: "成员", youAre: "你是", you: "你", rename: "改名",
    log: "消息", newer: "有新消息", message: "消息", placeholder: "请输入", send: "发送",
    close: "关闭链接", reconnect: "重新连接",
    transport: "连接方式", automatic: "自动",
    websocket: "WebSocket", sse: "服务器推送（SSE）", "long-poll": "长轮询", poll: "轮询",
    connecting: "连接中…", open: "已连接", closing: "断开中…", closed: "已断开",
    waiting: (seconds) => (seconds > 1 ? `${seconds} 秒后重试` : "重试中…"),
    unsent: (count) => `${count} 条待发送`,
    opened: "[连接成功]", dropped: "[连接断开]", recovered: "[连接成功，没有遗漏]",
    missing: (reason) => `这里可能缺少一些消息（${reason}）`,
    guest: (number) => `访客 ${number}`,
    joined: (user) => `${user} 来了`,
    left: (user) => `${user} 离开了`,
    error: (reason) => `出错了：${reason}`,
  },
};

const LANG = navigator.language.toLowerCase().startsWith("zh") ? "zh-CN" : "en";
const words = WORDS[LANG];

function translate() {
  document.documentElement.lang = LANG;
  for (const el of document.querySelectorAll("[data-words]")) el.textContent = words[el.dataset.words];
  for (const el of document.querySelectorAll("[data-words-placeholder]")) {
    el.placeholder = words[el.dataset.wordsPlaceholder];
  }
  for (const el of document.querySelectorAll("[data-words-label]")) {
    el.setAttribute("aria-label", words[el.dataset.wordsLabel]);
  }
}

function home() {
  const asked = new URLSearchParams(location.search).get("room");
  if (asked) byId("room").value = asked;
  byId("name").value = storedName() ?? "";
  byId("enter").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = byId("name").value.trim();
    // An empty name stands for a new guest name.
    storeName(name, "sessionStorage");
    storeName(name, "localStorage");
    location.assign(`/room/${encodeURIComponent(byId("room").value)}/`);
  });
}

function room() {
  const name = ownName();
  const log = new Log(name);
  const members = new Members(name);
  const roomName = decodeURIComponent(location.pathname.split("/")[2]);
  byId("room-name").textContent = roomName;
  byId("me").textContent = name;
  byId("rename").href = `/home/?room=${encodeURIComponent(roomName)}`;
  document.title = `${roomName} · Greenroom`;

  const show = new Map(Object.entries({
    "chat.message": (event, place) => log.message(event, place),
    "chat.members": (event) => members.replace(event),
    "chat.joined": (event) => members.add(event) && log.quiet("joined", words.joined(event.user), event.user),
    "chat.left": (event) => members.remove(event) && log.quiet("left", words.left(event.user), event.user),
    error: ({ reason }) => log.quiet("error", words.error(reason)),
  }));

  let socket;
  // Whether the room knows this page. While it does not, messages wait in the socket.
  let present = false;
  let unsent = 0;
  const came = (text) => {
    present = true;
    log.came = Date.now();
    log.quiet("status", text);
  };
  const went = () => {
    if (present) log.quiet("status", words.dropped);
    present = false;
    members.replace({ users: [] });
  };
  const connect = () => {
    const mine = new GreenroomSocket(`?${new URLSearchParams({ name })}`, [], { transports: transportChoice() });
    socket = mine;
    unsent = 0;
    const on = (type, handler) => mine.addEventListener(type, (event) => mine === socket && handler(event));
    const missing = ({ lost: [gap] }) => gap && log.quiet("lost", words.missing(gap.reason));
    on("open", () => came(words.opened));
    on("reconnect", (event) => {
      missing(event);
      came(event.recovered ? words.recovered : words.opened);
    });
    on("lost", missing);
    on("message", ({ data, lastEventId }) => {
      const event = parse(data);
      show.get(event.type)?.(event, lastEventId);
    });
    on("statechange", ({ state, transport, delay }) => {
      if (mine.readyState !== WebSocket.OPEN) went();
      else if (state === "open") unsent = 0;
      setState({ state, transport, delay, unsent });
    });
    setState({ state: "connecting" });
  };

  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = byId("input");
    if (socket.readyState > WebSocket.OPEN || input.value.trim() === "") return;
    try {
      socket.send(JSON.stringify({ user: name, text: input.value }));
    } catch (error) {
      // Too many messages wait to be sent. The typed text stays in the field.
      log.quiet("error", words.error(error.message));
      return;
    }
    input.value = "";
    input.focus();
    if (socket.state !== "open") setState({ unsent: ++unsent });
  });
  byId("input").addEventListener("keydown", (event) => {
    // An Enter that ends an input method's composition picks a word and does not send.
    // Safari reports it after the composition, with the old key code 229.
    if (event.key === "Enter" && (event.isComposing || event.keyCode === 229)) event.preventDefault();
  });
  byId("close").addEventListener("click", () => socket.close(1000));
  byId("reconnect").addEventListener("click", connect);
  byId("transport").value = transportChoice()?.[0] ?? "";
  byId("transport").addEventListener("change", ({ currentTarget: { value } }) => {
    const here = new URL(location);
    if (value) here.searchParams.set("transport", value);
    else here.searchParams.delete("transport");
    history.replaceState(null, "", here);
    const before = socket;
    went();
    connect();
    before.close(1000);
  });
  byId("show-members").addEventListener("click", ({ currentTarget: button }) => {
    button.setAttribute("aria-expanded", document.body.classList.toggle("members-shown"));
  });

  connect();
  // On a phone this would open the keyboard over the page.
  if (!matchMedia("(pointer: coarse)").matches) byId("input").focus();
}

/** Parses an event. Text that is not JSON, as an echo server sends it, is a message without a user. */
function parse(data) {
  try {
    const event = JSON.parse(data);
    if (typeof event?.type === "string") return event;
  } catch { /* plain text */ }
  return { type: "chat.message", user: "", text: String(data) };
}

/** The transport that the address asks for, or `undefined` for the automatic choice. */
function transportChoice() {
  const asked = new URLSearchParams(location.search).get("transport");
  return ["websocket", "sse", "long-poll", "poll"].includes(asked) ? [asked] : undefined;
}

let shown = {};
let ticks;

/** Shows a change of the connection's state. What the change leaves out stays as it was. */
function setState(change) {
  shown = { ...shown, ...change };
  const { state, transport, delay, unsent } = shown;
  clearInterval(ticks);
  const due = performance.now() + delay;
  const text = () => {
    const seconds = Math.ceil((due - performance.now()) / 1000);
    const parts = [state === "waiting" ? words.waiting(seconds) : words[state]];
    if (state === "open") parts.push(words[transport]);
    if (unsent > 0) parts.push(words.unsent(unsent));
    byId("status").replaceChildren(...parts.flatMap((part) => [element("span", "", part), " "]));
  };
  if (state === "waiting") ticks = setInterval(text, 1000);
  text();
  byId("status").dataset.state = state;
  byId("status").dataset.transport = transport ?? "";
  byId("in-use").textContent = state === "open" ? words[transport] : "";

  const ended = state === "closing" || state === "closed";
  byId("send").disabled = ended;
  const [visible, gone] = ended ? ["reconnect", "close"] : ["close", "reconnect"];
  const hadFocus = document.activeElement === byId(gone);
  byId(visible).hidden = false;
  byId(gone).hidden = true;
  // A button that is hidden must pass its focus on, or keyboard users lose their place.
  if (hadFocus) byId(ended ? "reconnect" : "input").focus();
}

/** The lines of the room. */
class Log {
  static LIMIT = 500;
  static TIME = new Intl.DateTimeFormat(LANG, { hour: "numeric", minute: "2-digit" });

  constructor(name) {
    this.name = name;
    this.box = byId("log");
    this.newer = byId("newer");
    this.pinned = true;
    /** When this page came last. */
    this.came = 0;
    this.box.addEventListener("scroll", () => this.pin(this.atEnd()));
    // A phone's keyboard shrinks the box. If it was scrolled to the end, it stays at the end.
    new ResizeObserver(() => this.pinned && this.toEnd()).observe(this.box);
    this.newer.addEventListener("click", () => { this.toEnd(); this.box.focus(); });
  }

  /** Shows a message. `place` is its place in the room's history, or empty. */
  message({ user, text, at }, place) {
    // A new socket on this page gets the last messages again.
    if (place && this.box.querySelector(`[data-place="${place}"]`)) return;
    const when = new Date(at ?? Date.now());
    const next = when < this.came ? this.newerThan(when) : null;
    const own = user === this.name;
    const before = (next ? next.previousElementSibling : this.box.lastElementChild)?.dataset;
    const line = element("div", "line message");
    line.classList.toggle("own", own);
    line.classList.toggle("follow", before?.kind === "message" && before.user === user);
    line.dataset.kind = "message";
    line.dataset.user = user;
    line.dataset.place = place;
    const time = element("time", "", Log.TIME.format(when));
    time.dateTime = when.toISOString();
    const said = element("span", "text", text);
    said.dir = "auto";
    const bubble = element("div", "bubble");
    bubble.append(said, time);
    line.append(avatar(user), element("bdi", "who", user), bubble);
    this.insert(line, next);
  }

  /** The first of the last lines, none a message, that are newer than this. What was missed goes before them. */
  newerThan(when) {
    let next = null;
    for (let line = this.box.lastElementChild; line?.dataset.at > when; line = line.previousElementSibling) next = line;
    return next;
  }

  quiet(kind, text, user) {
    const line = element("div", "line quiet-line", text);
    line.dataset.kind = kind;
    if (user !== undefined) line.dataset.user = user;
    // What is known to be missing stays where it is.
    if (kind !== "lost") line.dataset.at = Date.now();
    this.insert(line, null);
  }

  insert(line, next) {
    this.box.insertBefore(line, next);
    if (this.box.childElementCount > Log.LIMIT) {
      this.box.firstElementChild.remove();
      this.box.firstElementChild.classList.remove("follow");
    }
    if (this.pinned) this.toEnd();
    else this.newer.hidden = false;
  }

  atEnd() {
    return this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 32;
  }

  toEnd() {
    this.box.scrollTop = this.box.scrollHeight;
    this.pin(true);
  }

  pin(pinned) {
    this.pinned = pinned;
    if (pinned) this.newer.hidden = true;
  }
}

/**
 * The members of the room, in order of arrival. Names may repeat: each item is one connection. A room with many members
 * says only how many there are.
 */
class Members {
  /** How many changes are kept, to be shown again after a list that is older than they are. */
  static LIMIT = 100;

  constructor(name) {
    this.name = name;
    this.list = byId("members");
    this.asOf = 0;
    this.crowd = 0;
    this.changes = [];
  }

  /** Shows the members as of a change. That change and earlier ones are then ignored. */
  replace({ users, count = users.length, change = 0 }) {
    // A new connection begins anew. Otherwise two lists may come in the wrong order.
    if (change && change < this.asOf) return;
    this.asOf = change;
    this.crowd = count > users.length ? count : 0;
    this.list.replaceChildren(...users.map((user) => this.item(user)));
    // If several members have this page's name, the last one is this page.
    const own = [...this.list.children].findLast((item) => item.dataset.user === this.name);
    if (own) {
      own.dataset.self = "";
      own.append(element("span", "you", words.you));
    }
    this.changes = this.changes.filter((later) => change && later.event.change > change);
    for (const { event, apply } of this.changes) apply(event);
    this.count();
  }

  /** Keeps a change, because a list that does not have it may still come. */
  keep(event, apply) {
    this.changes.push({ event, apply });
    if (this.changes.length > Members.LIMIT) this.changes.shift();
    apply(event);
    this.count();
  }

  /** Adds a member. Returns whether the change is new. */
  add(event) {
    if (event.change <= this.asOf) return false;
    this.keep(event, ({ user }) => this.list.append(this.item(user)));
    return true;
  }

  /** Removes a member. Returns whether the change is new. */
  remove(event) {
    if (event.change <= this.asOf) return false;
    this.keep(event, ({ user }) => {
      const gone = (item) => item.dataset.user === user && !("self" in item.dataset);
      [...this.list.children].find(gone)?.remove();
    });
    return true;
  }

  item(user) {
    const item = element("li");
    item.dataset.user = user;
    item.append(avatar(user), element("bdi", "who", user));
    return item;
  }

  count() {
    const count = this.crowd || this.list.childElementCount;
    for (const el of document.querySelectorAll("[data-count]")) el.textContent = count;
  }
}

function avatar(user) {
  const mark = element("span", "avatar", [...user.trim()][0]?.toUpperCase() ?? "?");
  mark.ariaHidden = "true";
  mark.dataset.hue = [...user].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 1009, 7) % 8;
  return mark;
}

/** The name in the address, or else the one of this tab, or else the one of the last tab, or else a guest name. */
function ownName() {
  const name = new URLSearchParams(location.search).get("name")?.trim() || storedName();
  const guest = words.guest(1000 + Math.floor(Math.random() * 9000));
  const chosen = [...(name || guest)].slice(0, 32).join(""); // the limit of the form
  storeName(chosen, "sessionStorage");
  return chosen;
}

function storedName() {
  try {
    return sessionStorage.getItem("name") ?? localStorage.getItem("name");
  } catch {
    return null; // throws if the browser is set to store nothing
  }
}

function storeName(name, where) {
  try {
    if (name) window[where].setItem("name", name);
    else window[where].removeItem("name");
  } catch { /* then the name lasts only as long as the page */ }
}

// This comes last, because a class exists only after its definition.
translate();
if (byId("enter")) home();
else room();
