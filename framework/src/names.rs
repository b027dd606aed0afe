//! Channel and group names. They are checked once, when they are made.
//!
//! A name has ASCII letters, digits, `-`, `_` and `.`, and at most 99 bytes, as in Channels (rule 1). The name of a
//! channel may end in a process-local part behind one `!` (rule 3). Python's regular expressions also accept Unicode
//! digits and a trailing newline, which are errors in Greenroom (rule 2).

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, RandomState},
    ops::Deref,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// The longest name, in bytes (rule 1: fewer than 100 characters).
pub(crate) const MAX_NAME_LENGTH: usize = 99;

/// Why a text is not a valid channel or group name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no characters.
    Empty {
        /// "channel" or "group".
        kind: &'static str,
    },
    /// The name has a character that is not allowed.
    Forbidden {
        /// "channel" or "group".
        kind: &'static str,
        /// The name as it was given.
        name: String,
        /// The first character that is not allowed.
        character: char,
    },
    /// The name has more than 99 bytes.
    TooLong {
        /// "channel" or "group".
        kind: &'static str,
        /// How many bytes the name has.
        length: usize,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { kind } => write!(f, "a {kind} name must not be empty"),
            Self::Forbidden { kind, name, character } => {
                let local = if *kind == "channel" { ", and one `!` before a local part" } else { "" };
                write!(
                    f,
                    "{kind} name {name:?} holds {character:?}: use ASCII letters, digits, `-`, `_` and `.`{local}"
                )
            }
            Self::TooLong { kind, length } => {
                write!(
                    f,
                    "a {kind} name must have a length < 100 bytes, this one has {length}: shorten or hash it"
                )
            }
        }
    }
}

impl std::error::Error for NameError {}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn check(kind: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if name.len() > MAX_NAME_LENGTH {
        return Err(NameError::TooLong { kind, length: name.len() });
    }
    let (head, local) = match name.split_once('!') {
        Some((head, local)) if kind == "channel" && !head.is_empty() => (head, local),
        _ => (name, ""),
    };
    let wrong = |part: &str| part.chars().find(|c| !c.is_ascii() || !is_name_byte(*c as u8));
    match wrong(head).or_else(|| wrong(local)) {
        Some(character) => Err(NameError::Forbidden { kind, name: name.to_owned(), character }),
        None => Ok(()),
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks `name` and keeps it.
            ///
            /// # Errors
            /// [`NameError`] if the name is not valid. It says what to change.
            pub fn new(name: impl AsRef<str>) -> Result<Self, NameError> {
                let name = name.as_ref();
                check($kind, name)?;
                Ok(Self(Arc::from(name)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $type {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = NameError;
            fn try_from(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({:?})"), &*self.0)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = String::deserialize(deserializer)?;
                Self::new(name).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type! {
    /// The name of a group, to which [`group_send`](crate::Layer::group_send) sends.
    ///
    /// Cheap to clone. It matches `^[A-Za-z0-9_.-]+$` and has at most 99 bytes (rule 1).
    GroupName, "group"
}

name_type! {
    /// The address of one consumer, or of a queue that a program reads.
    ///
    /// Cheap to clone. It matches `^[A-Za-z0-9_.-]+(![A-Za-z0-9_.-]*)?$` and has at most 99 bytes (rule 1).
    ChannelName, "channel"
}

impl ChannelName {
    /// The part up to and including `!`, or the whole name if it has no `!`.
    ///
    /// One process shares this part, and the part behind `!` belongs to one consumer (rule 3).
    #[must_use]
    pub fn non_local(&self) -> &str {
        match self.0.find('!') {
            Some(at) => &self.0[..=at],
            None => &self.0,
        }
    }

    /// The part behind `!`, if the name has one.
    #[must_use]
    pub fn local(&self) -> Option<&str> {
        self.0.split_once('!').map(|(_, local)| local)
    }
}

/// Makes a text of 12 characters that nobody else has.
///
/// It is made of random keys, which the standard library's hasher provides, and a counter.
pub(crate) fn random_text() -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let hasher = RandomState::new();
    let count = COUNTER.fetch_add(1, Relaxed);
    let mut number = u128::from(hasher.hash_one(count)) << 64 | u128::from(hasher.hash_one(!count));
    let mut text = String::with_capacity(12);
    for _ in 0..12 {
        text.push(char::from(ALPHABET[(number % 62) as usize]));
        number /= 62;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_1_names_that_are_valid() {
        for name in ["chat", "chat_1", "a.b-c_D9", &"x".repeat(99)] {
            assert_eq!(GroupName::new(name).unwrap().as_str(), name);
            assert_eq!(ChannelName::new(name).unwrap().as_str(), name);
        }
        for name in ["specific.abc!def", "specific.abc!", "a!b.c-d_e"] {
            assert_eq!(ChannelName::new(name).unwrap().as_str(), name);
            assert!(GroupName::new(name).is_err(), "`!` is never part of a group's name");
        }
    }

    #[test]
    fn rule_1_names_that_are_not_valid() {
        for name in ["", "¯\\_(ツ)_/¯", "=+135!", "a b", "a!b!c", "!a", "a/b", &"x".repeat(100)] {
            assert!(ChannelName::new(name).is_err(), "{name}");
            assert!(GroupName::new(name).is_err(), "{name}");
        }
    }

    #[test]
    fn rule_2_python_quirks_are_refused() {
        for name in ["chat\n", "٣", "a!é"] {
            assert!(ChannelName::new(name).is_err(), "{name:?}");
            assert!(GroupName::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn rule_3_the_non_local_part_ends_at_the_mark() {
        let name = ChannelName::new("specific.abc!def").unwrap();
        assert_eq!(name.non_local(), "specific.abc!");
        assert_eq!(name.local(), Some("def"));
        let plain = ChannelName::new("jobs").unwrap();
        assert_eq!((plain.non_local(), plain.local()), ("jobs", None));
    }

    #[test]
    fn errors_say_what_to_change() {
        let text = |name: &str| GroupName::new(name).unwrap_err().to_string();
        assert_eq!(text(""), "a group name must not be empty");
        assert!(text(&"x".repeat(101)).contains("length < 100"));
        assert!(text("a b").contains("holds ' '"));
    }
}
