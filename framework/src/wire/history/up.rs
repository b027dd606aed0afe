//! What a client sends: messages and control frames.

use bytestring::ByteString;

use crate::Message;

/// One message of the client's connection, by its first character or byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Up {
    /// `c` and JSON. [`ResumeRequest::read`](super::resume::ResumeRequest::read) reads it.
    Control(ByteString),
    /// `m` and a text, or the byte 0 and bytes.
    Message(Message),
    /// A kind that this version does not know, or nothing at all.
    Unknown,
}

impl Up {
    /// Takes the first character or byte off. The rest is not copied.
    pub(crate) fn read(message: Message) -> Self {
        match message {
            Message::Binary(bytes) => match bytes.first() {
                Some(0) => Self::Message(Message::Binary(bytes.slice(1..))),
                _ => Self::Unknown,
            },
            Message::Text(text) => {
                let Some((kind, rest)) = text.split_at_checked(1) else { return Self::Unknown };
                let rest = text.slice_ref(rest);
                match kind {
                    "c" => Self::Control(rest),
                    "m" => Self::Message(Message::Text(rest)),
                    _ => Self::Unknown,
                }
            }
        }
    }

    /// The message as a client writes it, for communicators.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn written(message: &Message) -> Message {
        match message {
            Message::Binary(bytes) => Message::Binary([&[0], &**bytes].concat().into()),
            Message::Text(text) => Message::Text(["m", text].concat().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn text(text: &str) -> Up {
        Up::read(Message::Text(text.into()))
    }

    fn binary(bytes: &[u8]) -> Up {
        Up::read(Message::Binary(Bytes::copy_from_slice(bytes)))
    }

    #[test]
    fn the_first_character_or_byte_is_the_kind() {
        assert_eq!(text("mhello"), Up::Message(Message::Text("hello".into())));
        assert_eq!(text("m"), Up::Message(Message::Text("".into())));
        assert_eq!(text("m\u{1f600}"), Up::Message(Message::Text("\u{1f600}".into())));
        assert_eq!(text("c{\"resume\":{}}"), Up::Control("{\"resume\":{}}".into()));
        assert_eq!(text("c"), Up::Control("".into()));
        assert_eq!(binary(&[0, 1, 2]), Up::Message(Message::Binary(vec![1, 2].into())));
        assert_eq!(binary(&[0]), Up::Message(Message::Binary(Bytes::new())));
        for unknown in ["", "h1.2.000000\n", "M", " m", "\0", "é", "\u{1f600}"] {
            assert_eq!(text(unknown), Up::Unknown, "{unknown:?}");
        }
        for unknown in [&[][..], &[1, 0], b"m", &[0xff]] {
            assert_eq!(binary(unknown), Up::Unknown, "{unknown:?}");
        }
    }

    #[test]
    fn a_message_is_not_copied() {
        let bytes = Bytes::from(vec![0; 100]);
        let Up::Message(message) = Up::read(Message::Binary(bytes.clone())) else { panic!() };
        assert_eq!(message.as_bytes().as_ptr(), bytes[1..].as_ptr());
        let bytes = Bytes::from("m".repeat(100));
        let Up::Message(message) = Up::read(Message::Text(bytes.clone().try_into().unwrap())) else {
            panic!()
        };
        assert_eq!(message.as_bytes().as_ptr(), bytes[1..].as_ptr());
    }

    #[test]
    fn what_a_client_writes_is_read() {
        for message in [Message::Text("a".into()), Message::Text("".into()), Message::Binary(vec![9].into())]
        {
            assert_eq!(Up::read(Up::written(&message)), Up::Message(message));
        }
    }
}
