//! The messages that wait to be sent: how many may wait, and that none is lost.

use super::{scripted::SCRIPTED, *};

/// A script that plays a WebSocket server which accepts when it is told to.
const ACCEPTING: &str = "
    const sockets = [];
    window.WebSocket = class {
      protocol = ''; extensions = ''; bufferedAmount = 0; sent = [];
      constructor() { sockets.push(this); }
      send(data) { this.sent.push(data); }
      close() {}
    };
    const open = (options) => new GreenroomSocket('/any/', [], { transports: ['websocket'], resume: false, ...options });
";

#[tokio::test(flavor = "multi_thread")]
async fn many_short_messages_wait_and_are_all_sent() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const COUNT = 300_000; // more than a function takes as arguments
        const socket = open({ queueLimit: 1 << 24 });
        for (let number = 0; number < COUNT; number += 1) socket.send(`${number}`);
        sockets[0].onopen();
        const { sent } = sockets[0];
        return [sent.length, sent.every((text, at) => text === `${at}`), socket.bufferedAmount];";
    let expected = json!([300_000, true, 0]);
    assert_eq!(run(&page, &format!("{ACCEPTING}{body}"), json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_messages_count_too() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const socket = open({ queueLimit: 3200 });
        let count = 0;
        while (count < 1000 && thrown(() => socket.send('')) === null) count += 1;
        const full = [count, thrown(() => socket.send('')), socket.bufferedAmount];
        sockets[0].onopen();
        return [full, sockets[0].sent.length];";
    let expected = json!([[100, "QuotaExceededError", 0], 100]);
    assert_eq!(run(&page, &format!("{ACCEPTING}{body}"), json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_cannot_be_read_costs_no_other_message() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const said = [];
        console.error = (text) => said.push(text);
        serve({ open: [opened] });
        const socket = open(['long-poll']);
        await until(socket, 'open');
        const gone = () => {
          const blob = new Blob(['x']);
          blob.arrayBuffer = () => Promise.reject(new DOMException('the file has changed', 'NotReadableError'));
          return blob;
        };
        for (const data of ['first', gone(), 'second']) socket.send(data);
        while (socket.bufferedAmount > 0) await new Promise((on) => setTimeout(on, 5));
        socket.send(gone()); // alone in its request
        while (socket.bufferedAmount > 0) await new Promise((on) => setTimeout(on, 5));
        socket.send('third');
        socket.close(1000);
        const { code, wasClean } = await until(socket, 'close');
        return [asked.filter(([, what]) => what === 'send').map(([, , , seq, body]) => [seq, body]), said, code, wasClean];";
    let told = "greenroom.js: a Blob cannot be read, and is not sent";
    let expected = json!([[["1", r#"["first","second"]"#], ["2", r#"["third"]"#]], [told, told], 1000, true]);
    assert_eq!(run(&page, &format!("{SCRIPTED}{body}"), json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refused_for_now_is_sent_when_the_page_comes_back() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        let read;
        const refused = new Promise((on) => { read = on; });
        const busy = () => Object.assign(new Response(null, { status: 503, headers: { 'Retry-After': '9' } }), {
          text: async () => { setTimeout(read); return ''; }, // when the client has seen the answer
        });
        serve({ open: [opened, opened], send: [busy] });
        const socket = open(['long-poll']);
        await until(socket, 'open');
        socket.send('important');
        const sent = () => asked.filter(([, what]) => what === 'send').map(([, , , , body]) => body);
        await refused;
        const back = until(socket, 'reconnect');
        dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }));
        const kept = socket.bufferedAmount;
        dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }));
        await back;
        while (sent().length < 2) await new Promise((on) => setTimeout(on, 5));
        return [kept, sent()];";
    let important = r#"["important"]"#;
    let expected = json!([9, [important, important]]);
    assert_eq!(run(&page, &format!("{SCRIPTED}{body}"), json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_clean_only_if_all_was_sent() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const busy = () => Response.json({}, { status: 503, headers: { 'Retry-After': '9' } });
        const found = [];
        // A poll fails, so what is sent waits. The close sends it.
        for (const send of [[], Array(9).fill(busy)]) {
          asked.length = 0;
          serve({ open: [opened], poll: Array(9).fill(busy), send });
          const socket = open(['long-poll'], { timeout: 200 });
          while (socket.state !== 'waiting') await until(socket, 'statechange');
          socket.send('goodbye');
          socket.close(1000, 'done');
          const { code, wasClean } = await until(socket, 'close');
          const names = asked.map(([, what]) => what).filter((what) => what !== 'poll');
          found.push([names, code, wasClean]);
        }
        return found;";
    let names = ["open", "send", "close"];
    let expected = json!([[names, 1000, true], [names, 1006, false]]);
    assert_eq!(run(&page, &format!("{SCRIPTED}{body}"), json!([])).await?, expected);
    Ok(())
}
