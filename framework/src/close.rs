//! Close codes, and how a connection ended.
//!
//! This table has all codes: when Greenroom sends each, and whether the client should connect again. Clients may send
//! the codes that Greenroom does not send, and consumers may close with them.
//!
//! | Code | [`CloseCode`] | Sent by Greenroom | Should the client connect again? |
//! |---|---|---|---|
//! | 1000 | [`NORMAL`](CloseCode::NORMAL) | the consumer closed, or stopped; the client was idle ([`Limits::idle_timeout`](crate::Limits::idle_timeout)) | no, the work is done |
//! | 1001 | [`GOING_AWAY`](CloseCode::GOING_AWAY) | consumers only | yes, after a random delay |
//! | 1002 | [`PROTOCOL`](CloseCode::PROTOCOL) | the client sent a bad frame | no, the client has a fault |
//! | 1003 | [`UNSUPPORTED`](CloseCode::UNSUPPORTED) | consumers only | no |
//! | 1005 | [`NO_STATUS`](CloseCode::NO_STATUS) | never on the wire | as after 1000 |
//! | 1006 | [`ABNORMAL`](CloseCode::ABNORMAL) | never on the wire | yes, with growing delays |
//! | 1007 | [`INVALID_DATA`](CloseCode::INVALID_DATA) | text was not UTF-8, a compressed message could not be inflated, or the consumer could not read the input | no, the client has a fault |
//! | 1008 | [`POLICY`](CloseCode::POLICY) | a message took too long, or there were too many ([`Limits::frame_timeout`](crate::Limits::frame_timeout), [`message_rate`](crate::Limits::message_rate)) | only when the cause is gone, for example after a new login |
//! | 1009 | [`TOO_BIG`](CloseCode::TOO_BIG) | a message over [`Limits::message_size`](crate::Limits::message_size), or inflated over [`Deflate::inflated_size`](crate::Deflate::inflated_size) | yes, but the message must not be sent again |
//! | 1010 | [`EXTENSION`](CloseCode::EXTENSION) | never: it is for clients | no |
//! | 1011 | [`INTERNAL`](CloseCode::INTERNAL) | a hook failed or panicked; no answer to a ping ([`Limits::pong_timeout`](crate::Limits::pong_timeout)) | yes, with growing delays |
//! | 1012 | [`RESTART`](CloseCode::RESTART) | the server shuts down; the reason is a hint such as `retry=3200ms` | yes, after the time in the hint, which differs for each client ([`Pace::retry`](crate::Pace::retry)) |
//! | 1013 | [`TRY_AGAIN`](CloseCode::TRY_AGAIN) | the client read too slowly, or nothing at all ([`Overflow::Close`](crate::Overflow::Close), [`Limits::write_timeout`](crate::Limits::write_timeout), [`Mount::outbox_budget`](crate::Mount::outbox_budget)) | yes, but it has missed something and should fetch the state anew |
//! | 1014 | [`BAD_GATEWAY`](CloseCode::BAD_GATEWAY) | consumers only | yes, with growing delays |
//! | 1015 | [`TLS`](CloseCode::TLS) | never on the wire | no |
//! | 3000–3999 | | libraries, registered with IANA | as the library says |
//! | 4000–4999 | | the application's own | as the application says |

use std::fmt;

use bytestring::ByteString;

/// A close code of RFC 6455, section 7.4, or of the application (3000 to 4999).
///
/// The [module's table](self) says when each code is sent, and whether a client should connect again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: the connection has done its work. Sent if a consumer closes without a code, or stops.
    pub const NORMAL: Self = Self(1000);
    /// 1001: one side goes away. For consumers; browsers send it when the page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: a frame broke RFC 6455. Greenroom sends it to a client with a faulty WebSocket implementation.
    pub const PROTOCOL: Self = Self(1002);
    /// 1003: the endpoint does not accept this kind of message. For consumers, for example if they accept only text.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1005: the client's close frame had no code. Never on the wire; `disconnect` sees it.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: the connection ended without a close frame, or was never accepted. Never on the wire;
    /// `disconnect` sees it.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: the data of a message is invalid.
    ///
    /// Greenroom sends it if text is not UTF-8, if a compressed message is broken, or if the consumer cannot read a
    /// message.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: a rule of the application was broken. For consumers, for example when a login has expired.
    ///
    /// Greenroom sends it to a client that takes too long for a message, or sends too many.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message is over the limit.
    ///
    /// Greenroom sends it when a header announces such a message, or when a message is inflated beyond the limit.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010: the server did not agree to an extension that the client needs. Only clients send it.
    pub const EXTENSION: Self = Self(1010);
    /// 1011: the server failed. Greenroom sends it after a hook's error or panic, and if a ping is not answered.
    pub const INTERNAL: Self = Self(1011);
    /// 1012: the service restarts. Greenroom sends it at shutdown, with a hint when to connect again: `retry=3200ms`.
    pub const RESTART: Self = Self(1012);
    /// 1013: too much load. Greenroom sends it to a client that reads too slowly for what it is sent.
    pub const TRY_AGAIN: Self = Self(1013);
    /// 1014: a server behind this one failed. For consumers that stand in front of another service.
    pub const BAD_GATEWAY: Self = Self(1014);
    /// 1015: the TLS handshake failed. Never on the wire; client libraries report it.
    pub const TLS: Self = Self(1015);

    /// Whether a close frame may carry the code.
    ///
    /// It may carry 1000 to 1003, 1007 to 1014, and 3000 to 4999. The code 1004 has no meaning. 1005, 1006 and 1015
    /// are only for reports. All others are reserved (RFC 6455, section 7.4).
    #[must_use]
    pub const fn can_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Whether a peer may close with the code. Any other code is a protocol error.
    ///
    /// The codes are the same as those that may be sent.
    #[must_use]
    pub const fn can_be_received(self) -> bool {
        self.can_be_sent()
    }

    /// The meaning of the code, for the log. `None` for codes of libraries and applications.
    const fn meaning(self) -> Option<&'static str> {
        Some(match self {
            Self::NORMAL => "normal",
            Self::GOING_AWAY => "going away",
            Self::PROTOCOL => "protocol error",
            Self::UNSUPPORTED => "unsupported data",
            Self::NO_STATUS => "no code in the close frame",
            Self::ABNORMAL => "no close frame",
            Self::INVALID_DATA => "invalid data",
            Self::POLICY => "policy violation",
            Self::TOO_BIG => "message too big",
            Self::EXTENSION => "extension needed",
            Self::INTERNAL => "internal error",
            Self::RESTART => "service restart",
            Self::TRY_AGAIN => "try again later",
            Self::BAD_GATEWAY => "bad gateway",
            Self::TLS => "TLS handshake failed",
            _ => return None,
        })
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl fmt::Display for CloseCode {
    /// The number, and its meaning if RFC 6455 or IANA defines one: `1000 (normal)`, `4001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some(meaning) => write!(f, "{} ({meaning})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// How a connection ended. [`Consumer::disconnect`](crate::Consumer::disconnect) gets it.
///
/// The [guide](crate::docs::guide#consumer) has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disconnect {
    /// The close code: the client's, the consumer's, or 1006 for a lost connection (rule 13).
    pub code: CloseCode,
    /// The reason that the closing side gave. Empty if it gave none.
    pub reason: ByteString,
    /// Who or what ended it.
    pub cause: Cause,
}

impl Disconnect {
    /// An ending, for tests that call a `disconnect` hook themselves.
    #[must_use]
    pub fn new(code: impl Into<CloseCode>, reason: impl Into<ByteString>, cause: Cause) -> Self {
        Self { code: code.into(), reason: reason.into(), cause }
    }

    /// Whether a close frame ended the connection, as `wasClean` says in a browser.
    ///
    /// This is true for all codes except 1006 and 1015.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        !matches!(self.code, CloseCode::ABNORMAL | CloseCode::TLS)
    }
}

/// Who or what ended a connection.
///
/// ```
/// use greenroom::{close::Cause, prelude::*};
///
/// #[derive(NoEvents)]
/// struct Player;
/// impl Consumer for Player {
///     async fn disconnect(&mut self, reason: Disconnect, _ctx: &mut Context) {
///         match reason.cause {
///             Cause::Client | Cause::Consumer => println!("the game is over"),
///             cause => println!("the player may come back: {cause:?}"),
///         }
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The client sent a close frame.
    Client,
    /// The consumer closed it, or asked to stop.
    Consumer,
    /// A hook failed or panicked.
    Error,
    /// The socket ended without a close frame.
    Gone,
    /// The client broke the protocol or a limit.
    Protocol,
    /// The connection was never accepted.
    Rejected,
    /// The server is shutting down.
    Shutdown,
    /// The client has come back on another connection, which continues this one.
    Superseded,
    /// The client sent nothing, or not the rest of its message, for too long: a timeout of [`Limits`](crate::Limits).
    Timeout,
    /// The client read too slowly ([`Overflow::Close`](crate::Overflow::Close)), or nothing
    /// ([`Limits::write_timeout`](crate::Limits::write_timeout)), or held too much of
    /// [`Mount::outbox_budget`](crate::Mount::outbox_budget).
    TooSlow,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_a_close_frame() {
        let allowed = |code: &u16| CloseCode(*code).can_be_sent();
        let sent: Vec<u16> = (0..3000).filter(allowed).collect();
        assert_eq!(sent, [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]);
        assert!((3000..5000).all(|code| allowed(&code)));
        assert!(!(5000..=u16::MAX).any(|code| allowed(&code)));
        assert!(
            (0..=u16::MAX).all(|code| CloseCode(code).can_be_sent() == CloseCode(code).can_be_received())
        );
    }

    #[test]
    fn a_code_shows_its_number_and_meaning() {
        assert_eq!(CloseCode::NORMAL.to_string(), "1000 (normal)");
        assert_eq!(CloseCode::from(4001).to_string(), "4001");
        for code in (1000..=1015).filter(|code| *code != 1004) {
            assert!(CloseCode(code).to_string().contains('('), "{code}");
        }
    }

    #[test]
    fn a_close_frame_makes_an_ending_clean() {
        assert!(Disconnect::new(1000, "", Cause::Client).was_clean());
        assert!(Disconnect::new(CloseCode::NO_STATUS, "", Cause::Client).was_clean());
        assert!(!Disconnect::new(CloseCode::ABNORMAL, "", Cause::Gone).was_clean());
    }
}
