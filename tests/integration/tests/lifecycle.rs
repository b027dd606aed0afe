//! How connections end: `disconnect` runs exactly once on every way out, and no client waits for user code.

use std::time::Duration;

use greenroom::{
    Drain, Limits, Mount, Pace,
    close::{Cause, CloseCode},
    error::StopConsumer,
    prelude::*,
    testing::{CommunicatorError, LiveServer, WebsocketCommunicator, advance, pause},
};
use integration_tests::{
    Client, Gate, Log, PATIENCE, eventually,
    raw::{Raw, Request},
    tungstenite::Message::{Close, Pong, Text},
};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Told {
    what: String,
}

/// An event that panics when it is dropped.
#[derive(Clone, Serialize, Deserialize, Event, Default)]
struct Brittle {}

impl Drop for Brittle {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped, as asked");
        }
    }
}

/// An error that panics when it is dropped.
#[derive(Debug, Default)]
struct BrittleError;

impl std::fmt::Display for BrittleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("brittle")
    }
}

impl std::error::Error for BrittleError {}

impl Drop for BrittleError {
    fn drop(&mut self) {
        panic!("dropped, as asked");
    }
}

/// Does as its messages and events say, and notes how its connection ended.
#[derive(Clone, Default)]
struct Subject {
    log: Log,
    gate: Gate,
    hang_in_disconnect: bool,
}

impl Subject {
    async fn act(&self, what: &str, ctx: &Context) -> Result<()> {
        match what {
            "close" => ctx.close(),
            "close 4001" => ctx.close_with(4001, "as asked")?,
            "error" => Err(std::io::Error::other("as asked"))?,
            "panic" => panic!("as asked"),
            "stop" => Err(StopConsumer)?,
            "hang" => self.gate.pass().await,
            "hang with a brittle value" => {
                let _brittle = Brittle {};
                self.gate.pass().await;
            }
            "brittle error" => Err(BrittleError)?,
            "send after close" => {
                ctx.close();
                ctx.send_text("late")?;
            }
            other => ctx.send_text(other.to_owned())?,
        }
        Ok(())
    }
}

impl Consumer for Subject {
    fn groups(&self) -> Vec<GroupName> {
        vec![GroupName::new("subjects").unwrap()]
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        self.act(message.text()?, ctx).await
    }

    async fn disconnect(&mut self, reason: Disconnect, _ctx: &mut Context) {
        self.log.note(format!("{} {:?} {:?}", u16::from(reason.code), reason.cause, &*reason.reason));
        if self.hang_in_disconnect {
            self.gate.pass().await;
        }
    }
}

#[event_handlers]
impl Subject {
    async fn told(&mut self, event: &Told, ctx: &mut Context) -> Result<()> {
        self.act(&event.what, ctx).await
    }
}

fn mount(subject: &Subject, limits: Limits) -> Mount {
    let subject = subject.clone();
    Mount::new(UrlRouter::new().route("/", move |_: &Scope| Ok(subject.clone()))).unwrap().limits(limits)
}

async fn connected(mount: &Mount) -> WebsocketCommunicator {
    let mut client = WebsocketCommunicator::new(mount, "/");
    client.connect().await.unwrap();
    client
}

fn nobody_is_left(mount: &Mount) -> bool {
    mount.default_layer().backend().groups().group_count() == 0
}

#[actix_web::test]
async fn messages_sent_before_a_client_left_are_heard() {
    let subject = Subject::default();
    let mut client = connected(&mount(&subject, Limits::new())).await;
    for text in ["one", "two"] {
        client.send_text(text);
    }
    // The messages and the close frame come in one turn. The answers leave before the answer to the close frame.
    client.send_raw(&b"\x88\x82\0\0\0\0\x03\xe8"[..]);
    assert_eq!(client.receive_text().await.unwrap(), "one");
    assert_eq!(client.receive_text().await.unwrap(), "two");
    let closed = client.receive().await.unwrap_err();
    assert_eq!(closed, CommunicatorError::Closed { code: CloseCode::NORMAL, reason: "".into() });
}

#[actix_web::test]
async fn pings_and_the_close_handshake_do_not_wait_for_a_hook() {
    let subject = Subject::default();
    let mount = mount(&subject, Limits::new());
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut client = Client::connect(&server, "/").await;
    client.send("hang").await;
    subject.gate.visited().await;
    client.ping("are you there").await;
    assert_eq!(client.next().await, Pong("are you there".into()));
    assert_eq!(client.close().await.0, 1000);
    assert!(subject.log.lines().is_empty(), "the hook still runs");
    subject.gate.open();
    server.wait_until_empty().await;
    assert_eq!(subject.log.lines(), ["1000 Client \"\""]);
}

#[actix_web::test]
async fn rule_17_a_hook_that_hangs_is_cancelled_after_the_grace_and_disconnect_runs() {
    let subject = Subject::default();
    let mount = mount(&subject, Limits::new().disconnect_grace(Duration::from_secs(10)));
    let mut client = connected(&mount).await;
    pause();
    client.send_text("hang");
    subject.gate.visited().await;
    let ending = actix_web::rt::spawn(client.abort());
    advance(Duration::from_millis(9_900)).await;
    tokio::task::yield_now().await;
    assert!(subject.log.lines().is_empty(), "the hook is still within its grace");
    ending.await.unwrap();
    assert_eq!(subject.log.lines(), ["1006 Gone \"\""]);
    assert!(nobody_is_left(&mount));
}

#[actix_web::test]
async fn disconnect_runs_if_a_value_of_a_cancelled_hook_panics_when_it_is_dropped() {
    let subject = Subject::default();
    let mount = mount(&subject, Limits::new());
    let mut client = connected(&mount).await;
    pause();
    client.send_text("hang with a brittle value");
    subject.gate.visited().await;
    client.abort().await;
    assert_eq!(subject.log.lines(), ["1006 Gone \"\""]);
    assert!(nobody_is_left(&mount));
}

#[actix_web::test]
async fn disconnect_runs_if_events_that_wait_panic_when_they_are_dropped() {
    let subject = Subject::default();
    let mount = mount(&subject, Limits::new());
    let mut client = connected(&mount).await;
    pause();
    client.send_text("hang");
    subject.gate.visited().await;
    for _ in 0..3 {
        let channel = client.channel_name().unwrap();
        mount.default_layer().send(&channel, Brittle {}).await.unwrap();
    }
    client.abort().await;
    assert_eq!(subject.log.lines(), ["1006 Gone \"\""]);
    assert!(nobody_is_left(&mount));
}

#[actix_web::test]
async fn disconnect_runs_if_the_error_of_a_hook_panics_when_it_is_dropped() {
    let subject = Subject::default();
    let mount = mount(&subject, Limits::new());
    let mut client = connected(&mount).await;
    client.send_text("brittle error");
    let closed = client.receive().await.unwrap_err();
    assert!(matches!(closed, CommunicatorError::Closed { code: CloseCode::INTERNAL, .. }), "{closed}");
    client.disconnect().await;
    assert_eq!(subject.log.lines(), ["1011 Error \"\""]);
}

#[actix_web::test]
async fn a_disconnect_that_hangs_is_cancelled_after_the_grace() {
    let subject = Subject { hang_in_disconnect: true, ..Subject::default() };
    let mount = mount(&subject, Limits::new());
    let client = connected(&mount).await;
    pause();
    let before = tokio::time::Instant::now();
    client.disconnect().await;
    assert!(before.elapsed() >= Duration::from_secs(10));
    assert_eq!(subject.log.lines(), ["1000 Client \"\""]);
}

#[actix_web::test]
async fn an_unanswered_close_frame_ends_the_connection_anyway() {
    let subject = Subject::default();
    let mount = mount(&subject, Limits::new().close_timeout(Duration::from_millis(50)));
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut client = Client::connect(&server, "/").await;
    // The client answers a close frame only when it reads.
    client.send("close").await;
    server.wait_until_empty().await;
    assert_eq!(subject.log.lines(), ["1000 Consumer \"\""]);
    assert_eq!(client.closed().await.0, 1000);
}

#[actix_web::test]
async fn rule_18_a_server_that_shuts_down_closes_with_1012_and_runs_every_disconnect() {
    for threads in [1, 4] {
        let subject = Subject::default();
        let mount = mount(&subject, Limits::new());
        let server = LiveServer::start(&mount, threads).unwrap();
        let mut clients = Vec::new();
        for _ in 0..12 {
            clients.push(Client::connect(&server, "/").await);
        }
        let draining = server.drain(PATIENCE);
        let closing = async {
            let mut ends = Vec::new();
            for client in &mut clients {
                let (code, reason) = client.closed().await;
                ends.push(format!("{code} Shutdown {reason:?}"));
            }
            ends
        };
        let (left, mut ends) = tokio::join!(draining, closing);
        assert_eq!(left, 0);
        // Each client is asked to come back at another time, and its consumer sees the same reason.
        let mut lines = subject.log.lines();
        lines.sort();
        ends.sort();
        assert_eq!(lines, ends);
        assert!(lines.iter().all(|line| line.starts_with("1012 Shutdown \"retry=")), "{lines:?}");
        lines.dedup();
        assert!(lines.len() > 6, "{lines:?}");
        assert!(nobody_is_left(&mount));
    }
}

/// Waits in `connect` until the gate opens.
#[derive(Clone, Default, NoEvents)]
struct Slow(Gate);

impl Consumer for Slow {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        self.0.pass().await;
        ctx.accept()
    }
}

#[actix_web::test]
async fn a_handshake_that_waits_when_the_server_shuts_down_is_answered_503_with_a_hint() {
    let slow = Slow::default();
    let routes = {
        let slow = slow.clone();
        UrlRouter::new().route("/", move |_: &Scope| Ok(slow.clone()))
    };
    let pace = Pace::new().retry(Duration::from_millis(6500), Duration::from_millis(6500));
    let mount = Mount::new(routes).unwrap().drain(Drain::with_pace(pace));
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut client = Raw::open(server.address()).await;
    client.request(&Request::new("/")).await;
    slow.0.visited().await;
    let answered = async {
        let response = client.response().await;
        // The hook ends only now, because the client does not wait for it.
        slow.0.open();
        response
    };
    let (left, response) = tokio::join!(server.drain(PATIENCE), answered);
    assert_eq!((left, response.status, response.header("Retry-After")), (0, 503, Some("7")));
    assert_eq!(response.header("Connection"), Some("close"));
}

/// Longer than any test waits, so only the batch that is due at once closes.
const LONG: Duration = Duration::from_secs(365 * 86_400);

#[actix_web::test]
async fn many_connections_close_in_batches_and_the_others_work_until_their_turn() {
    const CLIENTS: usize = 200;
    for threads in [1, 2] {
        let subject = Subject::default();
        let pace = Pace::new().batch(50).window(LONG);
        let mount = mount(&subject, Limits::new()).drain(Drain::with_pace(pace));
        let server = LiveServer::start(&mount, threads).unwrap();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(Client::connect(&server, "/").await);
        }
        let waiting = async {
            eventually("the first batch ends", || subject.log.lines().len() == 50).await;
            // The other connections are still served.
            let told = Told { what: "still here".to_owned() };
            let group = GroupName::new("subjects").unwrap();
            let delivery = mount.default_layer().group_send_counted(&group, &told).await.unwrap();
            assert_eq!((delivery.delivered, subject.log.lines().len()), (CLIENTS as u64 - 50, 50));
            let mut served = 0;
            for client in &mut clients {
                match client.next().await {
                    Text(text) => served += usize::from(text == "still here"),
                    Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1012),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(served, CLIENTS - 50);
            assert_eq!(Client::try_connect(&server, "/", &[]).await.unwrap_err(), 503);
        };
        tokio::select! {
            left = server.drain(2 * LONG) => panic!("the drain has ended with {left} connections left"),
            () = waiting => {}
        }
    }
}

#[actix_web::test]
async fn the_last_batch_closes_within_the_window() {
    const CLIENTS: usize = 120;
    let subject = Subject::default();
    let pace = Pace::new().batch(10).window(Duration::from_millis(300));
    let mount = mount(&subject, Limits::new()).drain(Drain::with_pace(pace));
    let server = LiveServer::start(&mount, 2).unwrap();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::connect(&server, "/").await);
    }
    let closing = async {
        for client in &mut clients {
            assert_eq!(client.closed().await.0, 1012);
        }
    };
    let (left, ()) = tokio::join!(server.drain(PATIENCE), closing);
    assert_eq!((left, subject.log.lines().len()), (0, CLIENTS));
    assert!(nobody_is_left(&mount));
}

#[actix_web::test]
async fn a_client_that_reads_too_slowly_is_closed_with_1013_and_counted() {
    let subject = Subject::default();
    let mount = mount(&subject, Limits::new().outbox_size(1000));
    let mut slow = connected(&mount).await;
    let told = Told { what: "x".repeat(400) };
    let group = GroupName::new("subjects").unwrap();
    let mut sent = 0;
    while mount.default_layer().metrics().too_slow == 0 {
        mount.default_layer().group_send(&group, &told).await.unwrap();
        tokio::task::yield_now().await;
        sent += 1;
        assert!(sent < 100, "the connection is never closed");
    }
    let closed = slow.receive().await.unwrap_err();
    assert_eq!(
        closed,
        CommunicatorError::Closed { code: CloseCode::TRY_AGAIN, reason: "read too slowly".into() }
    );
    slow.disconnect().await;
    assert_eq!(subject.log.lines(), ["1013 TooSlow \"read too slowly\""]);
}

#[actix_web::test]
async fn a_socket_is_read_ahead_to_its_bound_and_no_further() {
    let subject = Subject::default();
    let mount = mount(&subject, Limits::new());
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut client = Client::connect(&server, "/").await;
    client.send("hang").await;
    subject.gate.visited().await;
    // The kernel's buffers hold some MiB.
    let taken = client.fill(&[b'x'; 16 << 10]).await;
    assert!(taken < 32 << 20, "the server took {taken} bytes that no hook has asked for");
    client.abort();
    subject.gate.open();
    server.wait_until_empty().await;
}

#[actix_web::test]
async fn disconnect_gets_the_cause_that_came_first() {
    let subject = Subject::default();
    let mount = mount(&subject, Limits::new());
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut client = Client::connect(&server, "/").await;
    client.send("close 4001").await;
    assert_eq!(client.closed().await, (4001, "as asked".to_owned()));
    eventually("disconnect has run", || subject.log.lines().len() == 1).await;
    assert_eq!(subject.log.lines(), [format!("4001 {:?} \"as asked\"", Cause::Consumer)]);
}

#[actix_web::test]
async fn messages_before_a_bad_frame_are_heard() {
    let subject = Subject::default();
    let mut client = connected(&mount(&subject, Limits::new())).await;
    client.send_text("one");
    // A ping with a reserved bit. The text after it is not read any more.
    client.send_raw(&b"\xc9\x80\0\0\0\0"[..]);
    client.send_text("two");
    assert_eq!(client.receive_text().await.unwrap(), "one");
    let closed = client.receive().await.unwrap_err();
    assert!(matches!(closed, CommunicatorError::Closed { code: CloseCode::PROTOCOL, .. }), "{closed}");
    client.disconnect().await;
    assert!(subject.log.lines()[0].starts_with("1002 Protocol"), "{:?}", subject.log.lines());
}

#[actix_web::test]
async fn hooks_that_run_after_the_end_share_one_grace() {
    let subject = Subject::default();
    let mut client = connected(&mount(&subject, Limits::new())).await;
    pause();
    for _ in 0..5 {
        client.send_text("hang");
    }
    subject.gate.visited().await;
    let before = tokio::time::Instant::now();
    client.disconnect().await;
    let grace = before.elapsed();
    assert!(grace >= Duration::from_secs(10) && grace < Duration::from_secs(11), "{grace:?}");
}

#[actix_web::test]
async fn an_event_that_cannot_be_encoded_fails_the_handler() {
    /// An event that JSON cannot hold, because its keys are not texts.
    #[derive(Clone, Serialize, Deserialize, Event)]
    struct Unwritable {
        map: std::collections::BTreeMap<Vec<u8>, u8>,
    }
    #[derive(Clone, Serialize, Deserialize, Event)]
    struct Begin {}
    struct Sender;
    impl Consumer for Sender {}
    #[event_handlers]
    impl Sender {
        async fn begin(&mut self, _event: &Begin, ctx: &mut Context) -> Result<()> {
            ctx.send_event(&Unwritable { map: [(vec![1], 1)].into() })
        }
    }
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Sender))).unwrap();
    let mut client = connected(&mount).await;
    mount.default_layer().send(&client.channel_name().unwrap(), Begin {}).await.unwrap();
    let closed = client.receive().await.unwrap_err();
    assert!(matches!(closed, CommunicatorError::Closed { code: CloseCode::INTERNAL, .. }), "{closed}");
    assert_eq!(mount.default_layer().metrics().unhandled, 0);
}
