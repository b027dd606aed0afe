//! `url` and `protocols` as functions: when they are asked, and what becomes of a bad answer or of none.

use browser_tests::Proxy;

use super::{scripted::SCRIPTED, *};

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_has_a_fresh_token() -> Result<()> {
    for transport in ["websocket", "sse"] {
        let server = Server::start()?;
        let proxy = Proxy::start(&server).await?;
        let browser = Browser::start("en-US").await?;
        let page = browser.open(&proxy.url("/home/")).await?;
        let body = "
            const [transport] = args;
            const asked = window.asked = [];
            const url = async ({ cause, signal }) => {
              asked.push([cause, signal.aborted]);
              return `/room/1/?name=Ann&token=${asked.length}-`;
            };
            const options = { transports: [transport], reconnect: { base: 50, max: 50 } };
            const socket = window.socket = new GreenroomSocket(url, () => [], options);
            const before = [socket.url, socket.readyState, asked.length];
            await until(socket, 'open');
            window.again = until(socket, 'reconnect');
            return [before, socket.url.split('?')[1], asked];";
        let expected = json!([["", 0, 0], "name=Ann&token=1-", [[null, false]]]);
        assert_eq!(run(&page, body, json!([transport])).await?, expected, "{transport}");

        server.kill();
        if transport == "websocket" {
            // Without a server its attempts fail. Over requests, the connection waits for the server first.
            page.wait("window.asked.length > 2", json!([])).await?;
        }
        let server = Server::start()?;
        proxy.turn_to(&server)?;
        let body = "
            await window.again;
            const last = Number(/token=(\\d+)-/.exec(window.socket.url)[1]);
            return [last, window.asked.length, window.asked[1][0]];";
        let found = run(&page, body, json!([])).await?;
        let last = found[0].as_u64().unwrap_or_default();
        assert_eq!(found, json!([last, last, "lost"]), "{transport}");
        let asked = if transport == "websocket" { "UPGRADE" } else { "=open" };
        let tokens: usize = (1..=last).map(|token| proxy.count(&format!("token={token}-"))).sum();
        assert_eq!(tokens, proxy.count(asked), "{transport}: each token was used once");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_after_the_close_opens_nothing() -> Result<()> {
    let server = Server::start()?;
    let proxy = Proxy::start(&server).await?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&proxy.url("/home/")).await?;
    let body = "
        const unhandled = [];
        addEventListener('unhandledrejection', ({ reason }) => unhandled.push(String(reason)));
        const ends = [];
        for (const end of ['resolve', 'reject']) {
          let settle, given;
          const url = (attempt) => { given = attempt; return new Promise((...both) => settle = both); };
          const socket = new GreenroomSocket(url);
          const events = [];
          for (const type of ['statechange', 'error', 'close', 'open']) {
            socket.addEventListener(type, ({ state, cause }) => events.push([type, state, cause].filter(Boolean).join(' ')));
          }
          await null; await null; // the function is asked after the constructor
          socket.close();
          const aborted = given.signal.aborted;
          settle[end === 'resolve' ? 0 : 1](end === 'resolve' ? '/room/1/?late' : new Error('late'));
          await until(socket, 'close');
          ends.push([aborted, events, socket.readyState]);
        }
        // A page may close the socket in the function, for example because the person has logged out.
        const out = new GreenroomSocket(() => { out.close(); });
        await until(out, 'close');
        // A socket in place of one that was closed just before is the only one that connects.
        const first = new GreenroomSocket(async () => '/room/1/?first');
        first.close();
        const second = new GreenroomSocket(async () => '/room/1/?second');
        await until(second, 'open');
        second.close();
        await until(second, 'close');
        return [ends, unhandled];";
    let events = ["statechange closing page", "statechange closed page", "error", "close"];
    let end = json!([true, events, 3]);
    assert_eq!(run(&page, body, json!([])).await?, json!([[end, end], []]));
    assert_eq!([proxy.count("?late"), proxy.count("?first"), proxy.count("?second")], [0, 0, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_fails_is_a_failed_attempt() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const unhandled = [];
        addEventListener('unhandledrejection', ({ reason }) => unhandled.push(String(reason)));
        const room = '/room/1/?name=Ann';
        const bad = {
          'throws': [() => { throw new Error('no token'); }],
          'rejects': [async () => { throw new Error('no token'); }],
          'says nothing': [() => {}],
          'says an empty text': [() => ''],
          'says null': [async () => null],
          'says another scheme': [() => 'ftp://a.example/'],
          'throws nothing': [() => { throw undefined; }],
          'throws an object without a text': [() => { throw Object.create(null); }],
          'never says anything': [() => new Promise(() => {})],
          'protocols throw': [room, () => { throw new Error('no protocol'); }],
          'protocols are invalid': [room, () => ['a', 'a']],
        };
        const found = {};
        for (const [name, [url, protocols = []]] of Object.entries(bad)) {
          // The first attempt fails, and the second one finds the room.
          let count = 0;
          const once = (given, good) => typeof given !== 'function' ? given :
            (attempt) => (count < 1 ? (count += 1, given(attempt)) : good);
          // A time in which a WebSocket opens also beside a busy machine, but for the one that waits in vain.
          const timeout = name.startsWith('never') ? 100 : 5000;
          const reconnect = { base: 1, max: 1 };
          const socket = new GreenroomSocket(once(url, room), once(protocols, []), { timeout, reconnect });
          const first = await until(socket, 'statechange');
          await until(socket, 'open');
          socket.close();
          found[name] = [first.state, first.cause, first.status, first.code, first.reason];
        }
        // Without another attempt the socket closes, and says the same.
        const fail = (text) => async () => { throw new Error(text); };
        const end = new GreenroomSocket(fail('one'), fail('two'), { reconnect: false });
        let last;
        end.addEventListener('statechange', (event) => last = event);
        const { code, reason, wasClean } = await until(end, 'close');
        await new Promise((on) => setTimeout(on));
        return [found, [last.state, last.cause, last.error.message, code, reason, wasClean], unhandled];";
    let found = run(&page, body, json!([])).await?;
    assert!(found[0].is_object(), "{found}");
    for (name, reason) in [
        ("throws", "Error: no token"),
        ("rejects", "Error: no token"),
        ("says nothing", "TypeError: the function url returned no URL"),
        ("says an empty text", "TypeError: the function url returned no URL"),
        ("says null", "TypeError: the function url returned no URL"),
        ("says another scheme", "SyntaxError: ftp://a.example/ is not a valid URL for a WebSocket"),
        ("throws nothing", "undefined"),
        ("throws an object without a text", ""),
        ("never says anything", "TimeoutError: the page did not say within 400 ms where to connect"),
        ("protocols throw", "Error: no protocol"),
        ("protocols are invalid", "SyntaxError: a protocol is invalid, or stands twice: a,a"),
    ] {
        assert_eq!(found[0][name], json!(["waiting", "url", null, 1006, reason]), "{name}");
    }
    assert_eq!(found[1], json!(["closed", "url", "one", 1006, "Error: one", false]));
    assert_eq!(found[2], json!([]), "no rejection is left to the page");
    Ok(())
}

/// The attempts grow apart as with any other failure, and end at the given number.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_always_fails_is_not_asked_in_a_loop() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        Math.random = () => 1; // the longest delays
        const delays = [];
        let count = 0;
        const url = async () => { count += 1; throw new Error('the server of the tokens is away'); };
        const socket = new GreenroomSocket(url, [], { reconnect: { base: 4, max: 16, attempts: 4 } });
        socket.onstatechange = ({ delay }) => delay !== null && delays.push(delay);
        await until(socket, 'close');
        return [count, delays];";
    assert_eq!(run(&page, body, json!([])).await?, json!([5, [4, 8, 16, 16]]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_answer_is_asked_for_once_more() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const status = (status) => () => Response.json({ message: 'no' }, { status });
        let tokens = [];
        const url = ({ cause }) => { tokens.push(cause); return `/any/?token=${tokens.length}`; };
        const found = {};
        for (const code of [401, 403, 404]) {
          serve({ open: [status(code), status(code), opened] });
          tokens = [];
          const socket = new GreenroomSocket(url, [], { transports: ['poll'] });
          let last;
          socket.addEventListener('statechange', (event) => last = event);
          await until(socket, 'close');
          found[code] = [tokens, last.cause, last.status, last.reason];
        }
        const tries = async (given, ...more) => {
          serve({ open: [status(401), opened] });
          tokens = [];
          const socket = new GreenroomSocket(given, ...more, { transports: ['poll'] });
          const ended = await Promise.race([until(socket, 'open'), until(socket, 'close')]);
          socket.close();
          return [ended.type, tokens.length];
        };
        found.fresh = await tries(url, []);
        found.protocols = await tries('/any/', () => { tokens.push(null); return []; });
        found.text = await tries('/any/', []);

        // Each opening gives another chance.
        serve({ open: [status(401), opened, status(401), opened, status(401), status(401)],
          poll: [status(410), status(410)] });
        tokens = [];
        const socket = new GreenroomSocket(url, [], { transports: ['long-poll'], reconnect: { base: 1 } });
        const events = [];
        for (const type of ['open', 'reconnect', 'close']) socket.addEventListener(type, () => events.push(type));
        await until(socket, 'close');
        found.openings = [events, tokens];

        // A WebSocket does not tell why it was refused. So the next transport is refused too, with the same token. Then
        // the WebSocket gets a fresh one, and so does the transport behind it: a token may be good for one use only.
        const used = [];
        window.WebSocket = class {
          constructor(url) {
            used.push('ws ' + new URL(url).searchParams.get('token'));
            setTimeout(() => this.onclose?.({ code: 1006, reason: '', wasClean: false }));
          }
          close() {}
        };
        serve({ open: [status(401), opened] });
        const scripted = window.fetch;
        window.fetch = (url, options) => {
          const query = new URL(url).searchParams;
          if (query.get('greenroom') === 'open') used.push('http ' + query.get('token'));
          return scripted(url, options);
        };
        tokens = [];
        const both = new GreenroomSocket(url, [], { transports: ['websocket', 'poll'], remember: 0 });
        await until(both, 'open');
        both.close();
        found.used = used;
        return found;";
    let lost_then_refused = json!([null, "refused", "lost", "refused", "lost", "refused"]);
    let expected = json!({
        "401": [[null, "refused"], "refused", 401, "HTTP 401: no"],
        "403": [[null, "refused"], "refused", 403, "HTTP 403: no"],
        "404": [[null], "refused", 404, "HTTP 404: no"],
        "fresh": ["open", 2], "protocols": ["open", 2], "text": ["close", 0],
        "openings": [["open", "reconnect", "close"], lost_then_refused],
        "used": ["ws 1", "http 1", "ws 2", "http 3"],
    });
    assert_eq!(run(&page, &format!("{SCRIPTED}{body}"), json!([])).await?, expected);
    Ok(())
}
