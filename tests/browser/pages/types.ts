// What the types of the package allow, and what they do not. `tsc` reads this file, and nothing runs it.

import Default, {
  type Cause, GreenroomSocket, type Lost, ResumeEvent, type State, StateEvent, type Transport,
} from "greenroom";

const same: typeof GreenroomSocket = Default;
const plain = new same("/room/1/");
const all = new GreenroomSocket(new URL("wss://a.example/"), ["a", "b"], {
  transports: ["websocket", "poll"],
  timeout: 1_000,
  reconnect: { attempts: 3, when: (code, reason) => code === 1006 && reason === "" },
});

// Functions, also async ones, and with the attempt.
new GreenroomSocket(() => "/room/1/");
new GreenroomSocket(async () => new URL("wss://a.example/"));
new GreenroomSocket(
  async ({ cause, signal }) => {
    const answer = await fetch(cause === "refused" ? "/token?fresh" : "/token", { signal });
    return `/room/1/?token=${await answer.text()}`;
  },
  async () => ["a"],
);
// @ts-expect-error a URL is a text or a `URL`
new GreenroomSocket(() => 5);
// @ts-expect-error an async function too
new GreenroomSocket(async () => undefined);
// @ts-expect-error there is no such transport
new GreenroomSocket("/", [], { transports: ["carrier-pigeon"] });

// Events have their types, by handler and by listener.
plain.onstatechange = (event) => {
  const state: State = event.state;
  const transport: Transport | null = event.transport;
  const cause: Cause | null = event.cause;
  const numbers: (number | null)[] = [event.delay, event.code, event.status];
  return [state, transport, cause, numbers, event.reason, event.error];
};
all.addEventListener("statechange", (event) => event instanceof StateEvent && event.cause === "refused");
// @ts-expect-error there is no such cause
all.addEventListener("statechange", ({ cause }) => cause === "bad luck");
all.addEventListener("message", ({ data }) => console.log(data));
all.addEventListener("reconnect", () => all.send("again"), { once: true });
all.onreconnect = ({ recovered, lost }) => {
  const groups: string[] = lost.map(({ group }: Lost) => group);
  if (!recovered && lost.some(({ reason }) => reason === "trimmed" || reason === "a newer one")) console.log(groups);
};
all.onlost = (event) => event instanceof ResumeEvent && event.lost.length > 0;
all.onmessage = ({ lastEventId }) => lastEventId.split(".");
new GreenroomSocket("/", [], { resume: false });
// @ts-expect-error nobody changes the list
plain.onlost = ({ lost }) => lost.push({ group: "a", reason: "late" });

// It can stand wherever a `WebSocket` is asked for.
const websocket: Pick<WebSocket, "send" | "close" | "readyState" | "url" | "onmessage"> = all;
websocket.send(new Uint8Array([1]));
