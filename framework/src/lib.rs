//! Consumers, groups and channel layers for actix: what Django Channels gives Django, for Rust.

pub mod close;
pub mod consumer;
pub mod error;
pub mod event;
mod message;
pub mod middleware;
mod names;
pub mod prelude;
pub mod routing;
pub mod scope;
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
/// The crate of [`Scope::set_cookie`]'s cookies.
pub use cookie;
#[doc(inline)]
pub use greenroom_macros::{Event, NoEvents, event_handlers};
