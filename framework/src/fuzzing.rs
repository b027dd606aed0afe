//! What the fuzz targets of `tests/fuzz` run: each takes any bytes, and panics where a promise is broken.
//!
//! No part of the public API; it may change in any release.

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

/// Frames as a peer sends them: however the bytes are cut, the same comes out, and nothing beyond the limits.
///
/// The first byte chooses the side and the limit, the second where the bytes are cut.
pub fn frames(data: &[u8]) {
    let [settings, cuts, bytes @ ..] = data else { return };
    let role = if settings & 1 == 0 { Role::Server } else { Role::Client };
    let limit = [16, 125, 1024, 1 << 20][usize::from(settings >> 1 & 3)];
    let new = || Decoder::new(role, limit);
    check(&any_cut(new, *cuts, bytes), limit);

    // A text of which the last byte has not arrived: what is no UTF-8 already is told now.
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

/// Compressed messages: as [`frames`], and what is compressed here is what it was once it is inflated.
///
/// The first byte chooses the limit and how is compressed, the second where the bytes are cut.
pub fn deflate(data: &[u8]) {
    let [settings, cuts, bytes @ ..] = data else { return };
    let takeover = settings & 1 != 0;
    let limit = [16, 125, 1024, 1 << 20][usize::from(settings >> 1 & 3)];
    let new = || Decoder::new(Role::Server, limit).with_deflate(Some(InflateParams { limit, takeover }));
    // Of two faults in one piece, as bad data behind bad UTF-8, either may be told.
    let same = |found: DecodedItems| DecodedItems {
        error: found.error.and(Some(ProtocolError::BadDeflate)),
        ..found
    };
    check(&any_cut_but(same, new, *cuts, bytes), limit);

    // The bytes are what two messages were compressed to.
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

/// The bit of a frame's first byte that says that the message is compressed (RFC 7692, section 6).
const RSV1: u8 = 0x40;

/// Nothing is larger than it may be, and each error can be told the peer.
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

/// What a decoder made of some bytes.
#[derive(Debug, PartialEq)]
struct DecodedItems {
    items: Vec<Item>,
    error: Option<ProtocolError>,
}

/// Decodes bytes in one piece, byte by byte and in pieces of other sizes; all must agree.
fn any_cut(new: impl Fn() -> Decoder, cuts: u8, bytes: &[u8]) -> DecodedItems {
    any_cut_but(|found| found, new, cuts, bytes)
}

/// As [`any_cut`], but for what `same` evens out.
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
        assert_eq!(input.len(), 0, "it stops only where it has taken everything");
    }
    found
}

/// Pieces of 1 to 64 bytes, whose lengths follow from `cuts`.
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

/// A message in fragments, as a client sends it, with a ping behind the first one.
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

/// A request for a WebSocket: its head is refused with a status, or all that is read of it keeps to its form.
///
/// The first byte chooses which of the headers that are needed are there already. Then come the target and the
/// headers, a line each.
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
            assert_eq!(names.len(), offer.subprotocols.len(), "they differ");
            if let Some(agreed) = settle(&offer.deflate, &Deflate::new()) {
                let answer = extensions::offers([agreed.header().as_str()]);
                assert_eq!(answer.map(|answer| answer.len()), Some(1), "it is what could have been offered");
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

/// Reads all that a scope has.
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

/// What a path was resolved to leads back to the same, unless browsers would resolve a segment of it.
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

/// What another program wrote as an event: an error, or an event that keeps its name and fields in both formats.
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
    assert_eq!(envelope.to_wire(format).as_deref(), Ok(bytes));
    if let Ok(translated) = envelope.to_wire(other) {
        let translated = Envelope::from_wire(other, translated).expect("what was written can be read");
        assert_eq!(translated.name(), name);
        // What the other format cannot say, it has lost already: from here on nothing changes.
        let back = translated.to_wire(format).expect("it came from there");
        let back = Envelope::from_wire(format, back).expect("what was written can be read");
        assert_eq!(back.name(), name);
        assert_eq!(back.to_wire(other), translated.to_wire(other));
    }
    if let Ok(sample) = envelope.event::<Sample>() {
        for format in [format, other] {
            let written = Envelope::new((*sample).clone()).to_wire(format).expect("a Sample can be written");
            let read = Envelope::from_wire(format, written).and_then(|envelope| envelope.event::<Sample>());
            assert_eq!(format!("{:?}", read.expect("what was written can be read")), format!("{sample:?}"));
        }
    }
}
