//! Makes frames of messages. Each frame is one allocation of the exact size.

use bytes::Bytes;

use super::frame::{self, MAX_CONTROL, Opcode};
use crate::{Message, Outgoing, close::CloseCode};

/// A ping without a payload.
pub(crate) const PING: &[u8] = &[0x89, 0];

/// Encodes a message as one frame. The members of a group share clones of it.
pub(crate) fn encode(frame: &Outgoing) -> Bytes {
    let (opcode, payload) = parts(frame);
    unmasked(opcode, payload)
}

/// Encodes a message as one frame, with a head in front of it.
pub(crate) fn encode_headed(head: &[u8], frame: &Outgoing) -> Bytes {
    let (opcode, payload) = parts(frame);
    unmasked_pieces(opcode, [head, payload])
}

/// Encodes a text as one frame, with a head in front of it. Both are valid UTF-8.
pub(crate) fn encode_text(head: &[u8], text: &str) -> Bytes {
    unmasked_pieces(Opcode::Text, [head, text.as_bytes()])
}

/// The opcode and the payload of a message.
pub(super) fn parts(frame: &Outgoing) -> (Opcode, &[u8]) {
    match frame.message() {
        Message::Binary(bytes) => (Opcode::Binary, bytes),
        Message::Text(text) => (Opcode::Text, text.as_bytes()),
    }
}

/// Encodes a whole message whose payload is compressed already.
pub(super) fn compressed(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(frame::header_length(payload.len()) + payload.len());
    frame::write(&mut out, true, opcode, None, payload);
    frame::mark_compressed(&mut out);
    out.into()
}

/// Encodes a ping, for tests. Only the first 125 bytes of `payload` are sent.
#[cfg(test)]
pub(crate) fn ping(payload: &[u8]) -> Bytes {
    unmasked(Opcode::Ping, cut(payload))
}

/// Encodes the answer to a ping of `payload`.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    unmasked(Opcode::Pong, cut(payload))
}

/// Encodes a close frame. A long reason is cut to 123 bytes, at the end of a character.
///
/// If the code cannot be sent, the frame is empty. So the answer to a close frame without a code
/// ([`CloseCode::NO_STATUS`]) has no code either.
pub(crate) fn close(code: CloseCode, reason: &str) -> Bytes {
    unmasked(Opcode::Close, &close_payload(code, reason))
}

/// Encodes one masked frame, whole or a fragment, as a client sends it.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn masked(fin: bool, opcode: Opcode, mask: [u8; 4], payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(frame::header_length(payload.len()) + mask.len() + payload.len());
    frame::write(&mut out, fin, opcode, Some(mask), payload);
    out.into()
}

/// The payload of a [`close`] frame.
pub(crate) fn close_payload(code: CloseCode, reason: &str) -> Vec<u8> {
    if !code.can_be_sent() {
        return Vec::new();
    }
    [&code.0.to_be_bytes(), cut_reason(reason).as_bytes()].concat()
}

/// Cuts a reason to the 123 bytes that a close frame has for it, at the end of a character.
pub(crate) fn cut_reason(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

fn unmasked(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(frame::header_length(payload.len()) + payload.len());
    frame::write(&mut out, true, opcode, None, payload);
    out.into()
}

fn unmasked_pieces(opcode: Opcode, pieces: [&[u8]; 2]) -> Bytes {
    let length = pieces.iter().map(|piece| piece.len()).sum();
    let mut out = Vec::with_capacity(frame::header_length(length) + length);
    frame::write_pieces(&mut out, opcode, pieces);
    out.into()
}

fn cut(payload: &[u8]) -> &[u8] {
    payload.get(..MAX_CONTROL).unwrap_or(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::websocket::{Chunk, Decoder, Item, Role};

    fn decoded(frame: &[u8]) -> Item {
        let mut decoder = Decoder::new(Role::Client, 1 << 20);
        let mut input = Chunk::from(frame);
        let item = decoder.decode(&mut input).unwrap().unwrap();
        assert!(input.is_empty());
        item
    }

    #[test]
    fn headers_are_the_shortest_and_the_allocation_exact() {
        for (length, header) in [
            (0, &[0x82, 0][..]),
            (1, &[0x82, 1]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (127, &[0x82, 126, 0, 127]),
            (65535, &[0x82, 126, 0xff, 0xff]),
            (65536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = encode(&Outgoing::binary(vec![7; length]));
            assert_eq!(frame.len(), header.len() + length);
            assert_eq!(frame[..header.len()], *header);
            assert_eq!(frame.try_into_mut().unwrap().capacity(), header.len() + length);
        }
    }

    #[test]
    fn the_examples_of_rfc_6455_section_5_7() {
        assert_eq!(encode(&Outgoing::text("Hello"))[..], *b"\x81\x05Hello");
        assert_eq!(ping(b"")[..], *PING);
        assert_eq!(ping(b"Hello")[..], *b"\x89\x05Hello");
        let hello = masked(true, Opcode::Text, [0x37, 0xfa, 0x21, 0x3d], b"Hello");
        assert_eq!(hello[..], *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        let pong = masked(true, Opcode::Pong, [0x37, 0xfa, 0x21, 0x3d], b"Hello");
        assert_eq!(pong[..], *b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    }

    #[test]
    fn messages_round_trip() {
        for length in [0, 1, 125, 126, 127, 65535, 65536] {
            let text = "x".repeat(length);
            assert_eq!(decoded(&encode(&Outgoing::text(text.clone()))), Item::Text(text.into()));
            let bytes = Bytes::from(vec![0xff; length]);
            assert_eq!(decoded(&encode(&Outgoing::binary(bytes.clone()))), Item::Binary(bytes));
        }
    }

    #[test]
    fn control_frames_round_trip_and_are_never_too_long() {
        assert_eq!(decoded(&ping(b"")), Item::Ping(Bytes::new()));
        assert_eq!(decoded(&pong(b"1")), Item::Pong("1".into()));
        assert_eq!(decoded(&ping(&[7; 126])), Item::Ping(vec![7; 125].into()));
    }

    #[test]
    fn a_close_frame_carries_code_and_reason() {
        let closed = |code: u16, reason: &str| decoded(&close(CloseCode(code), reason));
        assert_eq!(closed(1000, ""), Item::Close(Some((CloseCode(1000), "".into()))));
        assert_eq!(closed(4001, "bye"), Item::Close(Some((CloseCode(4001), "bye".into()))));
        assert_eq!(closed(1005, "not sent"), Item::Close(None));
        assert_eq!(closed(1006, "not sent"), Item::Close(None));
    }

    #[test]
    fn a_long_reason_is_cut_at_the_end_of_a_character() {
        for (reason, sent) in [("x".repeat(200), 123), ("é".repeat(100), 122), ("€".repeat(41), 123)] {
            let Item::Close(Some((_, cut))) = decoded(&close(CloseCode::NORMAL, &reason)) else { panic!() };
            assert_eq!(cut.len(), sent);
            assert!(reason.starts_with(&*cut));
        }
    }
}
