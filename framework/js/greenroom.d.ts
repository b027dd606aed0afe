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

export interface ReconnectOptions {
  /**
   * The first delay is a random time between 0 and this. The upper bound doubles with each attempt. In ms, default
   * 1000.
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
  /** How long a WebSocket may take to open, and a stream to send its first bytes, in ms. Default 5000. */
  timeout?: number;
  /** How many bytes may wait to be sent before `send` throws. Default 1 MiB. */
  queueLimit?: number;
  /** How long the socket remembers which transport works, in ms. Default 30 minutes; 0 remembers nothing. */
  remember?: number;
  /** When to open a lost connection again; `false` for never. */
  reconnect?: ReconnectOptions | boolean;
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
}

export interface GreenroomSocketEventMap extends WebSocketEventMap {
  reconnect: Event;
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
   * @param url The URL, as for a WebSocket: `ws:`, `wss:`, `http:`, `https:`, or relative to the page.
   * @throws DOMException `SyntaxError` for a URL or protocols that a WebSocket would not accept.
   * @throws TypeError for a transport that does not exist.
   */
  constructor(url: string | URL, protocols?: string | string[], options?: GreenroomOptions);

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
  onmessage: Handler<"message">;
  /** Called when the socket is closed for good because something failed. `close` follows. */
  onerror: Handler<"error">;
  /** Called when the socket is closed for good. It does not try again. */
  onclose: Handler<"close">;
  /** Called at each opening after the first. The server has made a new consumer, and messages in between are lost. */
  onreconnect: Handler<"reconnect">;
  /** Called at each change of `state` or `transport`. */
  onstatechange: Handler<"statechange">;

  /**
   * Sends a message, or keeps it until it can be sent.
   *
   * @throws DOMException `QuotaExceededError` if more than `queueLimit` bytes would wait.
   */
  send(data: string | ArrayBufferLike | Blob | ArrayBufferView): void;

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
