// Draws the data of the server as SVG, and posts when a button is pressed.

import { GreenroomSocket } from "/greenroom.js";
import { byId } from "/static/page.js";

const number = new Intl.NumberFormat("en");
const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const STATES = {
  connecting: "Connecting…", open: "Live", waiting: "Disconnected, trying again…", closed: "Disconnected",
};

let shown = 0; // the version of what is drawn
let running = false;

// The socket reconnects by itself, and uses another transport if a WebSocket is not possible.
const socket = new GreenroomSocket("/chart/");
socket.addEventListener("reconnect", () => { shown = 0; }); // a restarted server counts from one
socket.addEventListener("message", ({ data }) => {
  const event = JSON.parse(data);
  if (event.type === "chart.changed" && event.version > shown) draw(event);
});
socket.addEventListener("statechange", ({ state }) => setState(state));

function setState(state) {
  byId("status").dataset.state = state;
  byId("status").textContent = STATES[state] ?? "";
  byId("run").disabled = state !== "open";
}

function draw({ version, job, bars }) {
  shown = version;
  running = job.running;
  byId("progress").max = job.total;
  byId("progress").value = job.done;
  byId("job-count").textContent = `${number.format(job.done)} of ${number.format(job.total)}`;
  byId("run").textContent = running ? "Pause" : job.done === job.total ? "Start again" : "Resume";

  const most = roundUp(Math.max(10, ...bars.map(({ value }) => value)));
  byId("half").textContent = number.format(most / 2);
  byId("most").textContent = number.format(most);
  const total = bars.reduce((sum, { value }) => sum + value, 0);
  byId("total").textContent = number.format(total);

  let start = 0;
  bars.forEach(({ name, value }, index) => {
    const part = total ? value / total : 0;
    drawBar(index, name, value, value / most);
    drawSlice(index, start, part);
    drawLegend(index, name, part);
    start += part;
  });
  // Removes the rest if there are fewer bars than before: then the server was restarted.
  for (const id of ["bars", "legend"]) while (byId(id).childElementCount > bars.length) byId(id).lastChild.remove();
  while (byId("pie").childElementCount > bars.length + 1) byId("pie").lastChild.remove();
  byId("names").replaceChildren(...bars.map(({ name }) => new Option(name)));
}

// Elements are kept and only their lengths change, so that CSS can animate them.

function drawBar(index, name, value, length) {
  const row = byId("bars").children[index] ?? byId("bars").appendChild(template(
    "li", ["bdi", "name"], ["svg", "bar"], ["span", "value"]));
  row.dataset.name = name;
  row.children[0].textContent = name;
  const bar = row.children[1].firstChild ?? row.children[1].appendChild(svg("rect"));
  row.children[1].ariaHidden = "true";
  bar.dataset.colour = index;
  bar.style.width = `${length * 100}%`;
  row.children[2].textContent = number.format(value);
}

function drawSlice(index, start, part) {
  let slice = byId("pie").children[index + 1];
  if (!slice) {
    slice = byId("pie").appendChild(svg("circle"));
    for (const [key, value] of Object.entries({ cx: 24, cy: 24, r: 18, pathLength: 100 })) slice.setAttribute(key, value);
    slice.dataset.colour = index;
  }
  // A dash as long as the part, which begins at the end of the last one. Between two dashes is a small gap.
  const length = part === 1 ? 100 : Math.max(0, part * 100 - 0.8);
  slice.style.strokeDasharray = `${length} ${100 - length}`;
  slice.style.strokeDashoffset = -start * 100;
}

function drawLegend(index, name, part) {
  const row = byId("legend").children[index] ?? byId("legend").appendChild(template(
    "li", ["span", "mark"], ["bdi", "name"], ["span", "value"]));
  row.dataset.name = name;
  row.children[0].dataset.colour = index;
  row.children[1].textContent = name;
  row.children[2].textContent = percent.format(part);
}

function template(tag, ...children) {
  const el = document.createElement(tag);
  for (const [tag, name] of children) {
    const child = tag === "svg" ? svg(tag) : document.createElement(tag);
    child.setAttribute("class", name);
    el.append(child);
  }
  return el;
}

function svg(tag) {
  return document.createElementNS("http://www.w3.org/2000/svg", tag);
}

/** Rounds up to 10, 20, 50, 100, 200, 500, …, so that the scale rarely changes while a bar grows. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * power >= value) * power;
}

async function post(path, body) {
  let problem = "";
  try {
    const answer = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    if (!answer.ok) problem = await answer.text();
  } catch {
    problem = "The server did not answer.";
  }
  byId("problem").textContent = problem;
  byId("problem").hidden = !problem;
}

byId("run").addEventListener("click", () => post("/job", { running: !running }));
byId("add").addEventListener("submit", (event) => {
  event.preventDefault();
  post("/data", { name: byId("name").value, add: byId("count").valueAsNumber });
});
byId("curl").textContent = `curl ${location.origin}/data \\
  -H 'Content-Type: application/json' \\
  -d '{"name":"Shop","add":100}'`;
