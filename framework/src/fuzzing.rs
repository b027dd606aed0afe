//! The fuzz targets of `tests/fuzz`: each takes any bytes, and panics if a promise is broken.
//!
//! This module is not part of the public API. It may change in any release.

mod history;

use std::{collections::BTreeMap, sync::LazyLock};

use actix_web::{
    http::{
        Uri,
        header::{self, HeaderName, HeaderValue},
    },
    test::TestRequest,
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};

pub use self::history::{resume, tokens};
use crate::{
    Consumer, Deflate, Envelope, Event, NoEvents, Outgoing, Scope, UrlRouter,
    event::Format,
    metrics::Counters,
    middleware::{self, AllowedHostsOriginValidator, TrustedProxies},
    routing::Routes,
    wire::websocket::{
        Chunk, Decoder, Item, Opcode, ProtocolError, Role,
        deflate::{DeflateOffer, InflateParams, settle},
        encode, extensions,
        handshake::{self, HandshakeError},
    },
};

/// Decodes frames. However the bytes are cut, the same messages come out, and none over the limits.
///
/// The first byte chooses the role and the limit, the second the cuts.
pub fn frames(data: &[u8]) {
    let [settings, cuts, bytes @ ..] = data else { return };
    let role = if settings & 1 == 0 { Role::Server } else { Role::Client };
    let limit = [16, 125, 1024, 1 << 20][usize::from(settings >> 1 & 3)];
    let new = || Decoder::new(role, limit);
    check(&any_cut(new, *cuts, bytes), limit);

    // The last byte of a text has not arrived. If the text is invalid UTF-8 already, the error comes now.
    let mut unfinished = encode::masked(true, Opcode::Text, [9, 8, 7, 6], &[bytes, b"."].concat()).to_vec();
    unfinished.pop();
    let is_bad = std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_some());
    let error = is_bad.then_some(ProtocolError::InvalidUtf8);
    let found = any_cut(|| Decoder::new(Role::Server, bytes.len() + 1), *cuts, &unfinished);
    assert_eq!(found, DecodedItems { items: Vec::new(), error });

    let there_and_back = fragments(*cuts, bytes);
    let payload = Bytes::copy_from_slice(bytes);
    let message = match String::from_utf8(bytes.to_vec()) {
        Ok(text) => Item::Text(text.into()),
        Err(_) => Item::Binary(payload.clone()),
    };
    let items = vec![Item::Ping(payload.slice(..payload.len().min(125))), message];
    let found = any_cut(|| Decoder::new(Role::Server, bytes.len()), *cuts, &there_and_back);
    assert_eq!(found, DecodedItems { items, error: None });
}

/// Decodes compressed messages, as [`frames`]. And a message that is compressed and inflated stays the same.
///
/// The first byte chooses the limit and the compression, the second the cuts.
pub fn deflate(data: &[u8]) {
    let [settings, cuts, bytes @ ..] = data else { return };
    let takeover = settings & 1 != 0;
    let limit = [16, 125, 1024, 1 << 20][usize::from(settings >> 1 & 3)];
    let new = || Decoder::new(Role::Server, limit).with_deflate(Some(InflateParams { limit, takeover }));
    // If one piece has two faults, for example bad data behind bad UTF-8, either may be reported.
    let same = |found: DecodedItems| DecodedItems {
        error: found.error.and(Some(ProtocolError::BadDeflate)),
        ..found
    };
    check(&any_cut_but(same, new, *cuts, bytes), limit);

    // The bytes are the compressed data of two messages.
    let (first, second) = bytes.split_at(bytes.len().min(usize::from(*cuts)));
    let mut messages = Vec::new();
    for payload in [first, second] {
        let mut frame = encode::masked(true, Opcode::Binary, [1, 2, 3, 4], payload).to_vec();
        frame[0] |= RSV1;
        messages.extend(frame);
    }
    check(&any_cut_but(same, new, *cuts, &messages), limit);

    let wanted = Deflate::new().threshold(1).level(settings >> 3 & 7).window_bits(9 + settings % 7);
    let agreed = settle(&[DeflateOffer::new()], &wanted.server_context_takeover(takeover))
        .expect("one can be accepted");
    let (mut packer, counters) = (agreed.packer(), Counters::default());
    let message = Outgoing::binary(Bytes::copy_from_slice(bytes));
    let mut out = Vec::new();
    for _ in 0..2 {
        let plain = encode::encode(&message);
        let compressed = agreed.compress_params().and_then(|params| params.encode(&message, &counters));
        out.extend(match &mut packer {
            Some(packer) => packer.pack(plain, &counters),
            None => compressed.unwrap_or(plain),
        });
    }
    let params = InflateParams { limit: bytes.len(), takeover };
    let found = any_cut(|| Decoder::new(Role::Client, bytes.len()).with_deflate(Some(params)), *cuts, &out);
    let item = Item::Binary(Bytes::copy_from_slice(bytes));
    assert_eq!(found, DecodedItems { items: vec![item.clone(), item], error: None });
}

/// The bit in the first byte of a frame that marks a compressed message (RFC 7692, section 6).
const RSV1: u8 = 0x40;

/// Checks that nothing is larger than it may be, and that an error can be told to the peer.
fn check(found: &DecodedItems, limit: usize) {
    for item in &found.items {
        match item {
            Item::Text(text) => assert!(text.len() <= limit),
            Item::Binary(payload) => assert!(payload.len() <= limit),
            Item::Ping(payload) | Item::Pong(payload) => assert!(payload.len() <= 125),
            Item::Close(None) => {}
            Item::Close(Some((code, reason))) => assert!(code.can_be_received() && reason.len() <= 123),
        }
    }
    if let Some(error) = found.error {
        assert!(error.close_code().can_be_sent() && error.to_string().len() <= 123);
    }
}

/// The items that a decoder made of some bytes, and its error.
#[derive(Debug, PartialEq)]
struct DecodedItems {
    items: Vec<Item>,
    error: Option<ProtocolError>,
}

/// Decodes bytes in one piece, byte by byte, and in pieces of other sizes. All must agree.
fn any_cut(new: impl Fn() -> Decoder, cuts: u8, bytes: &[u8]) -> DecodedItems {
    any_cut_but(|found| found, new, cuts, bytes)
}

/// As [`any_cut`], but results may differ if `same` makes them equal.
fn any_cut_but(
    same: impl Fn(DecodedItems) -> DecodedItems,
    new: impl Fn() -> Decoder,
    cuts: u8,
    bytes: &[u8],
) -> DecodedItems {
    let whole = same(decode(new(), [Chunk::from(bytes)]));
    assert_eq!(same(decode(new(), [Chunk::from(Bytes::copy_from_slice(bytes))])), whole);
    let pieces = pieces(cuts, bytes).map(|piece| Chunk::from(Bytes::copy_from_slice(piece)));
    assert_eq!(same(decode(new(), pieces)), whole);
    assert_eq!(same(decode(new(), bytes.chunks(1).map(Chunk::from))), whole);
    whole
}

fn decode<'a>(mut decoder: Decoder, inputs: impl IntoIterator<Item = Chunk<'a>>) -> DecodedItems {
    let mut found = DecodedItems { items: Vec::new(), error: None };
    for mut input in inputs {
        loop {
            let ended = found.error.is_some() || matches!(found.items.last(), Some(Item::Close(_)));
            match decoder.decode(&mut input) {
                Ok(Some(item)) => found.items.push(item),
                Ok(None) => break,
                Err(error) => found.error = Some(error),
            }
            assert!(!ended, "something came after the end");
        }
        assert_eq!(input.len(), 0, "the decoder stops only when it has taken everything");
    }
    found
}

/// Pieces of 1 to 64 bytes. Their lengths follow from `cuts`.
fn pieces(cuts: u8, mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(cuts);
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, rest) = bytes.split_at(bytes.len().min(1 + (state >> 26) as usize));
        bytes = rest;
        Some(piece)
    })
}

/// A message in fragments, as a client sends it, with a ping behind the first fragment.
fn fragments(cuts: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [cuts, 0x5a, !cuts, 0xff];
    let mut opcode = if std::str::from_utf8(payload).is_ok() { Opcode::Text } else { Opcode::Binary };
    let mut out = Vec::new();
    let (first, rest) = payload.split_at(payload.len().min(usize::from(cuts)));
    for piece in std::iter::once(first).chain(pieces(cuts, rest)) {
        out.extend(encode::masked(false, opcode, mask, piece));
        if opcode != Opcode::Continuation {
            out.extend(encode::masked(true, Opcode::Ping, mask, &payload[..payload.len().min(125)]));
        }
        opcode = Opcode::Continuation;
    }
    out.extend(encode::masked(true, opcode, mask, &[]));
    out
}

#[derive(NoEvents)]
struct Bystander;

impl Consumer for Bystander {}

static ROUTES: LazyLock<Routes> = LazyLock::new(|| {
    let nobody = |_: &Scope| Ok(Bystander);
    let rooms = UrlRouter::new()
        .route("/room/{room:[A-Za-z0-9_-]{1,80}}/", nobody)
        .name("room")
        .route("/user/{id:int}/{tab}", nobody)
        .name("user")
        .route("/files/{rest:path}", nobody)
        .name("files")
        .route("/{any}", nobody)
        .name("any")
        .wrap(AllowedHostsOriginValidator::new([".example.com", "https://example.org:8443"]))
        .wrap(TrustedProxies::new(["127.0.0.1", "10.0.0.0/8"]).forwarded());
    rooms.build().expect("valid routes")
});

/// Checks a request for a WebSocket. It is refused with a status, or all values read from it are well-formed.
///
/// The first byte chooses which of the needed headers are present. Then come the target and the headers, a line each.
pub fn handshake(data: &[u8]) {
    let Some((settings, data)) = data.split_first() else { return };
    let mut lines = data.split(|byte| *byte == b'\n');
    let target = lines.next().and_then(|target| Uri::try_from(target).ok());
    let Some(target) = target else { return };
    let mut request = TestRequest::get().uri(&target.to_string());
    request = request.peer_addr(std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
    let needed = [
        (header::UPGRADE, "websocket"),
        (header::CONNECTION, "Upgrade"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (bit, needed) in needed.into_iter().enumerate() {
        if settings >> bit & 1 == 0 {
            request = request.append_header(needed);
        }
    }
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts.next().and_then(|value| HeaderValue::from_bytes(value.trim_ascii()).ok());
        if let (Some(name), Some(value)) = (name, value) {
            request = request.append_header((name, value));
        }
    }
    let request = request.to_http_request();
    match handshake::check(&request) {
        Ok(offer) => {
            let mut names: Vec<_> = offer.subprotocols.clone();
            assert!(
                names.iter().all(|name| !name.is_empty() && name.is_ascii() && !name.contains([',', ' ']))
            );
            names.sort();
            names.dedup();
            assert_eq!(names.len(), offer.subprotocols.len(), "all subprotocols differ");
            if let Some(agreed) = settle(&offer.deflate, &Deflate::new()) {
                let answer = extensions::offers([agreed.header().as_bytes()]);
                assert_eq!(answer.map(|answer| answer.len()), Some(1), "the answer has the form of an offer");
            }
            let chosen = offer.subprotocols.first().cloned();
            let response = offer.accept(chosen.as_deref(), []).finish();
            assert_eq!(response.status(), 101);
            let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
            assert_eq!(header(header::SEC_WEBSOCKET_PROTOCOL), chosen.as_deref());
            assert_eq!(header(header::SEC_WEBSOCKET_ACCEPT).map(str::len), Some(28));
        }
        Err(error) => refused(error),
    }
    let mut scope = Scope::from_request(&request);
    read(&scope);
    let raw_path = scope.raw_path().to_owned();
    reverse(&raw_path);
    if let Some(endpoint) = ROUTES.route(&mut scope) {
        let admitted = middleware::admit(&endpoint.middleware, &mut scope).now_or_never();
        if let Err(rejection) = admitted.expect("these middleware do not wait") {
            assert!((400..600).contains(&rejection.status()));
        }
        read(&scope);
    }
}

fn refused(error: HandshakeError) {
    assert!([400, 405, 426].contains(&error.response().status().as_u16()), "{error}");
}

/// Reads all values of a scope.
fn read(scope: &Scope) {
    let _ = (
        scope.path(),
        scope.query_string(),
        scope.host(),
        scope.origin(),
        scope.peer(),
        scope.scheme(),
        scope.path_remaining(),
    );
    let _ = scope.query::<BTreeMap<String, String>>();
    let _ = (scope.query_param("a"), scope.cookie("a"));
    assert!(scope.cookies().count() <= 1 << 16 && scope.subprotocols().count() <= 1 << 16);
    for (name, _) in scope.headers() {
        let _ = scope.header(name);
    }
}

/// A path made from the name and parameters of a resolved path leads to the same route.
///
/// The exception is a parameter with a segment `.` or `..`, which browsers would resolve.
fn reverse(path: &str) {
    let Some(found) = ROUTES.resolve(path) else { return };
    let Some(name) = found.name() else { return };
    let values: Vec<_> = found.params().collect();
    let params: Vec<_> = values.iter().map(|(name, value)| (*name, &**value)).collect();
    let Ok(again) = ROUTES.reverse(name, &params) else {
        assert!(
            values.iter().any(|(_, value)| value.split('/').any(|part| part == "." || part == "..")),
            "{path}"
        );
        return;
    };
    let Some(same) = ROUTES.resolve(&again) else { panic!("{path} leads to {again}, which leads nowhere") };
    assert_eq!((same.name(), same.params().collect::<Vec<_>>()), (Some(name), values), "{path}, {again}");
}

/// An event with a field of each kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[serde(default)]
struct Sample {
    text: String,
    number: i64,
    large: u64,
    share: f64,
    list: Vec<Option<bool>>,
    map: BTreeMap<String, Sample>,
}

impl Default for Sample {
    fn default() -> Self {
        Self { text: String::new(), number: 0, large: 0, share: 0.5, list: Vec::new(), map: BTreeMap::new() }
    }
}

/// Reads an event of another program. The result is an error, or an event that is the same in both formats.
///
/// The first byte chooses the format.
pub fn events(data: &[u8]) {
    let Some((settings, bytes)) = data.split_first() else { return };
    let (format, other) = match settings & 1 {
        0 => (Format::Json, Format::MsgPack),
        _ => (Format::MsgPack, Format::Json),
    };
    let envelope = match Envelope::from_wire(format, Bytes::copy_from_slice(bytes)) {
        Ok(envelope) => envelope,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let name = envelope.name();
    assert!(!name.is_empty() && !name.starts_with(['_', '.']));
    let same = envelope.to_wire(format).expect("it came in this format");
    // What other languages write and JSON does not have, such as half a character, is passed on as JSON.
    let is_repaired = format == Format::Json && serde_json::from_slice::<serde_json::Value>(bytes).is_err();
    assert!(is_repaired || same == bytes);
    if let Ok(translated) = envelope.to_wire(other) {
        let translated = Envelope::from_wire(other, translated).expect("a written event can be read");
        assert_eq!(translated.name(), name);
        // Values that the other format cannot express were lost above. From now on nothing changes.
        let back = translated.to_wire(format).expect("it was read from this format");
        let back = Envelope::from_wire(format, back).expect("a written event can be read");
        assert_eq!(back.name(), name);
        assert_eq!(back.to_wire(other), translated.to_wire(other));
    }
    if let Ok(sample) = envelope.event::<Sample>() {
        for format in [format, other] {
            let written = Envelope::new((*sample).clone()).to_wire(format).expect("a Sample can be written");
            let read = Envelope::from_wire(format, written).and_then(|envelope| envelope.event::<Sample>());
            assert_eq!(format!("{:?}", read.expect("a written event can be read")), format!("{sample:?}"));
        }
    }
}
