//! The errors of hooks, and the outcomes that a hook can ask for.
//!
//! Hooks return [`Result`]. Its [`Error`] takes any error by `?`. Greenroom has one type of error for each party at
//! fault: [`InputError`] for the client, [`LayerError`](crate::LayerError) for the layer or its load, and
//! [`MisuseError`] and [`NameError`](crate::NameError) for the caller. For [`Closed`] nobody is at fault.

mod request;

use std::{error::Error as StdError, fmt};

pub use self::request::RequestError;
use crate::{
    causes::{WithCauses, debug_shows_causes},
    close::CloseCode,
    shown::Shown,
};

/// The result of a hook.
///
/// The [guide](crate::docs::guide#consumer) has an example.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error that a hook can end with. `?` makes it from every [`std::error::Error`].
///
/// It does not implement `std::error::Error` itself, because `?` could not take every error then. It converts into
/// `Box<dyn std::error::Error + Send + Sync>`. An actix-web handler that returns it answers 500.
///
/// `Debug` shows the same as `Display`: the error and its causes. So a `main` that returns a [`Result`] ends with a line
/// for people. All errors of this crate do so.
///
/// ```
/// use greenroom::{Error, Mount, UrlRouter};
///
/// # #[derive(greenroom::NoEvents)]
/// # struct Room;
/// # impl greenroom::Consumer for Room {}
/// let router = UrlRouter::new().route("room/", |_: &greenroom::Scope| Ok(Room));
/// let error: Error = Mount::new(router).unwrap_err().into();
/// assert_eq!(format!("{error:?}"), r#"the pattern "room/" is not valid: it does not begin with `/`: add one"#);
/// ```
pub struct Error(Box<dyn StdError + Send + Sync>);

impl Error {
    /// An error from a text.
    pub fn msg(text: impl Into<String>) -> Self {
        Self(text.into().into())
    }

    /// An error that is not a [`std::error::Error`] itself, but can be boxed as one: that of `anyhow`, `eyre`, or a box.
    ///
    /// The compiler allows no `?` for such an error, because one day its type might implement `std::error::Error`. Write
    /// `.map_err(Error::from_boxed)?`:
    ///
    /// ```
    /// use greenroom::{Error, Result};
    ///
    /// fn load() -> std::result::Result<String, Box<dyn std::error::Error + Send + Sync>> {
    ///     Err("there is no such room".into())
    /// }
    ///
    /// fn hook() -> Result<()> {
    ///     let room = load().map_err(Error::from_boxed)?; // the same for an `anyhow::Result`
    ///     println!("{room}");
    ///     Ok(())
    /// }
    ///
    /// assert_eq!(hook().unwrap_err().to_string(), "there is no such room");
    /// ```
    ///
    /// An [`InputError`] or a [`StopConsumer`] inside a plain box keeps its meaning. Inside an `anyhow::Error` it is an
    /// error like any other, because `anyhow` hides the type.
    pub fn from_boxed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(error.into())
    }

    /// The error inside, if it is an `E`.
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// Whether the error inside is an `E`.
    #[must_use]
    pub fn is<E: StdError + 'static>(&self) -> bool {
        self.0.is::<E>()
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl From<Error> for Box<dyn StdError + Send + Sync> {
    fn from(error: Error) -> Self {
        error.0
    }
}

impl fmt::Display for Error {
    /// The error and its causes, joined by `: `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        WithCauses(&*self.0).fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

debug_shows_causes!(StopConsumer, AcceptConnection, DenyConnection, Closed, MisuseError, InputError);

impl actix_web::ResponseError for Error {
    /// Answers 500 with a fixed body. The error goes to the log, and not to the client.
    fn error_response(&self) -> actix_web::HttpResponse {
        tracing::error!(error = %Shown(self), "a request failed");
        actix_web::HttpResponse::InternalServerError().body("internal server error")
    }
}

/// Ends the consumer.
///
/// ```
/// use greenroom::{error::StopConsumer, prelude::*};
///
/// #[derive(NoEvents)]
/// struct Once;
/// impl Consumer for Once {
///     async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
///         ctx.send_text(message.text()?.to_owned())?;
///         Err(StopConsumer)?
///     }
/// }
/// ```
///
/// The connection is closed with 1000, or denied with 403 before the accept. Channels leaves the socket open (rule
/// 19).
///
/// Return it from `connect`, `receive` or a handler: `Err(StopConsumer)?`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StopConsumer;

/// Accepts the connection, as [`Context::accept`](crate::Context::accept) does.
///
/// It does so only if [`connect`](crate::Consumer::connect) returns it. In other hooks it is an error like any other
/// (rule 20).
///
/// [`DenyConnection`] has an example.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AcceptConnection;

/// Denies the connection with 403.
///
/// ```
/// use greenroom::{error::DenyConnection, prelude::*};
///
/// #[derive(NoEvents)]
/// struct Members;
/// impl Consumer for Members {
///     async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
///         if ctx.scope().query_param("key").is_none() {
///             Err(DenyConnection)?;
///         }
///         ctx.accept()
///     }
/// }
/// ```
///
/// It does so only if [`connect`](crate::Consumer::connect) returns it. In other hooks it is an error like any other
/// (rule 20).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DenyConnection;

/// The connection is closed or closing, so nothing can be sent to it (rule 14).
///
/// The [guide](crate::docs::guide#context) has an example.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// The hook called something that the connection's state does not allow.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MisuseError {
    /// The connection was accepted or rejected before, or its headers were sent before.
    AlreadyAnswered,
    /// A header of the accept or the rejection is invalid, or its name is reserved.
    BadHeader(String),
    /// An endpoint must not send this close code (RFC 6455, section 7.4).
    BadCloseCode(u16),
    /// The layer keeps no events of this group: no pattern of [`LayerConfig::history`](crate::LayerConfig::history) fits.
    NoHistory(String),
    /// No layer is configured under this alias.
    NoLayer(String),
    /// `send_*` was called before `accept`.
    NotAccepted,
    /// The client did not offer this subprotocol.
    NotOffered(String),
    /// The connection already runs as many tasks as it may.
    TooManyTasks(usize),
    /// The status of a rejection is not a client or server error. `None`: it is not even a status.
    BadStatus(Option<u16>),
    /// The status of a response is not from 200 to 599. `None`: it is not even a status.
    BadResponseStatus(Option<u16>),
    /// A part of a body, or its end, was sent before the headers.
    NoHeaders,
}

impl MisuseError {
    /// The code, if an endpoint may send it.
    pub(crate) fn check_code(code: CloseCode) -> Result<CloseCode, Self> {
        if code.can_be_sent() { Ok(code) } else { Err(Self::BadCloseCode(code.into())) }
    }
}

/// The consumer cannot read what the client sent.
///
/// If `receive` returns it, the connection is closed with 1007. The text of the error and of its cause is the reason, cut
/// to the 123 bytes that a close frame holds: ``the message is not the expected JSON: missing field `room` at line 1
/// column 2``. In an HTTP exchange the answer is 400, with the same text.
///
/// The [guide](crate::docs::guide#consumer) has an example.
#[non_exhaustive]
pub enum InputError {
    /// The text is not JSON, or not JSON of the wanted shape. A long or strange text is quoted in part, and escaped.
    Json(serde_json::Error),
    /// A text message was expected, but the message is binary.
    NotText,
    /// The body of a request is not UTF-8.
    NotUtf8(std::str::Utf8Error),
}

impl InputError {
    /// The error of serde_json for a text of the client.
    ///
    /// It may quote the text, and be as long as the text. What is kept is short and one line, because it goes into the
    /// log, and mostly back to the client.
    pub(crate) fn json(error: serde_json::Error) -> Self {
        // Only errors about data quote the text. Line and column are read back from the end of the new error's text.
        Self::Json(if error.is_data() { serde::de::Error::custom(Shown(error)) } else { error })
    }
}

macro_rules! display {
    ($type:ty, |$self:ident, $f:ident| $body:expr) => {
        impl fmt::Display for $type {
            fn fmt(&self, $f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $self = self;
                $body
            }
        }
    };
}

display!(StopConsumer, |_s, f| f.write_str("the consumer stopped"));
display!(AcceptConnection, |_s, f| f.write_str("accept the connection"));
display!(DenyConnection, |_s, f| f.write_str("deny the connection"));
display!(Closed, |_s, f| f.write_str("the connection is closed"));
display!(MisuseError, |s, f| match s {
    MisuseError::AlreadyAnswered =>
        f.write_str("the connection was accepted or rejected before, or its headers were sent: do it once"),
    MisuseError::BadHeader(name) => write!(
        f,
        "the header {name:?} is invalid or reserved: use a token as its name and visible ASCII as its value"
    ),
    MisuseError::BadCloseCode(code) => write!(
        f,
        "the close code {code} cannot be sent: use 1000 to 1003, 1007 to 1014 or 3000 to 4999 (RFC 6455, section 7.4)"
    ),
    MisuseError::NoHistory(group) => write!(
        f,
        "the layer keeps no events of the group {group:?}: add LayerConfig::history with a pattern that fits"
    ),
    MisuseError::NoLayer(alias) =>
        write!(f, "no channel layer is configured under {alias:?}: add one with Mount::layer_as"),
    MisuseError::NotAccepted => f.write_str("the connection is not accepted yet: call ctx.accept() first"),
    MisuseError::NotOffered(name) => write!(
        f,
        "the client did not offer the subprotocol {name:?}: choose one of scope.subprotocols(), or none"
    ),
    MisuseError::TooManyTasks(limit) =>
        write!(f, "the connection already runs {limit} tasks: let some end first"),
    MisuseError::BadStatus(Some(status)) =>
        write!(f, "a rejection cannot have the status {status}: use one from 400 to 599"),
    MisuseError::BadStatus(None) =>
        f.write_str("what a rejection has is no HTTP status: use one from 400 to 599"),
    MisuseError::BadResponseStatus(Some(status)) =>
        write!(f, "a response cannot have the status {status}: use one from 200 to 599"),
    MisuseError::BadResponseStatus(None) =>
        f.write_str("what a response has is no HTTP status: use one from 200 to 599"),
    MisuseError::NoHeaders => f.write_str("the response has no headers yet: call send_headers first"),
});
display!(InputError, |s, f| match s {
    InputError::Json(_) => f.write_str("the message is not the expected JSON"),
    InputError::NotText => f.write_str("a text message is expected, but this one is binary"),
    InputError::NotUtf8(_) => f.write_str("the body is not UTF-8"),
});

impl StdError for StopConsumer {}
impl StdError for AcceptConnection {}
impl StdError for DenyConnection {}
impl StdError for Closed {}
impl StdError for MisuseError {}
impl StdError for InputError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            Self::NotText => None,
            Self::NotUtf8(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_converts_and_is_found_again() {
        fn hook() -> Result<()> {
            let _: u32 = "x".parse::<u32>()?;
            Ok(())
        }
        assert!(hook().unwrap_err().is::<std::num::ParseIntError>());
        assert!(Error::from(StopConsumer).is::<StopConsumer>());
        let boxed: Box<dyn StdError + Send + Sync> = Error::msg("no").into();
        assert_eq!(boxed.to_string(), "no");
    }

    #[test]
    fn causes_are_shown_once() {
        let cause = serde_json::from_str::<u8>("x").unwrap_err();
        let text = Error::from(InputError::Json(cause)).to_string();
        assert_eq!(text, "the message is not the expected JSON: expected value at line 1 column 1");
    }

    #[test]
    fn an_error_that_main_returns_is_shown_with_its_causes_and_without_quotes() {
        let cause = serde_json::from_str::<u8>("x").unwrap_err();
        let shown = "the message is not the expected JSON: expected value at line 1 column 1";
        assert_eq!(format!("{:?}", InputError::Json(cause)), shown);
        assert_eq!(format!("{:?}", Error::msg("no \"room\"")), "no \"room\"");
        assert_eq!(format!("{:?}", Error::from(StopConsumer)), "the consumer stopped");
        let plain: Box<dyn StdError> = Box::new(MisuseError::NotAccepted);
        assert_eq!(format!("{plain:?}"), plain.to_string());
    }

    #[test]
    fn a_boxed_error_keeps_what_is_inside() {
        fn boxed() -> Result<(), Box<dyn StdError + Send + Sync>> {
            Err(InputError::NotText)?
        }
        let hook = || -> Result<()> { boxed().map_err(Error::from_boxed) };
        assert!(hook().unwrap_err().is::<InputError>());
        assert_eq!(Error::from_boxed("a text").to_string(), "a text");
    }

    #[test]
    fn every_text_is_lower_case_without_a_full_stop() {
        let all: Vec<Box<dyn StdError>> = vec![
            Box::new(StopConsumer),
            Box::new(AcceptConnection),
            Box::new(DenyConnection),
            Box::new(Closed),
            Box::new(MisuseError::AlreadyAnswered),
            Box::new(MisuseError::BadHeader("a b".into())),
            Box::new(MisuseError::NoHistory("x".into())),
            Box::new(MisuseError::NoLayer("x".into())),
            Box::new(MisuseError::NotAccepted),
            Box::new(MisuseError::NotOffered("x".into())),
            Box::new(MisuseError::TooManyTasks(1)),
            Box::new(MisuseError::BadResponseStatus(Some(100))),
            Box::new(MisuseError::NoHeaders),
            Box::new(InputError::NotText),
        ];
        for error in all {
            let text = error.to_string();
            assert!(!text.ends_with('.') && !text.starts_with(char::is_uppercase), "{text}");
        }
    }
}
