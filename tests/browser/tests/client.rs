//! `greenroom.js` alone in a page: its functions, and its behaviour as a WebSocket.

use browser_tests::{Browser, Engine, Page, Result, Server};
use serde_json::{Value, json};

/// Runs the body of an async function over `GreenroomSocket`, `internals` and `args`. Returns its result.
async fn run(page: &Page<'_>, body: &str, args: Value) -> Result<Value> {
    let script = format!(
        "const [args] = arguments, done = arguments[arguments.length - 1];
         const until = (target, type) => new Promise((on) => target.addEventListener(type, on, {{ once: true }}));
         const thrown = (act) => {{ try {{ act(); return null; }} catch (error) {{ return error.name; }} }};
         import('/greenroom.js')
           .then(async ({{ GreenroomSocket, internals }}) => {{ {body} }})
           .then(done, (error) => done('thrown: ' + error.stack))"
    );
    page.run_async(&script, json!([args])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn delays_grow_with_full_jitter_unless_the_server_names_one() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const { retryDelay, retryAfter, mayReconnect } = internals;
        const delay = (more, random) => retryDelay({ attempt: 0, base: 1000, max: 30000, ...more }, () => random);
        const now = Date.parse('2030-01-01T00:00:00Z');
        return {
          longest: [0, 1, 2, 4, 5, 1000].map((attempt) => delay({ attempt }, 1)),
          shortest: [0, 5, 1000].map((attempt) => delay({ attempt }, 0)),
          hint: delay({ code: 1012, reason: 'retry=3200ms' }, 1),
          endless: delay({ code: 1012, reason: 'retry=999999999ms' }, 1),
          once: delay({ code: 1012, reason: 'retry=3200ms', attempt: 1 }, 0.5),
          none: delay({ code: 1012, reason: 'maintenance' }, 0.5),
          other: delay({ code: 1011, reason: 'retry=3200ms' }, 0.5),
          overloaded: [delay({ code: 1013 }, 0), delay({ code: 1013 }, 1)],
          after: [delay({ retryAfter: 7000 }, 0), delay({ retryAfter: 7000 }, 1), delay({ retryAfter: 1e12 }, 0)],
          header: ['3', 'Tue, 01 Jan 2030 00:00:09 GMT', 'Mon, 31 Dec 2029 00:00:00 GMT', 'soon', null]
            .map((value) => retryAfter(value, now)),
          back: [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015, 3000, 4000]
            .filter(mayReconnect),
        };";
    let expected = json!({
        "longest": [1000, 2000, 4000, 16000, 30000, 30000],
        "shortest": [0, 0, 0],
        "hint": 3200, "endless": 300_000, "once": 1000, "none": 500, "other": 500,
        "overloaded": [1000, 5000],
        "after": [7000, 8000, 300_000],
        "header": [3000, 9000, 0, 0, 0],
        "back": [1001, 1006, 1009, 1011, 1012, 1013, 1014],
    });
    assert_eq!(run(&page, body, json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_bytes_are_read_however_they_are_cut() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = r#"
        const { EventReader, fromBase64, prepare, toBase64, ways } = internals;
        const stream = ": open\n\nid: 1\ndata: {\"batch\":1}\n\n: beat\n\r\nid: 2\r\ndata:two\ndata: lines\r\n\r\ndata: cut";
        const read = (size) => {
          const events = new EventReader(), found = [];
          for (let at = 0; at < stream.length; at += size) found.push(...events.read(stream.slice(at, at + size)));
          return found;
        };
        const bytes = Uint8Array.from({ length: 100_000 }, (_, at) => (at * 7) % 256);
        const changed = new Uint8Array([1, 2]);
        const kept = prepare(changed.subarray(1));
        changed[1] = 9;
        return {
          events: [1, 2, 3, 1000].map(read),
          same: fromBase64(toBase64(bytes)).every((byte, at) => byte === bytes[at]),
          empty: toBase64(new Uint8Array()),
          text: prepare("\ufeffé\ud800").data,
          size: prepare("é").size,
          kept: [...kept.data],
          ways: [["websocket", "sse", "poll"], ["poll"], ["sse", "websocket", "poll"], ["websocket"]].map(ways),
        };"#;
    let events = json!(["{\"batch\":1}", "two\nlines"]);
    let expected = json!({
        "events": [events, events, events, events],
        "same": true,
        "empty": "",
        "text": "\u{feff}é\u{fffd}",
        "size": 2,
        "kept": [2],
        "ways": [[["websocket"], ["sse", "poll"]], [["poll"]], [["sse", "poll"], ["websocket"]], [["websocket"]]],
    });
    assert_eq!(run(&page, body, json!([])).await?, expected);
    Ok(())
}

/// The same steps with a WebSocket and with a `GreenroomSocket` have the same results.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_behaves_like_a_websocket() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const found = [];
        for (const Socket of [WebSocket, GreenroomSocket]) {
          const socket = new Socket(`ws://${location.host}/room/1/?name=Ann`);
          const handler = () => {};
          socket.onmessage = handler;
          const before = [socket.readyState, socket.binaryType, socket.bufferedAmount, socket.url, socket.onopen,
            socket.onmessage === handler];
          const opened = await until(socket, 'open');
          const first = await until(socket, 'message');
          const open = [opened.type, opened.target === socket, socket.readyState, socket.protocol,
            typeof first.data, first.origin];
          socket.binaryType = 'arraybuffer';
          socket.binaryType = 'nonsense';
          socket.send(JSON.stringify({ text: 'close' }));
          const { type, code, reason, wasClean } = await until(socket, 'close');
          socket.send('into the void');
          found.push({
            before, open, close: [type, code, reason, wasClean, socket.readyState],
            // WebKit counts the head of the frame too.
            after: [socket.binaryType, socket.bufferedAmount >= 'into the void'.length],
            constants: [Socket.CONNECTING, Socket.OPEN, Socket.CLOSING, Socket.CLOSED,
              socket.CONNECTING, socket.OPEN, socket.CLOSING, socket.CLOSED],
            thrown: [
              thrown(() => new Socket('ftp://example.com/')),
              thrown(() => new Socket('ws://a b/')),
              thrown(() => new Socket('/', ['a', 'a'])),
              thrown(() => new Socket('/', 'not a token')),
              thrown(() => socket.close(1001)),
              thrown(() => socket.close(5000)),
              thrown(() => socket.close(1000, 'é'.repeat(62))),
            ],
          });
        }
        return found;";
    let found = run(&page, body, json!([])).await?;
    assert!(found[0].is_object(), "{found}");
    assert_eq!(found[0], found[1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_sent_while_disconnected_have_a_limit_and_an_order() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const socket = new GreenroomSocket('/room/1/?name=Ann', [], { queueLimit: 20 });
        socket.send('first of ten'.slice(0, 10));
        socket.send('second ten');
        const full = [thrown(() => socket.send('x')), socket.bufferedAmount];
        const said = [];
        const all = new Promise((done) => socket.onmessage = ({ data }) => {
          const { type, text } = JSON.parse(data);
          if (type === 'chat.message' && said.push(text) === 3) done();
        });
        socket.onopen = () => socket.send('hello');
        await all;
        const after = socket.bufferedAmount;
        socket.close(1000);
        await until(socket, 'close');
        return { full, said, after };";
    let expected = json!({
        "full": ["QuotaExceededError", 20],
        "said": ["hello", "first of t", "second ten"],
        "after": 0,
    });
    assert_eq!(run(&page, body, json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_gives_up_after_the_given_attempts() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const states = [];
        const socket = new GreenroomSocket('ws://127.0.0.1:9/', [], { reconnect: { base: 1, attempts: 2 } });
        socket.addEventListener('statechange', ({ state }) => states.push(state));
        const failed = until(socket, 'error').then(() => states.push('error'));
        const { code, wasClean } = await until(socket, 'close');
        await failed;
        return [states, code, wasClean];";
    let states = ["waiting", "connecting", "waiting", "connecting", "closed", "error"];
    assert_eq!(run(&page, body, json!([])).await?, json!([states, 1006, false]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_network_is_noticed_and_a_new_one_used_at_once() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.enter(&server, "123", "Ann").await?;
    if browser.engine() == Engine::WebKit {
        let reason = "its driver cannot take the network away, so a script sends the page the event";
        browser.engine().leaves_out("a lost network", reason)?;
        page.run("dispatchEvent(new Event('offline'))", json!([])).await?;
    } else {
        browser.set_offline(true).await?;
    }
    let lost = "Array.from(document.querySelectorAll('[data-kind=status]')).some(
        line => line.textContent === '[disconnected]')";
    page.wait(lost, json!([])).await?;
    if browser.engine() == Engine::WebKit {
        page.run("dispatchEvent(new Event('online'))", json!([])).await?;
    } else {
        browser.set_offline(false).await?;
    }
    page.wait_until_open().await?;
    page.say("here again").await?;
    page.wait_for_message("Ann", "here again").await?;
    assert_eq!(page.lines("status").await?, ["[connected]", "[disconnected]", "[connected]"]);
    Ok(())
}

/// Any script of the site can write into the storage, and a clock may be wrong for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_storage_with_odd_values_counts_as_empty() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = r#"
        const KEY = `${location.host}/room/1/`;
        const open = async () => {
          const socket = new GreenroomSocket('/room/1/?name=Ann');
          const late = new Promise((on) => setTimeout(on, 10000, 'never'));
          const opened = await Promise.race([until(socket, 'message').then(() => socket.transport), late]);
          socket.close();
          return opened;
        };
        const found = {}, NativeSocket = WebSocket;
        let tried = 0;
        for (const text of args) {
          localStorage.setItem('greenroom.transports', text.replace('KEY', KEY));
          window.WebSocket = NativeSocket;
          const first = await open();
          window.WebSocket = class { constructor() { tried += 1; throw new Error('blocked'); } };
          tried = 0;
          found[text] = [first, await open(), await open(), tried].join(' ');
        }
        return found;"#;
    let odd = [
        "5",
        "true",
        "null",
        "\"x\"",
        "[1]",
        "not JSON",
        r#"{"y":null}"#,
        r#"{"KEY":null}"#,
        r#"{"KEY":5}"#,
        r#"{"KEY":{"transport":5,"until":9e15}}"#,
        r#"{"KEY":{"transport":"poll","until":9e15}}"#,
        r#"{"KEY":{"transport":"poll","until":1e999}}"#,
        r#"{"KEY":{"transport":"poll","until":"9"}}"#,
        r#"{"y":{"transport":"poll","until":"x"},"z":"poll"}"#,
    ];
    let found = run(&page, body, json!(odd)).await?;
    for text in odd {
        // The first one finds no memory. The second one is blocked, and remembers for the third one.
        assert_eq!(found[text], "websocket sse sse 1", "with {text} in the storage");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_takes_or_gives_nothing_is_replaced_by_the_page() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        let tried = 0;
        window.WebSocket = class { constructor() { tried += 1; throw new Error('blocked'); } };
        const open = async (path) => {
          const socket = new GreenroomSocket(path);
          await until(socket, 'open');
          await until(socket, 'message');
          socket.close();
          return socket.transport;
        };
        const fail = () => { throw new DOMException('full', 'QuotaExceededError'); };
        const twice = async (path) => [await open(path), await open(path), tried];
        const { setItem, getItem } = Storage.prototype;
        Storage.prototype.setItem = fail;
        const full = await twice('/room/1/');
        Storage.prototype.getItem = fail;
        const broken = await twice('/room/2/');
        Object.assign(Storage.prototype, { setItem, getItem });
        return [full, broken, await twice('/room/3/'), await open('/room/1/'), tried];";
    let expected = json!([["sse", "sse", 1], ["sse", "sse", 2], ["sse", "sse", 3], "sse", 3]);
    assert_eq!(run(&page, body, json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_no_timer_can_hold_are_long_and_not_zero() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const found = [];
        for (const transport of ['websocket', 'sse', 'long-poll', 'poll']) {
          const socket = new GreenroomSocket('/room/1/', [], { transports: [transport], timeout: Infinity });
          found.push((await until(socket, 'message')).type);
          socket.close();
        }
        return found;";
    assert_eq!(run(&page, body, json!([])).await?, json!(["message", "message", "message", "message"]));
    Ok(())
}

/// A script that plays the server in the page, answer by answer, for answers that no real server gives on demand.
const SCRIPTED: &str = "
    const asked = [];
    const EVENTS = { 'Content-Type': 'text/event-stream' };
    const batch = (number, more) => Response.json({ batch: number, messages: [], ...more });
    const serve = (answers) => {
      window.fetch = async (url, { method = 'GET', body, signal }) => {
        const query = new URL(url).searchParams;
        const what = query.get('greenroom');
        asked.push([method, what, query.get('ack'), query.get('seq'), body]);
        const left = answers[what];
        const answer = left instanceof Array && left.length > 0 ? left.shift() : null;
        if (answer) return answer();
        if (what !== 'poll' && what !== 'events') return new Response(null, { status: 204 });
        return new Promise((_, fail) => signal.addEventListener('abort', () => fail(new TypeError('aborted'))));
      };
    };
    const opened = () => Response.json({ id: 'f'.repeat(40), protocol: 'b', wait: 20, expires: 30, limit: 1024 });
    const open = (transports, options) => new GreenroomSocket('/any/?a=1', ['a', 'b'], { transports, ...options });
";

#[tokio::test(flavor = "multi_thread")]
async fn bytes_and_close_codes_travel_over_requests() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        serve({
          open: [opened],
          poll: [
            () => batch(1, { messages: ['text', { binary: 'AQID' }] }),
            () => batch(1, { messages: ['text', { binary: 'AQID' }] }),
            () => batch(2, { messages: [{ binary: '' }] }),
            async () => {
              while (!asked.some(([, what]) => what === 'send')) await new Promise((on) => setTimeout(on, 5));
              return batch(3, { messages: ['last'], close: { code: 4001, reason: 'enough' } });
            },
          ],
        });
        const socket = open(['long-poll']);
        const received = [];
        socket.onopen = () => {
          socket.send(new Blob(['blob']));
          socket.send(new Uint8Array([255, 0]));
          socket.send('text');
        };
        socket.onmessage = ({ data }) => { received.push(data); socket.binaryType = 'arraybuffer'; };
        const { code, reason, wasClean } = await until(socket, 'close');
        const shown = received.map((data) => typeof data === 'string' ? data : [...new Uint8Array(data)].join());
        return {
          shown, protocol: socket.protocol, end: [code, reason, wasClean],
          sent: asked.filter(([, what]) => what === 'send').map(([, , , seq, body]) => [seq, body]),
          acknowledged: asked.filter(([, what]) => what === 'poll').map(([, , ack]) => ack),
          opened: asked[0],
        };";
    let sent = r#"[{"binary":"YmxvYg=="},{"binary":"/wA="},"text"]"#;
    let expected = json!({
        "shown": ["text", "1,2,3", "", "last"],
        "protocol": "b",
        "end": [4001, "enough", true],
        "sent": [["1", sent]],
        "acknowledged": ["0", "1", "1", "2"],
        "opened": ["POST", "open", null, null, r#"{"protocols":["a","b"]}"#],
    });
    assert_eq!(run(&page, &format!("{SCRIPTED}{body}"), json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_are_split_over_several_requests() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        serve({ open: [opened] });
        const socket = open(['poll']);
        await until(socket, 'open');
        for (let count = 0; count < 2500; count += 1) socket.send('');
        for (let count = 0; count < 7; count += 1) socket.send('x'.repeat(100));
        socket.send('y'.repeat(5000));
        socket.close();
        await until(socket, 'close');
        return asked.filter(([, what]) => what === 'send').map(([, , , , body]) => JSON.parse(body).length);";
    // A request takes 1,000 messages, or a third of the message limit of 1,024 bytes, or one message that is larger.
    let expected = json!([1000, 1000, 503, 3, 1, 1]);
    assert_eq!(run(&page, &format!("{SCRIPTED}{body}"), json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_acknowledged_now_and_then() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = r#"
        const say = (number, messages) =>
          new TextEncoder().encode(`id: ${number}\ndata: ${JSON.stringify({ batch: number, messages })}\n\n`);
        let number = 0;
        const stream = new ReadableStream({
          pull(to) {
            number += 1;
            // Many small batches, then one that is large.
            if (number <= 70) to.enqueue(say(number, ["x"]));
            else if (number === 71) to.enqueue(say(number, ["y".repeat(65536)]));
            else if (number === 72) to.enqueue(say(number, ["end"]));
          },
        });
        serve({ open: [opened], events: [() => new Response(stream, { headers: EVENTS })] });
        const socket = open(["sse"]);
        let count = 0;
        await new Promise((done) => socket.onmessage = ({ data }) => { count += 1; if (data === "end") done(); });
        socket.close(1000, "bye");
        const { code } = await until(socket, "close");
        return [count, code, asked.filter(([, what]) => what === "ack").map(([, , ack]) => ack), asked.at(-1)];"#;
    let bye = json!(["POST", "close", null, null, r#"{"code":1000,"reason":"bye"}"#]);
    let expected = json!([72, 1000, ["32", "64", "71"], bye]);
    assert_eq!(run(&page, &format!("{SCRIPTED}{body}"), json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_ends_the_connection_and_a_passing_error_does_not() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const status = (status, headers) => () => Response.json({ message: 'no' }, { status, headers });
        const ends = [];
        for (const code of [401, 403, 404, 405]) {
          serve({ open: [status(code)] });
          const { code: end, reason, wasClean } = await until(open(['poll']), 'close');
          ends.push([end, reason, wasClean]);
        }

        const delays = [];
        const told = ({ delay }) => delay !== null && delays.push(delay);
        serve({ open: [status(503, { 'Retry-After': '1' }), status(429), opened] });
        const busy = open(['poll'], { reconnect: { base: 1 } });
        busy.onstatechange = told;
        await until(busy, 'open');

        // A send is answered 503, then 410. The message was not taken, so it goes to the next connection.
        asked.length = 0;
        const gone = status(410);
        serve({ open: [opened, opened], send: [status(503, { 'Retry-After': '0' }), gone], poll: [] });
        const socket = open(['poll'], { reconnect: { base: 1 } });
        socket.onopen = () => socket.send('kept');
        await until(socket, 'reconnect');
        while (asked.filter(([, what]) => what === 'send').length < 3) await new Promise((on) => setTimeout(on, 5));
        const sent = asked.filter(([, what]) => what === 'send').map(([, , , seq, body]) => [seq, body]);
        return { ends, waited: [delays.length, delays[0] >= 1000 && delays[0] <= 1001], sent };";
    let kept = "[\"kept\"]";
    let ends = [401, 403, 404, 405].map(|status| json!([1006, format!("HTTP {status}: no"), false]));
    let expected = json!({
        "ends": ends,
        "waited": [2, true],
        "sent": [["1", kept], ["1", kept], ["1", kept]],
    });
    assert_eq!(run(&page, &format!("{SCRIPTED}{body}"), json!([])).await?, expected);
    Ok(())
}

/// What an answer holds is checked before it counts: something on the way may have made it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_odd_values_harms_nothing() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = r#"
        Math.random = () => 0; // no delays
        const text = (text, status = 200, type = 'application/json') =>
          () => new Response(text, { status, headers: { 'Content-Type': type } });
        const page = '<!doctype html><title>Welcome to our network</title>';

        const refusals = [];
        for (const answer of [text('{"message":["no"]}', 403), text('{"message":{}}', 403), text('null', 403),
          text('{"id":5}'), text('{"id":""}'), text('[]'), text(page)]) {
          serve({ open: [answer] });
          refusals.push((await until(open(['poll']), 'close')).reason);
        }

        // The numbers of `open` are odd, and the connection works all the same.
        const odd = ['{"id":"a","protocol":7,"wait":null,"expires":"x","limit":null}',
          '{"id":"a","protocol":{},"wait":-1,"expires":1e999,"limit":-5}',
          '{"id":"a","wait":1e300,"expires":1e300,"limit":1e300}'];
        const working = [];
        for (const answer of odd) {
          serve({ open: [text(answer)], poll: [() => batch(1, { messages: ['in'] })] });
          const socket = open(['long-poll']);
          socket.onopen = () => { socket.send('a'); socket.send('b'); };
          const { data } = await until(socket, 'message');
          socket.close();
          await until(socket, 'close');
          const sent = asked.filter(([, what]) => what === 'send').map(([, , , , body]) => body).join();
          working.push([data, socket.protocol, sent]);
          asked.length = 0;
        }

        // No odd batch counts, so nothing of the right one is lost.
        const bad = [page, 'null', '5', '{}', '{"batch":"1","messages":["bad"]}', '{"batch":1,"messages":5}',
          '{"batch":1,"messages":["bad",null]}', '{"batch":1,"messages":["bad",{"binary":"%"}]}',
          '{"batch":1,"messages":["bad"],"close":5}', '{"batch":1,"messages":["bad"],"close":{"code":"x"}}',
          '{"batch":9,"messages":["bad"]}'];
        const right = JSON.stringify({ batch: 1, messages: ['right'], close: { code: 4000, reason: '' } });
        const streamed = (data) => text(`data: ${data}\n\n`, 200, 'text/event-stream');
        const heard = {};
        for (const [mode, what, answers] of [
          ['long-poll', 'poll', [...bad, right].map((one) => text(one))],
          ['sse', 'events', [text(page, 200, 'text/html'), ...[...bad, right].map(streamed)]],
        ]) {
          serve({ open: [() => Response.json({ id: 'a' })], [what]: answers });
          const socket = open([mode]);
          const got = heard[mode] = [];
          socket.onmessage = ({ data }) => got.push(data);
          got.push((await until(socket, 'close')).code);
        }

        // Only 204 says that the server has the messages.
        asked.length = 0;
        serve({ open: [() => Response.json({ id: 'a' })], send: [text(page), text(page, 200, 'text/html')] });
        const socket = open(['long-poll']);
        socket.onopen = () => socket.send('kept');
        await until(socket, 'open');
        while (socket.bufferedAmount > 0) await new Promise((on) => setTimeout(on, 5));
        const sends = asked.filter(([, what]) => what === 'send').map(([, , , seq, body]) => [seq, body]);
        return { refusals, working, heard, sends };"#;
    let stranger = "HTTP 404: the answer is not from Greenroom";
    let sent = r#"["a","b"]"#;
    let expected = json!({
        "refusals": [
            r#"HTTP 403: {"message":["no"]}"#, r#"HTTP 403: {"message":{}}"#, "HTTP 403: null",
            stranger, stranger, stranger, stranger,
        ],
        "working": [["in", "", sent], ["in", "", sent], ["in", "", sent]],
        "heard": { "long-poll": ["right", 4000], "sse": ["right", 4000] },
        "sends": [["1", r#"["kept"]"#], ["1", r#"["kept"]"#], ["1", r#"["kept"]"#]],
    });
    assert_eq!(run(&page, &format!("{SCRIPTED}{body}"), json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_holds_no_poll_is_not_asked_without_a_pause() -> Result<()> {
    const POLLS: usize = 5;
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const [polls] = args;
        const nothing = () => new Response(null, { status: 204 });
        serve({ open: [() => Response.json({ id: 'a', wait: 0 })], poll: Array(polls).fill(nothing) });
        const began = performance.now();
        open(['long-poll'], { pollInterval: 100 });
        while (asked.filter(([, what]) => what === 'poll').length < polls) await new Promise((on) => setTimeout(on, 5));
        return performance.now() - began;";
    let took = run(&page, &format!("{SCRIPTED}{body}"), json!([POLLS])).await?.as_f64();
    // A timer may end a little early.
    assert!(took.is_some_and(|took| took > 99.0 * (POLLS as f64 - 1.0)), "{took:?} ms");
    Ok(())
}
