//! The frames that wait to be written to one connection, bounded by bytes.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use bytes::{Buf, Bytes};

use super::budget::Ledger;
use crate::{
    message::ConflationKey,
    wire::{
        Packet,
        limits::{Limits, Overflow},
    },
};

/// So many frames fit, however small the outbox is.
const FEW_FRAMES: usize = 64;
/// One more frame fits for each so many bytes of the outbox's size.
const SMALL_FRAME: usize = 64;
/// If so many frames wait, the next pong takes the place of a pong at the end. Before, each ping has its own pong.
const PONGS: usize = 16;

/// A queue of whole frames. A frame that was popped is on its way and cannot be dropped any more.
#[derive(Debug)]
pub(crate) struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// The thread's count of the mount's budget, which includes these bytes.
    ledger: Rc<Ledger>,
    /// Whether the first frame is on its way, because it is partly written or was packed. It must be written whole.
    begun: bool,
    /// The frames with a key. Used only under [`Overflow::Latest`].
    latest: Option<Box<Latest>>,
    /// The tick of the last progress: the reader took something, or a frame came to the empty outbox.
    progress: u32,
    /// Set when the last frame was pushed. Frames after it are refused.
    sealed: bool,
}

/// The places of the frames with a key.
///
/// Frames are numbered in the order in which they came. A frame that replaces an older one takes over its number.
#[derive(Debug, Default)]
struct Latest {
    by_key: HashMap<ConflationKey, u64>,
    /// The same entries, in the order of their numbers.
    in_order: VecDeque<(u64, ConflationKey)>,
    /// The number of the oldest frame that waits.
    first: u64,
}

/// The result of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The frame waits to be written.
    Queued {
        /// How many older frames were dropped to make room.
        dropped: usize,
        /// The outboxes of the mount hold more than they may.
        over_budget: bool,
    },
    /// The frame has taken the place of an older one with its key. Others may have been dropped to make room.
    Replaced { dropped: usize },
    /// The frame was dropped.
    Refused,
    /// The frame does not fit, and the policy is to close the connection.
    TooSlow,
    /// The outbox was sealed before the frame came.
    Sealed,
}

impl Outbox {
    pub(crate) fn new(ledger: Rc<Ledger>) -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            ledger,
            begun: false,
            latest: None,
            progress: 0,
            sealed: false,
        }
    }

    /// Adds one frame. An empty outbox takes a frame of any size.
    pub(crate) fn push(&mut self, packet: impl Into<Packet>, limits: &Limits) -> Pushed {
        let Packet { bytes: frame, key } = packet.into();
        if self.sealed {
            return Pushed::Sealed;
        }
        let key = key.filter(|_| limits.overflow == Overflow::Latest);
        if let Some(place) = key.and_then(|key| self.place_of(key)) {
            return self.replace(place, frame, limits);
        }
        let mut dropped = 0;
        if !self.fits(frame.len(), limits) {
            match limits.overflow {
                Overflow::Close => return Pushed::TooSlow,
                Overflow::DropNewest => return Pushed::Refused,
                Overflow::DropOldest | Overflow::Latest => {
                    while !self.fits(frame.len(), limits) && self.drop_oldest() {
                        dropped += 1;
                    }
                }
            }
        }
        if let Some(key) = key {
            self.latest.get_or_insert_default().note(key, self.frames.len());
        }
        let over_budget = self.append(frame);
        Pushed::Queued { dropped, over_budget }
    }

    /// Whether a message would be refused because there is no room for its frame.
    pub(crate) fn refuses(&self, frame: &crate::Outgoing, limits: &Limits) -> bool {
        matches!(limits.overflow, Overflow::Close | Overflow::DropNewest) && !self.fits(frame.len(), limits)
    }

    /// Whether a frame of so many bytes fits. An empty outbox takes a frame of any size.
    ///
    /// The number of frames is bounded too, because a frame of two bytes occupies many times its size.
    pub(crate) fn fits(&self, bytes: usize, limits: &Limits) -> bool {
        self.frames.is_empty()
            || (self.bytes + bytes <= limits.outbox_size
                && self.frames.len() < FEW_FRAMES + limits.outbox_size / SMALL_FRAME)
    }

    /// Whether at most so many bytes wait, in at most half as many frames as fit.
    pub(crate) fn has_few(&self, bytes: usize, limits: &Limits) -> bool {
        self.bytes <= bytes && self.frames.len() <= (FEW_FRAMES + limits.outbox_size / SMALL_FRAME) / 2
    }

    /// Adds the answer to a ping. If many frames wait and the last is such an answer too, it takes that one's place
    /// (RFC 6455, section 5.5.3): a client that sends pings and reads nothing has few pongs waiting.
    pub(crate) fn push_pong(&mut self, pong: Bytes, limits: &Limits) -> Pushed {
        let many = self.frames.len() >= PONGS;
        match self.frames.back_mut() {
            Some(last) if many && !self.sealed && last.first() == pong.first() => {
                let (before, length) = (last.len(), pong.len());
                *last = pong;
                self.bytes = self.bytes - before + length;
                self.ledger.take(before, 1);
                self.ledger.add(length);
                Pushed::Queued { dropped: 0, over_budget: false }
            }
            _ => self.push(pong, limits),
        }
    }

    /// Takes over all frames of another outbox that had the same limits, behind those that are here.
    ///
    /// Each was let in where it came from, so none is dropped here, also if all together are over the limit. True if the
    /// outboxes of the mount hold more than they may.
    pub(crate) fn take_over(&mut self, mut other: Self) -> bool {
        if self.sealed {
            return false;
        }
        let before = self.frames.len();
        if let Some(Latest { in_order, first, .. }) = other.latest.take().map(|latest| *latest) {
            let latest = self.latest.get_or_insert_default();
            for (number, key) in in_order {
                latest.note(key, before + (number - first) as usize);
            }
        }
        let mut over_budget = false;
        while let Some(frame) = other.pop() {
            over_budget = self.append(frame);
        }
        over_budget
    }

    /// Adds the last frame, even over the limit. From then on all frames are refused.
    pub(crate) fn seal(&mut self, last: Option<Bytes>) {
        if self.sealed {
            return;
        }
        if let Some(frame) = last {
            self.append(frame);
        }
        self.sealed = true;
    }

    /// Drops all frames that wait, but not one that is on its way.
    ///
    /// For a reader that is gone, or that is so slow that it only gets the reason for its close.
    pub(crate) fn clear(&mut self) {
        let frames = self.frames.len();
        let begun = self.frames.pop_front().filter(|_| self.begun);
        let kept = begun.as_ref().map_or(0, Bytes::len);
        self.ledger.take(self.bytes - kept, frames - usize::from(begun.is_some()));
        self.bytes = kept;
        self.frames = VecDeque::from_iter(begun);
        self.latest = None;
    }

    /// Takes the oldest frame, for writing.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        self.begun = false;
        self.note_gone(&frame, 0);
        self.note_progress();
        self.give_back();
        Some(frame)
    }

    /// The bytes to write first. `pack` makes them from the first frame, once; then the frame cannot be dropped any
    /// more.
    pub(crate) fn packed_front(&mut self, pack: impl FnOnce(Bytes) -> Bytes) -> Option<&[u8]> {
        if !self.begun {
            let front = self.frames.front_mut()?;
            let before = front.len();
            *front = pack(std::mem::take(front));
            let length = front.len();
            self.bytes = self.bytes - before + length;
            self.ledger.take(before, 1);
            self.ledger.add(length);
            self.begin();
        }
        self.front()
    }

    /// The bytes to write first.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.frames.front().map(|frame| &**frame)
    }

    /// All frames that wait.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.iter().map(|frame| &**frame)
    }

    /// Notes that so many bytes were written.
    pub(crate) fn advance(&mut self, mut written: usize) {
        while let Some(front) = self.frames.front_mut() {
            if written < front.len() {
                if written > 0 {
                    front.advance(written);
                    self.bytes -= written;
                    self.ledger.take(written, 0);
                    self.begin();
                }
                break;
            }
            written -= front.len();
            self.pop();
        }
        self.note_progress();
    }

    /// Gives memory back after a burst. Otherwise it would be kept as long as the connection lives.
    fn give_back(&mut self) {
        if self.frames.is_empty() && self.frames.capacity() > 64 {
            self.frames = VecDeque::new();
        }
    }

    /// How many bytes wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Notes that the reader took something, at least a part of a frame.
    pub(crate) fn note_progress(&mut self) {
        self.progress = self.ledger.now();
    }

    /// The tick in which the reader last took something.
    pub(crate) fn progress(&self) -> u32 {
        self.progress
    }

    pub(crate) fn ledger(&self) -> &Rc<Ledger> {
        &self.ledger
    }

    fn append(&mut self, frame: Bytes) -> bool {
        if self.frames.is_empty() {
            self.note_progress();
        }
        self.bytes += frame.len();
        let over_budget = self.ledger.add(frame.len());
        if self.frames.capacity() == 0 {
            // Most connections never have more than one frame that waits. By itself the queue would make room for four.
            self.frames.reserve_exact(1);
        }
        self.frames.push_back(frame);
        over_budget
    }

    /// Drops the oldest frame that is not on its way. False if there is none.
    fn drop_oldest(&mut self) -> bool {
        let place = usize::from(self.begun);
        let Some(frame) = self.frames.remove(place) else { return false };
        self.note_gone(&frame, place);
        true
    }

    /// Notes that the first frame is on its way. From now on no other frame may take its place.
    fn begin(&mut self) {
        self.begun = true;
        if let Some(latest) = &mut self.latest {
            latest.forget(0);
        }
    }

    /// Notes that the frame at `place` is gone. That is the first, or the second if the first is on its way.
    fn note_gone(&mut self, frame: &Bytes, place: usize) {
        self.bytes -= frame.len();
        self.ledger.take(frame.len(), 1);
        if let Some(latest) = &mut self.latest {
            latest.forget(place as u64);
            // If the second is gone, the first takes over its number.
            latest.first += 1;
            if self.frames.is_empty() {
                self.latest = None;
            }
        }
    }

    fn place_of(&self, key: ConflationKey) -> Option<usize> {
        let latest = self.latest.as_ref()?;
        latest.by_key.get(&key).map(|number| (number - latest.first) as usize)
    }

    /// Puts a frame in the place of an older one.
    ///
    /// If it went to the end, a client might never get a message with a key that changes often.
    fn replace(&mut self, place: usize, frame: Bytes, limits: &Limits) -> Pushed {
        let old = std::mem::replace(&mut self.frames[place], frame);
        let length = self.frames[place].len();
        self.bytes = self.bytes - old.len() + length;
        self.ledger.take(old.len(), 1);
        self.ledger.add(length);
        let mut dropped = 0;
        // Only frames before the new one are dropped. The new one itself always fits.
        let before = place - usize::from(self.begun);
        while self.bytes > limits.outbox_size && dropped < before && self.drop_oldest() {
            dropped += 1;
        }
        Pushed::Replaced { dropped }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.ledger.take(self.bytes, self.frames.len());
    }
}

impl Latest {
    /// Notes the key of a frame that is added behind `waiting` others.
    fn note(&mut self, key: ConflationKey, waiting: usize) {
        let number = self.first + waiting as u64;
        self.by_key.insert(key, number);
        self.in_order.push_back((number, key));
    }

    /// Forgets the key of a frame that is gone or on its way, if it has one. It is the oldest of all with a key.
    fn forget(&mut self, place: u64) {
        if let Some((number, key)) = self.in_order.front()
            && *number <= self.first + place
        {
            self.by_key.remove(key);
            self.in_order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUED: Pushed = Pushed::Queued { dropped: 0, over_budget: false };

    fn empty() -> Outbox {
        Outbox::new(Ledger::unbounded())
    }

    fn filled(overflow: Overflow) -> (Outbox, Limits) {
        let limits = Limits::new().outbox_size(10).overflow(overflow);
        let mut outbox = empty();
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
        assert_eq!(
            outbox.push(Bytes::from_static(b"cccccc"), &limits),
            Pushed::Queued { dropped: 1, over_budget: false }
        );
        assert_eq!(outbox.bytes(), 10);
        assert_eq!(drain(outbox), ["bbbb", "cccccc"]);
    }

    #[test]
    fn close_says_too_slow_and_keeps_the_frames_that_wait() {
        let (mut outbox, limits) = filled(Overflow::Close);
        assert_eq!(outbox.push(Bytes::from_static(b"cccc"), &limits), Pushed::TooSlow);
        assert_eq!(drain(outbox), ["aaaa", "bbbb"]);
    }

    /// A frame of two bytes occupies many times its size.
    #[test]
    fn the_number_of_small_frames_is_bounded() {
        let limits = Limits::new().outbox_size(SMALL_FRAME);
        let mut outbox = empty();
        for _ in 0..=FEW_FRAMES {
            assert_eq!(outbox.push(Bytes::new(), &limits), QUEUED);
        }
        assert_eq!(outbox.push(Bytes::new(), &limits), Pushed::TooSlow);
    }

    #[test]
    fn if_many_frames_wait_a_pong_takes_the_place_of_the_pong_before_it() {
        let limits = Limits::new();
        let ledger = Ledger::unbounded();
        let mut outbox = Outbox::new(Rc::clone(&ledger));
        let few: Vec<String> = (0..PONGS).map(|number| format!("P{number}")).collect();
        for pong in few.iter().cloned().chain(["P new".to_owned(), "P newer".to_owned()]) {
            assert_eq!(outbox.push_pong(pong.into(), &limits), QUEUED);
        }
        outbox.push(Bytes::from_static(b"text"), &limits);
        outbox.push_pong("P4".into(), &limits);
        outbox.push_pong("P5".into(), &limits);
        assert_eq!(ledger.held(), outbox.bytes() + (PONGS + 2) * Ledger::FRAME);
        let waiting = drain(outbox);
        assert_eq!(waiting[..PONGS - 1], few[..PONGS - 1]);
        assert_eq!(waiting[PONGS - 1..], ["P newer", "text", "P5"]);
    }

    #[test]
    fn one_frame_larger_than_the_limit_fits_an_empty_outbox() {
        let limits = Limits::new().outbox_size(1);
        let mut outbox = empty();
        assert_eq!(outbox.push(Bytes::from_static(b"large"), &limits), QUEUED);
        assert_eq!(outbox.push(Bytes::from_static(b"x"), &limits), Pushed::TooSlow);
    }

    #[test]
    fn a_frame_is_packed_once_and_then_not_dropped() {
        let (mut outbox, limits) = filled(Overflow::DropOldest);
        let packed = |_| Bytes::from_static(b"AA");
        assert_eq!(outbox.packed_front(packed), Some(&b"AA"[..]));
        assert_eq!(outbox.bytes(), 6);
        assert_eq!(
            outbox.push(Bytes::from_static(b"cccccc"), &limits),
            Pushed::Queued { dropped: 1, over_budget: false }
        );
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

    fn keyed(key: &str, text: &'static str) -> Packet {
        Packet { bytes: Bytes::from_static(text.as_bytes()), key: Some(ConflationKey::of(key)) }
    }

    #[test]
    fn a_newer_frame_takes_the_place_of_an_older_one_with_its_key() {
        let limits = Limits::new().overflow(Overflow::Latest);
        let mut outbox = empty();
        assert_eq!(outbox.push(keyed("a", "a1"), &limits), QUEUED);
        assert_eq!(outbox.push(Bytes::from_static(b"plain"), &limits), QUEUED);
        assert_eq!(outbox.push(keyed("b", "b1"), &limits), QUEUED);
        assert_eq!(outbox.push(keyed("b", "b22"), &limits), Pushed::Replaced { dropped: 0 });
        assert_eq!(outbox.push(keyed("a", "a2"), &limits), Pushed::Replaced { dropped: 0 });
        assert_eq!(outbox.bytes(), 10);
        assert_eq!(outbox.pop().unwrap(), "a2");
        // The popped frame is on its way, so the next one with its key goes to the end.
        assert_eq!(outbox.push(keyed("a", "a3"), &limits), QUEUED);
        assert_eq!(outbox.push(keyed("b", "b3"), &limits), Pushed::Replaced { dropped: 0 });
        assert_eq!(drain(outbox), ["plain", "b3", "a3"]);
    }

    #[test]
    fn under_a_limit_the_latest_drops_the_oldest_of_the_others() {
        let limits = Limits::new().overflow(Overflow::Latest).outbox_size(8);
        let mut outbox = empty();
        for (key, text) in [("a", "aa"), ("b", "bb"), ("c", "cc"), ("d", "dd")] {
            assert_eq!(outbox.push(keyed(key, text), &limits), QUEUED);
        }
        let one_dropped = Pushed::Queued { dropped: 1, over_budget: false };
        assert_eq!(outbox.push(keyed("e", "ee"), &limits), one_dropped);
        assert_eq!(outbox.push(keyed("a", "a2"), &limits), one_dropped, "a was dropped before, so it is new");
        assert_eq!(outbox.push(keyed("e", "eeee"), &limits), Pushed::Replaced { dropped: 1 });
        assert_eq!(outbox.push(keyed("d", "dd4"), &limits), Pushed::Replaced { dropped: 0 });
        assert_eq!(drain(outbox), ["dd4", "eeee", "a2"]);
    }

    #[test]
    fn a_frame_that_is_partly_written_is_neither_replaced_nor_dropped() {
        let limits = Limits::new().overflow(Overflow::Latest).outbox_size(8);
        let mut outbox = empty();
        for (key, text) in [("a", "a1"), ("b", "b1"), ("c", "c1"), ("d", "d1")] {
            assert_eq!(outbox.push(keyed(key, text), &limits), QUEUED);
        }
        outbox.advance(1);
        let one_dropped = Pushed::Queued { dropped: 1, over_budget: false };
        assert_eq!(
            outbox.push(keyed("a", "a2"), &limits),
            one_dropped,
            "b is dropped, and not the rest of a"
        );
        assert_eq!(outbox.push(keyed("c", "c2"), &limits), Pushed::Replaced { dropped: 0 });
        assert_eq!(outbox.push(keyed("d", "d2"), &limits), Pushed::Replaced { dropped: 0 });
        assert_eq!(outbox.push(keyed("a", "a3"), &limits), Pushed::Replaced { dropped: 0 });
        // The rest of the first frame is written, and one byte of the next.
        outbox.advance(2);
        assert_eq!(outbox.push(keyed("d", "d345"), &limits), Pushed::Replaced { dropped: 0 });
        assert_eq!(
            outbox.push(keyed("c", "c3"), &limits),
            one_dropped,
            "d was the oldest that could be dropped"
        );
        assert_eq!(outbox.ledger.held(), outbox.bytes() + outbox.frames.len() * Ledger::FRAME);
        assert_eq!(drain(outbox), ["2", "a3", "c3"]);
    }

    #[test]
    fn what_another_outbox_held_comes_behind_and_keeps_its_keys() {
        let limits = Limits::new().overflow(Overflow::Latest).outbox_size(12);
        let ledger = Ledger::unbounded();
        let (mut early, mut outbox) = (Outbox::new(Rc::clone(&ledger)), Outbox::new(Rc::clone(&ledger)));
        for (key, text) in [("a", "aaaa"), ("b", "bbbb"), ("c", "cccc"), ("d", "dddd")] {
            early.push(keyed(key, text), &limits);
        }
        outbox.push(Bytes::from_static(b"hello"), &limits);
        assert!(!outbox.take_over(early));
        assert_eq!(ledger.held(), outbox.bytes() + outbox.frames.len() * Ledger::FRAME);
        assert_eq!(outbox.bytes(), 17, "none was dropped");
        assert_eq!(outbox.pop().unwrap(), "hello");
        assert_eq!(outbox.push(keyed("c", "CC"), &limits), Pushed::Replaced { dropped: 0 });
        assert_eq!(drain(outbox), ["bbbb", "CC", "dddd"]);
        assert_eq!(ledger.held(), 0);
    }

    #[test]
    fn keys_mean_nothing_to_the_other_policies() {
        let limits = Limits::new().overflow(Overflow::DropOldest);
        let mut outbox = empty();
        assert_eq!(outbox.push(keyed("a", "a1"), &limits), QUEUED);
        assert_eq!(outbox.push(keyed("a", "a2"), &limits), QUEUED);
        assert!(outbox.latest.is_none());
        assert_eq!(drain(outbox), ["a1", "a2"]);
    }

    #[test]
    fn frames_count_in_the_ledger_until_they_are_gone() {
        let ledger = Ledger::unbounded();
        let limits = Limits::new().outbox_size(100).overflow(Overflow::Latest);
        let mut outbox = Outbox::new(Rc::clone(&ledger));
        for number in 0..200 {
            outbox.push(keyed(["a", "b", "c"][number % 3], "12345"), &limits);
            outbox.push(Bytes::from(vec![0; number % 7]), &limits);
            if number % 5 == 0 {
                outbox.pop();
            }
        }
        assert_eq!(ledger.held(), outbox.bytes() + outbox.frames.len() * Ledger::FRAME);
        outbox.seal(Some(Bytes::from_static(b"last")));
        drop(outbox);
        assert_eq!(ledger.held(), 0);
    }
}
