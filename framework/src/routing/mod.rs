//! Maps paths to consumers, and channels to consumers that work in the background.
//!
//! A [`UrlRouter`] maps patterns to functions that make consumers; [`UrlRouter::build`] checks it and gives the
//! [`Routes`]. [`ProtocolTypeRouter`] puts HTTP routes beside them on the same port. A
//! [`ChannelNameRouter`](crate::ChannelNameRouter) maps the names of channels to the consumers of a
//! [`Worker`](crate::Worker).
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
//! | `{room:[A-Za-z0-9_-]+}` | a regex over the whole decoded segment; at the end of the pattern, over the rest of the path |
//! | `/room-{id:int}.json` | texts around one parameter |
//!
//! A pattern matches the whole path. Channels' `re_path` without `$` matches the beginning of a path: for that, end
//! the pattern in `{rest:path}`. At most one parameter of a route may take several segments. Values are
//! percent-decoded once. If a value is not UTF-8, the path matches nothing.
//!
//! # Order
//! The first route that matches wins. A nested router has its place in that order: if none of its routes matches,
//! the next route of the outer router is tried, as in Channels. Its parameters and those of its prefix are merged.
//! If both use one name, the inner one wins.
//!
//! # Errors at the start
//! [`UrlRouter::build`] reports all errors at once, with the patterns and the fix: malformed patterns, a name that
//! is used twice, and a route that can never match because an earlier route takes all its paths.
//!
//! Such a route is found in two cases. Either the two patterns differ only in the names of parameters. Or each
//! segment of the later pattern is also in the earlier one at the same place, or is taken there by `{name}` or
//! `{name:path}`. Regexes are compared as texts, so a route that only a regex shadows is not found.

pub(crate) mod endpoint;
mod error;
mod foreign;
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
