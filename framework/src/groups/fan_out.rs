//! One event on its way to the members of a group, each class's bytes made once.

use std::{
    any::TypeId,
    panic::{AssertUnwindSafe, catch_unwind},
};

use smallvec::SmallVec;

use crate::{
    Envelope, Outgoing, Result,
    metrics::Counters,
    wire::{Packet, Wire, encoded},
};

/// Members that need the same bytes: one consumer type on one wire.
#[derive(Clone, Copy)]
pub(crate) struct Class {
    consumer: TypeId,
    wire: Wire,
    relay: fn(&Envelope) -> Option<Result<Outgoing>>,
}

impl Class {
    /// The class of a consumer type, whose relay is `relay`.
    pub(crate) fn new<C: 'static>(wire: Wire, relay: fn(&Envelope) -> Option<Result<Outgoing>>) -> Self {
        Self { consumer: TypeId::of::<C>(), wire, relay }
    }

    pub(crate) fn wire(&self) -> Wire {
        self.wire
    }

    /// The bytes of a message for this class, with its key. Without `counters` they are not compressed.
    pub(crate) fn encode(&self, frame: &Outgoing, counters: Option<&Counters>) -> Packet {
        let bytes = match counters {
            Some(counters) => encoded::encode(self.wire, frame, counters),
            None => self.wire.encode_plain(frame),
        };
        Packet { bytes, key: frame.key() }
    }

    /// Runs the relay of the class' consumer. It is user code: no lock or borrow may be held.
    fn relayed(&self, envelope: &Envelope, counters: &Counters) -> Relayed {
        // `Serialize` and the relay are the user's: a panic there costs this event only.
        match catch_unwind(AssertUnwindSafe(|| (self.relay)(envelope))) {
            Ok(None) => Relayed::Handler,
            Ok(Some(Ok(frame))) => Relayed::Message(frame),
            Ok(Some(Err(error))) => {
                counters.relay_failed.one();
                tracing::warn!(event = envelope.name(), %error, "a relay failed, its members miss the event");
                Relayed::Failed
            }
            Err(_) => {
                counters.relay_failed.one();
                tracing::error!(event = envelope.name(), "a relay panicked, its members miss the event");
                Relayed::Failed
            }
        }
    }

    /// What a member of this class gets of what was relayed.
    fn form(&self, relayed: &Relayed, counters: &Counters) -> Form {
        match relayed {
            Relayed::Failed => Form::Failed,
            Relayed::Handler => Form::Handler,
            Relayed::Message(frame) => {
                counters.encoded.one();
                Form::Packet(self.encode(frame, Some(counters)))
            }
        }
    }
}

impl PartialEq for Class {
    fn eq(&self, other: &Self) -> bool {
        self.consumer == other.consumer && self.wire == other.wire
    }
}

impl std::fmt::Debug for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Class").field("consumer", &self.consumer).field("wire", &self.wire).finish()
    }
}

/// What a consumer's relay made of an event: the same on all wires.
enum Relayed {
    Failed,
    Message(Outgoing),
    Handler,
}

/// What the members of one class get.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// Nothing: the relay failed.
    Failed,
    /// These bytes.
    Packet(Packet),
    /// The event itself, for their handler.
    Handler,
}

/// An event with the form for every class that had members when it was sent.
///
/// A class that is missing here joined later: its members were promised nothing of this event.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) envelope: Envelope,
    forms: SmallVec<[(Class, Form); 1]>,
}

impl Parcel {
    /// Runs each consumer's relay, and makes the bytes of each class. No lock or borrow may be held.
    pub(crate) fn new<'a>(
        envelope: Envelope,
        classes: impl Iterator<Item = &'a Class>,
        counters: &Counters,
    ) -> Self {
        let mut forms: SmallVec<[(Class, Form); 1]> = SmallVec::new();
        let mut relayed: SmallVec<[(TypeId, Relayed); 1]> = SmallVec::new();
        for class in classes {
            if forms.iter().any(|(known, _)| known == class) {
                continue;
            }
            let at = relayed.iter().position(|(consumer, _)| *consumer == class.consumer);
            let at = at.unwrap_or_else(|| {
                relayed.push((class.consumer, class.relayed(&envelope, counters)));
                relayed.len() - 1
            });
            forms.push((*class, class.form(&relayed[at].1, counters)));
        }
        Self { envelope, forms }
    }

    pub(crate) fn form(&self, class: &Class) -> Option<&Form> {
        self.forms.iter().find(|(known, _)| known == class).map(|(_, form)| form)
    }

    /// What the parcel counts for in a hub's queue: its bytes, and a floor for what cannot be weighed.
    pub(crate) fn weight(&self) -> usize {
        let bytes: usize = self
            .forms
            .iter()
            .map(|(_, form)| if let Form::Packet(packet) = form { packet.bytes.len() } else { 0 })
            .sum();
        bytes + 256
    }
}
