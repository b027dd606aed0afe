//! Why the state changes, as `statechange` says it.

use browser_tests::Proxy;

use super::{scripted::SCRIPTED, *};

/// Collects the states of a socket with their causes.
const TOLD: &str = "
    const told = (socket, list = []) => {
      socket.addEventListener('statechange', ({ state, cause, code, status, reason }) =>
        list.push([state, cause, code, status, reason].map((value) => value ?? '-').join(' ').trim()));
      return list;
    };
    const state = (socket, state) => new Promise((on) => socket.addEventListener('statechange', function look(event) {
      if (event.state !== state) return;
      socket.removeEventListener('statechange', look);
      on(event);
    }));
";

#[tokio::test(flavor = "multi_thread")]
async fn a_state_says_why_it_changed() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const room = '/room/1/?name=Ann';
        const options = { reconnect: { base: 1, max: 1 } };
        const found = {};

        const closed = new GreenroomSocket(room);
        found.closed = told(closed);
        await until(closed, 'open');
        closed.send(JSON.stringify({ text: 'close' }));
        await until(closed, 'close');

        const page = new GreenroomSocket(room);
        found.page = told(page);
        await until(page, 'open');
        page.close(4000, 'enough');
        await until(page, 'close');

        const offline = new GreenroomSocket(room, [], options);
        found.offline = told(offline);
        await until(offline, 'open');
        dispatchEvent(new Event('offline'));
        await until(offline, 'reconnect');
        offline.close();
        await until(offline, 'close');

        const left = new GreenroomSocket(room, [], options);
        found.left = told(left);
        await until(left, 'open');
        dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }));
        dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }));
        await until(left, 'reconnect');
        left.close();
        await until(left, 'close');

        const nobody = new GreenroomSocket('ws://127.0.0.1:9/', [], { reconnect: { base: 1, attempts: 1 } });
        found.nobody = told(nobody);
        await until(nobody, 'close');
        return found;";
    let end = ["closing page - -", "closed page 1005 -"];
    let expected = json!({
        "closed": ["open - - -", "closed closed 1000 -"],
        "page": ["open - - -", "closing page - -", "closed page 4000 -"],
        "offline": ["open - - -", "waiting offline 1006 - offline", "connecting offline - -", "open - - -", end[0], end[1]],
        "left": ["open - - -", "connecting left - -", "open - - -", end[0], end[1]],
        "nobody": ["waiting unreachable 1006 -", "connecting unreachable - -", "closed unreachable 1006 -"],
    });
    assert_eq!(run(&page, &format!("{TOLD}{body}"), json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_and_another_transport_are_told() -> Result<()> {
    let server = Server::start()?;
    let proxy = Proxy::start(&server).await?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&proxy.url("/home/")).await?;
    let body = "
        const socket = window.socket = new GreenroomSocket('/room/1/?name=Ann', [], { reconnect: { base: 1 }, timeout: 500 });
        window.list = told(socket);
        window.waiting = state(socket, 'waiting');
        await until(socket, 'open');
        window.held = new Promise((on) => socket.addEventListener('statechange', ({ cause, transport }) => {
          if (cause === 'transport' && transport === 'long-poll') on();
        }));";
    run(&page, &format!("{TOLD}{body}"), json!([])).await?;
    proxy.refuse_upgrades();
    proxy.hold_streams();
    server.kill();
    run(&page, "await window.waiting;", json!([])).await?;
    let server = Server::start()?;
    proxy.turn_to(&server)?;
    let found = run(&page, "await window.held; return window.list;", json!([])).await?;
    let list: Vec<String> = serde_json::from_value(found)?;
    assert_eq!(list[..3], ["open - - -", "waiting lost 1006 -", "connecting lost - -"], "{list:?}");
    // Streams do not work here either, so the transport changes twice: the second time on the same connection.
    let changes: Vec<_> = list.iter().filter(|line| line.starts_with("open transport")).collect();
    assert_eq!(changes.len(), 2, "{list:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_told_with_its_status() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;
    let body = "
        const status = (status) => () => Response.json({ message: 'no' }, { status });
        serve({ open: [status(503), opened], poll: [status(502), () => batch(1, { close: { code: 4001, reason: 'bye' } })] });
        const socket = open(['long-poll'], { reconnect: { base: 1 } });
        const list = told(socket);
        await until(socket, 'close');
        return list;";
    let expected = json!([
        "waiting refused 1006 503 no",
        "connecting refused - -",
        "open - - -",
        "waiting refused - 502",
        "open - - -",
        "closed closed 4001 - bye",
    ]);
    assert_eq!(run(&page, &format!("{SCRIPTED}{TOLD}{body}"), json!([])).await?, expected);
    Ok(())
}
