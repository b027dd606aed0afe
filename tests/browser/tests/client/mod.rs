//! `greenroom.js` alone in a page: its functions, and its behaviour as a WebSocket.

mod causes;
mod history;
mod requests;
mod scripted;
mod urls;
mod waiting;

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
async fn nobody_waits_for_a_server_that_restarts_for_longer_than_it_has_been_away() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        Math.random = () => 1;
        /** The delays after a connection that ends like this, before attempts that fail; and how long it was away then. */
        const delays = async (code, reason) => {
          let ended = null;
          window.WebSocket = class {
            protocol = ''; extensions = ''; bufferedAmount = 0;
            constructor() {
              setTimeout(() => {
                if (ended !== null) return this.onclose?.({ code: 1006, reason: '', wasClean: false });
                this.onopen();
                ended = performance.now();
                this.onclose({ code, reason, wasClean: true });
              });
            }
            close() {}
          };
          const reconnect = { base: 100, attempts: 4 };
          const socket = new GreenroomSocket('/any/', [], { transports: ['websocket'], resume: false, reconnect });
          const found = [];
          socket.addEventListener('statechange', ({ state, delay }) => {
            if (state === 'waiting') found.push([delay, performance.now() - ended]);
          });
          await until(socket, 'close');
          return found;
        };
        return [await delays(1012, 'retry=10ms'), await delays(1012, 'maintenance')];";
    let found: [Vec<(f64, f64)>; 2] = serde_json::from_value(run(&page, body, json!([])).await?)?;
    let [hinted, other] = found;
    assert_eq!((hinted.len(), hinted[0].0), (4, 20.0), "{hinted:?}");
    for (delay, away) in &hinted[1..] {
        assert!(*delay >= 100.0 && *delay <= away.max(100.0), "{hinted:?}");
    }
    // Without a time, the server may be away for good.
    let grown: Vec<_> = other.iter().map(|(delay, _)| *delay).collect();
    assert_eq!(grown, [100.0, 200.0, 400.0, 800.0]);
    Ok(())
}

/// Else a short loss just after a restart would cost a page half a minute.
#[tokio::test(flavor = "multi_thread")]
async fn what_failed_while_a_server_restarts_does_not_count_behind_it() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        Math.random = () => 1;
        let attempt = 0;
        window.WebSocket = class {
          protocol = ''; extensions = ''; bufferedAmount = 0;
          constructor() {
            attempt += 1;
            // The server closes, is away for six attempts, is there, and the network fails twice.
            const ends = attempt <= 7 ? { 1: { code: 1012, reason: 'retry=10ms' } }[attempt] : {};
            setTimeout(() => {
              if (ends) this.onopen?.();
              this.onclose?.({ code: 1006, reason: '', wasClean: false, ...ends });
            });
          }
          close() {}
        };
        const reconnect = { base: 10, attempts: 9 };
        const socket = new GreenroomSocket('/any/', [], { transports: ['websocket'], resume: false, reconnect });
        const delays = [];
        await new Promise((done) => socket.onstatechange = ({ state, delay }) => {
          if (state === 'waiting' && delays.push(delay) === 9) done();
        });
        socket.close();
        return delays.slice(-2);";
    // The close counts, and each connection that did not last.
    assert_eq!(run(&page, body, json!([])).await?, json!([20, 40]));
    Ok(())
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
          hint: [0, 1].map((random) => delay({ code: 1012, reason: 'retry=3200ms' }, random)),
          endless: delay({ code: 1012, reason: 'retry=999999999ms' }, 0),
          again: [1, 2, 1000].map((attempt) => delay({ code: 1012, reason: 'retry=3200ms', attempt }, 1)),
          atOnce: [0, 5, 1000].map((attempt) => delay({ code: 1012, reason: 'retry=0ms', attempt }, 1)),
          none: delay({ code: 1012, reason: 'maintenance' }, 0.5),
          other: delay({ code: 1011, reason: 'retry=3200ms' }, 0.5),
          overloaded: [delay({ code: 1013 }, 0), delay({ code: 1013 }, 1)],
          restarting: [0, 4000, 1e9].map((away) => delay({ attempt: 9, away }, 1)),
          soon: delay({ attempt: 1, away: 4000 }, 1),
          after: [delay({ retryAfter: 7000 }, 0), delay({ retryAfter: 7000 }, 1), delay({ retryAfter: 1e12 }, 0)],
          header: ['3', 'Tue, 01 Jan 2030 00:00:09 GMT', 'Mon, 31 Dec 2029 00:00:00 GMT', 'soon', null]
            .map((value) => retryAfter(value, now)),
          back: [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015, 3000, 4000]
            .filter(mayReconnect),
        };";
    let expected = json!({
        "longest": [1000, 2000, 4000, 16000, 30000, 30000],
        "shortest": [0, 0, 0],
        "hint": [3200, 3520], "endless": 300_000, "again": [3840, 4480, 33_200], "atOnce": [10, 320, 30_000],
        "none": 500, "other": 500,
        "overloaded": [1000, 5000],
        "restarting": [1000, 4000, 30_000], "soon": 2000,
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
        const socket = new GreenroomSocket('/room/1/?name=Ann', [], { queueLimit: 100 });
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
    assert_eq!(page.lines("status").await?, ["[connected]", "[disconnected]", "[connected, nothing missed]"]);
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
