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
    /// Reads the event.
    pub read: fn(&Envelope) -> Result<Arc<E>, EventError>,
}

/// The names and the reader of an event's type.
#[must_use]
pub const fn event_type<E: Event>() -> EventType<E> {
    EventType { names: E::NAMES, read: Envelope::event::<E> }
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
}

impl Handler {
    /// The names that the method handles. Empty if its name or its `#[on]` is wrong.
    #[must_use]
    pub const fn handled(&self) -> &'static [&'static str] {
        match self.on {
            None if self.takes_all() => self.names,
            None => only(self.names, self.method, true),
            Some(on) => only(self.names, on, false),
        }
    }

    /// Fails to compile if the method's name, or its `#[on]`, is not one of its event's names.
    #[track_caller]
    pub const fn check(&self) {
        if self.names.is_empty() || !self.handled().is_empty() {
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

    /// Fails to compile if one of `earlier` handles one of the method's events.
    #[track_caller]
    pub const fn check_first(&self, earlier: &[Self]) {
        let mine = self.handled();
        let mut at = 0;
        while at < mine.len() {
            let mut other = 0;
            while other < earlier.len() {
                if contains(earlier[other].handled(), mine[at]) {
                    let text = Text::new().add("the event `").add(mine[at]).add("` has two handlers, `");
                    let text = text.add(earlier[other].method).add("` and `").add(self.method);
                    panic!("{}", text.add("`: remove one of them").as_str())
                }
                other += 1;
            }
            at += 1;
        }
    }

    /// Whether the method has the name of the enum that it takes.
    const fn takes_all(&self) -> bool {
        self.names.len() > 1 && equal(self.method, self.snake)
    }
}

/// The first of the names, for a pattern. Without names it is empty, as no event's name is.
#[must_use]
pub const fn first(names: &'static [&'static str]) -> &'static str {
    if names.is_empty() { "" } else { names[0] }
}

/// How many names the handlers have together.
#[must_use]
pub const fn count(handlers: &[Handler]) -> usize {
    let (mut at, mut sum) = (0, 0);
    while at < handlers.len() {
        sum += handlers[at].handled().len();
        at += 1;
    }
    sum
}

/// The names of all handlers. `N` is their [`count`].
#[must_use]
pub const fn concat<const N: usize>(handlers: &[Handler]) -> [&'static str; N] {
    let mut all = [""; N];
    let (mut at, mut end) = (0, 0);
    while at < handlers.len() {
        let names = handlers[at].handled();
        let mut name = 0;
        while name < names.len() {
            all[end] = names[name];
            (name, end) = (name + 1, end + 1);
        }
        at += 1;
    }
    all
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
    let mut at = 0;
    while at < name.len() {
        if (if as_method { in_method(name[at]) } else { name[at] }) != wanted[at] {
            return false;
        }
        at += 1;
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

    const ROOM: Handler = Handler {
        method: "room_event",
        on: None,
        event: "RoomEvent",
        snake: "room_event",
        names: &["room.joined", "room.left", "room-left"],
    };

    fn error(check: impl FnOnce() + std::panic::UnwindSafe) -> String {
        *std::panic::catch_unwind(check).unwrap_err().downcast().unwrap()
    }

    #[test]
    fn a_name_says_which_events_are_handled() {
        assert_eq!(ROOM.handled(), ROOM.names);
        assert_eq!(Handler { method: "room_joined", ..ROOM }.handled(), ["room.joined"]);
        assert_eq!(Handler { method: "room_left", ..ROOM }.handled(), ["room.left"]);
        assert_eq!(Handler { on: Some("room-left"), ..ROOM }.handled(), ["room-left"]);
        assert!(Handler { method: "room", ..ROOM }.handled().is_empty());
        assert!(Handler { on: Some("room_left"), ..ROOM }.handled().is_empty());
        // A struct with the method's name does not count, if its event has another name.
        assert!(Handler { names: &["chat"], ..ROOM }.handled().is_empty());
        Handler { names: &[], ..ROOM }.check();
    }

    #[test]
    fn a_text_says_what_to_write() {
        let chat = Handler { method: "chat", names: &["chat.on-line"], event: "Chat", ..ROOM };
        assert_eq!(
            error(move || chat.check()),
            "the method `chat` takes `Chat`, which has the event `chat.on-line`: rename the method to \
             `chat_on_line`, or write `#[on(\"chat.on-line\")]` above it"
        );
        assert_eq!(
            error(|| Handler { on: Some("x"), ..ROOM }.check()),
            "`RoomEvent` has no event called `x`, only `room.joined`, `room.left` and `room-left`: \
             write for example `#[on(\"room.joined\")]`"
        );
        // Cut within a letter, a text is replaced.
        let long: &'static str = format!("x{}", "é".repeat(400)).leak();
        assert!(
            error(move || Handler { method: long, ..ROOM }.check()).starts_with("the method's name does not")
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

        assert_eq!(Clock::EVENTS, [Tick {}.name()]);
    }
}
