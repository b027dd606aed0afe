//! A consumer that waits by `ready` streams more than an outbox holds, and loses nothing.

use std::{rc::Rc, time::Duration};

use greenroom::{
    Limits, Mount,
    consumer::Handle,
    error::Closed,
    prelude::*,
    testing::{LiveServer, WebsocketCommunicator},
};
use integration_tests::{
    Log, PATIENCE, eventually,
    raw::{BINARY, CLOSE, FIN, Raw, Request, close_payload, masked},
};
use tokio::time::timeout;

/// How much an outbox holds.
const OUTBOX: usize = 256 << 10;
/// The size of a part.
const PART: usize = 16 << 10;
/// Far more than an outbox and the buffers of a socket hold together.
const PARTS: u32 = 1_000;

/// Streams parts: `hook 1000` in the hook, `task 1000` in a task beside it, until `stop` comes. A task that was started
/// `elsewhere` outlives the connection.
#[derive(NoEvents)]
struct Streamer {
    log: Log,
    stopped: Rc<std::cell::Cell<bool>>,
}

/// A part: its number, and bytes that belong to it.
fn part(number: u32) -> Vec<u8> {
    let mut part = number.to_be_bytes().to_vec();
    part.resize(PART, number as u8);
    part
}

async fn stream(parts: u32, handle: Handle, log: Log, stopped: Rc<std::cell::Cell<bool>>) {
    for number in 0..parts {
        if handle.ready().await == Err(Closed) {
            return log.note("closed");
        }
        if stopped.get() {
            let _ = handle.send("stopped");
            return log.note("stopped");
        }
        handle.send(Outgoing::binary(part(number))).expect("nothing has run since");
        log.note("sent");
    }
    log.note("whole");
}

impl Consumer for Streamer {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let (how, parts) = message.text()?.split_once(' ').unwrap_or(("stop", "0"));
        let parts = parts.parse()?;
        match how {
            "hook" => {
                for number in 0..parts {
                    ctx.ready().await.inspect_err(|_| self.log.note("closed"))?;
                    ctx.send_bytes(part(number))?;
                }
                self.log.note("whole");
            }
            "task" => {
                let (handle, log, stopped) = (ctx.handle(), self.log.clone(), Rc::clone(&self.stopped));
                ctx.spawn(stream(parts, handle, log, stopped))?;
            }
            "elsewhere" => {
                let (handle, log, stopped) = (ctx.handle(), self.log.clone(), Rc::clone(&self.stopped));
                actix_web::rt::spawn(stream(parts, handle, log, stopped));
            }
            _ => self.stopped.set(true),
        }
        Ok(())
    }

    async fn disconnect(&mut self, reason: Disconnect, _: &mut Context) {
        self.log.note(format!("{} {:?}", u16::from(reason.code), reason.cause));
    }
}

fn mount(limits: Limits, log: &Log) -> Mount {
    let log = log.clone();
    let make = move |_: &Scope| Ok(Streamer { log: log.clone(), stopped: Rc::default() });
    Mount::new(UrlRouter::new().route("/", make)).unwrap().limits(limits.outbox_size(OUTBOX))
}

/// A client with a small receive buffer. It reads only what a test asks for.
async fn slow(server: &LiveServer) -> Raw {
    let mut client = Raw::open_narrow(server.address(), 4096).await;
    assert_eq!(client.ask(&Request::new("/")).await.status, 101);
    client
}

/// Waits until a stream makes no progress any more, and says how many parts it has sent.
async fn stalled(log: &Log) -> usize {
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let sent = log.lines().iter().filter(|line| *line == "sent").count();
        if sent == before && sent > 0 {
            return sent;
        }
        before = sent;
    }
}

async fn next_part(client: &mut Raw) -> Vec<u8> {
    let frame = timeout(PATIENCE, client.frame()).await.expect("a part in time");
    assert_eq!(frame.first, FIN | BINARY, "a part, and no close");
    frame.payload
}

#[actix_web::test]
async fn a_slow_reader_gets_a_large_file_whole() {
    for how in ["hook", "task"] {
        let log = Log::default();
        let mount = mount(Limits::new(), &log);
        let server = LiveServer::start(&mount, 1).unwrap();
        let mut client = slow(&server).await;
        client.text(&format!("{how} {PARTS}")).await;
        if how == "task" {
            // 16 MB would not fit: the stream waits, and does not close its client.
            let sent = stalled(&log).await;
            assert!(sent < PARTS as usize, "nobody has read, and {sent} parts were sent");
        }
        for number in 0..PARTS {
            assert!(next_part(&mut client).await == part(number), "{how} {number}");
        }
        eventually("the stream has ended", || log.lines().contains(&"whole".to_owned())).await;
        let metrics = mount.default_layer().metrics();
        assert_eq!((metrics.too_slow, metrics.outbox_full), (0, 0), "{how}");
    }
}

/// The mark at which a stream goes on is low enough for the client's messages to be served.
#[actix_web::test]
async fn a_stream_in_a_task_does_not_keep_its_client_from_being_heard() {
    let log = Log::default();
    let mount = mount(Limits::new(), &log);
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut client = slow(&server).await;
    client.text("task 1000000").await;
    let sent = stalled(&log).await;
    client.text("stop").await;
    let mut read = 0;
    let last = loop {
        let frame = timeout(PATIENCE, client.frame()).await.expect("a frame in time");
        if frame.first != (FIN | BINARY) {
            break frame;
        }
        read += 1;
    };
    assert_eq!(last.payload, b"stopped");
    assert!(read <= 2 * sent + 2 * OUTBOX / PART, "{read} parts came, and {sent} were sent before");
}

#[actix_web::test]
async fn every_end_of_a_connection_ends_the_wait() {
    for how in ["hook", "elsewhere"] {
        for (end, noted) in [
            ("close", "1000 Client"),
            ("vanish", "1006 Gone"),
            ("stop reading", "1013 TooSlow"),
            ("shutdown", "1012 Shutdown"),
        ] {
            let log = Log::default();
            let limits = Limits::new().close_timeout(Duration::from_millis(250));
            let limits =
                if end == "stop reading" { limits.write_timeout(Duration::from_millis(500)) } else { limits };
            let server = LiveServer::start(&mount(limits, &log), 1).unwrap();
            let mut client = slow(&server).await;
            client.text(&format!("{how} 1000000")).await;
            client.frame().await;
            let mut client = Some(client);
            match end {
                "close" => {
                    let close = masked(FIN | CLOSE, &close_payload(1000, ""));
                    client.as_mut().unwrap().send(&close).await;
                }
                "vanish" => client = None,
                "shutdown" => assert_eq!(server.drain(PATIENCE).await, 0),
                _ => {}
            }
            eventually(&format!("{how}, {end}: the wait has ended"), || {
                let lines = log.lines();
                lines.contains(&"closed".to_owned()) && lines.contains(&noted.to_owned())
            })
            .await;
            drop(client);
        }
    }
}

#[actix_web::test]
async fn many_streams_share_the_budget_of_all_outboxes() {
    const CLIENTS: usize = 20;
    let log = Log::default();
    // Each may hold 80 KB for itself: together that is more than the budget.
    let mount = mount(Limits::new(), &log).outbox_budget(1 << 20);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = WebsocketCommunicator::new(&mount, "/");
        client.connect().await.unwrap();
        client.send_text("task 50");
        clients.push(client);
    }
    stalled(&log).await;
    for number in 0..50 {
        for client in &mut clients {
            assert_eq!(client.receive_bytes().await.unwrap(), part(number));
        }
    }
    assert_eq!(mount.default_layer().metrics().over_budget, 0);
}

#[actix_web::test]
async fn before_the_accept_there_is_nothing_to_wait_for() {
    #[derive(NoEvents)]
    struct Early;
    impl Consumer for Early {
        async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
            assert!(ctx.handle().ready().await.is_err() && ctx.ready().await.is_err());
            ctx.accept()?;
            ctx.ready().await?;
            ctx.handle().ready().await?;
            ctx.send_text("ready")
        }
    }
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Early))).unwrap();
    let mut client = WebsocketCommunicator::new(&mount, "/");
    client.connect().await.unwrap();
    assert_eq!(client.receive_text().await.unwrap(), "ready");
}
