//! From paths to consumers, and from channels to those that work in the background.
//!
//! A [`UrlRouter`] maps patterns to functions that make consumers; [`UrlRouter::build`] checks it and gives the
//! [`Routes`]. [`ProtocolTypeRouter`] puts HTTP routes beside them on the same port. A [`ChannelNameRouter`] maps the
//! names of channels to the consumers of a [`Worker`](crate::Worker).
//!
//! # Patterns
//!
//! | Pattern | Matches |
//! |---|---|
//! | `/ws/chat/` | this path. Paths are compared decoded; a trailing slash matters, as in Django |
//! | `{name}`, `{name:str}` | one segment that is not empty; `%2F` in it is part of the value |
//! | `{id:int}` | ASCII digits |
//! | `{name:slug}` | ASCII letters, digits, `-` and `_` |
//! | `{id:uuid}` | a UUID in lower case with its hyphens |
//! | `{rest:path}` | anything that is not empty, slashes included |
//! | `{room:[A-Za-z0-9_-]+}` | a regex over the whole decoded segment; at the pattern's end over all that remains |
//! | `/room-{id:int}.json` | texts around one parameter |
//!
//! A pattern matches the whole path, where Channels' `re_path` without `$` matches its beginning: for that, end it in
//! `{rest:path}`. At most one parameter of a route may take several segments. Values are percent-decoded once; a path
//! whose values are not UTF-8 matches nothing.
//!
//! # Order
//! The first route that matches wins. A router that is nested below a prefix stands at its place in that order: where
//! none of its routes matches, the next route of the outer one is tried, as in Channels. Its parameters and those of
//! its prefix are merged, and where both use one name the inner wins.
//!
//! # What is an error at the start
//! All at once, with the patterns and the fix: malformed patterns, a name that is used twice, and a route that can
//! never match because an earlier one takes all its paths. The last is found where the two are the same but for the
//! names of parameters, or where each segment of the later is, at its place in the earlier, the same, or taken by
//! `{name}` or `{name:path}`. Regexes are compared as texts, so a route that only a regex shadows is not found.

pub(crate) mod endpoint;
mod error;
mod parse;
mod pattern;
pub(crate) mod protocol;
mod routes;
mod shape;
mod url;

#[cfg(test)]
pub(crate) use self::endpoint::testing;
pub use self::{
    error::{ReverseError, RouteError, RouteErrors},
    protocol::ProtocolTypeRouter,
    routes::{Match, Routes},
    url::UrlRouter,
};
