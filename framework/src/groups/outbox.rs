//! The encoded frames that wait to be written to one connection, bounded by bytes.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::transport::limits::{Limits, Overflow};

/// A queue of whole frames. What was popped is on its way and can no longer be dropped.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Whether the first frame is on its way, in part or as what it was packed to: it must be written whole.
    begun: bool,
    /// Set once the last frame was pushed: nothing is taken after it.
    sealed: bool,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits to be written; this many older frames were dropped for it.
    Queued { dropped: usize },
    /// It was dropped.
    Refused,
    /// It does not fit, and the policy is to close the connection.
    TooSlow,
    /// The outbox was sealed before.
    Sealed,
}

impl Outbox {
    /// Adds one frame; a frame that comes to an empty outbox always fits.
    pub(crate) fn push(&mut self, frame: Bytes, limits: &Limits) -> Pushed {
        if self.sealed {
            return Pushed::Sealed;
        }
        let mut dropped = 0;
        if self.bytes + frame.len() > limits.outbox_size && !self.frames.is_empty() {
            match limits.overflow {
                Overflow::Close => return Pushed::TooSlow,
                Overflow::DropNewest => return Pushed::Refused,
                Overflow::DropOldest => {
                    while self.bytes + frame.len() > limits.outbox_size && self.drop_oldest() {
                        dropped += 1;
                    }
                }
            }
        }
        self.bytes += frame.len();
        self.frames.push_back(frame);
        Pushed::Queued { dropped }
    }

    /// Whether a frame of this length would not be queued, for want of room.
    pub(crate) fn refuses(&self, length: usize, limits: &Limits) -> bool {
        limits.overflow != Overflow::DropOldest
            && !self.frames.is_empty()
            && self.bytes + length > limits.outbox_size
    }

    /// Adds the last frame, whatever the limit says, and takes no more.
    pub(crate) fn seal(&mut self, last: Option<Bytes>) {
        if self.sealed {
            return;
        }
        if let Some(frame) = last {
            self.bytes += frame.len();
            self.frames.push_back(frame);
        }
        self.sealed = true;
    }

    /// Drops all that waits: its reader is gone, or too slow to be told more than why.
    pub(crate) fn clear(&mut self) {
        let begun = self.frames.pop_front().filter(|_| self.begun);
        self.bytes = begun.as_ref().map_or(0, Bytes::len);
        self.frames = VecDeque::from_iter(begun);
    }

    /// Takes the oldest frame, for writing.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        self.begun = false;
        self.give_back();
        Some(frame)
    }

    /// What is to be written first, made of the first frame by `pack`, once. It can no longer be dropped.
    pub(crate) fn packed_front(&mut self, pack: impl FnOnce(Bytes) -> Bytes) -> Option<&[u8]> {
        if !self.begun {
            let frame = self.frames.pop_front()?;
            self.bytes -= frame.len();
            let frame = pack(frame);
            self.bytes += frame.len();
            self.frames.push_front(frame);
            self.begun = true;
        }
        self.front()
    }

    /// What is to be written first.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.frames.front().map(|frame| &**frame)
    }

    /// All that waits.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.iter().map(|frame| &**frame)
    }

    /// Notes that so many bytes were written.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(front) = self.frames.front_mut() {
            if written < front.len() {
                front.advance(written);
                self.begun |= written > 0;
                break;
            }
            written -= front.len();
            self.frames.pop_front();
            self.begun = false;
        }
        self.give_back();
    }

    /// A burst must not cost its memory for the rest of the connection's life.
    fn give_back(&mut self) {
        if self.frames.is_empty() && self.frames.capacity() > 64 {
            self.frames = VecDeque::new();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many bytes wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops the oldest frame that is not on its way.
    fn drop_oldest(&mut self) -> bool {
        let Some(frame) = self.frames.remove(usize::from(self.begun)) else { return false };
        self.bytes -= frame.len();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUED: Pushed = Pushed::Queued { dropped: 0 };

    fn filled(overflow: Overflow) -> (Outbox, Limits) {
        let limits = Limits::new().outbox_size(10).overflow(overflow);
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(Bytes::from_static(b"aaaa"), &limits), QUEUED);
        assert_eq!(outbox.push(Bytes::from_static(b"bbbb"), &limits), QUEUED);
        (outbox, limits)
    }

    fn drain(mut outbox: Outbox) -> Vec<Bytes> {
        std::iter::from_fn(|| outbox.pop()).collect()
    }

    #[test]
    fn drop_newest_refuses_the_frame_that_does_not_fit() {
        let (mut outbox, limits) = filled(Overflow::DropNewest);
        assert_eq!(outbox.push(Bytes::from_static(b"cccc"), &limits), Pushed::Refused);
        assert_eq!(outbox.push(Bytes::from_static(b"dd"), &limits), QUEUED);
        assert_eq!(drain(outbox), ["aaaa", "bbbb", "dd"]);
    }

    #[test]
    fn drop_oldest_makes_room_by_whole_frames() {
        let (mut outbox, limits) = filled(Overflow::DropOldest);
        assert_eq!(outbox.push(Bytes::from_static(b"cccccc"), &limits), Pushed::Queued { dropped: 1 });
        assert_eq!(outbox.bytes(), 10);
        assert_eq!(drain(outbox), ["bbbb", "cccccc"]);
    }

    #[test]
    fn close_says_too_slow_and_keeps_what_waits() {
        let (mut outbox, limits) = filled(Overflow::Close);
        assert_eq!(outbox.push(Bytes::from_static(b"cccc"), &limits), Pushed::TooSlow);
        assert_eq!(drain(outbox), ["aaaa", "bbbb"]);
    }

    #[test]
    fn one_frame_larger_than_the_limit_fits_an_empty_outbox() {
        let limits = Limits::new().outbox_size(1);
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(Bytes::from_static(b"large"), &limits), QUEUED);
        assert_eq!(outbox.push(Bytes::from_static(b"x"), &limits), Pushed::TooSlow);
    }

    #[test]
    fn a_frame_is_packed_once_and_then_not_dropped() {
        let (mut outbox, limits) = filled(Overflow::DropOldest);
        let packed = |_| Bytes::from_static(b"AA");
        assert_eq!(outbox.packed_front(packed), Some(&b"AA"[..]));
        assert_eq!(outbox.bytes(), 6);
        assert_eq!(outbox.push(Bytes::from_static(b"cccccc"), &limits), Pushed::Queued { dropped: 1 });
        outbox.advance(1);
        let not_again = |_| panic!("it was packed");
        assert_eq!(outbox.packed_front(not_again), Some(&b"A"[..]));
        outbox.advance(1);
        assert_eq!(outbox.packed_front(|frame| frame), Some(&b"cccccc"[..]));
    }

    #[test]
    fn nothing_follows_the_last_frame() {
        let (mut outbox, limits) = filled(Overflow::Close);
        outbox.seal(Some(Bytes::from_static(b"close")));
        outbox.seal(Some(Bytes::from_static(b"close again")));
        assert_eq!(outbox.push(Bytes::from_static(b"x"), &limits), Pushed::Sealed);
        assert_eq!(drain(outbox), ["aaaa", "bbbb", "close"]);
    }
}
