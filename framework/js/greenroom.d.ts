/** A way from the browser to the server. */
export type Transport = "websocket" | "sse" | "long-poll" | "poll";

/**
 * What the socket does.
 *
 * - `connecting`: tries to open a connection.
 * - `open`: messages go and come.
 * - `waiting`: will try again after a delay; what is sent is kept until then.
 * - `closing`, `closed`: the page, or the server for good, has closed it.
 */
export type State = "connecting" | "open" | "waiting" | "closing" | "closed";

export interface ReconnectOptions {
  /** The first delay is at random between 0 and this, each further one up to twice as long. In ms, default 1000. */
  base?: number;
  /** The longest delay, in ms. Default 30,000. */
  max?: number;
  /** How many attempts may fail in a row before the socket closes. Default: no limit. */
  attempts?: number;
  /**
   * Whether a connection that ended with this code is opened again.
   * Default: after 1001, 1006, 1009, 1011, 1012, 1013 and 1014.
   */
  when?: (code: number, reason: string) => boolean;
}

export interface GreenroomOptions {
  /** What is tried, in this order. Default: `["websocket", "sse", "long-poll", "poll"]`. */
  transports?: Transport[];
  /** The pause between two polls, in ms. Default 2000. */
  pollInterval?: number;
  /** How long a WebSocket may take to open, and a stream to say its first word, in ms. Default 5000. */
  timeout?: number;
  /** How many bytes may wait to be sent before `send` throws. Default 1 MiB. */
  queueLimit?: number;
  /** For how long it is remembered which transport works, in ms. Default 30 minutes; 0 remembers nothing. */
  remember?: number;
  /** When to open a lost connection again; `false` for never. */
  reconnect?: ReconnectOptions | boolean;
}

/** What `statechange` tells. */
export class StateEvent extends Event {
  readonly state: State;
  /** The transport in use, or the last one; `null` before the first. */
  readonly transport: Transport | null;
  /** For `waiting`: the time until the next attempt, in ms. */
  readonly delay: number | null;
  /** For `waiting` and `closed`: the close code of the connection that ended; `null` where it may yet go on. */
  readonly code: number | null;
  readonly reason: string;
}

export interface GreenroomSocketEventMap extends WebSocketEventMap {
  reconnect: Event;
  statechange: StateEvent;
}

type Handler<K extends keyof GreenroomSocketEventMap> = ((event: GreenroomSocketEventMap[K]) => unknown) | null;

/** A `WebSocket` for consumers of Greenroom, over whatever works; it is one for TypeScript too. */
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
   * @param url As of a WebSocket: `ws:`, `wss:`, `http:`, `https:` or relative to the page.
   * @throws DOMException `SyntaxError` for an address or protocols that a WebSocket would not take.
   * @throws TypeError for a transport that does not exist.
   */
  constructor(url: string | URL, protocols?: string | string[], options?: GreenroomOptions);

  readonly url: string;
  /** `CONNECTING` as long as there is no consumer: before the first opening, and again after a loss. */
  readonly readyState: 0 | 1 | 2 | 3;
  readonly protocol: string;
  readonly extensions: string;
  /** How many bytes of what was sent have not left, those that wait for a connection included. */
  readonly bufferedAmount: number;
  binaryType: BinaryType;
  readonly state: State;
  /** The transport in use, or the last one; `null` before the first. */
  readonly transport: Transport | null;

  /** The first opening. */
  onopen: Handler<"open">;
  onmessage: Handler<"message">;
  /** The socket is closed for good because something failed; `close` follows. */
  onerror: Handler<"error">;
  /** The socket is closed for good: it does not try again. */
  onclose: Handler<"close">;
  /** Each opening after the first: the server has made a new consumer, and what came in between is lost. */
  onreconnect: Handler<"reconnect">;
  /** Any change of `state` or `transport`. */
  onstatechange: Handler<"statechange">;

  /**
   * Sends, or keeps what cannot be sent yet.
   *
   * @throws DOMException `QuotaExceededError` where more than `queueLimit` would wait.
   */
  send(data: string | ArrayBufferLike | Blob | ArrayBufferView): void;

  /**
   * Closes for good, after what was sent.
   *
   * @throws DOMException as a WebSocket: the code is 1000 or from 3000 to 4999, the reason has at most 123 bytes.
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
