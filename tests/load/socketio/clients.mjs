// The clients of tests/load/jitter for Socket.IO: the same shape, the same checks and the same line of JSON as
// tests/load/crowd/src/bin/returners, with the client of Socket.IO itself.
//
//   node clients.mjs '{"port":1,"pid":2,"clients":1000,"rooms":1,"messages":120,"rate":2,"payload":128,"every":15,"away":2,"seconds":160}'
import { readFileSync, readdirSync } from 'node:fs';
import { io } from 'socket.io-client';

const options = JSON.parse(process.argv[2]);
const url = `http://127.0.0.1:${options.port}`;
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const now = () => performance.now();
const counts = {}, outcomes = {};
const count = (where, what) => { where[what] = (where[what] ?? 0) + 1; };
const delay = [], beyond = [], missedBeyond = [], catching = [], greeting = [];
const rooms = Array.from({ length: options.rooms }, () => ({ sent: 0, acked: 0 }));
let cutting = true;

/** What a client got, as `Check` in check.rs. */
class Check {
  last = 0; missing = new Map(); told = false; delivered = 0;
  has(number) { return this.told || this.last >= number; }
  take(number) {
    if (number > this.last) {
      for (let gone = this.last + 1; gone < number; gone++) this.missing.set(gone, this.told);
      this.last = number;
      this.told = false;
    } else if (this.missing.delete(number)) {
      count(counts, 'out_of_order');
    } else {
      count(counts, 'doubled');
      return false;
    }
    this.delivered++;
    return true;
  }
}

class Client {
  check = new Check(); begun = 0; opened = 0; owed = null; missed = false; greeted = false; first = true;
  constructor(number) {
    this.room = number % options.rooms;
    this.socket = io(url, {
      transports: ['websocket'], forceNew: true, query: { room: `r${this.room}` },
      reconnectionDelay: options.away * 1000, reconnectionDelayMax: options.away * 1000, randomizationFactor: 0,
    });
    this.socket.io.on('reconnect_attempt', () => { this.begun = now(); });
    this.socket.io.on('reconnect_error', () => count(counts, 'refused'));
    this.socket.io.on('open', () => {
      this.opened = now();
      this.owed = rooms[this.room].acked;
      this.missed = !this.check.has(this.owed);
      this.greeted = false;
    });
    this.socket.on('connect', () => {
      if (this.first) this.ready?.();
      else if (this.socket.recovered) count(counts, 'recovered');
      else {
        count(outcomes, 'not recovered');
        this.check.told = true;
      }
      // The first cut comes anytime, so that not all are cut together.
      const share = this.first ? Math.random() : 0.8 + 0.4 * Math.random();
      this.first = false;
      if (options.every) setTimeout(() => this.cut(), options.every * share * 1000);
      this.greeted = true;
      this.settle();
    });
    this.socket.on('said', (text) => this.said(text));
    this.joined = new Promise((done) => { this.ready = done; });
  }
  cut() {
    if (!cutting || !this.socket.connected) return;
    count(counts, 'cuts');
    this.socket.io.engine.transport.ws.terminate();
  }
  said(text) {
    const at = now();
    const [room, number, sent] = text.split('@')[1].split(':').map(Number);
    if (room !== this.room) return count(counts, 'misrouted');
    if (this.check.take(number)) {
      delay.push(at - sent);
      beyond.push(at - Math.max(sent, this.begun));
      if (sent < this.begun) missedBeyond.push(at - this.begun);
    }
    this.settle();
  }
  settle() {
    if (this.owed === null || !this.greeted || !this.check.has(this.owed)) return;
    this.owed = null;
    (this.missed ? catching : greeting).push(now() - this.opened);
  }
}

function spread(values) {
  values.sort((one, other) => one - other);
  const at = (share) => values[Math.floor((values.length - 1) * share)] ?? 0;
  return { count: values.length, p50: at(0.5), p95: at(0.95), p99: at(0.99), most: at(1) };
}
function cpu(pid) {
  const threads = readdirSync(`/proc/${pid}/task`);
  const spent = (thread) => Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  return threads.reduce((sum, thread) => sum + spent(thread), 0);
}
const memory = (pid) => 4096 * Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);

/** Sends the messages of a room, one after the other, each when the server has answered for the one before. */
async function tell(teller, room, start) {
  for (let turn = 0; turn < options.messages; turn++) {
    await sleep((start + (room / options.rooms + turn) * 1000 / options.rate - now()) / 1000);
    const number = ++rooms[room].sent;
    const text = `@${room}:${number}:${now()}@`.padEnd(options.payload, 'x');
    await new Promise((done) => teller.emit('say', `r${room}`, text, done));
    rooms[room].acked = number;
  }
}

const empty = memory(options.pid);
const clients = [];
while (clients.length < options.clients) {
  const doors = Math.min(50, options.clients - clients.length);
  const next = Array.from({ length: doors }, (_, index) => new Client(clients.length + index));
  await Promise.all(next.map((client) => client.joined));
  clients.push(...next);
}
const teller = io(url, { transports: ['websocket'], forceNew: true });
await new Promise((done) => teller.on('connect', done));
await sleep(1);
catching.length = greeting.length = 0;
console.log('ready');
const [before, beforeOwn, start, joined] = [cpu(options.pid), cpu(process.pid), now(), memory(options.pid)];
await Promise.all(rooms.map((_, room) => tell(teller, room, start)));
const [after, afterOwn, end, deliveries] = [cpu(options.pid), cpu(process.pid), now(), Math.max(1, delay.length)];
cutting = false;
const complete = () => clients.every(({ check, room }) => check.has(rooms[room].acked));
while (now() - start < options.seconds * 1000 && !complete()) await sleep(0.02);
await sleep(1);

let [expected, delivered, lost, told] = [0, 0, 0, 0];
for (const { check, room } of clients) {
  delivered += check.delivered;
  for (const was of check.missing.values()) was ? told++ : lost++;
  const late = rooms[room].sent - check.last;
  if (check.told) told += late;
  else lost += late;
  expected += rooms[room].sent;
}
const seconds = (end - start) / 1000;
console.log(JSON.stringify({
  clients: clients.length, expected, delivered, lost, told_lost: told, doubtful: 0, counts, outcomes, wrong: {},
  endings: {}, never_back: 0, waves: [], delay: spread(delay), beyond: spread(beyond),
  beyond_missed: spread(missedBeyond), catching_up: spread(catching), greeting: spread(greeting), seconds,
  per_s: deliveries / seconds, cpu_ms: (after - before) / 1e6 / seconds, beside_cpu_ms: 0,
  own_cpu_ms: (afterOwn - beforeOwn) / 1e6 / seconds, cpu_us_per_delivery: (after - before) / 1e3 / deliveries,
  beside_us_per_delivery: 0, rss_empty: empty, rss_joined: joined, rss_end: memory(options.pid),
}));
process.exit(0);
