// Shows the list of deployments, and the output of those that are open.

import { GreenroomSocket } from "/greenroom.js";
import { byId, element } from "/static/page.js";

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const STATES = {
  connecting: "Connecting…", open: "Connected", waiting: "Disconnected, trying again…", closed: "Disconnected",
};
const LINES = 500; // as many as the server keeps

let shown = -1; // the number of the change that the list shows
const own = new Set(); // the numbers of the deployments that this page has started, and will open
const cards = new Map(); // by number and time, because a restarted server counts from one

function setState(state) {
  byId("status").dataset.state = state;
  byId("status").textContent = STATES[state] ?? "";
  for (const button of document.querySelectorAll("main button")) button.disabled = state !== "open";
}

function send(command) {
  // Commands are not kept while the page is disconnected: a late one would come as a surprise.
  if (socket.state === "open") socket.send(JSON.stringify(command));
}

function problem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

const EVENTS = {
  "deployments.changed"({ change, plans, deployments }) {
    if (change < shown) return;
    const first = shown < 0;
    shown = change;
    if (first) showPlans(plans);
    const keys = new Set(deployments.map(keyOf));
    for (const [key, card] of cards) {
      if (keys.has(key)) continue;
      card.open = false;
      card.item.remove();
      cards.delete(key);
    }
    for (const entry of deployments) {
      const card = cards.get(keyOf(entry)) ?? new Card(entry);
      card.update(entry);
      if (own.delete(entry.id)) card.open = true;
      // After a reconnect, the page asks again for the output of all open deployments.
      if (first && card.open) card.watch();
    }
    byId("none").hidden = deployments.length > 0;
    if (first && ![...cards.values()].some((card) => card.open)) {
      const newest = [...cards.values()].at(-1);
      if (newest) newest.open = true;
    }
  },
  // The answer to `start` may come before the list that has it, or after.
  "deployment.started"({ id }) {
    if (card(id)) card(id).open = true;
    else own.add(id);
  },
  "deployment.refused"({ reason }) { problem(reason); },
  "deployment.log"({ id, lines }) { card(id)?.replace(lines); },
  "deployment.line"(line) { card(line.id)?.append(line); },
  error({ reason }) { problem(reason); },
};

const keyOf = ({ id, started }) => `${id} ${started}`;
const card = (id) => [...cards.values()].find((one) => one.id === id);

function showPlans(plans) {
  byId("plans").replaceChildren(...plans.map((plan) => {
    const button = element("button", "primary", plan);
    button.dataset.plan = plan;
    button.addEventListener("click", () => { problem(""); send({ start: plan }); });
    return button;
  }));
}

/** One deployment. */
class Card {
  constructor(entry) {
    cards.set(keyOf(entry), this);
    this.id = entry.id;
    this.last = 0;
    this.pinned = true;
    this.item = byId("deployment").content.cloneNode(true).firstElementChild;
    this.item.dataset.id = this.id;
    this.details = this.find("details");
    this.log = this.find(".log");
    this.log.ariaLabel = `Output of ${entry.plan} #${this.id}`;
    this.find(".plan").textContent = entry.plan;
    this.find(".number").textContent = `#${this.id}`;
    this.find(".cancel").ariaLabel = `Cancel ${entry.plan} #${this.id}`;
    this.find(".cancel").addEventListener("click", () => send({ cancel: this.id }));
    this.details.addEventListener("toggle", () => this.open ? this.watch() : send({ unwatch: this.id }));
    this.log.addEventListener("scroll", () => { this.pinned = this.atEnd(); });
    byId("list").prepend(this.item);
  }

  find(selector) { return this.item.querySelector(selector); }
  get open() { return this.details.open; }
  set open(open) { this.details.open = open; }
  watch() { send({ watch: this.id }); }

  update({ state, code, since }) {
    this.item.dataset.state = state;
    const failed = code === null ? "failed" : `failed, exit code ${code}`;
    this.find(".state").textContent = state === "failed" ? failed : state;
    this.find(".since").textContent = TIME.format(since);
    this.find(".since").dateTime = new Date(since).toISOString();
    const cancel = this.find(".cancel");
    const over = state !== "queued" && state !== "running";
    // A button that is hidden must pass its focus on, or keyboard users lose their place.
    if (over && document.activeElement === cancel) this.find("summary").focus();
    cancel.hidden = over;
  }

  replace(lines) {
    this.log.replaceChildren();
    this.last = 0;
    this.pinned = true;
    for (const line of lines) this.append(line);
    this.cut();
  }

  append({ number, source, text }) {
    // A line that is sent while the page begins to watch may come twice.
    if (number <= this.last) return;
    this.last = number;
    const line = element("p", "", text);
    line.dataset.number = number;
    line.dataset.source = source;
    if (source === "stderr") line.prepend(element("span", "spoken", "error output: "));
    this.log.append(line);
    if (this.log.childElementCount > LINES) {
      this.log.firstElementChild.remove();
      this.cut();
    }
    if (this.pinned) this.log.scrollTop = this.log.scrollHeight;
  }

  /** Shows how many earlier lines are no longer kept. */
  cut() {
    const count = (this.log.firstElementChild?.dataset.number ?? 1) - 1;
    this.find(".cut").hidden = count === 0;
    this.find(".cut").textContent = `${count.toLocaleString("en")} earlier ${count === 1 ? "line is" : "lines are"} no longer kept`;
  }

  atEnd() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 32;
  }
}

// This comes last, because a class exists only after its definition.
// The socket reconnects by itself, and uses another transport if a WebSocket is not possible.
const socket = new GreenroomSocket("/deployments/");
socket.addEventListener("reconnect", () => {
  shown = -1; // a restarted server counts from one
  own.clear();
});
socket.addEventListener("message", ({ data }) => {
  const event = JSON.parse(data);
  EVENTS[event.type]?.(event);
});
socket.addEventListener("statechange", ({ state }) => setState(state));
