//! One event on its way to the members of a group. The bytes of each class are made once.

use std::{
    any::TypeId,
    panic::{AssertUnwindSafe, catch_unwind},
};

use smallvec::SmallVec;

use super::except::Except;
use crate::{
    Envelope, Outgoing, Result,
    metrics::Counters,
    shown::Shown,
    wire::{Packet, Wire, encoded, history::down::Head},
};

/// Members that need the same bytes: one consumer type on one wire form.
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

    /// The bytes of a message for this class, with the message's key. Without `counters` they are not compressed.
    pub(crate) fn encode(&self, head: Head, frame: &Outgoing, counters: Option<&Counters>) -> Packet {
        let bytes = match counters {
            Some(counters) => encoded::encode_headed(self.wire, head, frame, counters),
            None => self.wire.encode_plain_headed(head, frame),
        };
        Packet { bytes, key: frame.key() }
    }

    /// The form for the members of this class, from the relay's result.
    fn form(&self, relayed: &Relayed, head: Head, counters: &Counters) -> Form {
        match relayed {
            Relayed::Failed => Form::Failed,
            Relayed::Handler => match head {
                Head::Foreign { alias, watermark } => Form::Foreign(alias, watermark),
                Head::Logged(_) | Head::Plain => Form::Handler,
            },
            Relayed::Message(frame) => {
                counters.encoded.one();
                Form::Packet(self.encode(head, frame, Some(counters)))
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

/// The result of a consumer's relay: the same for all wire forms.
pub(crate) enum Relayed {
    /// It failed or panicked. This was logged and counted.
    Failed,
    Message(Outgoing),
    /// The event has a handler, and no relay.
    Handler,
}

impl Relayed {
    /// Runs a relay. It and `Serialize` are user code: no lock or borrow may be held, and a panic costs this event only.
    pub(crate) fn new(
        relay: impl FnOnce() -> Option<Result<Outgoing>>,
        event: &str,
        counters: &Counters,
    ) -> Self {
        match catch_unwind(AssertUnwindSafe(relay)) {
            Ok(None) => Self::Handler,
            Ok(Some(Ok(frame))) => Self::Message(frame),
            Ok(Some(Err(error))) => {
                counters.relay_failed.one();
                tracing::warn!(event = ?Shown(event), error = %Shown(error), "a relay failed: its clients miss the event");
                Self::Failed
            }
            Err(_) => {
                counters.relay_failed.one();
                tracing::error!(event = ?Shown(event), "a relay panicked: its clients miss the event");
                Self::Failed
            }
        }
    }
}

/// What the members of one class get of an event.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// Nothing: the relay failed.
    Failed,
    /// These bytes.
    Packet(Packet),
    /// The event itself, for their handler.
    Handler,
    /// The event itself, which is in no log: the number of the log, and the event's mark.
    Foreign(u32, f64),
}

/// An event with the form for every class that had members when it was sent.
///
/// A class without a form joined later: this event was not promised to its members.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) envelope: Envelope,
    /// The members that do not get it.
    pub(super) except: Except,
    forms: SmallVec<[(Class, Form); 1]>,
}

impl Parcel {
    /// Runs each consumer's relay, and makes the bytes of each class. The head says what the event is.
    ///
    /// No lock or borrow may be held.
    pub(super) fn headed<'a>(
        head: Head,
        envelope: Envelope,
        except: Except,
        classes: impl Iterator<Item = &'a Class>,
        counters: &Counters,
    ) -> Self {
        let mut forms: SmallVec<[(Class, Form); 1]> = SmallVec::new();
        let mut relayed: SmallVec<[(TypeId, Relayed); 1]> = SmallVec::new();
        for class in classes {
            if forms.iter().any(|(known, _)| known == class) {
                continue;
            }
            let known = relayed.iter().position(|(consumer, _)| *consumer == class.consumer);
            let known = known.unwrap_or_else(|| {
                let relay = || (class.relay)(&envelope);
                relayed.push((class.consumer, Relayed::new(relay, envelope.name(), counters)));
                relayed.len() - 1
            });
            forms.push((*class, class.form(&relayed[known].1, head, counters)));
        }
        Self { envelope, except, forms }
    }

    pub(crate) fn form(&self, class: &Class) -> Option<&Form> {
        self.forms.iter().find(|(known, _)| known == class).map(|(_, form)| form)
    }

    /// How many bytes the parcel counts for in a hub's queue.
    ///
    /// These are the bytes of its forms, and 256 for all that cannot be measured.
    pub(crate) fn weight(&self) -> usize {
        let bytes: usize = self
            .forms
            .iter()
            .map(|(_, form)| if let Form::Packet(packet) = form { packet.bytes.len() } else { 0 })
            .sum();
        bytes + 256
    }
}
