//! A cache of one encoded message, for members that send the same bytes one after the other.
//!
//! If each member's own handler passes on a clone of one event's text, each would encode and compress the same bytes.
//! Two messages are the same if their bytes are at the same place in memory. That place cannot get other bytes while
//! the cache holds it. Each flush empties the cache, so nothing is kept beyond a turn.

use std::cell::Cell;

use bytes::Bytes;

use super::{Wire, history::Head};
use crate::{
    message::{Message, Outgoing},
    metrics::Counters,
};

/// The shortest message that is cached, in bytes. To encode a shorter one is as quick as to look it up.
const MIN_CACHED: usize = 64;

struct LastEncoded {
    wire: Wire,
    head: Head,
    is_text: bool,
    payload: Bytes,
    encoded: Bytes,
}

thread_local! {
    static LAST: Cell<Option<Box<LastEncoded>>> = const { Cell::new(None) };
}

/// Encodes a message, or returns the cached bytes if it is the same as before.
#[cfg(test)]
fn encode(wire: Wire, frame: &Outgoing, counters: &Counters) -> Bytes {
    encode_headed(wire, Head::Plain, frame, counters)
}

/// As [`encode`], with what the message is. Only marked forms say it to the client.
pub(crate) fn encode_headed(wire: Wire, head: Head, frame: &Outgoing, counters: &Counters) -> Bytes {
    let (payload, is_text) = match frame.message() {
        Message::Binary(bytes) => (bytes, false),
        Message::Text(text) => (text.as_bytes(), true),
    };
    // If nobody else holds the bytes, nobody will send them again.
    if payload.len() < MIN_CACHED || payload.is_unique() {
        return wire.encode_anew(head, frame, counters);
    }
    let last = LAST.take().filter(|last| {
        (last.wire, last.is_text, last.payload.as_ptr(), last.payload.len(), last.head)
            == (wire, is_text, payload.as_ptr(), payload.len(), head)
    });
    let last = last.unwrap_or_else(|| {
        let encoded = wire.encode_anew(head, frame, counters);
        Box::new(LastEncoded { wire, head, is_text, payload: payload.clone(), encoded })
    });
    let encoded = last.encoded.clone();
    LAST.set(Some(last));
    encoded
}

/// Empties the cache at the end of a turn, so that it keeps no memory.
pub(crate) fn forget() {
    // When the thread ends, the cache may be gone already.
    let _ = LAST.try_with(Cell::take);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Wire = Wire::WebSocket(None);

    fn encoded(frame: &Outgoing) -> Bytes {
        encode(PLAIN, frame, &Counters::default())
    }

    #[test]
    fn clones_of_one_text_share_one_frame() {
        let frame = Outgoing::text("x".repeat(100));
        let (first, second) = (encoded(&frame.clone()), encoded(&frame.clone()));
        assert_eq!(first.as_ptr(), second.as_ptr());
        let Message::Text(text) = frame.message().clone() else { unreachable!("it is a text") };
        let bytes = Outgoing::binary(text.into_bytes());
        assert_eq!(
            (encoded(&bytes)[0], encoded(&frame)[0]),
            (0x82, 0x81),
            "a binary message with the same bytes gets a frame of its own"
        );
        forget();
        assert_ne!(encoded(&frame).as_ptr(), first.as_ptr());
        assert_eq!(encoded(&frame), first);
    }

    #[test]
    fn the_same_text_at_another_place_is_another_frame() {
        let frame = Outgoing::text("x".repeat(100));
        let _held = frame.clone();
        let encoded = |wire, offset| {
            let at = crate::wire::history::At { alias: 1, offset, tag: 1, part: None };
            encode_headed(wire, Head::Logged(at), &frame, &Counters::default())
        };
        let marked = Wire::MarkedWebSocket(None);
        let (first, second, other) = (encoded(marked, 1), encoded(marked, 1), encoded(marked, 2));
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_ne!(first, other);
        assert_eq!(encoded(PLAIN, 2), encode(PLAIN, &frame, &Counters::default()));
    }

    #[test]
    fn other_texts_are_other_frames() {
        let long = Bytes::from(vec![7; 300]);
        for part in [long.slice(..100), long.slice(..200), long.slice(100..200)] {
            assert_eq!(
                encoded(&Outgoing::binary(part.clone())).slice(if part.len() < 126 { 2 } else { 4 }..),
                part
            );
        }
    }
}
