//! What nearly every consumer needs: `use greenroom::prelude::*;`.
//!
//! With actix's own prelude beside it, `Context` and `Message` are ambiguous: import one of the two by name.

pub use serde::{Deserialize, Serialize};

pub use crate::{
    Consumer, Context, Event, Frame, GroupName, JsonConsumer, Message, NoEvents, Result, Scope, UrlRouter,
    close::Disconnect, event_handlers,
};
