//! What comes before a message to a client: its kind, and its place in a log.
//!
//! | Kind | Before a text | Before bytes |
//! |---|---|---|
//! | plain | `m` | `00` |
//! | logged | `h<alias>.<offset>.<tag>\n` | `01`, LEB alias, LEB offset, 3 bytes of tag, `00` |
//! | logged, a part | `h<alias>.<offset>.<tag>.<part>\n` | `01`, LEB alias, LEB offset, 3 bytes of tag, LEB part |
//! | foreign | `f<alias>.<watermark>\n` | `02`, LEB alias, 8 bytes of watermark |
//!
//! LEB is unsigned LEB128. Other numbers are big endian in bytes, and decimal in texts. A tag has six hexadecimal
//! digits in a text.

use std::{fmt, fmt::Write as _, num::NonZeroU32};

use smallvec::SmallVec;

use crate::Message;

/// A place in a log. The tag has 24 bits; others are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    /// The number that this process has given to the group.
    pub(crate) alias: u32,
    pub(crate) offset: u64,
    pub(crate) tag: u32,
    /// Which message of a handler's run this is. `None` if the event is done with this one message.
    pub(crate) part: Option<NonZeroU32>,
}

impl At {
    fn tag(self) -> u32 {
        self.tag & 0xff_ffff
    }

    /// The mark that tells a client that it has all of an event.
    pub(crate) fn mark(self) -> HeadBytes {
        written(format_args!("p{}.{}.{:06x}", self.alias, self.offset, self.tag()))
    }
}

impl fmt::Display for At {
    /// The place as a list in JSON: `[12,1843,"0a1b2d"]`, with the part behind it if there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{},{},\"{:06x}\"", self.alias, self.offset, self.tag())?;
        match self.part {
            Some(part) => write!(f, ",{part}]"),
            None => f.write_char(']'),
        }
    }
}

/// What a message to a client is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Head {
    /// An event that is in no log, because another program has sent it past the log.
    #[cfg_attr(
        not(any(feature = "nats", feature = "redis", test)),
        expect(dead_code, reason = "no layer here has a server")
    )]
    Foreign {
        alias: u32,
        /// The time up to which the client knows such events. It is finite; other numbers count as 0.
        watermark: f64,
    },
    /// An event of a log, or a part of what a handler made of it.
    Logged(At),
    /// No event that is kept.
    Plain,
}

impl Head {
    /// The bytes that come before this message.
    pub(crate) fn of(self, message: &Message) -> HeadBytes {
        match message {
            Message::Binary(_) => self.binary(),
            Message::Text(_) => self.text(),
        }
    }

    fn text(self) -> HeadBytes {
        match self {
            Self::Foreign { alias, watermark } => {
                written(format_args!("f{alias}.{}\n", Watermark(watermark)))
            }
            Self::Logged(at) => {
                let At { alias, offset, part, .. } = at;
                let tag = at.tag();
                match part {
                    Some(part) => written(format_args!("h{alias}.{offset}.{tag:06x}.{part}\n")),
                    None => written(format_args!("h{alias}.{offset}.{tag:06x}\n")),
                }
            }
            Self::Plain => written(format_args!("m")),
        }
    }

    fn binary(self) -> HeadBytes {
        let mut out = HeadBytes::default();
        match self {
            Self::Foreign { alias, watermark } => {
                out.0.push(2);
                out.leb(alias.into());
                out.0.extend_from_slice(&Watermark(watermark).finite().to_be_bytes());
            }
            Self::Logged(at) => {
                out.0.push(1);
                out.leb(at.alias.into());
                out.leb(at.offset);
                out.0.extend(at.tag().to_be_bytes().into_iter().skip(1));
                out.leb(at.part.map_or(0, |part| part.get().into()));
            }
            Self::Plain => out.0.push(0),
        }
        out
    }
}

/// A watermark as a number in JSON, at most 24 characters long.
pub(crate) struct Watermark(pub(crate) f64);

impl Watermark {
    /// JSON has no other numbers.
    pub(super) fn finite(&self) -> f64 {
        if self.0.is_finite() { self.0 } else { 0.0 }
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `Debug` writes very large and very small numbers with an exponent.
        write!(f, "{:?}", self.finite())
    }
}

/// The bytes before a message. They need no memory of their own.
#[derive(Debug, Default)]
pub(crate) struct HeadBytes(SmallVec<[u8; 56]>);

impl HeadBytes {
    /// Appends a number as unsigned LEB128: seven bits a byte, the lowest first.
    fn leb(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

impl fmt::Write for HeadBytes {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl std::ops::Deref for HeadBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

fn written(text: fmt::Arguments<'_>) -> HeadBytes {
    let mut out = HeadBytes::default();
    // It cannot fail: the bytes grow.
    let _ = out.write_fmt(text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(part: u32) -> At {
        At { alias: 12, offset: 1_843, tag: 0x0a_1b2d, part: NonZeroU32::new(part) }
    }

    const LARGEST: At = At { alias: u32::MAX, offset: u64::MAX, tag: u32::MAX, part: Some(NonZeroU32::MAX) };

    fn text(head: Head) -> String {
        String::from_utf8(head.of(&Message::Text("".into())).to_vec()).unwrap()
    }

    fn binary(head: Head) -> Vec<u8> {
        head.of(&Message::Binary(bytes::Bytes::new())).to_vec()
    }

    #[test]
    fn each_kind_has_its_head() {
        let foreign = Head::Foreign { alias: 300, watermark: 1_764_451_200.25 };
        for (head, as_text, as_bytes) in [
            (Head::Plain, "m", &[0][..]),
            (Head::Logged(at(0)), "h12.1843.0a1b2d\n", &[1, 12, 0xb3, 0x0e, 0x0a, 0x1b, 0x2d, 0]),
            (Head::Logged(at(1)), "h12.1843.0a1b2d.1\n", &[1, 12, 0xb3, 0x0e, 0x0a, 0x1b, 0x2d, 1]),
            (Head::Logged(at(200)), "h12.1843.0a1b2d.200\n", &[1, 12, 0xb3, 0x0e, 0x0a, 0x1b, 0x2d, 0xc8, 1]),
            (foreign, "f300.1764451200.25\n", &[2, 0xac, 2, 0x41, 0xda, 0x4a, 0xd8, 0xe0, 0x10, 0, 0]),
        ] {
            assert_eq!((&*text(head), &*binary(head)), (as_text, as_bytes));
        }
        assert_eq!(&*at(0).mark(), b"p12.1843.0a1b2d");
        assert_eq!(&*at(7).mark(), b"p12.1843.0a1b2d");
        assert_eq!(at(0).to_string(), r#"[12,1843,"0a1b2d"]"#);
        assert_eq!(at(3).to_string(), r#"[12,1843,"0a1b2d",3]"#);
    }

    #[test]
    fn the_largest_numbers_need_no_memory() {
        let head = Head::Logged(LARGEST);
        assert_eq!(text(head), "h4294967295.18446744073709551615.ffffff.4294967295\n");
        let lebs = [&[0xff; 4][..], &[0x0f], &[0xff; 9], &[1], &[0xff; 3], &[0xff; 4], &[0x0f]].concat();
        assert_eq!(binary(head), [&[1], &*lebs].concat());
        for message in [Message::Text("".into()), Message::Binary(bytes::Bytes::new())] {
            for watermark in
                [f64::MIN, f64::MAX, -f64::MIN_POSITIVE, -5e-324, 1.0 / 3.0, -123_456_789_012_345.67]
            {
                for head in [head, Head::Foreign { alias: u32::MAX, watermark }] {
                    assert!(!head.of(&message).0.spilled(), "{head:?}");
                }
            }
        }
    }

    #[test]
    fn a_watermark_is_always_a_number_in_json() {
        for number in
            [0.0, -0.0, 5.0, 1.5e300, 2e-9, 1e15, 1e16, 1_764_451_200.123_456, f64::MAX, f64::MIN_POSITIVE]
        {
            let written = Watermark(number).to_string();
            assert!(written.len() <= 24, "{written}");
            assert_eq!(serde_json::from_str::<f64>(&written).unwrap(), number);
        }
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Watermark(number).to_string(), "0.0");
            assert_eq!(binary(Head::Foreign { alias: 0, watermark: number }), [2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
}
