use std::{error::Error as StdError, fmt};

use crate::causes::debug_shows_causes;

/// What is wrong with one route.
///
/// [`Error`](crate::Error) has an example.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// A worker cannot take jobs from a channel of this name.
    BadChannel {
        /// The name that was given.
        channel: String,
        /// What is wrong with it, and how to write it.
        reason: String,
    },
    /// A middleware's settings are wrong.
    BadMiddleware {
        /// What is wrong with them.
        reason: String,
    },
    /// The pattern cannot be read.
    BadPattern {
        /// The whole pattern, prefixes of outer routers included.
        pattern: String,
        /// What is wrong with it, and how to write it.
        reason: String,
    },
    /// A channel has two consumers.
    DuplicateChannel {
        /// The channel.
        channel: String,
    },
    /// Two routes have one name.
    DuplicateName {
        /// The name.
        name: String,
        /// The pattern of the earlier route.
        earlier: String,
        /// The pattern of the later route.
        later: String,
    },
    /// A [`ChannelNameRouter`](crate::ChannelNameRouter) has no channels.
    NoChannels,
    /// `name` was called before any route was added.
    NothingToName {
        /// The name.
        name: String,
    },
    /// Two patterns differ only in the names of their parameters.
    SameShape {
        /// The pattern of the earlier route.
        earlier: String,
        /// The pattern of the later route, which can never match.
        later: String,
    },
    /// An earlier route takes every path of a later one.
    Shadowed {
        /// The pattern of the earlier route.
        earlier: String,
        /// The pattern of the later route, which can never match.
        later: String,
    },
}

/// All errors of a router, found at once.
///
/// [`Error`](crate::Error) has an example.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteErrors(pub(crate) Vec<RouteError>);

impl RouteErrors {
    /// The errors, in the order of the routes. There is at least one.
    pub fn iter(&self) -> impl Iterator<Item = &RouteError> {
        self.0.iter()
    }
}

/// Why no path can be made from a name and parameters.
///
/// The [guide](crate::docs::guide#routing) has an example.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReverseError {
    /// A value does not fit its parameter.
    BadParam {
        /// The parameter's name.
        param: String,
        /// The value that was given.
        value: String,
        /// The pattern that it does not fit.
        pattern: String,
    },
    /// A parameter has no value.
    MissingParam {
        /// The parameter's name.
        param: String,
        /// The pattern that has it.
        pattern: String,
    },
    /// A value is given for a parameter that the pattern does not have.
    UnknownParam {
        /// The parameter's name.
        param: String,
        /// The pattern that does not have it.
        pattern: String,
    },
    /// No route has this name.
    UnknownRoute {
        /// The name.
        name: String,
        /// The names of the routes that have one.
        known: Vec<String>,
    },
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadChannel { channel, reason } => {
                write!(f, "no worker can take jobs from the channel {channel:?}: {reason}")
            }
            Self::BadMiddleware { reason } => f.write_str(reason),
            Self::BadPattern { pattern, reason } => {
                write!(f, "the pattern {pattern:?} is not valid: {reason}")
            }
            Self::DuplicateChannel { channel } => write!(
                f,
                "the channel {channel:?} was added twice: give one consumer the handlers of both, or rename one; to do more jobs at once, raise its concurrency"
            ),
            Self::DuplicateName { name, earlier, later } => write!(
                f,
                "{earlier:?} and {later:?} are both named {name:?}: rename one, or name the nested router that has it"
            ),
            Self::NoChannels => f.write_str("the router has no channels: add one with `channel`"),
            Self::NothingToName { name } => {
                write!(
                    f,
                    "no route was added before the name {name:?}: call `name` after the route that it is for"
                )
            }
            Self::SameShape { earlier, later } => {
                write!(f, "{later:?} takes the same paths as {earlier:?}, which comes first: remove one")
            }
            Self::Shadowed { earlier, later } => {
                write!(
                    f,
                    "{later:?} can never match, because {earlier:?} comes first and takes all its paths: swap them"
                )
            }
        }
    }
}

impl fmt::Display for RouteErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut errors = self.0.iter();
        if let Some(first) = errors.next() {
            write!(f, "{first}")?;
        }
        errors.try_for_each(|error| write!(f, "\n{error}"))
    }
}

impl fmt::Display for ReverseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadParam { param, value, pattern } => {
                write!(f, "{value:?} does not fit the parameter {param:?} of {pattern:?}")
            }
            Self::MissingParam { param, pattern } => {
                write!(f, "the parameter {param:?} of {pattern:?} has no value")
            }
            Self::UnknownParam { param, pattern } => write!(f, "{pattern:?} has no parameter {param:?}"),
            Self::UnknownRoute { name, known } if known.is_empty() => {
                write!(f, "no route is named {name:?}: name it with `UrlRouter::name`")
            }
            Self::UnknownRoute { name, known } => {
                write!(f, "no route is named {name:?}, only {}", known.join(", "))
            }
        }
    }
}

impl StdError for RouteError {}
impl StdError for RouteErrors {}
impl StdError for ReverseError {}

debug_shows_causes!(RouteError, RouteErrors, ReverseError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_lower_case_without_a_full_stop() {
        let text = || "x".to_owned();
        let all: Vec<Box<dyn StdError>> = vec![
            Box::new(RouteError::BadChannel { channel: text(), reason: text() }),
            Box::new(RouteError::BadMiddleware { reason: text() }),
            Box::new(RouteError::BadPattern { pattern: text(), reason: text() }),
            Box::new(RouteError::DuplicateChannel { channel: text() }),
            Box::new(RouteError::DuplicateName { name: text(), earlier: text(), later: text() }),
            Box::new(RouteError::NoChannels),
            Box::new(RouteError::NothingToName { name: text() }),
            Box::new(RouteError::SameShape { earlier: text(), later: text() }),
            Box::new(RouteError::Shadowed { earlier: text(), later: text() }),
            Box::new(RouteErrors(vec![RouteError::NothingToName { name: text() }])),
            Box::new(ReverseError::BadParam { param: text(), value: text(), pattern: text() }),
            Box::new(ReverseError::MissingParam { param: text(), pattern: text() }),
            Box::new(ReverseError::UnknownParam { param: text(), pattern: text() }),
            Box::new(ReverseError::UnknownRoute { name: text(), known: vec![text()] }),
            Box::new(crate::scope::ScopeError::BadParam { name: text(), text: text(), reason: text() }),
            Box::new(crate::scope::ScopeError::BadQuery { reason: text() }),
            Box::new(crate::scope::ScopeError::NoParam { name: text(), known: vec![], pattern: None }),
        ];
        for error in all {
            let text = error.to_string();
            assert!(
                !text.is_empty() && !text.ends_with('.') && !text.starts_with(char::is_uppercase),
                "{text}"
            );
        }
    }
}
