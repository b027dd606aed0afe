//! Consumers, groups and channel layers for actix: what Django Channels gives Django, for Rust.

// The macros write paths that start `::greenroom`; this lets them work in the crate's own tests.
#[allow(unused_extern_crates, reason = "only what the macros write uses it")]
extern crate self as greenroom;

pub mod close;
pub mod consumer;
pub mod error;
pub mod event;
mod message;
pub mod middleware;
mod names;
pub mod prelude;
pub mod routing;
mod scope;
mod transport;

pub use self::{
    consumer::{Consumer, Context, EventHandlers, Handled, JsonConsumer},
    error::{Error, Result},
    event::{Envelope, Event, EventError},
    message::{Frame, IntoFrame, Message},
    names::{ChannelName, GroupName, NameError},
    routing::UrlRouter,
    scope::Scope,
    transport::limits::{Limits, Overflow},
};
/// What the code that the macros write calls. It may change in any release.
#[doc(hidden)]
pub use event::handler as __private;
#[doc(inline)]
pub use greenroom_macros::{Event, NoEvents, event_handlers};
