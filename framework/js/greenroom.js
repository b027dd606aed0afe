// The client for consumers of Greenroom: a WebSocket that falls back to HTTP requests if it is blocked, and that
// connects again after a loss.
//
// It is one file without dependencies. The framework serves it at /greenroom.js, and it is also the npm package
// `greenroom`. framework/docs/browser.md says what a page sees, framework/docs/protocol.md what goes over the wire.
//
// The file has five parts: the socket that a page holds; its requests that wait for an answer; what it has heard of
// groups that have a history; the two kinds of link, one over a WebSocket and one over HTTP requests; and the functions
// that all need. Each link is one connection of the server.

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
  requestTimeout: 10_000,
  resume: true,
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
/** After an answer to a poll that is this long, more may wait: a batch has 64 KiB, or one larger message. */
const FULL = 32 << 10;
/** Longer than the 20 s for which the server may hold a request with messages while its consumer is busy. */
const POST_TIMEOUT = 30_000;

/**
 * The event `statechange`: the state, the transport in use, and why the state changed. For `waiting` it also has the
 * delay, and how the connection or the attempt ended.
 */
export class StateEvent extends Event {
  constructor(type, { state, transport, delay, cause = null, code = null, reason = "", status = null, error }) {
    super(type);
    Object.assign(this, { state, transport, delay, cause, code, reason, status, error });
  }
}

/**
 * The events `reconnect` and `lost`: whether all that was missed comes now, and which groups have a gap, each with its
 * reason.
 */
export class ResumeEvent extends Event {
  constructor(type, { recovered, lost }) {
    super(type);
    Object.assign(this, { recovered, lost });
  }
}

/** What a message that waits counts beside its bytes, because an empty one takes memory too. */
const MESSAGE_COST = 32;

/** So many requests of one socket may wait for their answers. */
const REQUESTS = 1_000;

/** A `WebSocket` for consumers of Greenroom, over the first transport that works. */
export class GreenroomSocket extends EventTarget {
  /** What the page gave: `url` and `protocols`. Each may be a function that is asked before each attempt. */
  #given;
  /** The answers, for the attempt under way. `#asking` is aborted if the page is asked in vain. */
  #address = null;
  #protocols = null;
  #asking = null;
  /** Whether the functions were asked once more because the server refused what they had answered. */
  #askedAgain = false;
  /** Why the last connection or attempt ended. */
  #cause = null;
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
  /** Made by the first request: until then, each message is a message. */
  #requests = null;
  #history = new History();
  /** A connection whose server has yet to say what became of the positions, and what has come meanwhile. */
  #held = null;
  /** By its id, why a group is lost of which the page was not told, because the connection ended while it was held. */
  #untold = new Map();
  /** The links that this attempt can still try. Each is a list of the transports that share the link. */
  #ways = [];
  /** The transport of this link that is known to work. */
  #known = null;
  #timer;
  #attempts = 0;
  /**
   * When the server said that it closes and when to come back, until a connection is open again; and how many attempts
   * counted then.
   */
  #restart = null;
  #openedAt = null;
  /** Whether a WebSocket has ever opened on this socket. `#refusals` counts the failures in a row since then. */
  #proven = false;
  #refusals = 0;
  /** Aborted to remove this socket's listeners from the page. */
  #page = new AbortController();
  #away = false;

  constructor(url, protocols = [], options = {}) {
    super();
    if (typeof url !== "function") this.#address = url = address(url);
    if (typeof protocols !== "function") this.#protocols = protocols = names(protocols);
    this.#given = { url, protocols };
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

  /** The last URL in use. It is empty until a function has told the first one. */
  get url() { return this.#address?.href ?? ""; }
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
    this.#enqueue(prepare(data));
  }

  /**
   * Sends a request, or keeps it until it can be sent. The promise has the value of the answer, or rejects with a
   * `RequestError`. The request is never sent twice.
   */
  async request(input, { timeout = this.#settings.requestTimeout, signal } = {}) {
    this.#requests ??= new Requests((item) => this.#drop(item));
    if (this.#readyState >= CLOSING) throw new RequestError("closed", "the socket is closed");
    return this.#requests.ask(input, { timeout, signal }, (item) => this.#enqueue(item));
  }

  #enqueue(item) {
    // An empty queue takes a message of any size: the server decides whether the message is too large.
    const waiting = this.#queue.length;
    const full = waiting > 0 && this.#queued + item.size + (waiting + 1) * MESSAGE_COST > this.#settings.queueLimit;
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
    this.#pause();
    this.#show("closing", { cause: "page" });
    if (open) return this.#link.close(code, String(reason));
    this.#link?.drop();
    setTimeout(() => this.#finish({ code: 1006, reason: "", wasClean: false, cause: "page" }));
  }

  /** Begins an attempt: first with the transport that worked lately, then with each one after it in the list. */
  #begin() {
    this.#pause();
    this.#show("connecting", { cause: this.#cause });
    if (this.#readyState !== CONNECTING) return; // a listener of `statechange` may have closed the socket
    this.#ask(() => {
      const { transports } = this.#settings;
      const known = transports.indexOf(recall(this.#address, this.#settings.remember));
      this.#ways = ways(transports.slice(Math.max(known, 0)));
      this.#next();
    });
  }

  /** Stops what is to begin an attempt: the delay before it, and the functions that say where to connect. */
  #pause() {
    clearTimeout(this.#timer);
    this.#release();
    this.#asking?.abort();
    this.#asking = null;
  }

  /** Finds out where to connect, then goes on. If the page's functions do not say so, the attempt has failed. */
  #ask(then) {
    const { url, protocols } = this.#given;
    if (typeof url !== "function" && typeof protocols !== "function") return then();
    const asking = this.#asking = new AbortController();
    const asked = (act) => (answer) => {
      if (this.#asking !== asking) return; // the socket was closed meanwhile, or the page was left
      this.#asking = null;
      act(answer);
    };
    // As long as the request that opens a connection without a WebSocket may take.
    answers(this.#given, this.#cause, asking, 4 * this.#settings.timeout).then(
      asked(([where, which]) => {
        this.#address = where;
        this.#protocols = which;
        then();
      }),
      asked((error) => this.#wait({ code: 1006, reason: shown(error), cause: "url", error })),
    );
  }

  /**
   * Tries the next transport. The transports of an attempt share one answer of the functions, because only a refused
   * request shows that it was a bad one. If it was, each transport gets a fresh one: it may be good for one use only.
   */
  #another() {
    if (this.#askedAgain) this.#ask(() => this.#next());
    else this.#next();
  }

  #next() {
    this.#known = null;
    const transports = this.#ways.shift();
    const Link = transports[0] === "websocket" ? WebSocketLink : HttpLink;
    this.#link = new Link(this.#address, this.#protocols, transports, this.#settings, {
      history: this.#history,
      opened: (connection) => this.#opened(connection),
      failed: (failure) => this.#failed(Link === WebSocketLink, failure),
      heard: (transport) => this.#heard(transport),
      away: (delay, status) => this.#readyState === OPEN && this.#show("waiting", { delay, ...failure(status) }),
      message: (frame) => this.#frame(frame),
      ended: (end) => this.#ended(end),
      take: (...limits) => this.#take(...limits),
    });
  }

  #opened(connection) {
    const { control } = connection;
    const outcome = this.#history.told(control);
    // If the hook `connect` takes long, the server says first that it is there, and only later what was missed.
    const pending = this.#history.asks && control && !control.resumed;
    if (!pending) return this.#begun(connection, outcome);
    const timer = later(() => this.#resumed(outcome), this.#settings.timeout);
    this.#held = { connection, outcome, timer, frames: [] };
  }

  /** What was missed is known, or it took too long. */
  #resumed(outcome) {
    const { connection, frames } = this.#held;
    this.#unhold();
    this.#begun(connection, outcome);
    for (const frame of frames) this.#frame(frame);
  }

  #unhold() {
    clearTimeout(this.#held?.timer);
    this.#held = null;
  }

  /** The connection that is held ends. The next one does not name what is lost, so the page must hear of it then. */
  #release() {
    for (const { group, reason } of this.#held?.outcome.lost ?? []) this.#untold.set(group, reason);
    this.#unhold();
  }

  #begun({ transport, protocol, extensions }, outcome) {
    const again = this.#openedAt !== null;
    this.#askedAgain = false;
    this.#openedAt = performance.now();
    // A server that is away for a restart has not failed, however often it was asked meanwhile.
    if (this.#restart) this.#attempts = this.#restart.attempts;
    this.#restart = null;
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
    const waiting = this.#queue.splice(0);
    this.#queued = 0;
    this.dispatchEvent(again ? new ResumeEvent("reconnect", this.#withUntold(outcome)) : new Event("open"));
    const kept = waiting.filter(({ dropped }) => !dropped);
    this.#queue = this.#queue.concat(kept);
    this.#queued += sizeOf(kept);
    if (this.#readyState === OPEN) this.#link.flush();
  }

  #withUntold({ recovered, lost }) {
    for (const { group } of lost) this.#untold.delete(group);
    const before = [...this.#untold].map(([group, reason]) => ({ group, reason }));
    this.#untold.clear();
    return { recovered: recovered && before.length === 0, lost: before.concat(lost) };
  }

  /**
   * A link did not open. Without a status there was no answer, or the browser does not say why, as with a WebSocket.
   */
  #failed(websocket, { status = 0, reason = "", retryAfter = 0 }) {
    this.#link = null;
    const denied = status === 401 || status === 403;
    const refused = status >= 400 && status < 500 && ![408, 421, 425, 429].includes(status);
    const patient = websocket && this.#proven && ++this.#refusals < PATIENCE;
    if ((websocket || refused) && !denied && !patient && this.#ways.length > 0) return this.#another();
    const why = failure(status);
    // What the server refused may have been too old: a page that can say something else is asked once more.
    if (denied && !this.#askedAgain && Object.values(this.#given).some((given) => typeof given === "function")) {
      this.#askedAgain = true;
      this.#cause = why.cause;
      return this.#begin();
    }
    if (denied || (refused && this.#openedAt === null)) {
      return this.#finish({ code: 1006, reason: `HTTP ${status}: ${reason}`, wasClean: false, ...why });
    }
    // A few failures do not mean that the transport is blocked: the server may be away.
    if (this.#attempts >= PATIENCE) this.#remember(null);
    this.#wait({ code: 1006, reason, retryAfter, ...why });
  }

  /** An answer has come over this transport: the transport works, and the connection lives. */
  #heard(transport) {
    if (this.#readyState !== OPEN) return;
    if (this.#known !== transport) this.#remember(transport);
    this.#known = transport;
    this.#show("open", { transport });
  }

  /** Takes what has arrived: a message, where it stands in the history of its group, or word of the server. */
  #frame(frame) {
    if (this.#held && frame.control?.resumed) {
      const [before, outcome] = [this.#held.outcome, this.#history.told(frame.control)];
      const lost = [...before.lost, ...outcome.lost];
      return this.#resumed({ recovered: outcome.recovered && lost.length === 0, lost });
    }
    if (this.#held) return this.#held.frames.push(frame);
    if (this.#readyState !== OPEN) return;
    if (frame.control) return this.#told(this.#history.told(frame.control).lost);
    // The position is that of this message before the page gets it: what its handler does, and how it fails, changes
    // nothing.
    const lastEventId = this.#history.take(frame);
    if (lastEventId === null || (lastEventId === "" && this.#requests?.answered(frame.data))) return;
    let { data } = frame;
    if (typeof data !== "string" && this.#binaryType === "blob") data = new Blob([data]);
    this.dispatchEvent(new MessageEvent("message", { data, lastEventId, origin: this.#address.origin }));
  }

  #told(lost) {
    if (lost.length > 0) this.dispatchEvent(new ResumeEvent("lost", { recovered: false, lost }));
  }

  #ended({ unsent = [], early = this.#held !== null, ...end }) {
    this.#link = null;
    this.#release();
    this.#takeBack(unsent);
    if (this.#readyState === CLOSING) return this.#finish({ ...end, cause: "page" });
    end.cause ??= end.code === 1006 ? "lost" : "closed";
    if (!early && performance.now() - this.#openedAt > STABLE) this.#attempts = 0;
    const { reconnect } = this.#settings;
    // Whatever the page says: two that continue one connection would end each other for ever.
    const superseded = end.code === 1000 && end.reason === SUPERSEDED;
    if (reconnect && !superseded && reconnect.when(end.code, end.reason)) this.#wait(end);
    else this.#finish(end);
  }

  /** Keeps for the next connection what the server surely did not take. */
  #takeBack(unsent) {
    const kept = unsent.filter(({ dropped }) => !dropped);
    for (const item of kept) item.sent = false;
    this.#queue = kept.concat(this.#queue);
    this.#queued += sizeOf(kept);
  }

  #wait(end) {
    const { reconnect } = this.#settings;
    if (!reconnect || this.#attempts >= reconnect.attempts) return this.#finish({ wasClean: false, ...end });
    this.#requests?.lost();
    const { code, reason, cause, status, error } = end;
    const now = performance.now();
    if (hintOf(end) !== null) this.#restart = { at: now, attempts: this.#attempts + 1 };
    const away = now - (this.#restart?.at ?? -Infinity);
    const delay = retryDelay({ ...reconnect, ...end, away, attempt: this.#attempts++ });
    this.#cause = cause;
    this.#readyState = CONNECTING;
    this.#timer = later(() => this.#begin(), delay);
    this.#show("waiting", { delay, code, reason, cause, status, error });
  }

  #finish({ code, reason, wasClean, cause, status, error }) {
    if (this.#readyState === CLOSED) return;
    this.#readyState = CLOSED;
    this.#link = null;
    this.#queue = [];
    this.#history = null;
    this.#page.abort();
    this.#requests?.closed(code);
    this.#show("closed", { code, reason, cause, status, error });
    if (!wasClean) this.dispatchEvent(new Event("error"));
    this.dispatchEvent(new CloseEvent("close", { code, reason, wasClean }));
  }

  #take(bytes, messages) {
    let [count, size] = [0, 0];
    for (const item of this.#queue) {
      if (count === messages || (count > 0 && size + item.size > bytes)) break;
      count += 1;
      size += item.size;
      item.sent = true;
    }
    this.#queued -= size;
    return this.#queue.splice(0, count);
  }

  /** Takes a message back, if no link has it yet. */
  #drop(item) {
    item.dropped = true;
    const at = this.#queue.indexOf(item);
    if (at < 0) return;
    this.#queue.splice(at, 1);
    this.#queued -= item.size;
  }

  #show(state, { transport = this.#shown.transport, delay = null, ...why } = {}) {
    const before = this.#shown;
    this.#shown = { state, transport, delay };
    if (before.state === state && before.transport === transport && before.delay === delay) return;
    if (state === "open" && before.transport !== null && before.transport !== transport) why.cause = "transport";
    this.dispatchEvent(new StateEvent("statechange", { state, transport, delay, ...why }));
  }

  /** Remembers for the next page which transport works, unless the next page would try this one first anyway. */
  #remember(transport) {
    const { transports, remember } = this.#settings;
    if (transports.length > 1) keep(this.#address, transport === transports[0] ? null : transport, remember);
  }

  /** The page is left, for good or for the back-forward cache. The server must learn this at once. */
  #leave(persisted) {
    if (this.#readyState === CLOSED) return;
    this.#takeBack(this.#link?.leave(persisted) ?? []);
    this.#link = null;
    this.#pause();
    const closing = { code: 1006, reason: "", wasClean: false, cause: "page" };
    if (this.#readyState === CLOSING) return this.#finish(closing);
    this.#requests?.lost();
    this.#readyState = CONNECTING;
    this.#cause = "left";
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
    for (const type of ["open", "message", "error", "close", "reconnect", "lost", "statechange"]) {
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

/**
 * Why a request has no answer with a value. `code` is the server's, or one of `aborted`, `closed`, `full`, `lost` and
 * `timeout`. If `sent` is false, the server never got the request.
 */
export class RequestError extends Error {
  name = "RequestError";

  constructor(code, message, { sent = false, cause } = {}) {
    super(message, { cause });
    Object.assign(this, { code, sent });
  }
}

/** With this each answer of the server begins. */
const ANSWER = '{"type":"greenroom.answer",';

/** The requests that wait for an answer. */
class Requests {
  #last = 0;
  /** What to do with the answer to the request of an id, and the message that carries the request. */
  #waiting = new Map();
  /** Takes a message back that was not sent yet. */
  #drop;

  constructor(drop) {
    this.#drop = drop;
  }

  ask(input, { timeout, signal }, enqueue) {
    const id = this.#last += 1;
    const item = prepare(JSON.stringify({ type: "greenroom.request", id, input }));
    if (signal?.aborted) throw new RequestError("aborted", "the request was aborted", { cause: signal.reason });
    if (this.#waiting.size >= REQUESTS) throw new RequestError("full", `${REQUESTS} requests wait for an answer`);
    try {
      enqueue(item);
    } catch (cause) {
      throw new RequestError("full", cause.message, { cause });
    }
    return new Promise((resolve, reject) => {
      const abort = () => this.#fail(id, "aborted", "the request was aborted", signal.reason);
      const timer = later(() => this.#fail(id, "timeout", `no answer came within ${timeout} ms`), timeout);
      const end = () => { clearTimeout(timer); signal?.removeEventListener("abort", abort); };
      signal?.addEventListener("abort", abort);
      this.#waiting.set(id, { item, end, resolve, reject });
    });
  }

  /** Takes an answer. Returns false for any other message. An answer that nobody waits for any more is ignored. */
  answered(data) {
    if (typeof data !== "string" || !data.startsWith(ANSWER)) return false;
    const answer = parse(data);
    const request = this.#take(answer?.id);
    if (!request) return answer !== null;
    const { value = null, error } = answer;
    if (!error) request.resolve(value);
    else request.reject(new RequestError(error.code, error.text, { sent: true }));
    return true;
  }

  /** The connection is lost, and with it the answers to the requests that were sent. */
  lost() {
    for (const [id, { item }] of this.#waiting) {
      if (item.sent) this.#fail(id, "lost", "the connection was lost before the answer came");
    }
  }

  closed(code) {
    for (const id of this.#waiting.keys()) this.#fail(id, "closed", `the socket was closed with ${code}`);
  }

  #fail(id, code, message, cause) {
    const { item, reject } = this.#take(id);
    const { sent = false } = item;
    this.#drop(item);
    reject(new RequestError(code, message, { sent, cause }));
  }

  #take(id) {
    const request = this.#waiting.get(id);
    this.#waiting.delete(id);
    request?.end();
    return request;
  }
}

/** The reason of a close with 1000: another connection of this client goes on for this one. */
const SUPERSEDED = "superseded";
/**
 * So many positions, and so many earlier connections, a client may name when it comes back, in so many bytes. The
 * server takes 64 KiB, and over HTTP the subprotocols are among them.
 */
const RESUME_LOGS = 1_000;
const RESUME_IDS = 8;
const RESUME_BYTES = 60 << 10;

/**
 * What a socket has heard of the groups that have a history. It lives as long as the socket, and nothing of it is
 * stored: another tab has its own.
 *
 * A *frame* is what a link has heard: `data` if it is a message, `at` for where this stands in a log, as
 * `[alias, offset, tag, k]`, `foreign` for a message that is in no log, as `[alias, watermark]`, or `control`.
 */
class History {
  /**
   * By the id of a group, the position in its log, and what the server wants to know of it:
   * `{ epoch, offset, tag, part, token, foreign, here }`. `part` is the last frame of an event that has
   * several and is not at its end. `here` says that the connection is in the group.
   */
  #logs = new Map();
  /** Which group a number stands for on this connection. */
  #aliases = new Map();
  /**
   * The ids of the last connections. The server ends the newest one if it still holds it for open. What any of them has
   * sent to the others of a group does not come back to this client.
   */
  #ids = [];
  /** The groups that the last attempt has named. */
  #named = new Set();
  #warned = false;
  /** Whether a server has spoken of history on this socket. */
  known = false;
  /** How long a server may take for a sign of life, in ms. */
  sign = SIGN;
  /** Whether a server that was asked said nothing. Then no WebSocket asks again, since that costs time. */
  silent = false;

  /** Whether the last attempt has named positions. */
  get asks() { return this.#named.size > 0; }

  /** What a new connection asks to go on with. Returns nothing if there is nothing. */
  resume() {
    const resume = { was: this.#ids, logs: [] };
    this.#named.clear();
    let left = RESUME_BYTES - JSON.stringify({ resume }).length;
    // The newest first, should there be too many.
    for (const [group, { offset, tag, token, foreign }] of [...this.#logs].reverse()) {
      const log = foreign > 0 ? [token, offset, tag, foreign] : [token, offset, tag];
      left -= JSON.stringify(log).length + 1;
      if (left < 0 || this.#named.size === RESUME_LOGS) break;
      resume.logs.push(log);
      this.#named.add(group);
    }
    return resume.was.length > 0 || resume.logs.length > 0 ? resume : null;
  }

  /**
   * Takes what the server tells of its groups. Returns whether all was recovered, and which groups have a gap. Without
   * word of the server, which may not know of histories, nothing was recovered.
   */
  told(control = {}) {
    const { hello, recovered } = control;
    const [logs, resumed, gone, at] = [control.logs, control.resumed, control.lost, control.at].map(entries);
    const lost = [];
    const lose = (group, reason) => lost.push({ group, reason });
    const answers = new Map(resumed);
    if (hello) this.#greeted(hello, answers, lose);
    for (const [group, reason] of resumed) {
      if (reason === true) continue;
      this.#logs.delete(group);
      lose(group, String(reason));
    }
    for (const [alias, entry] of logs) this.#joined(alias, entry, answers, lose);
    for (const [group, reason] of gone) lose(group, String(reason));
    for (const [group, [epoch, offset, tag]] of at.filter(([, position]) => Array.isArray(position))) {
      const log = this.#logs.get(group);
      if (log) Object.assign(log, { epoch, offset, tag, part: null });
    }
    for (const [alias, mark] of entries(control.foreign)) this.#hasForeign(Number(alias), mark);
    for (const group of list(control.left)) this.#logs.delete(group);
    // If the server knows none of the groups, all of them are recovered for it.
    const some = resumed.some(([, outcome]) => outcome === true);
    return { recovered: recovered === true && some && lost.length === 0, lost };
  }

  /** A connection is open. `answers` has the groups of which the server says what became of them. */
  #greeted({ id }, answers, lose) {
    if (isText(id)) this.#ids = [...this.#ids, id].slice(-RESUME_IDS);
    this.known = true;
    this.#aliases.clear();
    for (const [group, log] of this.#logs) {
      log.here = false;
      if (this.#named.has(group) || answers.has(group)) continue;
      lose(group, "too_many");
      this.#logs.delete(group);
    }
  }

  #joined(alias, entry, answers, lose) {
    const [group, epoch, offset, tag, token, foreign] = list(entry);
    if (!isText(group) || !Number.isSafeInteger(offset)) return;
    const before = this.#logs.get(group);
    // The server cannot say which group it was if it does not know the token.
    if (before && !before.here && !answers.has(group)) lose(group, "forged");
    // What has been resumed goes on behind what the page has seen, also in the middle of an event.
    const goesOn = answers.get(group) === true && before?.epoch === epoch;
    const log = goesOn ? before : { epoch, offset, tag, part: null };
    Object.assign(log, { token, foreign: amount(foreign, 0), here: true });
    this.#logs.delete(group);
    this.#logs.set(group, log);
    this.#aliases.set(Number(alias), log);
  }

  /** The page has got an event that is in no log, with this mark. */
  #hasForeign(alias, mark) {
    const log = this.#aliases.get(alias);
    if (log && typeof mark === "number") log.foreign = Math.max(log.foreign, mark);
  }

  /**
   * Takes a frame, and moves the position of its group. Returns the position of a message, which is empty if the
   * message is in no log. Returns nothing for a message that came before, and for what is no message.
   */
  take({ data, at, foreign }) {
    if (foreign) {
      this.#hasForeign(...foreign);
      return "";
    }
    if (!at) return data === undefined ? this.#ignored() : "";
    const [alias, offset, tag, k = 0] = at;
    const log = this.#aliases.get(alias);
    if (!log) return data === undefined ? null : "";
    if (offset <= log.offset) return null;
    if (k > 0) {
      const { part } = log;
      if (part && (offset < part.offset || (offset === part.offset && k <= part.k))) return null;
      log.part = { offset, k };
    } else {
      Object.assign(log, { offset, tag, part: null });
    }
    return data === undefined ? null : `${log.epoch}.${offset}.${tag}`;
  }

  #ignored() {
    if (!this.#warned) console.warn("greenroom.js: a frame of an unknown kind is ignored; take the file of the server");
    this.#warned = true;
    return null;
  }
}

/** How long a WebSocket's server that may not know of histories has for its first message, in ms. */
const HELLO = 1_500;

/** If nothing has come over a WebSocket for this long, in ms, the client asks for a sign of life. */
const QUIET = 20_000;
/**
 * How long the sign may take. The time doubles whenever none came, up to the longest one: the network may only be so slow
 * that a large message takes longer, and it would never arrive.
 */
const SIGN = 15_000;
const LONGEST_SIGN = 120_000;
/** If a timer is late by so much, the page or its computer has slept. */
const LATE = 5_000;

/** A connection over a WebSocket. */
class WebSocketLink {
  #socket = null;
  #owner;
  /** What the server was asked to go on with. */
  #resume = null;
  /**
   * Whether each message has a head that says what it is. It is not known before the server's first message: one that
   * does not know of histories has ignored the question.
   */
  #headed = null;
  /**
   * A second WebSocket that does not ask. It is opened if the server has not said anything: whoever was asked for heads,
   * and was only slow, would misread a message without one. The one that is ready first is used.
   */
  #plain = null;
  /** Whether a WebSocket has opened, and whether the owner knows. */
  #connected = false;
  #open = false;
  #over = false;
  /** How long nothing may come before the client asks for a sign. Nothing if the server does not know the question. */
  #quiet = null;
  /** Whether anything has come since the client began to listen, or has asked. */
  #heard = false;
  #asked = false;
  #address;
  #protocols;
  #timeout;
  #timer;

  constructor(address, protocols, _transports, { timeout, resume }, owner) {
    this.#owner = owner;
    this.#address = address;
    this.#protocols = protocols;
    this.#timeout = timeout;
    this.#timer = later(() => this.#end({ code: 1006, reason: "", wasClean: false }), timeout);
    const { history } = owner;
    const asks = resume && !history.silent;
    this.#resume = asks ? history.resume() : null;
    try {
      this.#socket = this.#dial(asks ? asking(address, this.#resume) : address.href);
    } catch {
      // There is no WebSocket, or this page may not use one. The owner learns it later, as with every failure.
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => owner.failed({}));
      return;
    }
    this.#socket.onopen = () => {
      clearTimeout(this.#timer);
      this.#connected = true;
      if (!asks) return this.#begin(false);
      if (this.#resume) this.#socket.send(`c${JSON.stringify({ resume: this.#resume })}`);
      this.#timer = later(() => this.#doubt(), history.known ? timeout : Math.min(HELLO, timeout));
    };
  }

  #dial(url) {
    const socket = new WebSocket(url, this.#protocols);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.#hear(data);
    socket.onclose = ({ code, reason, wasClean }) => this.#end({ code, reason, wasClean });
    return socket;
  }

  get bufferedAmount() { return this.#socket?.bufferedAmount ?? 0; }

  flush() {
    if (this.#over) return; // what waits is for the next connection
    for (const { data } of this.#owner.take(Infinity, Infinity)) this.#socket.send(this.#headed ? headed(data) : data);
  }

  #begin(headed, control) {
    clearTimeout(this.#timer);
    if (this.#plain) forget(this.#plain);
    this.#plain = null;
    this.#headed = headed;
    this.#open = true;
    const ping = control?.hello.ping;
    if (amount(ping, null) !== null) {
      this.#quiet = Math.max(QUIET, ping * 1_000);
      this.#listen();
    }
    const { protocol, extensions } = this.#socket;
    this.#owner.opened({ transport: "websocket", protocol, extensions, control });
  }

  /** The server has said nothing. It knows nothing of histories and waits for the page, or the network is very slow. */
  #doubt() {
    const plain = this.#plain = this.#dial(this.#address.href);
    const fail = () => { this.drop(); this.#owner.failed({}); };
    this.#timer = later(fail, this.#timeout);
    const ended = plain.onclose;
    plain.onclose = fail;
    plain.onopen = () => {
      plain.onclose = ended;
      const { history } = this.#owner;
      history.silent = !history.known;
      [this.#socket, this.#plain] = [plain, this.#socket];
      this.#begin(false);
    };
  }

  /**
   * Waits until nothing has come for a while. A browser hides the pings of a WebSocket, so one whose network is gone would
   * look open for ever.
   */
  #listen() {
    this.#heard = this.#asked = false;
    this.#timer = later(() => (this.#heard ? this.#listen() : this.#ping()), this.#quiet);
  }

  /** Asks for a sign of life. What counts is whether anything comes after that, and not what a clock says. */
  #ping(late = false) {
    clearTimeout(this.#timer);
    this.#heard = false;
    this.#asked = true;
    this.#socket.send('c{"ping":true}');
    const { history } = this.#owner;
    const { bufferedAmount } = this.#socket;
    const due = performance.now() + history.sign;
    this.#timer = later(() => {
      if (this.#heard) {
        history.sign = SIGN;
        return this.#listen();
      }
      // What came while the page slept may still wait, and a question may have been lost with the network.
      if (!late && performance.now() - due > LATE) return this.#ping(true);
      // The question itself may still wait, behind what the page sends.
      if (this.#socket.bufferedAmount < bufferedAmount) return this.#ping(late);
      history.sign = Math.min(2 * history.sign, LONGEST_SIGN);
      this.#end({ code: 1006, reason: "silent", wasClean: false });
    }, history.sign);
  }

  #hear(data) {
    this.#heard = true;
    if (this.#headed !== null) return this.#owner.message(this.#headed ? frameOf(data) : { data });
    const hello = helloOf(data);
    this.#begin(hello !== null, hello ?? undefined);
    if (!hello && !this.#over) this.#owner.message({ data });
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

  /** Ends the link because the page is left. Returns the messages that were not sent. */
  leave(persisted) {
    // If the browser discards the page, it closes the socket itself, with 1001. A cached page may hold no socket.
    if (persisted) this.drop();
    else this.#forget();
    return [];
  }

  #forget() {
    this.#over = true;
    clearTimeout(this.#timer);
    if (this.#plain) forget(this.#plain);
    if (this.#socket) unhook(this.#socket);
  }

  /** Without a network, the socket would look open for many minutes, until TCP gives up. */
  offline() {
    if (!this.#connected) return;
    this.drop();
    if (this.#open) this.#owner.ended({ code: 1006, reason: "offline", wasClean: false, cause: "offline" });
    else this.#owner.failed({});
  }

  /** The page or the network has come back: perhaps the connection has not. */
  wake() {
    if (this.#quiet !== null && this.#open && !this.#asked) this.#ping();
  }

  #end(end) {
    this.drop();
    if (this.#connected && !this.#open) {
      // It opened, and ended without a word. Only if it should go on with something is it known to be no opening.
      if (!this.#resume) this.#begin(false);
      else if (end.code !== 1006) return this.#owner.ended({ ...end, early: true });
    }
    if (this.#open) this.#owner.ended(end);
    else this.#owner.failed({});
  }
}

/** Has nothing more heard of a WebSocket. */
function unhook(socket) {
  socket.onopen = socket.onmessage = socket.onclose = null;
}

function forget(socket) {
  unhook(socket);
  socket.close();
}

/** The address of a WebSocket that asks for heads, and for what was missed. */
function asking(address, resume) {
  const asking = new URL(address);
  const own = address.search ? `${address.search}&` : "";
  asking.search = `${own}greenroom=socket&v=1${resume ? "&resume=1" : ""}`;
  return asking.href;
}

/** The server's first message, if it is the one with which a server begins that writes heads. */
function helloOf(data) {
  const control = typeof data === "string" && data.startsWith("c{") ? parse(data.slice(1)) : null;
  return control?.hello ? control : null;
}

/** A message with the head that says that it is one. */
function headed(data) {
  if (typeof data === "string") return `m${data}`;
  if (data instanceof Blob) return new Blob([Uint8Array.of(0), data]);
  const bytes = new Uint8Array(data.length + 1);
  bytes.set(data, 1);
  return bytes;
}

/** Reads a message with a head. The frame is empty if the head is of an unknown kind. */
function frameOf(data) {
  try {
    return typeof data === "string" ? textFrame(data) : binaryFrame(data);
  } catch {
    return {};
  }
}

/** The heads of a message in a log, and of an event that is over. */
const LOGGED = /^h(\d+)\.(\d+)\.([0-9a-f]{6})(?:\.(\d+))?$/;
const MARK = /^p(\d+)\.(\d+)\.([0-9a-f]{6})$/;
const FOREIGN = /^f(\d+)\.([\d.e+-]+)$/;

function textFrame(text) {
  if (text[0] === "m") return { data: text.slice(1) };
  if (text[0] === "c") return { control: parse(text.slice(1)) ?? undefined };
  const end = text.indexOf("\n");
  const head = end < 0 ? text : text.slice(0, end);
  const data = end < 0 ? undefined : text.slice(end + 1);
  const logged = (data === undefined ? MARK : LOGGED).exec(head);
  if (logged) return { data, at: [Number(logged[1]), Number(logged[2]), logged[3], Number(logged[4] ?? 0)] };
  const foreign = FOREIGN.exec(head);
  return foreign && data !== undefined ? { data, foreign: [Number(foreign[1]), Number(foreign[2])] } : {};
}

function binaryFrame(buffer) {
  const view = new DataView(buffer);
  let at = 1;
  /** A number in base 128, its lowest digits first (LEB128). */
  const number = () => {
    let [value, unit, byte] = [0, 1];
    do {
      byte = view.getUint8(at++);
      value += (byte & 127) * unit;
      unit *= 128;
    } while (byte > 127);
    return value;
  };
  const kind = view.getUint8(0);
  if (kind === 0) return { data: buffer.slice(1) };
  if (kind > 2) return {};
  const alias = number();
  if (kind === 2) return { foreign: [alias, view.getFloat64(at)], data: buffer.slice(at + 8) };
  const offset = number();
  const tag = ((view.getUint16(at) << 8) | view.getUint8(at + 2)).toString(16).padStart(6, "0");
  at += 3;
  const k = number();
  return { at: [alias, offset, tag, k], data: buffer.slice(at) };
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
    this.#sending ??= this.#send();
  }

  async close(code, reason) {
    this.#closing = true;
    const body = code === undefined ? "" : JSON.stringify({ code, reason });
    this.#farewell = this.#last(body);
    this.#receiving?.end();
    // Messages that were sent before the close go first, also while the requests that receive fail: nothing is received
    // any more.
    this.#away = false;
    this.flush();
    await Promise.race([this.#sending, this.#sleep(this.#settings.timeout)]);
    if (this.#over) return; // the page was left
    this.#farewell = null;
    const sentAll = this.#sending === null;
    let wasClean = false;
    try {
      const { timeout } = this.#settings;
      const { ok, status } = await this.#ask("close", {}, { body, timeout });
      wasClean = sentAll && (ok || status === 410);
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
    return this.#unsent();
  }

  /** The messages of a request that the server surely did not take. */
  #unsent() {
    return this.#post?.unsent ? this.#post.items : [];
  }

  /** Nothing to do: the requests fail by themselves, and the server keeps the connection for a while. */
  offline() {}

  wake() {
    for (const wake of this.#sleepers) wake();
  }

  async #run(protocols) {
    let opened;
    try {
      const { history } = this.#owner;
      const body = JSON.stringify({ protocols, ...(this.#settings.resume && { resume: history.resume() ?? {} }) });
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
    const control = opened.control?.hello ? opened.control : undefined;
    this.#owner.opened({ transport: this.#modes[0], protocol, extensions: "", control });
    await this.#receive();
  }

  async #receive() {
    let [failures, cuts, more] = [0, 0, false];
    while (!this.#over && !this.#closing) {
      const [mode] = this.#modes;
      try {
        if (mode === "sse") await this.#stream();
        else more = await this.#poll(mode === "poll" ? 0 : this.#wait);
        [failures, cuts] = [0, 0];
        if (mode === "poll" && !more) await this.#sleep(this.#settings.pollInterval);
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
        this.#owner.away(delay, status);
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

  /** Asks for messages once. Returns whether more may wait. */
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
    return answer.text.length >= FULL;
  }

  #arrived(batch) {
    if (!batch) throw new Trouble({ cut: true });
    const { number, messages, close } = batch;
    if (number <= this.#batch) return; // the server sent it again, because the acknowledgement was lost
    // The server leaves batches out only when it gives up a client that was too slow.
    if (number !== this.#batch + 1 && !close) throw new Trouble({ cut: true });
    this.#batch = number;
    this.#unacknowledged.batches += 1;
    for (const frame of messages) {
      this.#owner.message(frame);
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
    try {
      while (!this.#over && !this.#away) {
        if (!this.#post) {
          const items = this.#owner.take(this.#postBytes, POST_MESSAGES);
          if (items.length === 0) return;
          this.#post = { items, size: sizeOf(items), unsent: true, doubtful: false };
          const bodies = (await Promise.all(items.map(readable))).filter((body) => body !== null);
          if (this.#over) return;
          if (bodies.length === 0) {
            this.#post = null;
            continue;
          }
          this.#post.body = JSON.stringify(bodies);
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
    } finally {
      // At once, and not when the promise tells of it: what the page sends in between would wait for the next message.
      this.#sending = null;
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
    this.#owner.ended({ ...end, unsent: this.#unsent() });
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

/** The delay that a server asks for which closes, in ms. */
function hintOf({ code, reason = "" }) {
  const hint = code === 1012 && /\bretry=(\d{1,9})ms\b/.exec(reason);
  return hint ? Math.min(Number(hint[1]), LONGEST_HINT) : null;
}

/**
 * How long to wait before an attempt, in ms: back-off with full jitter, and the delay that the server asks for.
 *
 * A server that restarts may not be there yet, and is soon. So nobody waits for longer than it has been `away`: else many
 * would come much later than it does.
 */
function retryDelay({ attempt, base, max, away = Infinity, code, reason, retryAfter = 0 }, random = Math.random) {
  const jitter = (attempt) => random() * Math.min(max, base * 2 ** attempt, Math.max(base, away));
  const hint = hintOf({ code, reason });
  if (hint !== null) {
    // Greenroom gives each client another time, but something else may give the same to all. A tenth of it is added at
    // random, and more if the connections do not last: two servers that are replaced in turn must not double the time.
    return hint + random() * Math.min(max, Math.max(hint, 100) / 10 * 2 ** attempt);
  }
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

/** Asks the page's functions where to connect. Rejects if one of them fails, or if they do not answer in time. */
function answers({ url, protocols }, cause, asking, time) {
  const { signal } = asking;
  const ask = async (given, read) => (typeof given === "function" ? read(await given({ cause, signal })) : given);
  // Not before the constructor has returned, so that the functions may use the socket.
  const both = Promise.resolve().then(() => Promise.all([ask(url, told), ask(protocols, (list) => names(list ?? []))]));
  return new Promise((resolve, reject) => {
    const late = () => {
      reject(new DOMException(`the page did not say within ${time} ms where to connect`, "TimeoutError"));
      asking.abort();
    };
    const timer = later(late, time);
    signal.addEventListener("abort", () => clearTimeout(timer));
    both.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** The URL that a function has told. Nothing counts as one: it would be the URL of the page. */
function told(url) {
  const text = url?.href ?? url;
  if (typeof text !== "string" || text === "") throw new TypeError("the function url returned no URL");
  return address(text);
}

function shown(error) {
  try {
    return String(error).slice(0, 100);
  } catch {
    return ""; // an object without a text
  }
}

/** Why a request failed: with the status of the answer, if there was one. */
function failure(status = 0) {
  return status > 0 ? { cause: "refused", status } : { cause: "unreachable" };
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

/** The same, or nothing for a Blob that cannot be read any more, such as a file that was changed or removed. */
async function readable(item) {
  try {
    return await encode(item);
  } catch (error) {
    console.error("greenroom.js: a Blob cannot be read, and is not sent", error);
    return null;
  }
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
    return { number, messages: messages.map(messageOf), close };
  } catch {
    return null;
  }
}

/** Reads a message of a batch, as a frame. */
function messageOf(message) {
  if (typeof message === "string") return { data: message };
  const { text, binary, at, foreign, control } = message;
  if (control) return { control };
  const data = binary === undefined ? text : fromBase64(binary).buffer;
  if (Array.isArray(at)) return { data, at };
  return Array.isArray(foreign) && data !== undefined ? { data, foreign } : { data };
}

/** The members of an object, or none. */
function entries(value) {
  return value !== null && typeof value === "object" ? Object.entries(value) : [];
}

function list(value) {
  return Array.isArray(value) ? value : [];
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
export const internals = {
  EventReader, frameOf, headed, mayReconnect, retryAfter, retryDelay, ways, toBase64, fromBase64, prepare,
};
