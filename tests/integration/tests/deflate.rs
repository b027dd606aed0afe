//! Compressed messages (permessage-deflate, RFC 7692), with and without real sockets.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use greenroom::{
    Deflate, Limits, Metrics, Mount, Overflow,
    prelude::*,
    testing::{CommunicatorError, LiveServer, WebsocketCommunicator, pause},
};
use integration_tests::{
    Client,
    raw::{BINARY, CLOSE, CONTINUATION, FIN, Frame as Received, PING, Raw, Request, TEXT, masked},
};

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
const NO_TAKEOVER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
/// The bit that marks the first frame of a compressed message.
const RSV1: u8 = 0x40;
/// The bytes that are removed from the end of a compressed message.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

/// Sends each message back. A text "say …" goes to the room, and "many …" comes back many times.
struct Member(GroupName);

impl Consumer for Member {
    fn groups(&self) -> Vec<GroupName> {
        vec![self.0.clone()]
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        match message {
            Message::Binary(bytes) => ctx.send_bytes(bytes),
            Message::Text(text) => match text.split_once(' ') {
                Some(("say", text)) => ctx.group_send(&self.0, Said { text: text.to_owned() }).await,
                Some(("many", text)) => (0..MANY).try_for_each(|_| ctx.send_text(text)),
                _ => ctx.send_text(text),
            },
        }
    }
}

const MANY: u64 = 100;

#[event_handlers]
impl Member {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

fn mount(limits: Limits) -> Mount {
    let routes = UrlRouter::new()
        .route("/{room}/", |scope: &Scope| Ok(Member(scope.param("room")?)))
        .route_with("/plain/{room}/", Limits::new().deflate(None), |scope: &Scope| {
            Ok(Member(scope.param("room")?))
        });
    Mount::new(routes).unwrap().limits(limits)
}

fn metrics(mount: &Mount) -> Metrics {
    mount.default_layer().metrics()
}

/// A text of about this length that gets smaller when it is compressed.
fn long(length: usize) -> String {
    (0..).map(|number| format!("line {number}, ")).take(length / 9).collect()
}

/// Bytes that do not compress.
fn noise() -> impl Iterator<Item = u8> {
    let mut number = 1_u32;
    std::iter::repeat_with(move || {
        number ^= number << 13;
        number ^= number >> 17;
        number ^= number << 5;
        number as u8
    })
}

/// A client that compresses. It compresses each message by itself, unless it keeps its window.
struct Compressing {
    raw: Raw,
    compress: Compress,
    inflate: Decompress,
    keeps: bool,
}

impl Compressing {
    /// Connects with this offer, and checks the answer.
    async fn connect(server: &LiveServer, path: &str, offer: &str, answer: &str) -> Self {
        let mut raw = Raw::open(server.address()).await;
        let response = raw.ask(&Request::new(path).and(EXTENSIONS, offer)).await;
        assert_eq!((response.status, response.header(EXTENSIONS)), (101, Some(answer)));
        Self {
            raw,
            compress: Compress::new(Compression::best(), false),
            inflate: Decompress::new(false),
            keeps: !answer.contains("client_no_context_takeover"),
        }
    }

    async fn plain(server: &LiveServer, path: &str) -> Self {
        Self::connect(server, path, "permessage-deflate", NO_TAKEOVER).await
    }

    /// The payload of a compressed message.
    fn compressed(&mut self, message: &[u8]) -> Vec<u8> {
        if !self.keeps {
            self.compress.reset();
        }
        let mut out = Vec::with_capacity(message.len() + 1024);
        self.compress.compress_vec(message, &mut out, FlushCompress::Sync).unwrap();
        out.strip_suffix(&TAIL).expect("a flush").to_vec()
    }

    async fn send(&mut self, text: &str) {
        let payload = self.compressed(text.as_bytes());
        self.raw.send(&masked(FIN | RSV1 | TEXT, &payload)).await;
    }

    /// The text of a compressed frame. If the server keeps its window, frames must be inflated in order.
    fn inflated(&mut self, frame: &Received, keeps: bool) -> String {
        assert_eq!(frame.first, FIN | RSV1 | TEXT, "the frame is compressed");
        if !keeps {
            self.inflate.reset(false);
        }
        let mut out = Vec::with_capacity(1 << 20);
        let payload = [&frame.payload[..], &TAIL].concat();
        self.inflate.decompress_vec(&payload, &mut out, FlushDecompress::None).unwrap();
        String::from_utf8(out).unwrap()
    }

    async fn next(&mut self) -> String {
        let frame = self.raw.frame().await;
        self.inflated(&frame, false)
    }
}

#[actix_web::test]
async fn messages_are_compressed_both_ways() {
    let mount = mount(Limits::new());
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut client = Compressing::plain(&server, "/a/").await;
    let text = long(20_000);
    for _ in 0..3 {
        client.send(&text).await;
        let frame = client.raw.frame().await;
        assert!(frame.payload.len() < text.len() / 3, "{} bytes", frame.payload.len());
        assert_eq!(client.inflated(&frame, false), text);
    }
    // The client need not compress.
    client.raw.text(&text).await;
    assert_eq!(client.next().await, text);
    let metrics = metrics(&mount);
    assert_eq!((metrics.compressed, metrics.compressed_from_bytes), (4, 4 * text.len() as u64));
    assert!(metrics.compressed_to_bytes < metrics.compressed_from_bytes / 3);
}

#[actix_web::test]
async fn small_and_incompressible_messages_are_sent_uncompressed() {
    let mount = mount(Limits::new());
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut client = Compressing::plain(&server, "/a/").await;
    for text in ["", "hello", &long(250)] {
        client.send(text).await;
        assert_eq!(client.raw.next_text().await, text);
    }
    let noise: Vec<u8> = noise().take(5_000).collect();
    client.raw.send(&masked(FIN | BINARY, &noise)).await;
    assert_eq!(client.raw.frame().await, Received { first: FIN | BINARY, payload: noise });
    assert_eq!(metrics(&mount).compressed, 0);
}

#[actix_web::test]
async fn control_frames_are_never_compressed() {
    let server = LiveServer::start(&mount(Limits::new().deflate(Deflate::new().threshold(0))), 1).unwrap();
    let mut client = Compressing::plain(&server, "/a/").await;
    client.raw.send(&masked(FIN | PING, &[b'x'; 125])).await;
    assert_eq!(client.raw.frame().await, Received::pong(&[b'x'; 125]));
    client.raw.send(&masked(FIN | CLOSE, &[])).await;
    assert_eq!(client.raw.frame().await, Received { first: FIN | CLOSE, payload: vec![] });
}

#[actix_web::test]
async fn fragments_with_control_frames_between_them_are_inflated() {
    let server = LiveServer::start(&mount(Limits::new()), 1).unwrap();
    let mut client = Compressing::plain(&server, "/a/").await;
    let text = long(5_000);
    let payload = client.compressed(text.as_bytes());
    let (left, right) = payload.split_at(payload.len() / 2);
    let frames = [
        masked(RSV1 | TEXT, left),
        masked(FIN | PING, b"between"),
        masked(CONTINUATION, &[]),
        masked(FIN | CONTINUATION, right),
    ]
    .concat();
    for piece in frames.chunks(7) {
        client.raw.send(piece).await;
    }
    assert_eq!(client.raw.frame().await, Received::pong(b"between"));
    assert_eq!(client.next().await, text);
}

#[actix_web::test]
async fn messages_are_not_compressed_unless_both_sides_agree() {
    let mount = mount(Limits::new());
    let server = LiveServer::start(&mount, 1).unwrap();
    for (path, offer) in [("/a/", None), ("/plain/a/", Some("permessage-deflate")), ("/a/", Some("x-other"))]
    {
        let mut raw = Raw::open(server.address()).await;
        let request = Request::new(path);
        let request = offer.map_or(request.clone(), |offer| request.and(EXTENSIONS, offer));
        let response = raw.ask(&request).await;
        assert_eq!((response.status, response.header(EXTENSIONS)), (101, None), "{offer:?}");
        raw.text(&long(5_000)).await;
        assert_eq!(raw.next_text().await, long(5_000));
        raw.send(&masked(FIN | RSV1 | TEXT, &[0])).await;
        assert_eq!(raw.close_frame().await.0, 1002);
    }
    assert_eq!(metrics(&mount).compressed, 0);
}

#[actix_web::test]
async fn offers_are_answered_as_rfc_7692_says() {
    let server = LiveServer::start(&mount(Limits::new()), 1).unwrap();
    for (offers, answer) in [
        (&["permessage-deflate; client_max_window_bits"][..], Some(NO_TAKEOVER.to_owned())),
        (
            &["permessage-deflate; server_max_window_bits=8", "permessage-deflate; server_max_window_bits=9"],
            Some(format!("{NO_TAKEOVER}; server_max_window_bits=9")),
        ),
        (&["permessage-deflate; unknown, permessage-deflate"], Some(NO_TAKEOVER.to_owned())),
        (&["permessage-deflate; server_max_window_bits=16"], None),
    ] {
        let request =
            offers.iter().fold(Request::new("/a/"), |request, offer| request.and(EXTENSIONS, offer));
        let response = Raw::open(server.address()).await.ask(&request).await;
        assert_eq!((response.status, response.header(EXTENSIONS)), (101, answer.as_deref()), "{offers:?}");
    }
    let malformed = Request::new("/a/").and(EXTENSIONS, "permessage-deflate; =");
    let response = Raw::open(server.address()).await.ask(&malformed).await;
    assert_eq!(response.status, 400);
    assert!(response.body.contains(EXTENSIONS), "{}", response.body);
}

#[actix_web::test]
async fn a_groups_message_is_compressed_once_for_all_members() {
    let mount = mount(Limits::new());
    let server = LiveServer::start(&mount, 2).unwrap();
    let mut members = Vec::new();
    for _ in 0..50 {
        members.push(Compressing::plain(&server, "/room/").await);
    }
    let text = long(2_000);
    members[0].send(&format!("say {text}")).await;
    let first = members[0].raw.frame().await;
    assert_eq!(members[0].inflated(&first, false), text);
    for member in &mut members[1..] {
        assert_eq!(member.raw.frame().await, first);
    }
    let metrics = metrics(&mount);
    assert_eq!((metrics.compressed, metrics.encoded), (1, 1));
}

#[actix_web::test]
async fn a_groups_message_is_compressed_once_for_each_window_and_relayed_once() {
    let mount = mount(Limits::new());
    let server = LiveServer::start(&mount, 2).unwrap();
    let small = "permessage-deflate; server_max_window_bits=9";
    let mut members = vec![Compressing::plain(&server, "/room/").await];
    for _ in 0..10 {
        members.push(Compressing::plain(&server, "/room/").await);
        let answer = format!("{NO_TAKEOVER}; server_max_window_bits=9");
        members.push(Compressing::connect(&server, "/room/", small, &answer).await);
    }
    let mut plain = Client::connect(&server, "/room/").await;
    let text = long(20_000);
    members[0].send(&format!("say {text}")).await;
    for member in &mut members {
        assert_eq!(member.next().await, text);
    }
    assert_eq!(plain.text().await, text, "a client without an offer gets the plain message");
    let metrics = metrics(&mount);
    assert_eq!((metrics.compressed, metrics.encoded), (2, 3));
}

#[actix_web::test]
async fn context_takeover_makes_similar_messages_small() {
    let deflate = Deflate::new().server_context_takeover(true).client_context_takeover(true);
    let mount = mount(Limits::new().deflate(deflate));
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut client =
        Compressing::connect(&server, "/room/", "permessage-deflate", "permessage-deflate").await;
    let mut other = Client::connect(&server, "/room/").await;
    let text = long(3_000);
    let mut lengths = Vec::new();
    for round in 0..4 {
        // Direct sends and group sends use one window, in the order of the sends.
        client.send(&text).await;
        client.send(&format!("say {text}")).await;
        client.raw.send(&masked(FIN | PING, b"?")).await;
        let mut texts = 0;
        while texts < 2 {
            let frame = client.raw.frame().await;
            if frame == Received::pong(b"?") {
                continue;
            }
            lengths.push(frame.payload.len());
            assert_eq!(client.inflated(&frame, true), text, "round {round}");
            texts += 1;
        }
        assert_eq!(other.text().await, text);
    }
    assert!(lengths[1..].iter().all(|length| length * 3 < lengths[0]), "{lengths:?}");
    assert_eq!(metrics(&mount).compressed, 8, "once for each message of such a member");
}

#[actix_web::test]
async fn a_client_that_forbids_context_takeover_is_obeyed() {
    let deflate = Deflate::new().server_context_takeover(true).client_context_takeover(true);
    let server = LiveServer::start(&mount(Limits::new().deflate(deflate)), 1).unwrap();
    let offer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let mut client = Compressing::connect(&server, "/room/", offer, NO_TAKEOVER).await;
    for _ in 0..3 {
        client.send(&long(3_000)).await;
        assert_eq!(client.next().await, long(3_000));
    }
}

#[actix_web::test]
async fn a_compression_bomb_closes_with_1009_and_bad_data_with_1007() {
    let server = LiveServer::start(&mount(Limits::new()), 1).unwrap();
    let mut client = Compressing::plain(&server, "/a/").await;
    let bomb = client.compressed(&vec![b'x'; 16 << 20]);
    assert!(bomb.len() < 32 << 10);
    client.raw.send(&masked(FIN | RSV1 | TEXT, &bomb)).await;
    assert_eq!(client.raw.closed().await, (1009, "the inflated message has more than 1048576 bytes (Deflate::inflated_size, else Limits::message_size)".to_owned()));

    let mut client = Compressing::plain(&server, "/a/").await;
    client.send("fine").await;
    client.raw.send(&masked(FIN | RSV1 | TEXT, &[0xff; 20])).await;
    assert_eq!(client.raw.next_text().await, "fine");
    assert_eq!(client.raw.closed().await, (1007, "the compressed message cannot be inflated".to_owned()));

    let mut client = Compressing::plain(&server, "/a/").await;
    let not_utf8 = client.compressed(b"\xff");
    let frame = masked(FIN | RSV1 | TEXT, &not_utf8);
    client.raw.send(&frame).await;
    assert_eq!(client.raw.closed().await, (1007, "the text is not valid UTF-8".to_owned()));
}

#[actix_web::test]
async fn the_inflated_size_has_a_limit_of_its_own() {
    let deflate = Deflate::new().inflated_size(5_000);
    let server = LiveServer::start(&mount(Limits::new().deflate(deflate)), 1).unwrap();
    let mut client = Compressing::plain(&server, "/a/").await;
    client.send(&"x".repeat(5_000)).await;
    assert_eq!(client.next().await.len(), 5_000);
    client.send(&"x".repeat(5_001)).await;
    assert_eq!(client.raw.closed().await, (1009, "the inflated message has more than 5000 bytes (Deflate::inflated_size, else Limits::message_size)".to_owned()));
}

/// A compressed message that inflates to this many bytes. Each KB of it inflates to 1 MiB.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes / 500 + 1024);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(&vec![0; bytes], &mut out, FlushCompress::Sync).unwrap();
    out.strip_suffix(&TAIL).expect("a flush").to_vec()
}

#[actix_web::test]
async fn an_unfinished_message_has_only_the_time_of_the_bytes_that_arrived() {
    let mount = mount(Limits::new());
    let mut client = WebsocketCommunicator::new(&mount, "/a/").header(EXTENSIONS, "permessage-deflate");
    client.connect().await.unwrap();
    pause();
    let start = tokio::time::Instant::now();
    client.send_raw(masked(RSV1 | BINARY, &bomb(1 << 20)));
    let reason = loop {
        match client.receive().await {
            Err(CommunicatorError::Closed { code, reason }) if u16::from(code) == 1008 => break reason,
            Err(CommunicatorError::Timeout(_)) => {}
            other => panic!("a close frame was expected: {other:?}"),
        }
    };
    assert_eq!(reason, "the message took too long");
    let time = start.elapsed();
    assert!(
        (30..35).contains(&time.as_secs()),
        "{time:?}: the message had 1 KB, and not the 1 MiB that it inflates to"
    );
}

#[actix_web::test]
async fn messages_that_a_full_outbox_refuses_are_not_compressed() {
    let limits = Limits::new().outbox_size(6_000).overflow(Overflow::DropNewest);
    let mount = mount(limits);
    let mut client = WebsocketCommunicator::new(&mount, "/a/").header(EXTENSIONS, "permessage-deflate");
    let connected = client.connect().await.unwrap();
    let answer = (EXTENSIONS.to_lowercase(), NO_TAKEOVER.to_owned());
    assert!(connected.headers.contains(&answer), "{connected:?}");
    client.send_text(format!("many {}", long(3_000)));
    // The end of the wait for one message more comes at once.
    pause();
    let mut received = 0;
    while let Ok(text) = client.receive_text().await {
        assert_eq!(text, long(3_000));
        received += 1;
    }
    let metrics = metrics(&mount);
    assert!((2..MANY).contains(&received), "{received} fitted");
    assert_eq!((metrics.compressed, metrics.outbox_full), (received, MANY - received));
    client.disconnect().await;
}

#[actix_web::test]
async fn with_context_takeover_dropped_messages_are_not_compressed() {
    let deflate = Deflate::new().server_context_takeover(true);
    let mount = mount(Limits::new().outbox_size(8_000).overflow(Overflow::DropOldest).deflate(deflate));
    let mut client = WebsocketCommunicator::new(&mount, "/a/").header(EXTENSIONS, "permessage-deflate");
    client.connect().await.unwrap();
    // The end of the wait for one message more comes at once.
    pause();
    for _ in 0..3 {
        client.send_text(format!("many {}", long(3_000)));
        while let Ok(text) = client.receive_text().await {
            assert_eq!(text, long(3_000), "the window of both sides is the same");
        }
    }
    let metrics = metrics(&mount);
    assert!(metrics.outbox_full > 0);
    assert_eq!(metrics.compressed, 3 * MANY - metrics.outbox_full);
    client.disconnect().await;
}

#[actix_web::test]
async fn with_context_takeover_a_slow_reader_can_inflate_the_messages_that_were_kept() {
    let deflate = Deflate::new().server_context_takeover(true);
    let mount = mount(Limits::new().outbox_size(1 << 20).overflow(Overflow::DropOldest).deflate(deflate));
    let server = LiveServer::start(&mount, 1).unwrap();
    let answer = "permessage-deflate; client_no_context_takeover";
    let mut client = Compressing::connect(&server, "/a/", "permessage-deflate", answer).await;
    let text: String = noise().take(200 << 10).map(|byte| char::from(b'a' + byte % 16)).collect();
    let (layer, room, mut sent) = (mount.default_layer(), GroupName::new("a").unwrap(), 0);
    // The kernel's buffers hold some MiB; then the outbox fills.
    while layer.metrics().outbox_full < 10 {
        layer.group_send(&room, Said { text: text.clone() }).await.unwrap();
        sent += 1;
        assert!(sent < 1_000, "no message is dropped");
    }
    client.send("end").await;
    let mut received = 0;
    loop {
        let frame = client.raw.frame().await;
        if frame == Received::text("end") {
            break;
        }
        assert_eq!(client.inflated(&frame, true), text);
        received += 1;
    }
    let metrics = metrics(&mount);
    assert_eq!((metrics.compressed, metrics.outbox_full), (received, sent - received));
}
