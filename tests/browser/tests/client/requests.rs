//! Requests of a page: each has its own answer, or the reason why there is none.

use browser_tests::Proxy;

use super::*;

const TRANSPORTS: [&str; 4] = ["websocket", "sse", "long-poll", "poll"];

/// `open` connects to the desk. `failed` tells of a request that must fail.
const DESK: &str = "
    const open = (transport, options) =>
      new GreenroomSocket('/desk', [], { transports: [transport], pollInterval: 50, reconnect: { base: 10 }, ...options });
    const failed = (request) => request.then(
      (value) => `answered ${value}`, ({ name, code, message, sent }) => [name, code, message, sent]);
    const release = (socket) => socket.send(JSON.stringify('release'));
";

/// Runs the body of an async function in a page that has its sockets, and may have no server.
async fn go_on(page: &Page<'_>, body: &str) -> Result<Value> {
    let script = format!(
        "const done = arguments[arguments.length - 1], {{ sockets }} = window;
         const until = (target, type) => new Promise((on) => target.addEventListener(type, on, {{ once: true }}));
         (async () => {{ {DESK}{body} }})().then(done, (error) => done('thrown: ' + error + error.stack))"
    );
    page.run_async(&script, json!([])).await
}

fn desk() -> Result<Server> {
    Server::start_of("desk", "127.0.0.1:0")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_its_own_answer_over_every_transport() -> Result<()> {
    let server = desk()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/")).await?;
    let body = "
        const found = [];
        for (const transport of args) {
          const socket = open(transport);
          const messages = [], order = [];
          socket.onmessage = ({ data }) => messages.push(data);
          const early = await socket.request({ echo: { text: 'é \\ud83d' } }); // before the opening
          const held = [1, 2, 3].map((value) => socket.request({ hold: value }).then((got) => order.push(got)));
          const echoed = await socket.request({ echo: [null] });
          release(socket);
          await Promise.all(held);
          const refused = await failed(socket.request('refuse'));
          const broken = await failed(socket.request('fail'));
          const invalid = await failed(socket.request({ nonsense: 1 }));
          const missing = await failed(socket.request());
          const acknowledged = await socket.request({ note: transport });
          const circle = [];
          circle.push(circle);
          const unwritable = await socket.request(circle).catch(({ name }) => name);
          socket.close();
          found.push({ early, order, echoed, refused, broken, invalid: invalid[1], missing: missing[1], acknowledged,
            unwritable, messages, transport: socket.transport });
        }
        return found;";
    let found = run(&page, &format!("{DESK}{body}"), json!(TRANSPORTS)).await?;
    for (found, transport) in found.as_array().ok_or(found.to_string())?.iter().zip(TRANSPORTS) {
        let expected = json!({
            "early": { "text": "é \u{fffd}" },
            "order": [3, 2, 1],
            "echoed": [null],
            "refused": ["RequestError", "not_found", "no such room", true],
            "broken": ["RequestError", "internal", "the server could not answer", true],
            "invalid": "invalid",
            "missing": "invalid",
            "acknowledged": null,
            "unwritable": "TypeError",
            "messages": [],
            "transport": transport,
        });
        assert_eq!(found, &expected);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_is_ignored() -> Result<()> {
    let server = desk()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/")).await?;
    let body = "
        const socket = open('websocket', { requestTimeout: 100 });
        const messages = [];
        socket.onmessage = ({ data }) => messages.push(data);
        await until(socket, 'open');
        const late = await failed(socket.request({ hold: 'late' }));
        const own = await failed(socket.request({ hold: 'late too' }, { timeout: 50 }));
        const controller = new AbortController();
        const aborted = failed(socket.request({ hold: 'aborted' }, { signal: controller.signal }));
        controller.abort('enough');
        const before = await socket.request({ echo: 1 }, { signal: controller.signal }).catch(
          ({ code, cause, sent }) => [code, cause, sent]);
        release(socket);
        const next = await socket.request({ echo: 'next' }, { timeout: 10000 });
        // Only the answers of this socket's own requests are no messages.
        const other = open('websocket');
        const unasked = until(other, 'message');
        other.send('{\"type\":\"greenroom.request\",\"id\":1,\"input\":{\"echo\":1}}');
        return { late, own, aborted: await aborted, before, next, messages, unasked: (await unasked).data };";
    let expected = json!({
        "late": ["RequestError", "timeout", "no answer came within 100 ms", true],
        "own": ["RequestError", "timeout", "no answer came within 50 ms", true],
        "aborted": ["RequestError", "aborted", "the request was aborted", true],
        "before": ["aborted", "enough", false],
        "next": "next",
        "messages": [],
        "unasked": r#"{"type":"greenroom.answer","id":1,"value":1}"#,
    });
    assert_eq!(run(&page, &format!("{DESK}{body}"), json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_before_it_was_sent_is_never_sent() -> Result<()> {
    let server = desk()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/")).await?;
    let body = "
        const away = new GreenroomSocket('ws://127.0.0.1:9/', [], { transports: ['websocket'], queueLimit: 100_000 });
        const controller = new AbortController();
        const late = failed(away.request('x', { timeout: 20 }));
        const aborted = failed(away.request('x', { signal: controller.signal }));
        controller.abort();
        const found = [await late, await aborted, away.bufferedAmount];
        const many = Array.from({ length: 1000 }, () => failed(away.request('x', { timeout: Infinity })));
        found.push(await failed(away.request('x')));
        away.close();
        found.push((await Promise.all(many)).every(([, code, , sent]) => code === 'closed' && !sent));
        found.push(await failed(away.request('x')));

        const small = new GreenroomSocket('ws://127.0.0.1:9/', [], { transports: ['websocket'], queueLimit: 100 });
        failed(small.request('x'));
        found.push((await failed(small.request('y'.repeat(100)))).toSpliced(2, 1));

        // One is aborted by the handler that runs at the opening, the other one is sent.
        const socket = open('websocket');
        const opening = new AbortController();
        socket.onopen = () => opening.abort();
        const none = failed(socket.request({ note: 'aborted at the opening' }, { signal: opening.signal }));
        await socket.request({ note: 'sent' });
        found.push(await none, await socket.request('notes'), socket.bufferedAmount);
        return found;";
    let error = |code: &str, text: &str| json!(["RequestError", code, text, false]);
    let expected = json!([
        error("timeout", "no answer came within 20 ms"),
        error("aborted", "the request was aborted"),
        0,
        error("full", "1000 requests wait for an answer"),
        true,
        error("closed", "the socket is closed"),
        ["RequestError", "full", false],
        error("aborted", "the request was aborted"),
        ["sent"],
        0,
    ]);
    assert_eq!(run(&page, &format!("{DESK}{body}"), json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_says_so_to_the_requests_that_were_sent() -> Result<()> {
    let server = desk()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/")).await?;
    let body = "
        const found = [];
        for (const transport of args) {
          const socket = open(transport);
          const held = failed(socket.request({ hold: 1 }));
          socket.send(JSON.stringify({ close: 1012 }));
          const lost = await held;
          const after = await socket.request({ echo: 'after' }); // by another consumer
          // The page goes to the back-forward cache, and comes back.
          const frozen = failed(socket.request({ hold: 1 }));
          await socket.request({ echo: 'it was sent' });
          dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }));
          dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }));
          found.push(await frozen, await socket.request({ echo: 'back' }));
          const closed = failed(socket.request({ hold: 1 }));
          socket.send(JSON.stringify({ close: 4000 }));
          const { code } = await until(socket, 'close');
          const own = open(transport);
          await own.request({ echo: 1 });
          const left = failed(own.request({ hold: 1 }));
          await own.request({ echo: 'it was sent' });
          own.close();
          found.push(lost, after, await closed, code, (await left).toSpliced(2, 1));
        }
        return found;";
    let found = run(&page, &format!("{DESK}{body}"), json!(TRANSPORTS)).await?;
    let found = found.as_array().ok_or(found.to_string())?;
    for (found, transport) in found.chunks(7).zip(TRANSPORTS) {
        let lost = ["RequestError", "lost", "the connection was lost before the answer came"];
        let lost = json!([lost[0], lost[1], lost[2], true]);
        let expected = json!([
            lost,
            "back",
            lost,
            "after",
            ["RequestError", "closed", "the socket was closed with 4000", true],
            4000,
            ["RequestError", "closed", true],
        ]);
        assert_eq!(&json!(found), &expected, "{transport}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_gets_no_request_twice() -> Result<()> {
    let server = desk()?;
    let proxy = Proxy::start(&server).await?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&proxy.url("/")).await?;
    let body = "
        window.sockets = args.map((transport) => {
          const socket = open(transport, { reconnect: { base: 10, max: 100 } });
          const noted = socket.request({ note: `noted ${transport}` });
          const held = failed(noted.then(() => socket.request({ hold: 1 }, { timeout: Infinity })));
          return { socket, noted, held };
        });
        await Promise.all(sockets.map(({ noted }) => noted));
        // What a socket asks for after this stands behind the held request.
        await Promise.all(sockets.map(({ socket }) => socket.request({ echo: 1 })));";
    run(&page, &format!("{DESK}{body} return null;"), json!(TRANSPORTS)).await?;
    server.kill();
    let body = "
        for (const one of sockets) {
          while (one.socket.state === 'open') await until(one.socket, 'statechange');
          const { transport } = one.socket;
          one.late = failed(one.socket.request({ note: `late ${transport}` }, { timeout: 20 }));
          one.next = failed(one.socket.request({ note: `next ${transport}` }, { timeout: Infinity }));
        }
        return Promise.all(sockets.map(({ late }) => late));";
    let late = json!(["RequestError", "timeout", "no answer came within 20 ms", false]);
    assert_eq!(go_on(&page, body).await?, json!([late, late, late, late]));

    let server = desk()?;
    proxy.turn_to(&server)?;
    let body = "
        const found = await Promise.all(sockets.map(async ({ held, next }) => [await held, await next]));
        return [found, (await sockets[0].socket.request('notes')).sort()];";
    let found = go_on(&page, body).await?;
    let lost = ["RequestError", "lost", "the connection was lost before the answer came"];
    let each = json!([[lost[0], lost[1], lost[2], true], "answered null"]);
    let notes = ["next long-poll", "next poll", "next sse", "next websocket"];
    assert_eq!(found, json!([[each, each, each, each], notes]), "each is noted once, and none of the others");
    Ok(())
}
