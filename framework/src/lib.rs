//! Consumers, groups and channel layers for actix.
//!
//! Greenroom gives Rust what [Django Channels](https://channels.readthedocs.io) gives Django, in Channels' words: each
//! connection has a [consumer](Consumer), consumers join [groups](Context::group_add), and typed [events](derive@Event)
//! sent to a group reach a handler, or the client itself, of every member.
//!
//! This page leads through the library in the order in which one needs it. What is promised about delivery stands on
//! pages of its own: [order](docs::order), [limits](docs::limits), the [rules](docs::rules) of Channels that are kept
//! and mended, the [protocol](docs::protocol) of clients without a WebSocket, the [browser's side](docs::browser), and
//! the [design](docs::design).
//!
#![doc = include_str!("../docs/guide.md")]
//!
//! # Modules
//!
//! | Module | What is in it |
//! |---|---|
//! | [`prelude`] | what nearly every consumer needs: `use greenroom::prelude::*;` |
//! | [`consumer`] | the hooks, their [`Context`], the actor that hosts them; [HTTP consumers](HttpConsumer) |
//! | [`event`] | events, and the [`Envelope`] that carries one |
//! | [`layers`] | the [`Layer`] that programs hold, [`MemoryLayer`], and the trait of backends |
//! | [`routing`] | patterns, routers, paths made from names |
//! | [`scope`] | what is known of a connection: path, headers, cookies, peer, user |
//! | [`middleware`] | origins, sessions, users, proxies, one's own |
//! | [`worker`] | background work: consumers on named channels |
//! | [`close`] | the one table of close codes; how a connection ended |
//! | [`error`] | what hooks return |
//! | `testing` | clients and servers for tests (feature `testing`) |
//!
//! The way of a message, for readers of the source: `host` takes the handshake, `transport` reads frames, `consumer`
//! runs the hooks, `layers` takes an event, `groups` brings it to the members.
//!
//! # Features
//!
//! | Feature | Default | Adds |
//! |---|---|---|
//! | `cli` | no | the program `greenroom`, which sends to groups and shows what is sent; all the layers |
//! | `django` | no | [`middleware`]'s `django`: sessions and users of a Django project, from signed cookies or a store of your own |
//! | `django-postgres` | no | `django`, and Django's tables in PostgreSQL |
//! | `django-sqlite` | no | `django`, and Django's tables in SQLite; needs a C compiler |
//! | `nats` | no | [`layers`]' `nats`: groups shared with other processes, by way of NATS |
//! | `redis` | no | [`layers`]' `redis`: groups shared with other processes and with Django, by way of Redis |
//! | `rustls` | no | TLS, for `Server`, and to Redis and PostgreSQL |
//! | `testing` | no | the module `testing`; it switches tokio's `test-util` on |

#![cfg_attr(docsrs, feature(doc_cfg))]

// The macros write paths that start `::greenroom`; this lets them work in the crate's own tests.
#[allow(unused_extern_crates, reason = "only what the macros write uses it")]
extern crate self as greenroom;

pub mod close;
pub mod consumer;
#[cfg(any(doc, doctest))]
pub mod docs;
pub mod error;
pub mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
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
mod sync;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod time;
mod transport;
mod wire;
pub mod worker;

pub use self::{
    consumer::{
        Accept, Body, Consumer, Context, EventHandlers, Handled, HttpConsumer, HttpContext, HttpHandle,
        JsonConsumer,
    },
    error::{Error, Result},
    event::{Envelope, Event, EventError},
    groups::{Delivery, drain::Drain, pace::Pace},
    host::{Mount, Running, RunningHandle, Serve, Server, run, run_with},
    layers::{ChannelLayer, Layer, LayerConfig, LayerError, MemoryLayer},
    message::{Frame, IntoFrame, Message},
    metrics::Metrics,
    names::{ChannelName, GroupName, NameError},
    routing::{ProtocolTypeRouter, UrlRouter},
    scope::Scope,
    transport::fallback::settings::Fallback,
    wire::{
        Transport,
        limits::{Flush, Limits, Overflow},
        websocket::deflate::Deflate,
    },
    worker::{ChannelNameRouter, Worker, WorkerContext},
};
/// The crate of [`Scope::set_cookie`]'s cookies.
pub use cookie;
/// What the code that the macros write calls. It may change in any release.
#[doc(hidden)]
pub use event::handler as __private;
#[doc(inline)]
pub use greenroom_macros::{Event, NoEvents, event_handlers};

/// Compiles the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub mod readme {}
