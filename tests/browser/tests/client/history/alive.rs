//! How the client finds out that nothing comes any more. The page's clock is the test's.

use super::*;

/// The long timers run when the test lets time pass.
const CLOCK: &str = r#"
    let now = 0, count = 1_000_000;
    const timers = new Map(), ownTimeout = window.setTimeout, ownClear = window.clearTimeout;
    performance.now = () => now;
    window.setTimeout = (act, time = 0, ...more) => {
      if (time < 10_000) return ownTimeout(act, time, ...more);
      timers.set(count += 1, { act, due: now + time });
      return count;
    };
    window.clearTimeout = (id) => { timers.delete(id); ownClear(id); };
    /** Lets so many seconds pass. Each timer is late by so many. */
    const pass = (seconds, late = 0) => {
      const end = now + seconds * 1000;
      for (;;) {
        const [id, next] = [...timers].sort(([, a], [, b]) => a.due - b.due)[0] ?? [];
        if (!next || next.due > end) break;
        timers.delete(id);
        now = Math.max(now, next.due) + late * 1000;
        next.act();
      }
      now = Math.max(now, end);
    };
    const PING = 'c{"ping":true}';
    const living = (id, ping = 20) => ({ hello: { id, ping }, logs: {} });
"#;

async fn play_clocked(body: &str) -> Result<Value> {
    play(&format!("{CLOCK}{body}"), json!([])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_asked_and_left_if_it_does_not_answer() -> Result<()> {
    let body = r#"
        const { socket, heard } = page();
        const server = (await next()).accept(living("one"));
        const found = [];
        const note = () => found.push([server.sent.length, server.closed ?? false]);
        server.say("mhello");
        pass(20); note(); // something has come
        pass(20); note(); // nothing: the client asks
        server.say({ pong: true });
        pass(15); note(); // the answer
        pass(19); note();
        pass(1); note(); // it asks again
        server.say("many message");
        pass(15); note(); // anything is an answer
        pass(20); note(); // it asks
        pass(14); note();
        pass(1); note(); // no answer
        const second = (await next()).accept(living("two"));
        // The next answer has more time. The network may only be slow.
        pass(20 + 29);
        found.push([second.sent.filter((text) => text === PING).length, second.closed ?? false]);
        second.say({ pong: true });
        pass(1 + 20 + 15);
        found.push(second.closed ?? false);
        await next();
        const all = [server.sent, found, [...heard]];
        socket.close();
        return all;"#;
    let ping = r#"c{"ping":true}"#;
    let found = json!([
        [0, false],
        [1, false],
        [1, false],
        [1, false],
        [2, false],
        [2, false],
        [3, false],
        [3, false],
        [3, true],
        [1, false],
        true,
    ]);
    let heard = json!([["open"], ["message", "hello"], ["message", "any message"], ["reconnect", false, []]]);
    assert_eq!(play_clocked(body).await?, json!([[ping, ping, ping], found, heard]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_has_slept_asks_once_more() -> Result<()> {
    let body = r#"
        const { socket } = page();
        const server = (await next()).accept(living("one"));
        const found = [];
        const note = () => found.push([server.sent.length, server.closed ?? false]);
        pass(20); note();
        // It sleeps for an hour. What came meanwhile is heard only behind the timer.
        pass(15, 3600); note();
        server.say({ pong: true });
        pass(15); note();
        // The browser lets the timers of a hidden page wait. It finds out all the same.
        pass(20, 40); note();
        pass(15, 40); note();
        pass(15, 40); note();
        socket.close();
        return found;"#;
    let found = json!([[1, false], [2, false], [2, false], [3, false], [4, false], [4, true]]);
    assert_eq!(play_clocked(body).await?, found);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_asked_only_as_it_says() -> Result<()> {
    let body = r#"
        const found = {};
        // An older server, and one that knows no heads.
        for (const first of [hello("one", {}), "welcome"]) {
          const { socket } = page();
          const server = (await next()).accept(first);
          dispatchEvent(new Event("online"));
          pass(3600);
          (found.never ??= []).push(server.sent);
          socket.close();
        }
        {
          const { socket } = page();
          const server = (await next()).accept(living("one", 60));
          pass(59);
          const before = server.sent.length;
          pass(1);
          found.slow = [before, server.sent.length];
          socket.close();
        }
        // When the network is back, at once, and once.
        {
          const { socket } = page();
          const server = (await next()).accept(living("one"));
          for (let count = 0; count < 3; count += 1) dispatchEvent(new Event("online"));
          const at = server.sent.length;
          // The page sends so much that the question still waits.
          server.bufferedAmount = 9;
          server.say({ pong: true });
          pass(15 + 20);
          server.bufferedAmount = 5;
          pass(15);
          const moving = server.closed ?? false;
          pass(15);
          found.online = [at, server.sent.length, moving, server.closed];
          socket.close();
        }
        return found;"#;
    let expected = json!({ "never": [[], []], "slow": [0, 1], "online": [1, 3, false, true] });
    assert_eq!(play_clocked(body).await?, expected);
    Ok(())
}
