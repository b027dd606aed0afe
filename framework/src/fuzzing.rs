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
    Consumer, Deflate, Envelope, Event, Frame, NoEvents, Scope, UrlRouter,
    event::Format,
    metrics::Counters,
    middleware::{self, AllowedHostsOriginValidator, TrustedProxies},
    routing::Routes,
    transport::websocket::{
        Decoder, Input, Item, Opcode, ProtocolError, Role,
        deflate::{self, Incoming},
        encode,
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
    let found = any_cut(new, *cuts, bytes);
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
    let there_and_back = fragments(*cuts, bytes);
    let payload = Bytes::copy_from_slice(bytes);
    let message = match String::from_utf8(bytes.to_vec()) {
        Ok(text) => Item::Text(text.into()),
        Err(_) => Item::Binary(payload.clone()),
    };
    let items = vec![Item::Ping(payload.slice(..payload.len().min(125))), message];
    let found = any_cut(|| Decoder::new(Role::Server, bytes.len()), *cuts, &there_and_back);
    assert_eq!(found, Found { items, error: None });
}

/// Compressed messages as a client sends them: however the bytes are cut, the same messages come out, none over the
/// limit; and what is compressed here, with any window and level, inflates to what it was.
///
/// The first byte chooses the limit, whether a window is kept, and how is compressed; the second where the bytes are
/// cut.
pub fn deflate(data: &[u8]) {
    let [settings, cuts, bytes @ ..] = data else { return };
    let limit = [16, 1024, 64 << 10, 1 << 20][usize::from(settings & 3)];
    let incoming = Incoming { limit, takeover: settings & 4 != 0 };
    let new = || Decoder::new(Role::Server, limit).with_deflate(Some(incoming));
    let opcode = if settings & 8 == 0 { Opcode::Binary } else { Opcode::Text };
    let mut message = encode::masked(true, opcode, [*cuts, 0x5a, !cuts, 0xff], bytes).to_vec();
    message[0] |= 0x40;
    let twice = message.repeat(2);
    for frames in [bytes, &twice] {
        for item in &inflate_any_cut(new, *cuts, frames).items {
            match item {
                Item::Text(text) => assert!(text.len() <= limit),
                Item::Binary(payload) => assert!(payload.len() <= limit),
                Item::Ping(_) | Item::Pong(_) | Item::Close(_) => {}
            }
        }
    }

    let wanted = Deflate::new().threshold(0).level(1 + settings % 9).window_bits(9 + settings % 7);
    let agreed =
        deflate::settle(&[deflate::Offer::new()], &wanted).expect("every offer of nothing is accepted");
    let outgoing = agreed.outgoing().expect("no window is kept");
    let frame = Frame::binary(bytes.to_vec());
    if let Some(compressed) = outgoing.encode(&frame, &Counters::default()) {
        assert!(compressed.len() < encode::encode(&frame).len());
        let incoming = agreed.incoming(bytes.len());
        let new = || Decoder::new(Role::Client, bytes.len()).with_deflate(Some(incoming));
        let items = vec![Item::Binary(Bytes::copy_from_slice(bytes))];
        assert_eq!(inflate_any_cut(new, *cuts, &compressed), Found { items, error: None });
    }
}

/// As [`any_cut`], but for which error it is: what is wrong in several ways is found in the order it is looked at.
fn inflate_any_cut(new: impl Fn() -> Decoder, cuts: u8, bytes: &[u8]) -> Found {
    let whole = decode(new(), [Input::from(bytes)]);
    for other in
        [decode(new(), pieces(cuts, bytes).map(Input::from)), decode(new(), bytes.chunks(1).map(Input::from))]
    {
        assert_eq!(other.items, whole.items);
        assert_eq!(other.error.is_some(), whole.error.is_some(), "{:?}, {:?}", other.error, whole.error);
    }
    whole
}

/// What a decoder made of some bytes.
#[derive(Debug, PartialEq)]
struct Found {
    items: Vec<Item>,
    error: Option<ProtocolError>,
}

/// Decodes bytes in one piece, byte by byte and in pieces of other sizes; all must agree.
fn any_cut(new: impl Fn() -> Decoder, cuts: u8, bytes: &[u8]) -> Found {
    let whole = decode(new(), [Input::from(bytes)]);
    assert_eq!(decode(new(), [Input::from(Bytes::copy_from_slice(bytes))]), whole);
    assert_eq!(
        decode(new(), pieces(cuts, bytes).map(|piece| Input::from(Bytes::copy_from_slice(piece)))),
        whole
    );
    assert_eq!(decode(new(), bytes.chunks(1).map(Input::from)), whole);
    whole
}

fn decode<'a>(mut decoder: Decoder, inputs: impl IntoIterator<Item = Input<'a>>) -> Found {
    let mut found = Found { items: Vec::new(), error: None };
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
struct Nobody;

impl Consumer for Nobody {}

static ROUTES: LazyLock<Routes> = LazyLock::new(|| {
    let nobody = |_: &Scope| Ok(Nobody);
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
