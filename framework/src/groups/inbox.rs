//! The events that wait for one consumer, and the messages that were read ahead for it.

use std::collections::VecDeque;

use super::history::{lost::LostReason, position::Position};
use crate::{Envelope, GroupName, Message, wire::Packet};

/// One entry of an inbox.
#[derive(Debug)]
pub(crate) enum Mail {
    /// An event for a handler.
    Event(Envelope),
    /// An event of a group with a log, for a handler: the number of the log, and the place behind the event.
    Logged(Envelope, u32, Position),
    /// An event of a group with a log that is in no log: the number of the log, and the event's mark.
    Foreign(Envelope, u32, f64),
    /// The member may have missed entries of a log.
    Lost(GroupName, LostReason),
    /// The bytes of a relayed event, which came while they could not go straight to the outbox.
    Packet(Packet),
}

/// The events that wait for one consumer, in the order in which they came. Bounded by count.
#[derive(Debug)]
pub(crate) struct Inbox {
    mail: VecDeque<Mail>,
    capacity: usize,
}

impl Inbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { mail: VecDeque::new(), capacity: capacity.max(1) }
    }

    /// Adds `mail`, or gives it back if the inbox is full.
    pub(crate) fn push(&mut self, mail: Mail) -> Result<(), Mail> {
        if self.is_full() {
            return Err(mail);
        }
        self.mail.push_back(mail);
        Ok(())
    }

    /// Adds `mail` even if the inbox is full, for the few things that must not be lost.
    pub(crate) fn push_beyond(&mut self, mail: Mail) {
        self.mail.push_back(mail);
    }

    pub(crate) fn pop(&mut self) -> Option<Mail> {
        let mail = self.mail.pop_front();
        if self.mail.is_empty() && self.mail.capacity() > 8 {
            self.mail = VecDeque::new();
        }
        mail
    }

    /// What waits, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mail> {
        self.mail.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.mail.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.mail.len() >= self.capacity
    }

    /// Whether the inbox is at least half full. Then events go before the client's messages, which may bring more
    /// events.
    pub(crate) fn is_pressed(&self) -> bool {
        self.mail.len() * 2 >= self.capacity
    }

    /// Takes everything out. The caller drops it at a time when user's values may be dropped.
    pub(crate) fn take(&mut self) -> VecDeque<Mail> {
        std::mem::take(&mut self.mail)
    }
}

/// The client's messages that no hook has taken yet, bounded by bytes.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl ReadAhead {
    pub(crate) fn push(&mut self, message: Message) {
        self.bytes += cost(&message);
        self.messages.push_back(message);
    }

    pub(crate) fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= cost(&message);
        if self.messages.is_empty() && self.messages.capacity() > 8 {
            self.messages = VecDeque::new();
        }
        Some(message)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many bytes the messages count for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether another message may be read. One message always may.
    pub(crate) fn has_room(&self, read_ahead: usize) -> bool {
        self.messages.is_empty() || self.bytes < read_ahead
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// How many bytes a message counts for. The 64 extra bytes bound a flood of empty messages too.
fn cost(message: &Message) -> usize {
    message.as_bytes().len() + 64
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_full_inbox_gives_the_newest_mail_back() {
        let mut inbox = Inbox::new(2);
        for text in ["1", "2"] {
            assert!(inbox.push(Mail::Packet(Bytes::from(text).into())).is_ok());
        }
        assert!(inbox.is_full());
        assert!(
            matches!(inbox.push(Mail::Packet(Bytes::from("3").into())), Err(Mail::Packet(packet)) if packet.bytes == "3")
        );
        assert!(matches!(inbox.pop(), Some(Mail::Packet(packet)) if packet.bytes == "1"));
    }

    #[test]
    fn messages_are_read_ahead_up_to_the_bound() {
        let mut input = ReadAhead::default();
        assert!(input.has_room(100));
        input.push(Message::Binary(Bytes::from(vec![0; 1000])));
        assert!(!input.has_room(100));
        input.pop();
        assert!(input.has_room(100));
        for _ in 0..2 {
            input.push(Message::Binary(Bytes::new()));
        }
        assert!(!input.has_room(100), "empty messages count too");
    }
}
