//! How a peer can break the protocol.

use std::{error::Error as StdError, fmt};

use crate::close::CloseCode;

/// How a peer broke the protocol. The connection is closed with [`close_code`](Self::close_code).
///
/// The sections are those of RFC 6455.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum ProtocolError {
    /// A close frame with a code that must not be on the wire (section 7.4).
    BadCloseCode(u16),
    /// A compressed message that cannot be inflated, or is cut off (RFC 7692, section 7.2.2).
    BadDeflate,
    /// A close frame with half a code (section 5.5.1).
    CloseTooShort,
    /// A ping, pong or close of more than 125 bytes (section 5.5).
    ControlTooLong,
    /// A ping, pong or close in fragments (section 5.5).
    FragmentedControl,
    /// Text that is not UTF-8 (section 8.1); the reason of a close frame is text too.
    InvalidUtf8,
    /// A compressed message that inflates to more bytes than this limit (section 10.4).
    InflatedTooBig(usize),
    /// A length that is written in more bytes than it needs (section 5.2).
    LengthNotMinimal,
    /// A 64-bit length with the highest bit set (section 5.2).
    LengthTopBit,
    /// A masked frame from a server (section 5.1).
    #[cfg(any(test, feature = "testing"))]
    Masked,
    /// A reserved bit that no agreed extension uses (section 5.2).
    ReservedBits,
    /// A continuation frame outside a message (section 5.4).
    StrayContinuation,
    /// A message with more bytes than this limit (section 10.4).
    TooBig(usize),
    /// A new message before the last fragment of the message before it (section 5.4).
    UnfinishedMessage,
    /// An opcode that RFC 6455 does not define (section 5.2).
    UnknownOpcode(u8),
    /// An unmasked frame from a client (section 5.1).
    Unmasked,
}

impl ProtocolError {
    /// The code to close with.
    pub(crate) fn close_code(self) -> CloseCode {
        match self {
            Self::BadDeflate | Self::InvalidUtf8 => CloseCode::INVALID_DATA,
            Self::InflatedTooBig(_) | Self::TooBig(_) => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadCloseCode(code) => write!(f, "a close frame must not have the code {code}"),
            Self::BadDeflate => f.write_str("the compressed message cannot be inflated"),
            Self::CloseTooShort => f.write_str("the close frame has one byte, but a code has two"),
            Self::ControlTooLong => f.write_str("a control frame has more than 125 bytes"),
            Self::FragmentedControl => f.write_str("a control frame is fragmented"),
            Self::InvalidUtf8 => f.write_str("the text is not valid UTF-8"),
            Self::InflatedTooBig(limit) => write!(
                f,
                "the inflated message has more than {limit} bytes (Deflate::inflated_size, else Limits::message_size)"
            ),
            Self::LengthNotMinimal => f.write_str("the frame's length is written in too many bytes"),
            Self::LengthTopBit => f.write_str("the frame's length has its highest bit set"),
            #[cfg(any(test, feature = "testing"))]
            Self::Masked => f.write_str("a frame from the server is masked"),
            Self::ReservedBits => {
                f.write_str("a reserved bit is set, but no agreed extension uses it in this frame")
            }
            Self::StrayContinuation => f.write_str("a continuation frame continues no message"),
            Self::TooBig(limit) => {
                write!(f, "the message has more than {limit} bytes (Limits::message_size)")
            }
            Self::UnfinishedMessage => f.write_str("a message begins before the last one has ended"),
            Self::UnknownOpcode(opcode) => write!(f, "the opcode {opcode:#x} is not defined"),
            Self::Unmasked => f.write_str("a frame from the client is not masked"),
        }
    }
}

impl StdError for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_code_to_send_and_a_short_text() {
        use ProtocolError::*;
        let all = [
            BadCloseCode(1005),
            BadDeflate,
            CloseTooShort,
            ControlTooLong,
            FragmentedControl,
            InflatedTooBig(usize::MAX),
            InvalidUtf8,
            LengthNotMinimal,
            LengthTopBit,
            Masked,
            ReservedBits,
            StrayContinuation,
            TooBig(usize::MAX),
            UnfinishedMessage,
            UnknownOpcode(3),
            Unmasked,
        ];
        for error in all {
            let text = error.to_string();
            assert!(!text.ends_with('.') && !text.starts_with(char::is_uppercase), "{text}");
            assert!(text.len() <= 123, "it fits into a close frame as the reason: {text}");
            assert!(error.close_code().can_be_sent());
        }
        assert_eq!(BadDeflate.close_code(), CloseCode::INVALID_DATA);
        assert_eq!(InvalidUtf8.close_code(), CloseCode::INVALID_DATA);
        assert_eq!(TooBig(1).close_code(), CloseCode::TOO_BIG);
        assert_eq!(InflatedTooBig(1).close_code(), CloseCode::TOO_BIG);
        assert_eq!(Unmasked.close_code(), CloseCode::PROTOCOL);
    }
}
