//! Verifies and reads what `django.core.signing` writes.
//!
//! The text is `payload:time:signature`. The payload is JSON in base64. If it starts with a dot, it is compressed.

use std::{
    fmt,
    io::Read,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::session::SessionValues;

/// How many bytes a session may have, both as text and inflated.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// How far Django's clock may be ahead of ours.
const SKEW: Duration = Duration::from_secs(300);

/// Why a signed text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignedTextError {
    /// It has no signature, or one that none of the keys has made.
    BadSignature,
    /// It was signed longer ago than is allowed.
    Expired,
    /// Its time is further in the future than clocks may differ.
    FromTheFuture,
    /// Its signature is right, but it cannot be read.
    Unreadable(Unreadable),
}

/// What is wrong with a text that Django has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Damaged,
    NotJson,
    NotMap,
    Pickle,
    TooLarge,
}

/// The keys that Django derives from `SECRET_KEY` and its fallbacks for one purpose.
///
/// The salt names the purpose. The secrets themselves are not kept.
#[derive(Clone)]
pub(super) struct SigningKeys {
    salt: &'static str,
    keys: Vec<Hmac<Sha256>>,
}

impl SigningKeys {
    pub(super) fn new(salt: &'static str) -> Self {
        Self { salt, keys: Vec::new() }
    }

    pub(super) fn add(&mut self, secret: &[u8]) {
        let key = Sha256::new().chain_update(self.salt).chain_update(secret).finalize();
        self.keys.push(Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"));
    }

    /// Whether `code` is the code of the message with one of the keys. The comparison takes the same time wherever
    /// the codes differ.
    fn verify(&self, message: &[u8], code: &[u8]) -> bool {
        self.keys.iter().any(|key| key.clone().chain_update(message).verify_slice(code).is_ok())
    }

    /// Reads a text that `signing.dumps` wrote, at most `max_age` ago.
    pub(super) fn loads(
        &self,
        text: &str,
        max_age: Option<Duration>,
        now: SystemTime,
    ) -> Result<SessionValues, SignedTextError> {
        if text.len() > MOST_BYTES {
            return Err(SignedTextError::Unreadable(Unreadable::TooLarge));
        }
        let (signed, signature) = text.rsplit_once(':').ok_or(SignedTextError::BadSignature)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| SignedTextError::BadSignature)?;
        if !self.verify(signed.as_bytes(), &signature) {
            return Err(SignedTextError::BadSignature);
        }
        let damaged = SignedTextError::Unreadable(Unreadable::Damaged);
        let (payload, time) = signed.rsplit_once(':').ok_or(damaged)?;
        if let Some(max_age) = max_age {
            let signed_at = UNIX_EPOCH.checked_add(decode_base62(time).ok_or(damaged)?).ok_or(damaged)?;
            match now.duration_since(signed_at) {
                // Django writes the time in whole seconds.
                Ok(age) if age > max_age => return Err(SignedTextError::Expired),
                Err(ahead) if ahead.duration() > SKEW => return Err(SignedTextError::FromTheFuture),
                _ => {}
            }
        }
        decode(payload).map_err(SignedTextError::Unreadable)
    }

    /// Whether `code`, a session's `_auth_user_hash`, belongs to `message`, a password field.
    pub(super) fn verify_hex(&self, message: &str, code: &str) -> bool {
        decode_hex(code).is_some_and(|code| self.verify(message.as_bytes(), &code))
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.keys.len())
    }
}

impl fmt::Display for SignedTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadSignature => "none of the keys has made its signature",
            Self::Expired => "it has expired",
            Self::FromTheFuture => "it was signed in the future: compare the clocks",
            Self::Unreadable(Unreadable::Damaged) => "it is signed, but cannot be decoded",
            Self::Unreadable(Unreadable::NotJson) => {
                "it is signed, but is not JSON: set Django's SESSION_SERIALIZER to \
                 django.contrib.sessions.serializers.JSONSerializer"
            }
            Self::Unreadable(Unreadable::Pickle) => {
                "it is signed, but is a pickle: set Django's SESSION_SERIALIZER to \
                 django.contrib.sessions.serializers.JSONSerializer"
            }
            Self::Unreadable(Unreadable::NotMap) => "it is signed, but is not a JSON object",
            Self::Unreadable(Unreadable::TooLarge) => "it is signed, but is larger than 1 MiB",
        })
    }
}

fn decode(payload: &str) -> Result<SessionValues, Unreadable> {
    let (compressed, base64) = match payload.strip_prefix('.') {
        Some(rest) => (true, rest),
        None => (false, payload),
    };
    let bytes = URL_SAFE_NO_PAD.decode(base64).map_err(|_| Unreadable::Damaged)?;
    let json = if compressed { inflate(&bytes)? } else { bytes };
    // Django reads the bytes as Latin-1. Its own serializer writes only ASCII.
    let json = if json.is_ascii() {
        String::from_utf8(json).map_err(|_| Unreadable::NotJson)?
    } else {
        json.into_iter().map(char::from).collect()
    };
    SessionValues::read(&json)
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let mut inflated = Vec::new();
    let mut bounded = flate2::read::ZlibDecoder::new(bytes).take(MOST_BYTES as u64 + 1);
    bounded.read_to_end(&mut inflated).map_err(|_| Unreadable::Damaged)?;
    if inflated.len() > MOST_BYTES { Err(Unreadable::TooLarge) } else { Ok(inflated) }
}

/// Reads seconds since 1970 as Django writes them: in base 62, with digits, upper case and lower case.
fn decode_base62(text: &str) -> Option<Duration> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'Z' => Some(byte - b'A' + 10),
        b'a'..=b'z' => Some(byte - b'a' + 36),
        _ => None,
    };
    if text.is_empty() {
        return None;
    }
    let seconds = text
        .bytes()
        .try_fold(0_u64, |sum, byte| sum.checked_mul(62)?.checked_add(u64::from(digit(byte)?)))?;
    Some(Duration::from_secs(seconds))
}

/// Reads hexadecimal digits, in lower case only, as Django writes them.
fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests;
