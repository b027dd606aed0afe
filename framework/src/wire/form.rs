//! The wire form of a connection: how its messages become bytes.

use bytes::Bytes;

use super::{
    batch,
    history::{At, Head},
    websocket::{self, deflate::CompressParams},
};
use crate::{
    close::CloseCode,
    message::{ConflationKey, Outgoing},
    metrics::Counters,
};

/// How a client is reached. [`Context::transport`](crate::Context::transport) returns it.
///
/// The [guide](crate::docs::guide#without-a-websocket) says when to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// A stream of server-sent events. The client sends its messages in POST requests.
    EventStream,
    /// Requests that are held until a message is due.
    LongPolling,
    /// Requests that are answered at once.
    Polling,
    /// A WebSocket.
    WebSocket,
}

/// The wire form of a connection. Members with the same form share their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Fragments of JSON, for batches.
    Fallback,
    /// Fragments of JSON, for a client that asked for the places of its messages in logs.
    MarkedFallback,
    /// Frames whose payloads begin with the [head](Head) of the message. Otherwise as `WebSocket`.
    MarkedWebSocket(Option<CompressParams>),
    /// Unmasked RFC 6455 frames. With parameters, messages are compressed.
    WebSocket(Option<CompressParams>),
    /// The body of an HTTP response: messages as they are, and nothing else.
    Body,
}

impl Wire {
    /// Encodes a message, compressed if that was agreed on and makes it smaller.
    ///
    /// Senders call [`encoded::encode`](super::encoded::encode) or
    /// [`encoded::encode_headed`](super::encoded::encode_headed) instead, which call this once for the same bytes.
    pub(super) fn encode_anew(self, head: Head, frame: &Outgoing, counters: &Counters) -> Bytes {
        match self {
            Self::Fallback => batch::encode(frame),
            Self::MarkedFallback => batch::encode_headed(head, frame),
            Self::MarkedWebSocket(deflate) => {
                let plain = self.encode_plain_headed(head, frame);
                deflate.and_then(|deflate| deflate.encode_frame(&plain, counters)).unwrap_or(plain)
            }
            Self::WebSocket(deflate) => deflate
                .and_then(|deflate| deflate.encode(frame, counters))
                .unwrap_or_else(|| websocket::encode::encode(frame)),
            Self::Body => self.encode_plain(frame),
        }
    }

    /// Encodes a message without compression, which every client on this wire form reads too.
    pub(crate) fn encode_plain(self, frame: &Outgoing) -> Bytes {
        self.encode_plain_headed(Head::Plain, frame)
    }

    /// As [`encode_plain`](Self::encode_plain), with what the message is. Only marked forms say it to the client.
    pub(crate) fn encode_plain_headed(self, head: Head, frame: &Outgoing) -> Bytes {
        match self {
            Self::Fallback => batch::encode(frame),
            Self::MarkedFallback => batch::encode_headed(head, frame),
            Self::MarkedWebSocket(_) => websocket::encode::encode_headed(&head.of(frame.message()), frame),
            Self::WebSocket(_) => websocket::encode::encode(frame),
            Self::Body => frame.message().payload(),
        }
    }

    /// Encodes the mark that tells a client that it has all of an event. `None` if the form has no marks.
    pub(crate) fn encode_mark(self, at: At) -> Option<Bytes> {
        match self {
            Self::MarkedFallback => Some(batch::encode_mark(at)),
            Self::MarkedWebSocket(_) => Some(websocket::encode::encode_text(&at.mark(), "")),
            Self::Body | Self::Fallback | Self::WebSocket(_) => None,
        }
    }

    /// Encodes a control frame of this JSON, which is an object without line breaks.
    ///
    /// It is compressed as a message is. `None` if the form has no control frames.
    pub(crate) fn encode_control(self, json: &str, counters: &Counters) -> Option<Bytes> {
        match self {
            Self::MarkedFallback => Some(batch::encode_control(json)),
            Self::MarkedWebSocket(deflate) => {
                let plain = websocket::encode::encode_text(b"c", json);
                Some(deflate.and_then(|deflate| deflate.encode_frame(&plain, counters)).unwrap_or(plain))
            }
            Self::Body | Self::Fallback | Self::WebSocket(_) => None,
        }
    }

    /// Whether the client asked for the places of its messages in logs.
    #[cfg(test)]
    fn is_marked(self) -> bool {
        match self {
            Self::MarkedFallback | Self::MarkedWebSocket(_) => true,
            Self::Body | Self::Fallback | Self::WebSocket(_) => false,
        }
    }

    /// Encodes a ping without a payload: anything that the client sends next shows that it is there.
    pub(crate) fn encode_ping(self) -> Bytes {
        match self {
            // A fallback transport has no pings: the client's requests show that it is there.
            Self::Fallback | Self::MarkedFallback => Bytes::new(),
            Self::MarkedWebSocket(_) | Self::WebSocket(_) => Bytes::from_static(websocket::encode::PING),
            Self::Body => Bytes::new(),
        }
    }

    pub(crate) fn encode_pong(self, payload: &[u8]) -> Bytes {
        match self {
            Self::Fallback | Self::MarkedFallback => Bytes::new(),
            Self::MarkedWebSocket(_) | Self::WebSocket(_) => websocket::encode::pong(payload),
            Self::Body => Bytes::new(),
        }
    }

    /// Encodes the close.
    ///
    /// On a WebSocket a code that cannot be sent gives an empty close frame. This is how a close frame without a code
    /// is answered.
    pub(crate) fn encode_close(self, code: CloseCode, reason: &str) -> Bytes {
        match self {
            Self::Fallback | Self::MarkedFallback => batch::encode_close(code, reason),
            Self::MarkedWebSocket(_) | Self::WebSocket(_) => websocket::encode::close(code, reason),
            Self::Body => Bytes::new(),
        }
    }
}

/// A frame, and the key that its message had.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) bytes: Bytes,
    pub(crate) key: Option<ConflationKey>,
}

impl From<Bytes> for Packet {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, key: None }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::wire::websocket::{
        Chunk, Decoder, Item, Role,
        deflate::{Deflate, DeflateOffer, InflateParams, settle},
    };

    const MARKED: [Wire; 2] = [Wire::MarkedFallback, Wire::MarkedWebSocket(None)];
    const UNMARKED: [Wire; 3] = [Wire::Body, Wire::Fallback, Wire::WebSocket(None)];

    fn at(part: u32) -> At {
        At { alias: 12, offset: 1_843, tag: 0x0a_1b2d, part: NonZeroU32::new(part) }
    }

    fn compressed() -> (Wire, InflateParams) {
        let agreed =
            settle(&[DeflateOffer::new()], &Deflate::new().threshold(16)).expect("it can be accepted");
        (Wire::MarkedWebSocket(agreed.compress_params()), agreed.inflate_params(1 << 20))
    }

    #[test]
    fn the_marked_forms_are_as_the_table_of_the_protocol_says() {
        let foreign = Head::Foreign { alias: 3, watermark: 0.5 };
        let (text, bytes) = (Outgoing::text("hi"), Outgoing::binary(vec![7]));
        for (head, as_text, as_bytes, json) in [
            (Head::Plain, &b"\x81\x03mhi"[..], &b"\x82\x02\x00\x07"[..], r#""hi""#),
            (
                Head::Logged(at(0)),
                b"\x81\x12h12.1843.0a1b2d\nhi",
                b"\x82\x09\x01\x0c\xb3\x0e\x0a\x1b\x2d\x00\x07",
                r#"{"text":"hi","at":[12,1843,"0a1b2d"]}"#,
            ),
            (
                Head::Logged(at(2)),
                b"\x81\x14h12.1843.0a1b2d.2\nhi",
                b"\x82\x09\x01\x0c\xb3\x0e\x0a\x1b\x2d\x02\x07",
                r#"{"text":"hi","at":[12,1843,"0a1b2d",2]}"#,
            ),
            (
                foreign,
                b"\x81\x09f3.0.5\nhi",
                b"\x82\x0b\x02\x03\x3f\xe0\x00\x00\x00\x00\x00\x00\x07",
                r#"{"text":"hi","foreign":[3,0.5]}"#,
            ),
        ] {
            let [fallback, socket] = MARKED;
            let counters = Counters::default();
            assert_eq!(socket.encode_plain_headed(head, &text), as_text);
            assert_eq!(socket.encode_plain_headed(head, &bytes), as_bytes);
            assert_eq!(socket.encode_anew(head, &text, &counters), as_text);
            assert_eq!(fallback.encode_plain_headed(head, &text), json);
            assert_eq!(fallback.encode_anew(head, &text, &counters), json);
            for wire in UNMARKED {
                assert_eq!(wire.encode_plain_headed(head, &text), wire.encode_plain(&text));
                assert_eq!(wire.encode_anew(head, &bytes, &counters), wire.encode_plain(&bytes));
            }
        }
        let mark = |wire: Wire| wire.encode_mark(at(2));
        let control = |wire: Wire| wire.encode_control(r#"{"left":[]}"#, &Counters::default());
        let [fallback, socket] = MARKED.map(mark).map(Option::unwrap);
        assert_eq!(
            (&*fallback, &*socket),
            (&br#"{"at":[12,1843,"0a1b2d"]}"#[..], &b"\x81\x0fp12.1843.0a1b2d"[..])
        );
        let [fallback, socket] = MARKED.map(control).map(Option::unwrap);
        assert_eq!(
            (&*fallback, &*socket),
            (&br#"{"control":{"left":[]}}"#[..], &b"\x81\x0cc{\"left\":[]}"[..])
        );
        for wire in UNMARKED {
            assert_eq!((mark(wire), control(wire), wire.is_marked()), (None, None, false));
        }
    }

    #[test]
    fn a_plain_message_of_a_marked_form_has_its_head() {
        let [fallback, socket] = MARKED;
        assert_eq!(socket.encode_plain(&Outgoing::text("")), &b"\x81\x01m"[..]);
        assert_eq!(socket.encode_plain(&Outgoing::binary(vec![])), &b"\x82\x01\x00"[..]);
        assert_eq!(fallback.encode_plain(&Outgoing::text("")), r#""""#);
    }

    #[test]
    fn a_frame_with_a_head_is_one_allocation_of_the_exact_size() {
        for length in [0, 100, 125, 126, 65_520, 65_536] {
            let frame = Outgoing::text("x".repeat(length));
            let frame = Wire::MarkedWebSocket(None).encode_plain_headed(Head::Logged(at(1)), &frame);
            let length = frame.len();
            assert_eq!(frame.try_into_mut().expect("it is the only one").capacity(), length);
        }
    }

    #[test]
    fn the_head_is_compressed_with_its_message() {
        let (wire, params) = compressed();
        let counters = Counters::default();
        let payload = "so it is. ".repeat(100);
        let head = "h12.1843.0a1b2d\n";
        let logged = wire.encode_anew(Head::Logged(at(0)), &Outgoing::text(payload.clone()), &counters);
        let control = wire.encode_control(&payload, &counters).expect("it has control frames");
        let small = wire.encode_anew(Head::Plain, &Outgoing::text("short"), &counters);
        assert_eq!(small, &b"\x81\x06mshort"[..]);
        for (frame, text) in [(logged, [head, &payload].concat()), (control, ["c", &payload].concat())] {
            assert!(frame.len() < text.len() / 4);
            let mut decoder = Decoder::new(Role::Client, 1 << 20).with_deflate(Some(params));
            let mut input = Chunk::from(&*frame);
            assert_eq!(decoder.decode(&mut input), Ok(Some(Item::Text(text.into()))));
        }
        assert_eq!(counters.read().compressed, 2);
    }

    #[test]
    fn the_marked_forms_take_no_more_room_in_a_connection() {
        assert_eq!(size_of::<Wire>(), size_of::<(u32, Option<CompressParams>)>());
    }
}
