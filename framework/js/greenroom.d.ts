/** A way for messages between the browser and the server. */
export type Transport = "websocket" | "sse" | "long-poll" | "poll";

/**
 * What the socket is doing.
 *
 * - `connecting`: it tries to open a connection.
 * - `open`: it sends and receives messages.
 * - `waiting`: it tries again after a delay, and keeps until then what the page sends.
 * - `closing`, `closed`: the page has closed the socket, or the connection has ended for good.
 */
export type State = "connecting" | "open" | "waiting" | "closing" | "closed";

/**
 * Why the state changed.
 *
 * - `lost`: an open connection broke.
 * - `closed`: the server closed the connection. `code` and `reason` say why.
 * - `refused`: a request was answered with an error. `status` says which.
 * - `unreachable`: there was no answer, or the browser does not say why a WebSocket did not open.
 * - `offline`: the browser has no network.
 * - `url`: a function `url` or `protocols` threw, returned nothing valid, or took too long. `error` says what it threw.
 * - `transport`: another transport is in use.
 * - `left`: the page was left, and has come back from the browser's cache.
 * - `page`: the page called `close`.
 */
export type Cause =
  | "lost" | "closed" | "refused" | "unreachable" | "offline" | "url" | "transport" | "left" | "page";

/** What a function `url` or `protocols` gets. */
export interface Attempt {
  /** Why the last connection or attempt ended; `null` at the first one. After `refused`, get a fresh token. */
  readonly cause: Cause | null;
  /** Aborted if the answer is no longer needed: the socket was closed, the page was left, or it took too long. */
  readonly signal: AbortSignal;
}

/** A value, or a function that is called before each attempt to connect. It may be async. */
export type Asked<T> = T | ((attempt: Attempt) => T | PromiseLike<T>);

export interface ReconnectOptions {
  /**
   * The first delay is a random time between 0 and this. The upper bound doubles with each attempt. After a server that
   * has closed with a time to come back, it is at most the time since then, or this. In ms, default 1000.
   */
  base?: number;
  /** The upper bound never exceeds this, in ms. Default 30,000. */
  max?: number;
  /** The socket closes after this many failed attempts in a row. Default: no limit. */
  attempts?: number;
  /**
   * Returns whether to open a connection again that ended with this code.
   * Default: after 1001, 1006, 1009, 1011, 1012, 1013 and 1014.
   */
  when?: (code: number, reason: string) => boolean;
}

export interface GreenroomOptions {
  /** The transports to try, in this order. Default: `["websocket", "sse", "long-poll", "poll"]`. */
  transports?: Transport[];
  /** The pause between two polls, in ms. Default 2000. */
  pollInterval?: number;
  /**
   * How long a WebSocket may take to open, and a stream to send its first bytes, in ms. Default 5000. A function `url` or
   * `protocols` may take four times as long.
   */
  timeout?: number;
  /** How many bytes may wait to be sent before `send` throws. Each message counts 32 bytes more. Default 1 MiB. */
  queueLimit?: number;
  /** How long a request waits for its answer, in ms. Default 10,000. */
  requestTimeout?: number;
  /** How long the socket remembers which transport works, in ms. Default 30 minutes; 0 remembers nothing. */
  remember?: number;
  /**
   * Whether to ask the server for what was missed, in groups that have a history. Default true. With `false` a
   * WebSocket is a plain one: for a server that is not Greenroom.
   */
  resume?: boolean;
  /** When to open a lost connection again; `false` for never. */
  reconnect?: ReconnectOptions | boolean;
}

export interface RequestOptions {
  /**
   * How long to wait for the answer, in ms, including the time before the request can be sent. Default:
   * `requestTimeout` of the socket.
   */
  timeout?: number;
  /** Stops the wait. The server learns nothing of it if the request was sent already. */
  signal?: AbortSignal;
}

/**
 * Why a request has no answer with a value.
 *
 * - An error of the server has the code and the text that the consumer chose. The server itself answers `invalid` if
 *   the input does not fit, `internal` if its code failed, and `busy` if it answers too many other requests.
 * - `timeout`: no answer came in time.
 * - `lost`: the connection was lost before the answer came.
 * - `closed`: the socket is closed for good.
 * - `aborted`: `signal` was aborted. The `cause` is its reason.
 * - `full`: 1,000 requests wait for answers, or more than `queueLimit` bytes would wait to be sent.
 */
export class RequestError extends Error {
  readonly code: string;
  /** If false, the server never got the request. If true without an answer, it may have done what was asked. */
  readonly sent: boolean;
}

/** The event `statechange`. */
export class StateEvent extends Event {
  readonly state: State;
  /** The transport in use, or the last one; `null` before the first. */
  readonly transport: Transport | null;
  /** In the state `waiting`: the time until the next attempt, in ms. */
  readonly delay: number | null;
  /**
   * In the states `waiting` and `closed`: the close code of the connection that ended. It is `null` if the connection
   * may still go on.
   */
  readonly code: number | null;
  readonly reason: string;
  /** Why the state changed. It is `null` for what goes well: `connecting` at first, and `open`. */
  readonly cause: Cause | null;
  /** The status of the answer, if `cause` is `refused`. */
  readonly status: number | null;
  /** What the function threw, if `cause` is `url`. */
  readonly error?: unknown;
}

/**
 * Why a group has a gap.
 *
 * - `trimmed`: the server keeps less than was missed, or the client read too slowly.
 * - `expired`: the client was away for more than 30 days.
 * - `epoch`: the history began anew, for example because its server was restarted without its data.
 * - `rollback`, `ahead`: the server of the history lost its newest data.
 * - `foreign`: something was sent that is in no history. `unlogged`: the history was out of reach for a while.
 * - `too_many`: there are more groups than a client may name.
 * - `forged`: the user is another one, or the proof of the client's place is damaged or of another server.
 * - `late`: the client was too slow to say where it was.
 *
 * A newer server may have other reasons. Each means the same for the page: fetch the state anew.
 */
export type LostReason =
  | "ahead" | "epoch" | "expired" | "foreign" | "forged" | "late" | "rollback" | "too_many" | "trimmed" | "unlogged"
  | (string & {});

/** A group that has a gap. */
export interface Lost {
  /** The id of the group: a text of 12 characters that the server makes of its name, always the same. */
  readonly group: string;
  readonly reason: LostReason;
}

/** The events `reconnect` and `lost`. */
export class ResumeEvent extends Event {
  /**
   * In `reconnect`: whether the page gets all events that it has missed in its groups with a history. They come as
   * messages right after this. It is false if the page had no such group. In `lost` it is false.
   */
  readonly recovered: boolean;
  /** The groups that have a gap. */
  readonly lost: readonly Lost[];
}

export interface GreenroomSocketEventMap extends WebSocketEventMap {
  reconnect: ResumeEvent;
  lost: ResumeEvent;
  statechange: StateEvent;
}

type Handler<K extends keyof GreenroomSocketEventMap> = ((event: GreenroomSocketEventMap[K]) => unknown) | null;

/** A `WebSocket` for consumers of Greenroom, over the first transport that works. It has a `WebSocket`'s type too. */
export class GreenroomSocket extends EventTarget {
  static readonly CONNECTING: 0;
  static readonly OPEN: 1;
  static readonly CLOSING: 2;
  static readonly CLOSED: 3;
  readonly CONNECTING: 0;
  readonly OPEN: 1;
  readonly CLOSING: 2;
  readonly CLOSED: 3;

  /**
   * Connects at once.
   *
   * @param url The URL, as for a WebSocket: `ws:`, `wss:`, `http:`, `https:`, or relative to the page. Or a function that
   * returns it, also by a promise: it is called before each attempt. If it throws or rejects, the attempt has failed.
   * @param protocols The subprotocols, or a function that returns them.
   * @throws DOMException `SyntaxError` for a URL or protocols that a WebSocket would not accept.
   * @throws TypeError for a transport that does not exist.
   */
  constructor(url: Asked<string | URL>, protocols?: Asked<string | string[]>, options?: GreenroomOptions);

  /** The URL in use, or the last one. It is empty until a function has told the first one. */
  readonly url: string;
  /** `CONNECTING` while there is no consumer: before the first opening, and again after a loss. */
  readonly readyState: 0 | 1 | 2 | 3;
  readonly protocol: string;
  readonly extensions: string;
  /** How many bytes of sent messages have not left yet. Messages that wait for a connection count too. */
  readonly bufferedAmount: number;
  binaryType: BinaryType;
  readonly state: State;
  /** The transport in use, or the last one; `null` before the first. */
  readonly transport: Transport | null;

  /** Called at the first opening. */
  onopen: Handler<"open">;
  /** For an event of a group with a history, `lastEventId` is its position there. Otherwise it is empty. */
  onmessage: Handler<"message">;
  /** Called when the socket is closed for good because something failed. `close` follows. */
  onerror: Handler<"error">;
  /** Called when the socket is closed for good. It does not try again. */
  onclose: Handler<"close">;
  /**
   * Called at each opening after the first. The server has made a new consumer. Unless `recovered` is true, events in
   * between are lost. Messages that were for this page alone are lost in any case.
   */
  onreconnect: Handler<"reconnect">;
  /** Called if events of a group are lost while the socket is open. */
  onlost: Handler<"lost">;
  /** Called at each change of `state` or `transport`. */
  onstatechange: Handler<"statechange">;

  /**
   * Sends a message, or keeps it until it can be sent.
   *
   * @throws DOMException `QuotaExceededError` if more than `queueLimit` bytes would wait.
   */
  send(data: string | ArrayBufferLike | Blob | ArrayBufferView): void;

  /**
   * Sends a request as JSON, or keeps it until it can be sent, and waits for the answer. It is never sent twice.
   *
   * @throws RequestError if no value is answered.
   * @throws TypeError if `input` cannot be written as JSON.
   */
  request<T = unknown>(input: unknown, options?: RequestOptions): Promise<T>;

  /**
   * Closes the socket for good, after the messages that were sent before.
   *
   * @throws DOMException as a WebSocket does, unless the code is 1000 or from 3000 to 4999, and the reason has at
   * most 123 bytes.
   */
  close(code?: number, reason?: string): void;

  addEventListener<K extends keyof GreenroomSocketEventMap>(
    type: K,
    listener: (this: GreenroomSocket, event: GreenroomSocketEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof GreenroomSocketEventMap>(
    type: K,
    listener: (this: GreenroomSocket, event: GreenroomSocketEventMap[K]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | EventListenerOptions,
  ): void;
}

export default GreenroomSocket;
