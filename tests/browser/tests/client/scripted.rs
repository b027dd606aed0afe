//! What the client does with answers that no real server gives on demand.

use super::*;

/// A script that plays the server in the page, answer by answer.
pub(super) const SCRIPTED: &str = "
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
        "opened": ["POST", "open", null, null, r#"{"protocols":["a","b"],"resume":{}}"#],
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
async fn a_poll_that_brings_much_is_followed_by_the_next_at_once() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const large = 'x'.repeat(40_000);
        serve({ open: [opened], poll: [1, 2, 3].map((number) => () => batch(number, { messages: [number < 3 ? large : 'end'] })) });
        const socket = open(['poll'], { pollInterval: 1e9 });
        const heard = [];
        await new Promise((done) => socket.onmessage = ({ data }) => { if (heard.push(data.length) === 3) done(); });
        socket.close();
        await until(socket, 'close');
        return [heard, asked.filter(([, what]) => what === 'poll').map(([, , ack]) => ack)];";
    let expected = json!([[40_000, 40_000, 3], ["0", "1", "2"]]);
    assert_eq!(run(&page, &format!("{SCRIPTED}{body}"), json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_however_soon_it_follows_an_answer() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    // All of this is over in one turn of the page: the second message comes in each place of what the client does with
    // the answer to the first one.
    let body = "
        const unsent = [];
        // No timer: a browser has those of a page in the background wait.
        const { port1, port2 } = new MessageChannel();
        const turn = () => new Promise((on) => { port1.onmessage = on; port2.postMessage(null); });
        for (let place = 0; place < 40; place += 1) {
          let socket = null;
          const follow = async () => {
            for (let step = 0; step < place; step += 1) await null;
            socket.send('second');
          };
          const text = async () => { follow(); return ''; };
          serve({ open: [opened], send: [() => Object.assign(new Response(null, { status: 204 }), { text })] });
          socket = open(['long-poll']);
          await until(socket, 'open');
          asked.length = 0;
          socket.send('first');
          await turn();
          const sent = asked.filter(([, what]) => what === 'send').map(([, , , , body]) => body);
          if (sent.join() !== '[\"first\"],[\"second\"]') unsent.push([place, sent]);
          socket.close();
          await until(socket, 'close');
        }
        return unsent;";
    assert_eq!(run(&page, &format!("{SCRIPTED}{body}"), json!([])).await?, json!([]));
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

/// The server did not take the request, so it is sent to the next connection, and is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_server_did_not_take_goes_to_the_next_connection() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = r#"
        const status = (status) => () => Response.json({}, { status, headers: { 'Retry-After': '0' } });
        const answer = '{"type":"greenroom.answer","id":1,"value":"kept"}';
        serve({
          open: [opened, opened],
          send: [status(503), status(410)],
          poll: [null, async () => {
            while (asked.filter(([, what]) => what === 'send').length < 3) await new Promise((on) => setTimeout(on, 5));
            return batch(1, { messages: ['{"type":"greenroom.answer","id":9}', answer] });
          }],
        });
        const socket = open(['long-poll'], { reconnect: { base: 1 } });
        await until(socket, 'open');
        const value = await socket.request('x');
        return [value, asked.filter(([, what]) => what === 'send').map(([, , , seq, body]) => [seq, body])];"#;
    let sent = r#"["{\"type\":\"greenroom.request\",\"id\":1,\"input\":\"x\"}"]"#;
    let expected = json!(["kept", [["1", sent], ["1", sent], ["1", sent]]]);
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
