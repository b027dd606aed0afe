//! One event on its way to the members of a group, each class's bytes made once.

use std::{
    any::TypeId,
    panic::{AssertUnwindSafe, catch_unwind},
};

use smallvec::SmallVec;

use super::outbox::Packet;
use crate::{Envelope, EventHandlers, Frame, Result, metrics::Counters, transport::Wire};

/// Members that need the same bytes: one consumer type on one wire.
#[derive(Clone, Copy)]
pub(crate) struct Class {
    consumer: TypeId,
    wire: Wire,
    relay: fn(&Envelope) -> Option<Result<Frame>>,
}

impl Class {
    pub(crate) fn of<C: EventHandlers>(wire: Wire) -> Self {
        Self { consumer: TypeId::of::<C>(), wire, relay: C::relay }
    }

    pub(crate) fn wire(&self) -> Wire {
        self.wire
    }

    pub(crate) fn encode(&self, frame: &Frame) -> Packet {
        Packet { bytes: self.wire.encode(frame), key: frame.key() }
    }

    /// What a member of this class gets of `envelope`. Runs user code: no lock or borrow may be held.
    pub(crate) fn form(&self, envelope: &Envelope, counters: &Counters) -> Form {
        // `Serialize` and the relay are the user's: a panic there costs this event only.
        match catch_unwind(AssertUnwindSafe(|| (self.relay)(envelope))) {
            Ok(None) => Form::Handler,
            Ok(Some(Ok(frame))) => {
                counters.encoded.one();
                Form::Frame(self.encode(&frame))
            }
            Ok(Some(Err(error))) => {
                counters.relay_failed.one();
                tracing::warn!(event = envelope.name(), %error, "a relay failed, its members miss the event");
                Form::Failed
            }
            Err(_) => {
                counters.relay_failed.one();
                tracing::error!(event = envelope.name(), "a relay panicked, its members miss the event");
                Form::Failed
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

/// What the members of one class get.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// Nothing: the relay failed.
    Failed,
    /// These bytes.
    Frame(Packet),
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
    /// Runs each class's relay. No lock or borrow may be held.
    pub(crate) fn new<'a>(
        envelope: Envelope,
        classes: impl Iterator<Item = &'a Class>,
        counters: &Counters,
    ) -> Self {
        let mut forms: SmallVec<[(Class, Form); 1]> = SmallVec::new();
        for class in classes {
            if !forms.iter().any(|(known, _)| known == class) {
                forms.push((*class, class.form(&envelope, counters)));
            }
        }
        Self { envelope, forms }
    }

    pub(crate) fn form(&self, class: &Class) -> Option<&Form> {
        self.forms.iter().find(|(known, _)| known == class).map(|(_, form)| form)
    }

    /// What the parcel counts for in a worker's queue: its bytes, and a floor for what cannot be weighed.
    pub(crate) fn weight(&self) -> usize {
        let bytes: usize = self
            .forms
            .iter()
            .map(|(_, form)| if let Form::Frame(packet) = form { packet.bytes.len() } else { 0 })
            .sum();
        bytes + 256
    }
}
