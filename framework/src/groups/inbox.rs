//! The events that wait for one consumer, bounded by count, and the messages read ahead for it.

use std::collections::VecDeque;

use crate::{Envelope, Message, wire::Packet};

/// One entry of an inbox.
#[derive(Debug)]
pub(crate) enum Mail {
    /// An event for a handler.
    Event(Envelope),
    /// The finished bytes of a relayed event, which came while the bypass was closed.
    Packet(Packet),
}

/// The events of one consumer, in the order they came.
#[derive(Debug)]
pub(crate) struct Inbox {
    mail: VecDeque<Mail>,
    capacity: usize,
}

impl Inbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { mail: VecDeque::new(), capacity: capacity.max(1) }
    }

    /// Adds `mail`, or gives it back where the inbox is full.
    pub(crate) fn push(&mut self, mail: Mail) -> Result<(), Mail> {
        if self.is_full() {
            return Err(mail);
        }
        self.mail.push_back(mail);
        Ok(())
    }

    pub(crate) fn pop(&mut self) -> Option<Mail> {
        let mail = self.mail.pop_front();
        if self.mail.is_empty() && self.mail.capacity() > 8 {
            self.mail = VecDeque::new();
        }
        mail
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.mail.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.mail.len() >= self.capacity
    }

    /// Whether it is half full: what waits goes before the client's messages then, which may bring more.
    pub(crate) fn is_pressed(&self) -> bool {
        self.mail.len() * 2 >= self.capacity
    }

    /// Takes everything out, for dropping it where user values may be dropped.
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

    /// Whether another message may be read: one always may.
    pub(crate) fn has_room(&self, read_ahead: usize) -> bool {
        self.messages.is_empty() || self.bytes < read_ahead
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What a message counts for; a floor, so that a flood of empty messages is bounded too.
fn cost(message: &Message) -> usize {
    message.as_bytes().len() + 64
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_full_inbox_gives_the_newest_back() {
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
    fn input_reads_ahead_to_its_bound_and_no_further() {
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
