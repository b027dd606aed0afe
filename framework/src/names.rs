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

use sha2::{Digest as _, Sha256};

/// The longest name, in bytes (rule 1: fewer than 100 characters).
pub(crate) const MAX_NAME_LENGTH: usize = 99;

/// Why a text is not a valid channel or group name.
///
/// [`GroupName`] has an example.
#[derive(Clone, PartialEq, Eq)]
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

crate::causes::debug_shows_causes!(NameError);

impl std::error::Error for NameError {}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Checks the name of a group for [`group!`](crate::group), while the program is compiled.
///
/// # Panics
/// If the name is not valid.
pub const fn checked_group(name: &str) -> &str {
    let bytes = name.as_bytes();
    assert!(!bytes.is_empty(), "a group name must not be empty");
    assert!(bytes.len() <= MAX_NAME_LENGTH, "a group name must have a length < 100 bytes");
    let mut at = 0;
    while at < bytes.len() {
        assert!(
            is_name_byte(bytes[at]),
            "a group name may hold ASCII letters, digits, hyphens, underscores and periods only"
        );
        at += 1;
    }
    name
}

/// The name of a group, checked while the program is compiled.
///
/// The name is a literal or a constant. The value is a [`GroupName`](crate::GroupName), which needs no `?`. For a name
/// with a part that comes from a client, use [`GroupName::escaped`](crate::GroupName::escaped).
///
/// ```
/// use greenroom::{GroupName, prelude::*};
///
/// #[derive(NoEvents)]
/// struct Reader;
/// impl Consumer for Reader {
///     fn groups(&self) -> Vec<GroupName> {
///         vec![group!("news")]
///     }
/// }
/// # assert_eq!(group!("news"), GroupName::new("news").unwrap());
/// ```
///
/// ```compile_fail
/// greenroom::group!("breaking news"); // a blank
/// ```
#[macro_export]
macro_rules! group {
    ($name:expr $(,)?) => {{
        const NAME: &str = $crate::__checked_group($name);
        static GROUP: ::std::sync::LazyLock<$crate::GroupName> = ::std::sync::LazyLock::new(|| {
            $crate::GroupName::new(NAME).expect("the name was checked while the program was compiled")
        });
        $crate::GroupName::clone(&GROUP)
    }};
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
    /// Cheap to clone. It matches `^[A-Za-z0-9_.-]+$` and has at most 99 bytes (rule 1). [`group!`](crate::group) checks a
    /// literal while the program is compiled, and [`escaped`](Self::escaped) makes a name of any text.
    GroupName, "group"
}

name_type! {
    /// The address of one consumer, or of a queue that a program reads.
    ///
    /// Cheap to clone. It matches `^[A-Za-z0-9_.-]+(![A-Za-z0-9_.-]*)?$` and has at most 99 bytes (rule 1).
    ChannelName, "channel"
}

impl GroupName {
    /// A name made of a prefix and any text, for example the id of a user or a title.
    ///
    /// Two texts never have one name under the same prefix. Letters and digits of ASCII, `-` and `_` stay as they are,
    /// so that `42` under `user_` is `user_42`. Each other byte of the text's UTF-8 becomes a period and two hexadecimal
    /// digits: `a.b@c` is `user_a.2eb.40c`. In the prefix, periods stay too.
    ///
    /// If the name would be empty or have more than 99 bytes, it is its first 33 bytes, `._`, and the SHA-256 of the
    /// prefix and the text in hexadecimal. No short name has `._` behind its prefix.
    ///
    /// ```
    /// use greenroom::GroupName;
    ///
    /// assert_eq!(GroupName::escaped("user_", 42).as_str(), "user_42");
    /// assert_eq!(GroupName::escaped("user_", "ada@example.org").as_str(), "user_ada.40example.2eorg");
    /// assert_eq!(GroupName::escaped("room_", "caf\u{e9} \u{1f375}").as_str(), "room_caf.c3.a9.20.f0.9f.8d.b5");
    /// assert_eq!(GroupName::escaped("room_", "x".repeat(1_000)).len(), 99);
    /// ```
    ///
    /// Django makes the same name with this function:
    ///
    /// ```python
    #[doc = include_str!("../docs/group_name.py")]
    /// ```
    ///
    /// # Panics
    /// If the `Display` of the text fails.
    #[must_use]
    pub fn escaped(prefix: &str, text: impl fmt::Display) -> Self {
        let text = text.to_string();
        let mut name = String::with_capacity(MAX_NAME_LENGTH);
        push_escaped(&mut name, prefix, true);
        push_escaped(&mut name, &text, false);
        if name.is_empty() || name.len() > MAX_NAME_LENGTH {
            name.truncate(READABLE);
            name.push_str("._");
            for byte in Sha256::new().chain_update(prefix).chain_update(&text).finalize() {
                push_hex(&mut name, byte);
            }
        }
        Self(Arc::from(name))
    }
}

/// How many bytes of a name stay readable if its end is a hash: `._` and 64 digits go behind them.
const READABLE: usize = MAX_NAME_LENGTH - 66;

fn push_escaped(name: &mut String, text: &str, keep_periods: bool) {
    for byte in text.bytes() {
        if is_name_byte(byte) && (keep_periods || byte != b'.') {
            name.push(char::from(byte));
        } else {
            name.push('.');
            push_hex(name, byte);
        }
    }
}

fn push_hex(name: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    name.push(char::from(DIGITS[usize::from(byte >> 4)]));
    name.push(char::from(DIGITS[usize::from(byte & 15)]));
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

    /// The names in texts of another process. A text that is no valid name is skipped.
    #[cfg(any(feature = "nats", feature = "redis"))]
    pub(crate) fn of_texts(texts: Vec<String>) -> Vec<Self> {
        texts.into_iter().filter_map(|text| Self::new(text).ok()).collect()
    }
}

/// One channel, for a parameter that takes one or several.
impl AsRef<[Self]> for ChannelName {
    fn as_ref(&self) -> &[Self] {
        std::slice::from_ref(self)
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
    fn escaped_names_are_valid_and_tell_texts_apart() {
        let mut names = std::collections::HashMap::new();
        let mut texts: Vec<String> = (0..=255_u8).map(|byte| char::from(byte).to_string()).collect();
        for length in [31, 32, 93, 94, 95, 98, 99, 100, 300] {
            texts.extend([".", "x", "\u{e9}", ".2e", "._", "_"].map(|text| text.repeat(length)));
            texts.push(format!("{}y", "x".repeat(length)));
        }
        texts.extend(["", "..", ".2e", "2e", "._", "a.b", "a.2eb", "a_2eb"].map(str::to_owned));
        texts.sort();
        texts.dedup();
        for prefix in ["", "user_", "a.b-", &"p".repeat(120)] {
            for text in &texts {
                let name = GroupName::escaped(prefix, text);
                assert_eq!(GroupName::new(&name).as_ref(), Ok(&name), "{text:?}");
                let before = names.insert((prefix.to_owned(), name), text);
                assert_eq!(before, None, "{prefix:?} {text:?}");
            }
        }
        assert_eq!(GroupName::escaped("", "").as_str(), GroupName::escaped("", String::new()).as_str());
        assert_eq!(GroupName::escaped("a b.c", "d").as_str(), "a.20b.cd");
    }

    #[test]
    fn names_are_checked_while_the_program_is_compiled() {
        const NEWS: &str = "news";
        assert_eq!(crate::group!("news"), GroupName::new(NEWS).unwrap());
        assert_eq!(crate::group!(NEWS), crate::group!("news"));
        for name in ["", "a b", "a!b", "caf\u{e9}", &"x".repeat(100)] {
            assert!(std::panic::catch_unwind(|| checked_group(name)).is_err(), "{name:?}");
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
