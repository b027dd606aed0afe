//! Pings, idle limits and timeouts. Each closes with its own code, is counted, and does not wait for a hook.

use std::time::Duration;

use greenroom::{
    Limits, Metrics, Mount,
    close::CloseCode,
    prelude::*,
    testing::{CommunicatorError, LiveServer, WebsocketCommunicator, pause},
};
use integration_tests::{
    Gate, Log, eventually,
    raw::{
        CLOSE, CONTINUATION, FIN, Frame as RawFrame, PING, Raw, Request, TEXT, close_parts, header, masked,
    },
};
use tokio::time::Instant;

pub(super) const SECOND: Duration = Duration::from_secs(1);
/// The shortest time that a setting can have.
const SHORT: Duration = Duration::from_millis(250);

/// Answers, hangs or closes as its messages say, and notes how its connection ended.
#[derive(Clone, Default)]
pub(super) struct Subject {
    pub(super) log: Log,
    gate: Gate,
}

impl Consumer for Subject {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        match message.as_text() {
            Some("close") => ctx.close(),
            Some("hang") => self.gate.pass().await,
            Some("flood") => {
                for _ in 0..4 {
                    ctx.send_text("x".repeat(1000))?;
                }
            }
            Some(text) => ctx.send_text(text.to_owned())?,
            None => ctx.send_text(format!("{} bytes", message.as_bytes().len()))?,
        }
        Ok(())
    }

    async fn disconnect(&mut self, reason: Disconnect, _ctx: &mut Context) {
        self.log.note(format!("{} {:?} {:?}", u16::from(reason.code), reason.cause, &*reason.reason));
    }
}

#[event_handlers]
impl Subject {}

/// A consumer and its mount.
pub(super) struct Stage {
    pub(super) subject: Subject,
    pub(super) mount: Mount,
}

impl Stage {
    pub(super) fn new(limits: Limits) -> Self {
        let subject = Subject::default();
        let consumer = subject.clone();
        let routes = UrlRouter::new().route("/", move |_: &Scope| Ok(consumer.clone()));
        Self { subject, mount: Mount::new(routes).unwrap().limits(limits) }
    }

    /// Connects a client without a socket, and stops the clock.
    pub(super) async fn client(&self) -> WebsocketCommunicator {
        pause();
        self.next_client().await
    }

    /// Connects one more client.
    async fn next_client(&self) -> WebsocketCommunicator {
        let mut client = WebsocketCommunicator::new(&self.mount, "/").timeout(SECOND);
        client.connect().await.unwrap();
        client
    }

    pub(super) fn serve(&self) -> LiveServer {
        LiveServer::start(&self.mount, 1).unwrap()
    }

    pub(super) fn metrics(&self) -> Metrics {
        self.mount.default_layer().metrics()
    }
}

/// Waits for the end of a client that answers pings. Returns the close frame, and the time until it came.
async fn closed(client: &mut WebsocketCommunicator) -> (u16, String, Duration) {
    let start = Instant::now();
    loop {
        match client.receive().await {
            Err(CommunicatorError::Closed { code, reason }) => {
                return (code.into(), reason.to_string(), start.elapsed());
            }
            Err(CommunicatorError::Timeout(_)) | Ok(_) => {}
            Err(other) => panic!("a close frame was expected: {other}"),
        }
        assert!(start.elapsed() < 3600 * SECOND, "the connection is never closed");
    }
}

/// Reads and answers pings for this time. Nothing else may come.
async fn listen(client: &mut WebsocketCommunicator, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert_eq!(client.receive().await.unwrap_err(), CommunicatorError::Timeout(SECOND));
    }
}

/// Whether `time` is the time that was set, or up to two ticks more.
fn is_about(time: Duration, set: Duration) -> bool {
    (set..=set + 2 * SHORT + SHORT / 4).contains(&time)
}

// --- pings ---

#[actix_web::test]
async fn a_client_that_only_answers_pings_stays() {
    let stage = Stage::new(Limits::new());
    let mut client = stage.client().await;
    listen(&mut client, 3600 * SECOND).await;
    client.send_text("still here");
    assert_eq!(client.receive_text().await.unwrap(), "still here");
    assert_eq!(client.disconnect().await, CloseCode::NORMAL);
    assert_eq!(stage.metrics(), Metrics::default());
}

#[actix_web::test]
async fn a_ping_that_is_not_answered_closes_with_1011() {
    let stage = Stage::new(Limits::new().ping_interval(SHORT).pong_timeout(SHORT));
    let server = stage.serve();
    let mut client = Raw::connect(server.address(), "/").await;
    assert_eq!(client.frame().await, RawFrame { first: FIN | PING, payload: Vec::new() });
    assert_eq!(client.closed().await, (1011, "keepalive ping timeout".to_owned()));
    server.wait_until_empty().await;
    assert_eq!(stage.subject.log.lines(), ["1011 Timeout \"keepalive ping timeout\""]);
    assert_eq!(stage.metrics().pong_timeout, 1);
}

#[actix_web::test]
async fn no_ping_is_sent_to_a_client_that_sends() {
    let stage = Stage::new(Limits::new().ping_interval(2 * SECOND).pong_timeout(SHORT));
    let server = stage.serve();
    let mut client = Raw::connect(server.address(), "/").await;
    let start = Instant::now();
    while start.elapsed() < 3 * SECOND {
        // The client never answers a ping, so the test fails if anything but an echo comes.
        client.text("here").await;
        assert_eq!(client.next_text().await, "here");
        assert!(client.is_silent().await);
    }
}

#[actix_web::test]
async fn pings_can_be_switched_off() {
    let stage = Stage::new(Limits::new().ping_interval(None).write_timeout(None).frame_timeout(None));
    let mut client = stage.client().await;
    // A ping would wait in the outbox, and no pong would come.
    tokio::time::sleep(3600 * SECOND).await;
    client.send_text("still here");
    assert_eq!(client.receive_text().await.unwrap(), "still here");
}

#[actix_web::test]
async fn timeouts_stand_still_while_the_server_does_not_read() {
    let stage = Stage::new(Limits::new().read_ahead(1).idle_timeout(30 * SECOND).frame_timeout(30 * SECOND));
    let mut client = stage.client().await;
    // The second message waits, so a pong and the rest of the third message wait too.
    for text in ["hang", "second"] {
        client.send_text(text);
    }
    client.send_raw(masked(TEXT, b"thi"));
    listen(&mut client, 600 * SECOND).await;
    client.send_raw(masked(FIN | CONTINUATION, b"rd"));
    stage.subject.gate.open();
    assert_eq!(client.receive_text().await.unwrap(), "second");
    assert_eq!(client.receive_text().await.unwrap(), "third");
    // Now the server reads again, and the timeouts count again.
    let (code, _, after) = closed(&mut client).await;
    assert_eq!(code, 1000);
    assert!(is_about(after, 30 * SECOND), "{after:?}");
}

#[actix_web::test]
async fn a_hook_that_hangs_delays_no_timeout() {
    let stage = Stage::new(Limits::new().ping_interval(SHORT).pong_timeout(SHORT));
    let server = stage.serve();
    let mut client = Raw::connect(server.address(), "/").await;
    client.text("hang").await;
    stage.subject.gate.visited().await;
    assert_eq!(client.closed().await.0, 1011);
    assert!(stage.subject.log.lines().is_empty(), "the hook still hangs");
    stage.subject.gate.open();
    server.wait_until_empty().await;
    assert_eq!(stage.subject.log.lines(), ["1011 Timeout \"keepalive ping timeout\""]);
}

// --- pings of a client that cannot see those of its WebSocket ---

/// What such a client is sent.
const PONG: &str = r#"c{"pong":true}"#;

/// Connects a client that asks for heads. Returns it with its hello.
async fn headed(server: &LiveServer) -> (Raw, String) {
    let mut client = Raw::connect(server.address(), "/?greenroom=socket&v=1").await;
    let hello = client.next_text().await;
    (client, hello)
}

#[actix_web::test]
async fn a_client_is_told_that_it_may_ping_and_is_answered() {
    let stage = Stage::new(Limits::new().idle_timeout(2 * SECOND));
    let server = stage.serve();
    let (mut client, hello) = headed(&server).await;
    assert!(hello.contains(r#""ping":20}"#), "{hello}");
    client.text(r#"c{"ping": true}"#).await;
    assert_eq!(client.next_text().await, PONG);
    client.text(r#"c{"ping":false}"#).await;
    client.text("mhere").await;
    assert_eq!(client.next_text().await, "mhere");
    // Pings do not keep the client from being idle.
    let start = Instant::now();
    let end = loop {
        client.text(r#"c{"ping":true}"#).await;
        let frame = client.frame().await;
        if frame.first == FIN | CLOSE {
            break close_parts(&frame);
        }
        assert_eq!(frame, RawFrame::text(PONG));
        assert!(start.elapsed() < 20 * SECOND, "it is never idle");
    };
    assert_eq!(end, (1000, "idle".to_owned()));
}

#[actix_web::test]
async fn a_server_that_does_not_read_gives_signs_by_itself() {
    let stage = Stage::new(Limits::new().read_ahead(1).ping_interval(SECOND).pong_timeout(SECOND));
    let server = stage.serve();
    let (mut client, hello) = headed(&server).await;
    assert!(hello.contains(r#""ping":1}"#), "{hello}");
    // The second message waits, so the ping is not read.
    for text in ["mhang", "msecond", r#"c{"ping":true}"#] {
        client.text(text).await;
    }
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(client.next_text().await, PONG);
        assert!(start.elapsed() < 5 * SECOND);
    }
    stage.subject.gate.open();
    let mut heard = client.next_text().await;
    while heard == PONG {
        heard = client.next_text().await;
    }
    // It waited behind the ping, so it is the answer too.
    assert_eq!(heard, "msecond");
}

#[actix_web::test]
async fn without_pings_of_the_server_none_are_offered() {
    let stage = Stage::new(Limits::new().ping_interval(None));
    let server = stage.serve();
    let (_client, hello) = headed(&server).await;
    assert!(hello.contains(r#""hello":{"id":"#) && !hello.contains("ping"), "{hello}");
}

// --- idle clients ---

#[actix_web::test]
async fn a_client_without_a_message_for_too_long_is_closed_with_1000() {
    let stage = Stage::new(Limits::new().idle_timeout(60 * SECOND));
    let mut client = stage.client().await;
    for _ in 0..3 {
        listen(&mut client, 55 * SECOND).await;
        client.send_text("here");
        assert_eq!(client.receive_text().await.unwrap(), "here");
    }
    let (code, reason, after) = closed(&mut client).await;
    assert_eq!((code, &*reason), (1000, "idle"));
    assert!(is_about(after, 60 * SECOND), "{after:?}");
    client.disconnect().await;
    assert_eq!(stage.subject.log.lines(), ["1000 Timeout \"idle\""]);
    assert_eq!(stage.metrics().idle_timeout, 1);
}

#[actix_web::test]
async fn nobody_is_idle_while_a_hook_runs() {
    let stage = Stage::new(Limits::new().idle_timeout(5 * SECOND));
    let mut client = stage.client().await;
    client.send_text("hang");
    listen(&mut client, 60 * SECOND).await;
    stage.subject.gate.open();
    assert_eq!(closed(&mut client).await.0, 1000);
}

#[actix_web::test]
async fn an_idle_socket_is_closed() {
    let stage = Stage::new(Limits::new().idle_timeout(SHORT));
    let server = stage.serve();
    let mut client = Raw::connect(server.address(), "/").await;
    assert_eq!(client.closed().await, (1000, "idle".to_owned()));
    server.wait_until_empty().await;
    assert_eq!(stage.metrics().idle_timeout, 1);
}

// --- unfinished messages ---

#[actix_web::test]
async fn a_message_that_comes_byte_by_byte_is_closed_with_1008() {
    let message = [masked(TEXT, b"a fragment"), masked(FIN | CONTINUATION, &[b'x'; 100])].concat();
    pause();
    for begun in [1, 3, 8, 16, 20] {
        let stage = Stage::new(Limits::new());
        let mut client = stage.next_client().await;
        let start = Instant::now();
        client.send_raw(message[..begun].to_vec());
        for byte in &message[begun..begun + 3] {
            listen(&mut client, 9 * SECOND).await;
            client.send_raw(vec![*byte]);
        }
        let (code, reason, _) = closed(&mut client).await;
        assert_eq!((code, &*reason), (1008, "the message took too long"), "{begun}");
        assert!(is_about(start.elapsed(), 30 * SECOND), "{begun}: {:?}", start.elapsed());
        client.disconnect().await;
        assert_eq!(stage.subject.log.lines(), ["1008 Timeout \"the message took too long\""]);
        assert_eq!(stage.metrics().frame_timeout, 1);
    }
}

#[actix_web::test]
async fn pings_between_fragments_do_not_prolong_a_message() {
    let stage = Stage::new(Limits::new());
    let mut client = stage.client().await;
    let start = Instant::now();
    client.send_raw(masked(TEXT, b"a fragment"));
    for _ in 0..5 {
        client.send_raw(masked(FIN | PING, b""));
        listen(&mut client, 5 * SECOND).await;
    }
    assert_eq!(closed(&mut client).await.0, 1008);
    assert!(is_about(start.elapsed(), 30 * SECOND), "{:?}", start.elapsed());
}

#[actix_web::test]
async fn a_large_message_on_a_slow_line_is_taken() {
    let stage = Stage::new(Limits::new());
    let mut client = stage.client().await;
    let message = masked(FIN | TEXT, &vec![b'x'; 1 << 20]);
    // At 5 KB a second this takes 210 s.
    for part in message.chunks(5000) {
        client.send_raw(part.to_vec());
        if part.len() == 5000 {
            listen(&mut client, SECOND).await;
        }
    }
    assert_eq!(client.receive_text().await.unwrap().len(), 1 << 20);
}

#[actix_web::test]
async fn frames_that_each_end_in_time_are_not_an_unfinished_message() {
    let stage = Stage::new(Limits::new());
    let mut client = stage.client().await;
    let frame = masked(FIN | TEXT, b"whole");
    client.send_raw(frame[..7].to_vec());
    for _ in 0..60 {
        client.send_raw([&frame[7..], &frame[..7]].concat());
        assert_eq!(client.receive_text().await.unwrap(), "whole");
        assert!(client.receive_nothing().await);
        tokio::time::sleep(SECOND).await;
    }
}

#[actix_web::test]
async fn a_socket_with_half_a_frame_is_closed() {
    let stage = Stage::new(Limits::new().frame_timeout(SHORT));
    let server = stage.serve();
    let mut client = Raw::connect(server.address(), "/").await;
    client.send(&header(FIN | TEXT, 100)).await;
    assert_eq!(client.close_frame().await, (1008, "the message took too long".to_owned()));
    drop(client);
    server.wait_until_empty().await;
    assert_eq!(stage.metrics().frame_timeout, 1);
}

// --- clients that read nothing ---

#[actix_web::test]
async fn a_client_that_reads_nothing_for_too_long_is_closed_with_1013() {
    let stage = Stage::new(Limits::new());
    let mut client = stage.client().await;
    client.send_text("flood");
    tokio::time::sleep(29 * SECOND).await;
    assert_eq!(stage.metrics().write_timeout, 0);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(stage.metrics().write_timeout, 1);
    // The waiting messages are dropped, and the client gets only the reason.
    let error = client.receive().await.unwrap_err();
    let reason = "read nothing for too long".into();
    assert_eq!(error, CommunicatorError::Closed { code: CloseCode::TRY_AGAIN, reason });
    client.disconnect().await;
    assert_eq!(stage.subject.log.lines(), ["1013 TooSlow \"read nothing for too long\""]);
}

#[actix_web::test]
async fn a_client_that_reads_slowly_is_not_cut() {
    let stage = Stage::new(Limits::new());
    let mut client = stage.client().await;
    client.send_text("flood");
    for _ in 0..4 {
        tokio::time::sleep(25 * SECOND).await;
        assert_eq!(client.receive_text().await.unwrap().len(), 1000);
    }
    assert_eq!(stage.metrics(), Metrics::default());
}

#[actix_web::test]
async fn a_socket_that_reads_nothing_ends_its_consumer() {
    let limits = Limits::new().write_timeout(SHORT).outbox_size(64 << 20).read_ahead(64 << 20);
    let stage = Stage::new(limits);
    let server = stage.serve();
    let mut client = Raw::open_narrow(server.address(), 4096).await;
    assert_eq!(client.ask(&Request::new("/")).await.status, 101);
    // 16 MB are more than the system keeps for a socket.
    client.send(&masked(FIN | TEXT, b"flood").repeat(4000)).await;
    eventually("the consumer has ended", || !stage.subject.log.lines().is_empty()).await;
    assert_eq!(stage.subject.log.lines(), ["1013 TooSlow \"read nothing for too long\""]);
    assert_eq!(stage.metrics().write_timeout, 1);
}

// --- closing ---

#[actix_web::test]
async fn an_unanswered_close_frame_ends_the_connection_at_its_timeout() {
    let stage = Stage::new(Limits::new());
    let mut client = stage.client().await;
    let start = Instant::now();
    client.send_text("close");
    assert!(matches!(client.receive().await, Err(CommunicatorError::Closed { .. })));
    while client.receive().await.unwrap_err() != CommunicatorError::Gone {
        assert!(start.elapsed() < 60 * SECOND);
    }
    assert!(is_about(start.elapsed(), 5 * SECOND), "{:?}", start.elapsed());
    assert_eq!(stage.metrics().close_timeout, 1);
}

#[actix_web::test]
async fn messages_before_the_close_frame_may_be_read_slowly_but_not_for_ever() {
    let stage = Stage::new(Limits::new());
    let mut client = stage.client().await;
    for text in ["flood", "close"] {
        client.send_text(text);
    }
    for _ in 0..3 {
        tokio::time::sleep(4 * SECOND).await;
        assert_eq!(client.receive_text().await.unwrap().len(), 1000);
    }
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!(client.receive().await.unwrap_err(), CommunicatorError::Gone);
    assert_eq!(stage.metrics().close_timeout, 1);
}

#[actix_web::test]
async fn messages_for_a_client_that_closes_and_reads_nothing_are_dropped() {
    let stage = Stage::new(Limits::new());
    let mut client = stage.client().await;
    client.send_text("flood");
    client.send_raw(masked(FIN | CLOSE, &1000_u16.to_be_bytes()));
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!(stage.subject.log.lines(), ["1000 Client \"\""]);
    assert_eq!(stage.metrics().close_timeout, 1);
    assert_eq!(client.receive().await.unwrap_err(), CommunicatorError::Gone);
}
