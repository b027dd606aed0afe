//! The names that nearly every consumer needs: `use greenroom::prelude::*;`.
//!
//! If you also import actix's own prelude, `Context` and `Message` are ambiguous. Then import the one that you mean
//! by name.
//!
//! The derives `Serialize` and `Deserialize` are those of `serde`, and the code that they write needs that crate: your
//! `Cargo.toml` needs `serde` too.

pub use serde::{Deserialize, Serialize};

pub use crate::{
    Consumer, Context, Event, GroupName, JsonConsumer, Message, NoEvents, Outgoing, Result, Scope, UrlRouter,
    close::Disconnect, event_handlers, group, on, relay,
};
