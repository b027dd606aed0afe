//! The checks of `#[event_handlers]` at compile time: which events a method handles, and what is wrong with it.
//!
//! A macro sees the words of a method, but not the names of its event. Constants see those. So the macro passes both
//! to the functions of this file, and their panics are the compiler's errors.

use std::sync::Arc;

use super::{Envelope, Event, EventError};

/// What a handler needs to know of its event's type.
///
/// One constant holds both fields, so that the compiler reports a type without `Event` only once.
#[derive(Debug)]
pub struct EventType<E> {
    /// The event's names. Empty if the derive failed, which then reports its own error.
    pub names: &'static [&'static str],
    /// Whether it is an enum, so that a method can take all of its events.
    pub is_enum: bool,
    /// Reads the event.
    pub read: fn(&Envelope) -> Result<Arc<E>, EventError>,
}

/// The names and the reader of an event's type.
#[must_use]
pub const fn event_type<E: Event>() -> EventType<E> {
    EventType { names: E::NAMES, is_enum: E::IS_ENUM, read: Envelope::event::<E> }
}

/// The envelope of an event's clone: what the derive writes for a reference.
#[must_use]
pub fn envelope_of<E: Event>(event: &E) -> Envelope {
    Envelope::new(event.clone())
}

/// A method in an `#[event_handlers]` block.
#[derive(Debug, Clone, Copy)]
pub struct Handler {
    /// The method's name.
    pub method: &'static str,
    /// The name in `#[on("xx.oo")]`.
    pub on: Option<&'static str>,
    /// The event's type, for the texts of errors.
    pub event: &'static str,
    /// The type in snake case: the name of a method that takes all events of an enum.
    pub snake: &'static str,
    /// The event's names.
    pub names: &'static [&'static str],
    /// The names that the method handles. Empty if its name or its `#[on]` is wrong.
    pub handled: &'static [&'static str],
    /// The hash of the only name in `handled`. Two hashes are compared in one step of the compiler, and two names in many.
    hash: Option<u64>,
}

impl Handler {
    /// Describes a method, and finds out which events it handles.
    #[must_use]
    pub const fn new<E>(
        method: &'static str,
        on: Option<&'static str>,
        event: &'static str,
        snake: &'static str,
        of: &EventType<E>,
    ) -> Self {
        Self::with_names(method, on, event, snake, of.names, of.is_enum)
    }

    const fn with_names(
        method: &'static str,
        on: Option<&'static str>,
        event: &'static str,
        snake: &'static str,
        names: &'static [&'static str],
        is_enum: bool,
    ) -> Self {
        let handled = match on {
            // The method has the name of the enum that it takes.
            None if is_enum && equal(method, snake) => names,
            None => only(names, method, true),
            Some(on) => only(names, on, false),
        };
        let hash = if handled.len() == 1 { Some(hash(handled[0])) } else { None };
        Self { method, on, event, snake, names, handled, hash }
    }

    /// Fails to compile if the method's name, or its `#[on]`, is not one of its event's names.
    #[track_caller]
    pub const fn check(&self) {
        if self.names.is_empty() || !self.handled.is_empty() {
            return;
        }
        let single = self.names.len() == 1;
        let text = match self.on {
            Some(on) => {
                let text = Text::new().add("`").add(self.event).add("` has no event called `").add(on);
                let text = text.add("`, only ").add_list(self.names);
                let text = text.add(if single { ": write `#[on(\"" } else { ": write for example `#[on(\"" });
                text.add(self.names[0]).add("\")]`")
            }
            None => {
                let text = Text::new().add("the method `").add(self.method).add("` takes `").add(self.event);
                let text =
                    text.add(if single { "`, which has the event " } else { "`, which has the events " });
                let text = text.add_list(self.names).add(": rename the method to `");
                let text = if single {
                    text.add_method(self.names[0]).add("`")
                } else {
                    text.add(self.snake).add("` to handle all of them")
                };
                let text = text.add(", or write `#[on(\"").add(self.names[0]).add("\")]` above it");
                if single { text } else { text.add(" to handle one of them") }
            }
        };
        panic!("{}", text.as_str())
    }

    /// Fails to compile if a handler before this one handles one of its events.
    #[track_caller]
    pub const fn check_first(&self, all: &[Self]) {
        let mut other = 0;
        while other < all.len() {
            let differ = match (all[other].hash, self.hash) {
                (Some(other), Some(mine)) => other != mine,
                _ => false,
            };
            if !differ {
                // A block has no two methods of one name.
                if equal(all[other].method, self.method) {
                    return;
                }
                self.check_with(&all[other]);
            }
            other += 1;
        }
    }

    #[track_caller]
    const fn check_with(&self, other: &Self) {
        let mut at = 0;
        while at < self.handled.len() {
            if contains(other.handled, self.handled[at]) {
                let text = Text::new().add("the event `").add(self.handled[at]).add("` has two handlers, `");
                let text = text.add(other.method).add("` and `").add(self.method);
                panic!("{}", text.add("`: remove one of them").as_str())
            }
            at += 1;
        }
    }
}

/// Fails to compile if one of the names of the type `event` has no handler.
#[track_caller]
pub const fn check_all(event: &str, names: &[&str], handlers: &[Handler]) {
    let mut at = 0;
    while at < names.len() {
        let mut handler = 0;
        while handler < handlers.len() && !contains(handlers[handler].handled, names[at]) {
            handler += 1;
        }
        if handler == handlers.len() {
            let text = Text::new().add("the event `").add(names[at]).add("` of `").add(event);
            let text = text.add("` has no handler: write `async fn ").add_method(names[at]);
            panic!("{}", text.add("`, or remove `").add(event).add("` from `all(…)`").as_str())
        }
        at += 1;
    }
}

/// The first of the names, for a pattern. Without names it is empty, as no event's name is.
#[must_use]
pub const fn first(names: &'static [&'static str]) -> &'static str {
    if names.is_empty() { "" } else { names[0] }
}

/// The names of all handlers.
#[must_use]
pub fn events(handlers: &[Handler]) -> Vec<&'static str> {
    handlers.iter().flat_map(|handler| handler.handled).copied().collect()
}

/// The one of `names` that is `wanted`, or nothing. `as_method`: `wanted` is the name of a method.
const fn only(names: &'static [&'static str], wanted: &str, as_method: bool) -> &'static [&'static str] {
    let mut at = 0;
    while at < names.len() {
        if fits(names[at], wanted, as_method) {
            let (_, from) = names.split_at(at);
            return from.split_at(1).0;
        }
        at += 1;
    }
    &[]
}

/// FNV-1a.
const fn hash(name: &str) -> u64 {
    let name = name.as_bytes();
    let (mut hash, mut at) = (0xcbf2_9ce4_8422_2325, 0);
    while at < name.len() {
        hash = (hash ^ name[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

const fn contains(names: &[&str], name: &str) -> bool {
    let mut at = 0;
    while at < names.len() {
        if equal(names[at], name) {
            return true;
        }
        at += 1;
    }
    false
}

const fn equal(left: &str, right: &str) -> bool {
    fits(left, right, false)
}

const fn fits(name: &str, wanted: &str, as_method: bool) -> bool {
    let (name, wanted) = (name.as_bytes(), wanted.as_bytes());
    if name.len() != wanted.len() {
        return false;
    }
    // Names often differ in their last word or number, and every step costs time of the compiler.
    let mut at = name.len();
    while at > 0 {
        at -= 1;
        if (if as_method { in_method(name[at]) } else { name[at] }) != wanted[at] {
            return false;
        }
    }
    true
}

/// A byte of an event's name in the name of a method, which cannot have `.` and `-`.
const fn in_method(byte: u8) -> u8 {
    if matches!(byte, b'.' | b'-') { b'_' } else { byte }
}

/// A text that grows at compile time. It is cut off at 512 bytes.
#[derive(Clone, Copy)]
struct Text {
    bytes: [u8; 512],
    len: usize,
}

impl Text {
    const fn new() -> Self {
        Self { bytes: [0; 512], len: 0 }
    }

    const fn add(self, text: &str) -> Self {
        self.push(text, false)
    }

    const fn add_method(self, name: &str) -> Self {
        self.push(name, true)
    }

    const fn add_list(self, names: &[&str]) -> Self {
        let mut text = self;
        let mut at = 0;
        while at < names.len() {
            if at > 0 {
                text = text.add(if at + 1 == names.len() { " and " } else { ", " });
            }
            text = text.add("`").add(names[at]).add("`");
            at += 1;
        }
        text
    }

    const fn push(mut self, text: &str, as_method: bool) -> Self {
        let text = text.as_bytes();
        let mut at = 0;
        while at < text.len() && self.len < self.bytes.len() {
            self.bytes[self.len] = if as_method { in_method(text[at]) } else { text[at] };
            (at, self.len) = (at + 1, self.len + 1);
        }
        self
    }

    const fn as_str(&self) -> &str {
        match core::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => {
                "the method's name does not fit its event: write the event's name, with `_` for each `.` and `-`"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["room.joined", "room.left", "room-left"];

    /// A method that takes the enum `RoomEvent`.
    fn room(method: &'static str, on: Option<&'static str>) -> Handler {
        Handler::with_names(method, on, "RoomEvent", "room_event", NAMES, true)
    }

    fn error(check: impl FnOnce() + std::panic::UnwindSafe) -> String {
        *std::panic::catch_unwind(check).unwrap_err().downcast().unwrap()
    }

    #[test]
    fn a_name_says_which_events_are_handled() {
        assert_eq!(room("room_event", None).handled, NAMES);
        assert_eq!(room("room_joined", None).handled, ["room.joined"]);
        assert_eq!(room("room_left", None).handled, ["room.left"]);
        assert_eq!(room("x", Some("room-left")).handled, ["room-left"]);
        assert!(room("room", None).handled.is_empty());
        assert!(room("room_event", Some("room_left")).handled.is_empty());
        // A struct with the method's name does not count, if its event has another name. An enum does.
        let one =
            |is_enum| Handler::with_names("room_event", None, "RoomEvent", "room_event", &["chat"], is_enum);
        assert!(one(false).handled.is_empty());
        assert_eq!(one(true).handled, ["chat"]);
        Handler::with_names("room", None, "RoomEvent", "room_event", &[], true).check();
    }

    #[test]
    fn a_text_says_what_to_write() {
        let chat = Handler::with_names("chat", None, "Chat", "chat", &["chat.on-line"], false);
        assert_eq!(
            error(move || chat.check()),
            "the method `chat` takes `Chat`, which has the event `chat.on-line`: rename the method to \
             `chat_on_line`, or write `#[on(\"chat.on-line\")]` above it"
        );
        assert_eq!(
            error(|| room("room_event", Some("x")).check()),
            "`RoomEvent` has no event called `x`, only `room.joined`, `room.left` and `room-left`: \
             write for example `#[on(\"room.joined\")]`"
        );
        // Cut within a letter, a text is replaced.
        let long: &'static str = format!("x{}", "é".repeat(400)).leak();
        assert!(error(move || room(long, None).check()).starts_with("the method's name does not"));
    }

    #[test]
    fn an_event_without_a_handler_is_named() {
        let handlers = [room("room_left", None), room("room_joined", None)];
        check_all("RoomEvent", &NAMES[..2], &handlers);
        assert_eq!(
            error(move || check_all("RoomEvent", NAMES, &handlers)),
            "the event `room-left` of `RoomEvent` has no handler: write `async fn room_left`, or remove `RoomEvent` from \
             `all(…)`"
        );
    }

    /// The macros work in this crate too.
    #[test]
    fn the_macros_find_the_crate() {
        use serde::{Deserialize, Serialize};

        use crate::{Context, EventHandlers, Result};

        #[derive(Clone, Serialize, Deserialize, crate::Event)]
        struct Tick {}

        struct Clock;

        #[crate::event_handlers]
        impl Clock {
            async fn tick(&mut self, _event: &Tick, _ctx: &mut Context) -> Result<()> {
                Ok(())
            }
        }

        assert_eq!(Clock::events(), [Tick {}.name()]);
    }
}
