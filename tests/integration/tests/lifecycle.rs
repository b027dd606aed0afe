//! How connections end: cleanup exactly once on every way out, and no wait for user code.

use std::time::Duration;

use greenroom::{
    Limits, Mount,
    close::{Cause, CloseCode},
    error::StopConsumer,
    prelude::*,
    testing::{CommunicatorError, LiveServer, WebsocketCommunicator, advance, pause},
};
use integration_tests::{Client, Gate, Log, PATIENCE, eventually, tungstenite::Message::Pong};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Told {
    what: String,
}

/// Does what it is told, and notes how it ended.
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
async fn rules_13_15_and_16_cleanup_runs_exactly_once_on_every_way_out() {
    let cases: [(&str, u16, &str); 6] = [
        ("close", 1000, "1000 Consumer \"\""),
        ("close 4001", 4001, "4001 Consumer \"as asked\""),
        ("error", 1011, "1011 Error \"\""),
        ("panic", 1011, "1011 Error \"\""),
        ("stop", 1000, "1000 Consumer \"\""),
        ("send after close", 1000, "1000 Consumer \"\""),
    ];
    for by_event in [false, true] {
        for (what, code, expected) in cases {
            let subject = Subject::default();
            let mount = mount(&subject, Limits::new());
            let mut client = connected(&mount).await;
            if by_event {
                let told = Told { what: what.to_owned() };
                mount.default_layer().group_send(&GroupName::new("subjects").unwrap(), &told).await.unwrap();
            } else {
                client.send_text(what);
            }
            let closed = client.receive().await.unwrap_err();
            assert!(
                matches!(closed, CommunicatorError::Closed { code: got, .. } if got == CloseCode(code)),
                "{what}"
            );
            client.disconnect().await;
            assert_eq!(subject.log.lines(), [expected], "{what}");
            assert!(nobody_is_left(&mount), "{what}");
        }
    }
}

#[actix_web::test]
async fn rule_13_the_clients_own_ways_out() {
    for (code, expected) in
        [(1000, "1000 Client \"bye\""), (4002, "4002 Client \"bye\""), (1001, "1001 Client \"bye\"")]
    {
        let subject = Subject::default();
        let client = connected(&mount(&subject, Limits::new())).await;
        assert_eq!(client.disconnect_with(code, "bye").await, CloseCode(code));
        assert_eq!(subject.log.lines(), [expected]);
    }
    // No code in the frame is 1005, as RFC 6455 says; Daphne says None.
    let subject = Subject::default();
    let client = connected(&mount(&subject, Limits::new())).await;
    assert_eq!(client.disconnect_with(CloseCode::NO_STATUS, "").await, CloseCode::NO_STATUS);
    assert_eq!(subject.log.lines(), ["1005 Client \"\""]);

    let subject = Subject::default();
    let mount = mount(&subject, Limits::new());
    connected(&mount).await.abort().await;
    assert_eq!(subject.log.lines(), ["1006 Gone \"\""]);
    assert!(nobody_is_left(&mount));
}

#[actix_web::test]
async fn what_a_client_said_before_it_left_is_heard() {
    let subject = Subject::default();
    let mut client = connected(&mount(&subject, Limits::new())).await;
    for text in ["one", "two"] {
        client.send_text(text);
    }
    // Close and messages come in one turn: the answers leave before the answer to the close frame.
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
    assert!(subject.log.lines().is_empty(), "within its grace");
    ending.await.unwrap();
    assert_eq!(subject.log.lines(), ["1006 Gone \"\""]);
    assert!(nobody_is_left(&mount));
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
async fn a_close_frame_that_is_not_answered_ends_the_connection_all_the_same() {
    let subject = Subject::default();
    let mount = mount(&subject, Limits::new().close_timeout(Duration::from_millis(50)));
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut client = Client::connect(&server, "/").await;
    // It answers only when it reads.
    client.send("close").await;
    server.wait_until_empty().await;
    assert_eq!(subject.log.lines(), ["1000 Consumer \"\""]);
    assert_eq!(client.closed().await.0, 1000);
}

#[actix_web::test]
async fn rule_18_a_server_that_shuts_down_closes_with_1001_and_runs_every_disconnect() {
    for workers in [1, 4] {
        let subject = Subject::default();
        let mount = mount(&subject, Limits::new());
        let server = LiveServer::start(&mount, workers).unwrap();
        let mut clients = Vec::new();
        for _ in 0..12 {
            clients.push(Client::connect(&server, "/").await);
        }
        let draining = server.drain(PATIENCE);
        let closing = async {
            for client in &mut clients {
                assert_eq!(client.closed().await.0, 1001);
            }
        };
        let (left, ()) = tokio::join!(draining, closing);
        assert_eq!(left, 0);
        assert_eq!(subject.log.lines(), vec!["1001 Shutdown \"the server is shutting down\""; 12]);
        assert!(nobody_is_left(&mount));
    }
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
        assert!(sent < 100, "it is never closed");
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
async fn the_end_is_the_cause_that_came_first() {
    let subject = Subject::default();
    let mount = mount(&subject, Limits::new());
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut client = Client::connect(&server, "/").await;
    client.send("close 4001").await;
    assert_eq!(client.closed().await, (4001, "as asked".to_owned()));
    eventually("disconnect has run", || subject.log.lines().len() == 1).await;
    assert_eq!(subject.log.lines(), [format!("4001 {:?} \"as asked\"", Cause::Consumer)]);
}
