//! What the client keeps of groups with a history, and how it goes on after a loss. The server is played in the page, so
//! that each frame comes when the test says so.

mod alive;
mod frames;
mod outcomes;
mod plain;
mod positions;

use super::*;

/// A script that plays a WebSocket server in the page, frame by frame.
const PLAYED: &str = r#"
    const sockets = [];
    let wake = () => {};
    window.WebSocket = class {
      readyState = 0; protocol = ""; extensions = ""; bufferedAmount = 0; sent = [];
      constructor(url) { this.url = new URL(url).search; sockets.push(this); wake(); }
      send(data) { this.sent.push(data); }
      close() { this.closed = true; setTimeout(() => this.end(1006)); }
      accept(...frames) { this.onopen?.({}); this.say(...frames); return this; }
      say(...frames) {
        for (const data of frames) {
          const bytes = Array.isArray(data) ? Uint8Array.from(data).buffer : null;
          const text = typeof data === "string" ? data : `c${JSON.stringify(data)}`;
          this.onmessage?.({ data: bytes ?? text });
        }
      }
      end(code = 1006, reason = "") { this.onclose?.({ code, reason, wasClean: code !== 1006 }); }
    };
    let taken = 0;
    /** The next WebSocket that the client opens. */
    const next = async () => {
      while (sockets.length <= taken) await new Promise((on) => { wake = on; });
      return sockets[taken++];
    };
    const E = "00000000000000e1", F = "00000000000000f2";
    const log = (gid, epoch, offset, tag, token = `token-${gid}`, foreign = 0) => [gid, epoch, offset, tag, token, foreign];
    const hello = (id, logs, more) => ({ hello: { id }, logs, ...more });
    /** A socket, and what its page hears of it. */
    const page = (options = {}) => {
      const socket = new GreenroomSocket("/any/?a=1", [], {
        transports: ["websocket"], reconnect: { base: 1, max: 1 }, ...options,
      });
      socket.binaryType = "arraybuffer";
      const heard = [];
      const tell = (type, what) => socket.addEventListener(type, (event) => heard.push([type, ...what(event)]));
      tell("message", ({ data, lastEventId }) => [
        typeof data === "string" ? data : [...new Uint8Array(data)], ...(lastEventId ? [lastEventId] : [])]);
      for (const type of ["reconnect", "lost"]) tell(type, ({ recovered, lost }) => [recovered, lost]);
      tell("open", () => []);
      tell("close", ({ code, reason }) => [code, reason]);
      return { socket, heard };
    };
    const resumeOf = (socket) => JSON.parse(socket.sent[0].slice(1)).resume;
"#;

async fn play(body: &str, args: Value) -> Result<Value> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    run(&page, &format!("{PLAYED}{body}"), args).await
}
