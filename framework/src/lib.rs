//! Consumers, groups and channel layers for actix: what Django Channels gives Django, for Rust.

// The macros write paths that start `::greenroom`; this lets them work in the crate's own tests.
#[allow(unused_extern_crates, reason = "only what the macros write uses it")]
extern crate self as greenroom;

pub mod close;
pub mod consumer;
pub mod error;
pub mod event;
mod groups;
mod host;
pub mod layers;
mod message;
mod metrics;
pub mod middleware;
mod names;
pub mod prelude;
pub mod routing;
pub mod scope;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod transport;

pub use self::{
    consumer::{Accept, Consumer, Context, EventHandlers, Handled, JsonConsumer},
    error::{Error, Result},
    groups::Delivery,
    host::{Drain, Mount, run, run_with},
    layers::{ChannelLayer, Layer, LayerConfig, LayerError, MemoryLayer},
    metrics::Metrics,
    event::{Envelope, Event, EventError},
    message::{Frame, IntoFrame, Message},
    names::{ChannelName, GroupName, NameError},
    routing::{ProtocolTypeRouter, UrlRouter},
    scope::Scope,
    transport::limits::{Limits, Overflow},
};
/// The crate of [`Scope::set_cookie`]'s cookies.
pub use cookie;
/// What the code that the macros write calls. It may change in any release.
#[doc(hidden)]
pub use event::handler as __private;
#[doc(inline)]
pub use greenroom_macros::{Event, NoEvents, event_handlers};
