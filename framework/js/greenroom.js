// The client for consumers of Greenroom: a WebSocket that falls back to HTTP requests if it is blocked, and that
// connects again after a loss.
//
// It is one file without dependencies. The framework serves it at /greenroom.js, and it is also the npm package
// `greenroom`. framework/docs/browser.md says what a page sees, framework/docs/protocol.md what goes over the wire.
//
// The file has three parts: the socket that a page holds; the two kinds of link, one over a WebSocket and one over
// HTTP requests; and the functions that both need. Each link is one connection of the server.

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;

const DEFAULTS = {
  transports: ["websocket", "sse", "long-poll", "poll"],
  pollInterval: 2_000,
  timeout: 5_000,
  queueLimit: 1 << 20,
  remember: 30 * 60_000,
  reconnect: { base: 1_000, max: 30_000, attempts: Infinity, when: mayReconnect },
};

/** If a connection lasted this long, the delays before the next attempts start from the beginning. */
const STABLE = 5_000;
/**
 * A transport that has worked may fail this often in a row before the socket tries another one: perhaps the server
 * only restarts.
 */
const PATIENCE = 3;
/** The longest delay that a server can ask for. */
const LONGEST_HINT = 5 * 60_000;
/** The longest time of a timer: a longer one would end at once. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** The longest time, in seconds, for which the server may hold a poll. */
const LONGEST_POLL = 60 * 60;
/** The server sends something every 15 s, at least a comment. A stream that is silent for this long is dead. */
const SILENCE = 40_000;
/** If a stream ends sooner than this, or a poll fails later than this, something on the way has cut it. */
const CUT = 2_000;
/** The client acknowledges a stream's batches when they are this many or this large, and with everything it sends. */
const ACK_BATCHES = 32;
const ACK_BYTES = 64 << 10;
/**
 * A request carries messages of at most this size together. A larger message gets a request of its own. The server
 * takes 1,024 messages in one request.
 */
const POST_BYTES = 64 << 10;
const POST_MESSAGES = 1_000;
/** Longer than the 20 s for which the server may hold a request with messages while its consumer is busy. */
const POST_TIMEOUT = 30_000;

/**
 * The event `statechange`: the state, and the transport in use. For `waiting` it also has the delay, and how the
 * connection ended.
 */
export class StateEvent extends Event {
  constructor(type, { state, transport, delay = null, code = null, reason = "" }) {
    super(type);
    Object.assign(this, { state, transport, delay, code, reason });
  }
}

/** A `WebSocket` for consumers of Greenroom, over the first transport that works. */
export class GreenroomSocket extends EventTarget {
  #address;
  #protocols;
  #settings;
  #binaryType = "blob";
  #readyState = CONNECTING;
  #shown = { state: "connecting", transport: null, delay: null };
  #handlers = new Map();
  #protocol = "";
  #extensions = "";
  /** The messages that no link has taken yet, as `{ data, size }`. */
  #queue = [];
  #queued = 0;
  #link = null;
  /** The links that this attempt can still try. Each is a list of the transports that share the link. */
  #ways = [];
  /** The transport of this link that is known to work. */
  #known = null;
  #timer;
  #attempts = 0;
  #openedAt = null;
  /** Whether a WebSocket has ever opened on this socket. `#refusals` counts the failures in a row since then. */
  #proven = false;
  #refusals = 0;
  /** Aborted to remove this socket's listeners from the page. */
  #page = new AbortController();
  #away = false;

  constructor(url, protocols = [], options = {}) {
    super();
    this.#address = address(url);
    this.#protocols = names(protocols);
    this.#settings = settings(options);
    const { signal } = this.#page;
    const hear = (type, handler) => globalThis.addEventListener?.(type, handler, { signal });
    hear("pagehide", ({ persisted }) => this.#leave(persisted));
    hear("pageshow", () => this.#comeBack());
    hear("online", () => this.#hurry());
    hear("offline", () => this.#link?.offline());
    globalThis.document?.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#hurry();
    }, { signal });
    this.#begin();
  }

  get url() { return this.#address.href; }
  get readyState() { return this.#readyState; }
  get protocol() { return this.#protocol; }
  get extensions() { return this.#extensions; }
  get bufferedAmount() { return this.#queued + (this.#link?.bufferedAmount ?? 0); }
  get binaryType() { return this.#binaryType; }
  set binaryType(type) { if (type === "blob" || type === "arraybuffer") this.#binaryType = type; }
  /** `connecting`, `open`, `waiting`, `closing` or `closed`. */
  get state() { return this.#shown.state; }
  /** The transport in use, or the last one. */
  get transport() { return this.#shown.transport; }

  /** Sends a message, or keeps it until it can be sent. Throws if too much is kept already. */
  send(data) {
    const item = prepare(data);
    // An empty queue takes a message of any size: the server decides whether the message is too large.
    const full = this.#queued > 0 && this.#queued + item.size > this.#settings.queueLimit;
    if (full && this.#readyState < CLOSING) {
      throw new DOMException(`more than ${this.#settings.queueLimit} bytes wait to be sent`, "QuotaExceededError");
    }
    this.#queued += item.size;
    if (this.#readyState >= CLOSING) return; // the message is lost, but counted, as with a WebSocket
    this.#queue.push(item);
    if (this.#readyState === OPEN) this.#link.flush();
  }

  close(code, reason = "") {
    if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) {
      throw new DOMException(`${code} is neither 1000 nor between 3000 and 4999`, "InvalidAccessError");
    }
    if (new TextEncoder().encode(reason).length > 123) {
      throw new DOMException("the reason has more than 123 bytes", "SyntaxError");
    }
    if (this.#readyState >= CLOSING) return;
    const open = this.#readyState === OPEN;
    this.#readyState = CLOSING;
    clearTimeout(this.#timer);
    this.#show("closing");
    if (open) return this.#link.close(code, String(reason));
    this.#link?.drop();
    setTimeout(() => this.#finish({ code: 1006, reason: "", wasClean: false }));
  }

  /** Begins an attempt: first with the transport that worked lately, then with each one after it in the list. */
  #begin() {
    clearTimeout(this.#timer);
    const { transports } = this.#settings;
    const known = transports.indexOf(recall(this.#address, this.#settings.remember));
    this.#ways = ways(transports.slice(Math.max(known, 0)));
    this.#show("connecting");
    if (this.#readyState === CONNECTING) this.#next(); // a listener of `statechange` may have closed the socket
  }

  #next() {
    this.#known = null;
    const transports = this.#ways.shift();
    const Link = transports[0] === "websocket" ? WebSocketLink : HttpLink;
    this.#link = new Link(this.#address, this.#protocols, transports, this.#settings, {
      opened: (connection) => this.#opened(connection),
      failed: (failure) => this.#failed(Link === WebSocketLink, failure),
      heard: (transport) => this.#heard(transport),
      away: (delay) => this.#readyState === OPEN && this.#show("waiting", { delay }),
      message: (data) => this.#message(data),
      ended: (end) => this.#ended(end),
      take: (...limits) => this.#take(...limits),
    });
  }

  #opened({ transport, protocol, extensions }) {
    const again = this.#openedAt !== null;
    this.#openedAt = performance.now();
    this.#readyState = OPEN;
    this.#protocol = protocol;
    this.#extensions = extensions;
    this.#show("open", { transport });
    if (transport === "websocket") {
      this.#proven = true;
      this.#refusals = 0;
      this.#heard(transport);
    }
    if (this.#readyState !== OPEN) return;
    // A page may have to tell a new consumer something first, so its handler sends before the messages that waited.
    const waiting = this.#take(Infinity, Infinity);
    this.dispatchEvent(new Event(again ? "reconnect" : "open"));
    this.#queue.push(...waiting);
    this.#queued += sizeOf(waiting);
    if (this.#readyState === OPEN) this.#link.flush();
  }

  /**
   * A link did not open. Without a status there was no answer, or the browser does not say why, as with a WebSocket.
   */
  #failed(websocket, { status = 0, reason = "", retryAfter = 0 }) {
    this.#link = null;
    const denied = status === 401 || status === 403;
    const refused = status >= 400 && status < 500 && ![408, 421, 425, 429].includes(status);
    const patient = websocket && this.#proven && ++this.#refusals < PATIENCE;
    if ((websocket || refused) && !denied && !patient && this.#ways.length > 0) return this.#next();
    if (denied || (refused && this.#openedAt === null)) {
      return this.#finish({ code: 1006, reason: `HTTP ${status}: ${reason}`, wasClean: false });
    }
    // A few failures do not mean that the transport is blocked: the server may be away.
    if (this.#attempts >= PATIENCE) this.#remember(null);
    this.#wait({ code: 1006, reason, retryAfter });
  }

  /** An answer has come over this transport: the transport works, and the connection lives. */
  #heard(transport) {
    if (this.#readyState !== OPEN) return;
    if (this.#known !== transport) this.#remember(transport);
    this.#known = transport;
    this.#show("open", { transport });
  }

  #message(data) {
    if (this.#readyState !== OPEN) return;
    if (typeof data !== "string" && this.#binaryType === "blob") data = new Blob([data]);
    this.dispatchEvent(new MessageEvent("message", { data, origin: this.#address.origin }));
  }

  #ended({ unsent = [], ...end }) {
    this.#link = null;
    this.#queue.unshift(...unsent);
    this.#queued += sizeOf(unsent);
    if (this.#readyState === CLOSING) return this.#finish(end);
    if (performance.now() - this.#openedAt > STABLE) this.#attempts = 0;
    const { reconnect } = this.#settings;
    if (reconnect && reconnect.when(end.code, end.reason)) this.#wait(end);
    else this.#finish(end);
  }

  #wait(end) {
    const { reconnect } = this.#settings;
    if (!reconnect || this.#attempts >= reconnect.attempts) return this.#finish({ wasClean: false, ...end });
    const delay = retryDelay({ ...reconnect, ...end, attempt: this.#attempts++ });
    this.#readyState = CONNECTING;
    this.#timer = later(() => this.#begin(), delay);
    this.#show("waiting", { delay, code: end.code, reason: end.reason });
  }

  #finish({ code, reason, wasClean }) {
    this.#readyState = CLOSED;
    this.#link = null;
    this.#queue = [];
    this.#page.abort();
    this.#show("closed", { code, reason });
    if (!wasClean) this.dispatchEvent(new Event("error"));
    this.dispatchEvent(new CloseEvent("close", { code, reason, wasClean }));
  }

  #take(bytes, messages) {
    let [count, size] = [0, 0];
    for (const item of this.#queue) {
      if (count === messages || (count > 0 && size + item.size > bytes)) break;
      count += 1;
      size += item.size;
    }
    this.#queued -= size;
    return this.#queue.splice(0, count);
  }

  #show(state, { transport = this.#shown.transport, delay = null, code, reason } = {}) {
    const before = this.#shown;
    this.#shown = { state, transport, delay };
    if (before.state === state && before.transport === transport && before.delay === delay) return;
    this.dispatchEvent(new StateEvent("statechange", { state, transport, delay, code, reason }));
  }

  /** Remembers for the next page which transport works, unless the next page would try this one first anyway. */
  #remember(transport) {
    const { transports, remember } = this.#settings;
    if (transports.length > 1) keep(this.#address, transport === transports[0] ? null : transport, remember);
  }

  /** The page is left, for good or for the back-forward cache. The server must learn this at once. */
  #leave(persisted) {
    if (this.#readyState === CLOSED) return;
    this.#link?.leave(persisted);
    this.#link = null;
    clearTimeout(this.#timer);
    if (this.#readyState === CLOSING) return this.#finish({ code: 1006, reason: "", wasClean: false });
    this.#readyState = CONNECTING;
    this.#away = true;
  }

  #comeBack() {
    if (!this.#away) return;
    this.#away = false;
    this.#attempts = 0;
    this.#begin();
  }

  /** The network or the page is back, so nothing waits for its delay any longer. */
  #hurry() {
    if (this.#away) return;
    if (this.#link) this.#link.wake();
    else if (this.#shown.state === "waiting") this.#begin();
  }

  static {
    for (const [name, value] of Object.entries({ CONNECTING, OPEN, CLOSING, CLOSED })) {
      for (const target of [this, this.prototype]) Object.defineProperty(target, name, { value, enumerable: true });
    }
    for (const type of ["open", "message", "error", "close", "reconnect", "statechange"]) {
      Object.defineProperty(this.prototype, `on${type}`, {
        configurable: true,
        enumerable: true,
        get() { return this.#handlers.get(type)?.handler ?? null; },
        set(handler) {
          this.removeEventListener(type, this.#handlers.get(type)?.listener);
          this.#handlers.delete(type);
          if (typeof handler !== "function") return;
          const listener = (event) => handler.call(this, event);
          this.#handlers.set(type, { handler, listener });
          this.addEventListener(type, listener);
        },
      });
    }
  }
}

export default GreenroomSocket;

/** A connection over a WebSocket. */
class WebSocketLink {
  #socket = null;
  #owner;
  #open = false;
  #timer;

  constructor(address, protocols, _transports, { timeout }, owner) {
    this.#owner = owner;
    this.#timer = later(() => this.#end({ code: 1006, reason: "", wasClean: false }), timeout);
    let socket;
    try {
      socket = new WebSocket(address.href, protocols);
    } catch {
      // There is no WebSocket, or this page may not use one. The owner learns it later, as with every failure.
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => owner.failed({}));
      return;
    }
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      clearTimeout(this.#timer);
      this.#open = true;
      owner.opened({ transport: "websocket", protocol: socket.protocol, extensions: socket.extensions });
    };
    socket.onmessage = ({ data }) => owner.message(data);
    socket.onclose = ({ code, reason, wasClean }) => this.#end({ code, reason, wasClean });
    this.#socket = socket;
  }

  get bufferedAmount() { return this.#socket?.bufferedAmount ?? 0; }

  flush() {
    for (const { data } of this.#owner.take(Infinity, Infinity)) this.#socket.send(data);
  }

  close(code, reason) {
    if (code === undefined) this.#socket.close();
    else this.#socket.close(code, reason);
  }

  /** Ends the link without telling the owner. */
  drop() {
    this.#forget();
    this.#socket?.close();
  }

  leave(persisted) {
    // If the browser discards the page, it closes the socket itself, with 1001. A cached page may hold no socket.
    if (persisted) this.drop();
    else this.#forget();
  }

  #forget() {
    clearTimeout(this.#timer);
    if (this.#socket) this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
  }

  /** Without a network, the socket would look open for many minutes, until TCP gives up. */
  offline() {
    if (this.#open) this.#end({ code: 1006, reason: "offline", wasClean: false });
  }

  wake() {}

  #end(end) {
    this.drop();
    if (this.#open) this.#owner.ended(end);
    else this.#owner.failed({});
  }
}

/** A connection over HTTP requests: one request receives, and at most one at a time sends. */
class HttpLink {
  #address;
  #owner;
  #settings;
  /** The transport in use, then those that can follow it. */
  #modes;
  #id = null;
  #wait;
  #expires;
  #postBytes;
  /**
   * The number of the last batch that arrived. `#unacknowledged` counts what a stream brought since the last
   * acknowledgement.
   */
  #batch = 0;
  #unacknowledged = { batches: 0, bytes: 0 };
  /** The number of the last request with messages that the server has answered. `#post` is the one under way. */
  #seq = 0;
  #post = null;
  #sending = null;
  #heardAt;
  /** Whether the last request to receive messages has failed. */
  #away = false;
  #over = false;
  #closing = false;
  /** The address and the options of the request that tells the server that the page was left. */
  #farewell = null;
  #requests = new Set();
  /** The one of `#requests` that receives messages. */
  #receiving = null;
  #sleepers = new Set();

  constructor(address, protocols, transports, settings, owner) {
    this.#address = address;
    this.#modes = [...transports];
    this.#settings = settings;
    this.#owner = owner;
    this.#run(protocols);
  }

  get bufferedAmount() { return this.#post?.size ?? 0; }

  flush() {
    // While nothing arrives, messages wait here. If they were sent now and the connection ended, nobody could know
    // whether they had arrived.
    if (this.#away) return;
    this.#sending ??= this.#send().finally(() => { this.#sending = null; });
  }

  async close(code, reason) {
    this.#closing = true;
    const body = code === undefined ? "" : JSON.stringify({ code, reason });
    this.#farewell = this.#last(body);
    this.#receiving?.end();
    this.flush(); // messages that were sent before the close go first
    await Promise.race([this.#sending, this.#sleep(this.#settings.timeout)]);
    if (this.#over) return; // the page was left
    this.#farewell = null;
    let wasClean = false;
    try {
      const { timeout } = this.#settings;
      const { ok, status } = await this.#ask("close", {}, { body, timeout });
      wasClean = ok || status === 410;
    } catch { /* the server will notice by itself that the client has gone */ }
    this.#end(wasClean ? { code: code ?? 1005, reason, wasClean } : { code: 1006, reason: "", wasClean });
  }

  drop() {
    this.#over = true;
    for (const request of this.#requests) request.end();
    this.wake();
  }

  leave() {
    // The request is made before, and sent first of all: Firefox soon stops the script of a tab that closes.
    if (this.#farewell && !this.#over) {
      const [url, request] = this.#farewell;
      if (LASTS) fetch(url, request).catch(() => {});
      else navigator.sendBeacon(url, request.body);
    }
    this.drop();
  }

  /** Nothing to do: the requests fail by themselves, and the server keeps the connection for a while. */
  offline() {}

  wake() {
    for (const wake of this.#sleepers) wake();
  }

  async #run(protocols) {
    let opened;
    try {
      const body = JSON.stringify({ protocols });
      const answer = await this.#ask("open", {}, { body, timeout: 4 * this.#settings.timeout });
      opened = parse(answer.text);
      const reason = typeof opened?.message === "string" ? opened.message : answer.text;
      if (!answer.ok) return this.#fail({ ...answer, reason: reason.slice(0, 100) });
      // The answer is from some other program, which accepts any request.
      if (!isText(opened?.id)) return this.#fail({ status: 404, reason: "the answer is not from Greenroom" });
    } catch {
      return this.#fail({});
    }
    if (this.#over) return;
    this.#id = opened.id;
    this.#farewell = this.#last(JSON.stringify({ code: 1001, reason: "" }));
    this.#wait = Math.floor(Math.min(amount(opened.wait, 20), LONGEST_POLL));
    this.#expires = amount(opened.expires, 30) * 1_000;
    // The server takes a body of at most twice a message's limit, and in JSON one character may become six bytes.
    this.#postBytes = Math.min(POST_BYTES, amount(opened.limit, POST_BYTES) / 3);
    this.#heardAt = performance.now();
    const protocol = isText(opened.protocol) ? opened.protocol : "";
    this.#owner.opened({ transport: this.#modes[0], protocol, extensions: "" });
    await this.#receive();
  }

  async #receive() {
    let [failures, cuts] = [0, 0];
    while (!this.#over && !this.#closing) {
      const [mode] = this.#modes;
      try {
        if (mode === "sse") await this.#stream();
        else await this.#poll(mode === "poll" ? 0 : this.#wait);
        [failures, cuts] = [0, 0];
        if (mode === "poll") await this.#sleep(this.#settings.pollInterval);
      } catch (error) {
        if (this.#over || this.#closing) return;
        const { status = 0, retryAfter = 0, cut = false } = error;
        if (isGone(status)) return this.#end({ code: 1006, reason: "", wasClean: false, retryAfter });
        cuts += cut ? 1 : 0;
        // A stream that sends nothing in time never will, so one cut is enough. A poll may fail once by bad luck.
        if (this.#modes.length > 1 && cuts >= (mode === "sse" ? 1 : 2)) {
          this.#modes.shift();
          cuts = 0;
          continue;
        }
        // While the server keeps the connection, nothing is lost: the server sends again what was not acknowledged.
        if (performance.now() - this.#heardAt > this.#expires) {
          return this.#end({ code: 1006, reason: "", wasClean: false });
        }
        const delay = retryDelay({ ...PACE, attempt: failures++, retryAfter });
        this.#away = true;
        this.#owner.away(delay);
        await this.#sleep(delay);
      }
    }
  }

  /** Reads an event stream to its end. `EventSource` would hide the comments, which show that the stream is alive. */
  async #stream() {
    const began = performance.now();
    const before = this.#batch;
    const request = this.#receiving = this.#request(this.#settings.timeout);
    let heard = false;
    try {
      const response = await fetch(this.#url("events", { ack: this.#batch }), { ...COMMON, signal: request.signal });
      if (response.status !== 200) throw new Trouble(answerOf(response, ""));
      if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) throw new Trouble({ cut: true });
      const events = new EventReader();
      const text = new TextDecoder();
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || this.#over || this.#closing) break;
        heard = true;
        request.expect(SILENCE);
        this.#hear();
        this.#unacknowledged.bytes += value.byteLength;
        for (const data of events.read(text.decode(value, { stream: true }))) this.#arrived(batchOf(data));
        this.#acknowledge();
      }
    } catch (error) {
      if (error instanceof Trouble) throw error;
      if (!heard) throw new Trouble({ cut: request.late });
    } finally {
      request.end();
    }
    const brief = before === this.#batch && performance.now() - began < CUT;
    if (!heard || brief) throw new Trouble({ cut: true });
  }

  async #poll(wait) {
    const began = performance.now();
    const held = () => performance.now() - began;
    let answer;
    try {
      const timeout = wait * 1_000 + 2 * this.#settings.timeout;
      answer = await this.#ask("poll", { ack: this.#batch, wait }, { method: "GET", timeout });
    } catch {
      throw new Trouble({ cut: held() > CUT });
    }
    const { status } = answer;
    if (status !== 200 && status !== 204) {
      throw new Trouble({ ...answer, cut: [408, 502, 504].includes(status) && held() > CUT });
    }
    const batch = status === 200 ? batchOf(answer.text) : null;
    if (status === 200 && !batch) throw new Trouble({ cut: held() > CUT });
    this.#hear();
    if (batch) this.#arrived(batch);
    // If the server does not hold the request, for whatever reason, the client must pause before it asks again.
    else if (this.#modes[0] !== "poll" && held() < 500) await this.#sleep(this.#settings.pollInterval);
  }

  #arrived(batch) {
    if (!batch) throw new Trouble({ cut: true });
    const { number, messages, close } = batch;
    if (number <= this.#batch) return; // the server sent it again, because the acknowledgement was lost
    // The server leaves batches out only when it gives up a client that was too slow.
    if (number !== this.#batch + 1 && !close) throw new Trouble({ cut: true });
    this.#batch = number;
    this.#unacknowledged.batches += 1;
    for (const message of messages) {
      this.#owner.message(message);
      if (this.#over) return;
    }
    if (close) this.#end({ ...close, wasClean: true });
  }

  #acknowledge() {
    const { batches, bytes } = this.#unacknowledged;
    if (this.#over || (batches < ACK_BATCHES && bytes < ACK_BYTES)) return;
    this.#unacknowledged = { batches: 0, bytes: 0 };
    // If this fails, the next acknowledgement, or any other request, tells the server the same.
    this.#ask("ack", { ack: this.#batch }, { timeout: POST_TIMEOUT }).catch(() => {});
  }

  async #send() {
    let failures = 0;
    await null; // messages that a page sends in one turn leave in one request
    while (!this.#over && !this.#away) {
      if (!this.#post) {
        const items = this.#owner.take(this.#postBytes, POST_MESSAGES);
        if (items.length === 0) return;
        this.#post = { items, size: sizeOf(items), unsent: true, doubtful: false };
        this.#post.body = JSON.stringify(await Promise.all(items.map(encode)));
        if (this.#over) return;
      }
      // From here on, only the server knows whether the messages have arrived. It accepts each number once.
      this.#post.unsent = false;
      let answer = { status: 0, retryAfter: 0 };
      try {
        const numbers = { seq: this.#seq + 1, ack: this.#batch };
        answer = await this.#ask("send", numbers, { body: this.#post.body, timeout: POST_TIMEOUT });
      } catch { /* the messages are sent again, with the same number */ }
      if (this.#over) return;
      // Another success is not the server's: a network's own page takes any request, and the messages would be lost.
      if (answer.status === 204) {
        this.#seq += 1;
        this.#post = null;
        failures = 0;
        continue;
      }
      const { status, retryAfter } = answer;
      if (status === 413) return this.#end({ code: 1009, reason: "message too big", wasClean: true });
      if (status === 400) return this.#end({ code: 1007, reason: "bad request", wasClean: true });
      // These answers may come from something between here and the server, which may have passed the request on.
      this.#post.doubtful ||= status < 400 || [408, 409, 500, 502, 504].includes(status);
      this.#post.unsent = !this.#post.doubtful;
      if (isGone(status)) return this.#end({ code: 1006, reason: "", wasClean: false, retryAfter });
      await this.#sleep(retryDelay({ ...PACE, attempt: failures++, retryAfter }));
    }
  }

  #hear() {
    this.#heardAt = performance.now();
    if (this.#over) return;
    this.#owner.heard(this.#modes[0]);
    if (!this.#away) return;
    this.#away = false;
    this.flush();
  }

  #fail(failure) {
    if (this.#over) return;
    this.drop();
    this.#owner.failed(failure);
  }

  #end(end) {
    if (this.#over) return;
    this.drop();
    this.#owner.ended({ ...end, unsent: this.#post?.unsent ? this.#post.items : [] });
  }

  #url(what, params) {
    const query = new URLSearchParams({ greenroom: what, ...(this.#id && { id: this.#id }), ...params });
    // The application's own query is for the consumer's scope, so it is sent once.
    const own = what === "open" && this.#address.search ? `${this.#address.search}&` : "?";
    return `${this.#address.origin.replace(/^ws/, "http")}${this.#address.pathname}${own}${query}`;
  }

  /**
   * A request that outlives the page, as a beacon does. But under the policy `no-referrer`, a beacon has `Origin: null`
   * in Firefox and Safari, and the server refuses it. No `Request` is made here: in Firefox it would end with the page.
   */
  #last(body) {
    return [this.#url("close", {}), { ...COMMON, method: "POST", body, keepalive: true }];
  }

  /** Sends a request and reads its whole answer. Throws if there is no answer. */
  async #ask(what, params, { method = "POST", body, timeout }) {
    const request = this.#request(timeout);
    if (what === "poll") this.#receiving = request;
    // A page that closes and is left at once must not stop its own close.
    const keepalive = what === "close";
    if (keepalive) this.#requests.delete(request);
    const headers = method === "POST" ? { "Content-Type": "application/json", "Greenroom-Client": "1" } : {};
    try {
      const { signal } = request;
      const response = await fetch(this.#url(what, params), { ...COMMON, method, headers, body, keepalive, signal });
      return answerOf(response, await response.text());
    } finally {
      request.end();
    }
  }

  /** A request that ends when this link ends it, or when its time is over. */
  #request(timeout) {
    const controller = new AbortController();
    const request = { signal: controller.signal, late: false };
    const late = () => { request.late = true; controller.abort(); };
    let timer = later(late, timeout);
    request.expect = (time) => { clearTimeout(timer); timer = later(late, time); };
    request.end = () => { clearTimeout(timer); controller.abort(); this.#requests.delete(request); };
    this.#requests.add(request);
    return request;
  }

  #sleep(time) {
    return new Promise((resolve) => {
      const wake = () => { clearTimeout(timer); this.#sleepers.delete(wake); resolve(); };
      const timer = later(wake, time);
      this.#sleepers.add(wake);
    });
  }
}

/** The options of every request. Cookies are sent to other origins too, as with a WebSocket. */
const COMMON = { cache: "no-store", credentials: "include" };
/** Whether a request can outlive its page. In Firefox it can since version 133; a beacon can in every browser. */
const LASTS = globalThis.Request !== undefined && "keepalive" in Request.prototype;
/** The delays between two attempts of one request. */
const PACE = { base: 500, max: 10_000 };

/** Why a request failed. `cut` means that something on the way may not let such requests last. */
class Trouble extends Error {
  constructor({ status = 0, retryAfter = 0, cut = false }) {
    super("a request failed");
    Object.assign(this, { status, retryAfter, cut });
  }
}

/** Reads the events of a `text/event-stream`. */
class EventReader {
  #rest = "";
  #data = [];

  /** Returns the data of each event that ends in this text. */
  * read(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line.startsWith("data:")) {
        this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      } else if (line === "" && this.#data.length > 0) {
        yield this.#data.join("\n");
        this.#data = [];
      }
    }
  }
}

/** Whether to open a connection again that ended with this code, as Greenroom's table of close codes says. */
function mayReconnect(code) {
  return [1001, 1006, 1009, 1011, 1012, 1013, 1014].includes(code);
}

/** How long to wait before an attempt, in ms: back-off with full jitter, and the delay that the server asks for. */
function retryDelay({ attempt, base, max, code, reason = "", retryAfter = 0 }, random = Math.random) {
  const jitter = (attempt) => random() * Math.min(max, base * 2 ** attempt);
  const hint = code === 1012 && attempt === 0 && /\bretry=(\d{1,9})ms\b/.exec(reason);
  if (hint) return Math.min(Number(hint[1]), LONGEST_HINT); // the server gives each client another delay
  if (code === 1013) return base + jitter(attempt + 2);
  return Math.min(retryAfter, LONGEST_HINT) + jitter(attempt);
}

/** The milliseconds of a `Retry-After` header, which holds seconds or a date. */
function retryAfter(value, now = Date.now()) {
  if (/^\d+$/.test(value ?? "")) return Number(value) * 1_000;
  return Math.max(Date.parse(value) - now, 0) || 0;
}

/** Whether this status means that the server no longer knows the connection. */
function isGone(status) {
  return status >= 400 && status < 500 && ![408, 409, 425, 429].includes(status);
}

function answerOf(response, text) {
  const { ok, status, headers } = response;
  return { ok, status, text, retryAfter: retryAfter(headers.get("Retry-After")) };
}

/** The transports in the order in which to try them; those that share a link stand in one list. */
function ways(transports) {
  const http = transports.filter((name) => name !== "websocket");
  const first = transports.filter((name) => name === "websocket" || name === http[0]);
  return first.map((name) => (name === "websocket" ? [name] : http));
}

function settings(options) {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const all = { ...DEFAULTS, ...Object.fromEntries(given) };
  const unknown = all.transports.find((name) => !DEFAULTS.transports.includes(name));
  if (unknown !== undefined || all.transports.length === 0) {
    throw new TypeError(`transports are some of ${DEFAULTS.transports.join(", ")}, not ${unknown ?? "an empty list"}`);
  }
  all.reconnect &&= { ...DEFAULTS.reconnect, ...all.reconnect };
  return all;
}

function address(url) {
  let address = null;
  try {
    address = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
    address.protocol = address.protocol.replace("http", "ws");
  } catch { /* thrown below */ }
  if (!address || !/^wss?:$/.test(address.protocol) || address.hash) {
    throw new DOMException(`${url} is not a valid URL for a WebSocket`, "SyntaxError");
  }
  return address;
}

function names(protocols) {
  const names = [protocols].flat().map(String);
  if (new Set(names).size < names.length || names.some((name) => !/^[\w!#$%&'*+.^`|~-]+$/.test(name))) {
    throw new DOMException(`a protocol is invalid, or stands twice: ${names}`, "SyntaxError");
  }
  return names;
}

/** Copies what is to be sent, because a caller may change its buffer afterwards. */
function prepare(data) {
  if (data instanceof Blob) return { data, size: data.size };
  if (data instanceof ArrayBuffer) return prepare(new Uint8Array(data));
  if (ArrayBuffer.isView(data)) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
    return { data: bytes, size: bytes.length };
  }
  // Half of a surrogate pair becomes U+FFFD, as with a WebSocket.
  const bytes = new TextEncoder().encode(data);
  return { data: new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes), size: bytes.length };
}

function sizeOf(items) {
  return items.reduce((sum, { size }) => sum + size, 0);
}

/** The form of a message in the body of a request. */
async function encode({ data }) {
  if (typeof data === "string") return data;
  return { binary: toBase64(data instanceof Blob ? new Uint8Array(await data.arrayBuffer()) : data) };
}

function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8_192) text += String.fromCharCode(...bytes.subarray(at, at + 8_192));
  return btoa(text);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function later(act, time) {
  return setTimeout(act, Math.min(time, LONGEST_TIMER));
}

function isText(value) {
  return typeof value === "string" && value !== "";
}

/** A number that an answer holds, or the usual one if the answer holds something else. */
function amount(value, usual) {
  return Number.isFinite(value) && value >= 0 ? value : usual;
}

/** Reads a batch. Returns nothing if the text is not a batch: then it is not from Greenroom. */
function batchOf(text) {
  const { batch: number, messages, close } = parse(text) ?? {};
  if (!Number.isSafeInteger(number) || !Array.isArray(messages)) return null;
  if (close && !(Number.isInteger(close.code) && typeof close.reason === "string")) return null;
  try {
    const read = (message) => (typeof message === "string" ? message : fromBase64(message.binary).buffer);
    return { number, messages: messages.map(read), close };
  } catch {
    return null;
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The key in `localStorage` that holds which transport works at which address, for later pages of the site. */
const MEMORY = "greenroom.transports";
const MEMORY_LIMIT = 32;
/** The same, while the browser stores nothing: it is remembered as long as the page lives. */
let ownMemory = null;

/** What is remembered. The storage may hold anything, as every script of the site can write there. */
function memory() {
  let found = ownMemory;
  try {
    found ??= JSON.parse(localStorage.getItem(MEMORY));
  } catch { /* there is no storage, or it holds something else */ }
  const counts = ([, one]) => isText(one?.transport) && Number.isFinite(one.until) && one.until > Date.now();
  return new Map(Object.entries(found ?? {}).filter(counts));
}

function recall({ host, pathname }, time) {
  const { transport, until } = memory().get(host + pathname) ?? {};
  // A time further away was written while the clock was wrong.
  return until - Date.now() <= time ? transport : null;
}

function keep({ host, pathname }, transport, time) {
  const key = host + pathname;
  const known = memory();
  if (!transport && !known.has(key)) return;
  known.delete(key);
  if (transport) known.set(key, { transport, until: Math.min(Date.now() + time, Number.MAX_SAFE_INTEGER) });
  const kept = Object.fromEntries([...known].slice(-MEMORY_LIMIT));
  try {
    localStorage.setItem(MEMORY, JSON.stringify(kept));
    ownMemory = null;
  } catch {
    ownMemory = kept;
  }
}

/** Not part of the interface: the tests use these functions directly. */
export const internals = { EventReader, mayReconnect, retryAfter, retryDelay, ways, toBase64, fromBase64, prepare };
