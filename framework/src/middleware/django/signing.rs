//! What `django.core.signing` writes: `payload:time:signature`, the payload JSON in base64, compressed where it starts
//! with a dot.

use std::{
    fmt,
    io::Read,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// How large a session may be, as text and inflated.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// How far Django's clock may be ahead of ours.
const SKEW: Duration = Duration::from_secs(300);

/// Why a signed text is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignedTextError {
    /// Its signature is of none of the keys, or there is none.
    BadSignature,
    /// It was signed before the oldest that is taken.
    Expired,
    /// It was signed after now.
    FromTheFuture,
    /// It is signed, and cannot be read.
    Unreadable(Unreadable),
}

/// What is wrong with what Django has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Damaged,
    NotJson,
    NotMap,
    TooLarge,
}

/// Keys that Django derives of `SECRET_KEY` and its fallbacks for one purpose, which the salt names.
///
/// The secrets themselves are not kept.
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

    /// Whether a code is that of the message under one of the keys. The comparison takes the same time wherever they
    /// differ.
    fn verify(&self, message: &[u8], code: &[u8]) -> bool {
        self.keys.iter().any(|key| key.clone().chain_update(message).verify_slice(code).is_ok())
    }

    /// Reads what `signing.dumps` wrote, signed at most `max_age` ago.
    pub(super) fn loads(
        &self,
        text: &str,
        max_age: Option<Duration>,
        now: SystemTime,
    ) -> Result<Map<String, Value>, SignedTextError> {
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
                // Django writes whole seconds.
                Ok(age) if age > max_age => return Err(SignedTextError::Expired),
                Err(ahead) if ahead.duration() > SKEW => return Err(SignedTextError::FromTheFuture),
                _ => {}
            }
        }
        decode(payload).map_err(SignedTextError::Unreadable)
    }

    /// Whether `_auth_user_hash` is that of this password field.
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
            Self::BadSignature => "its signature is of none of the keys",
            Self::Expired => "it has expired",
            Self::FromTheFuture => "it was signed in the future: compare the clocks",
            Self::Unreadable(Unreadable::Damaged) => "it is signed, but cannot be decoded",
            Self::Unreadable(Unreadable::NotJson) => {
                "it is signed, but not JSON, as of a pickle: set Django's SESSION_SERIALIZER to \
                 django.contrib.sessions.serializers.JSONSerializer"
            }
            Self::Unreadable(Unreadable::NotMap) => "it is signed, but no JSON object",
            Self::Unreadable(Unreadable::TooLarge) => "it is signed, but larger than 1 MiB",
        })
    }
}

fn decode(payload: &str) -> Result<Map<String, Value>, Unreadable> {
    let (compressed, base64) = match payload.strip_prefix('.') {
        Some(rest) => (true, rest),
        None => (false, payload),
    };
    let bytes = URL_SAFE_NO_PAD.decode(base64).map_err(|_| Unreadable::Damaged)?;
    let json = if compressed { inflate(&bytes)? } else { bytes };
    // Django reads the bytes as Latin-1; what its own serializer writes is ASCII.
    let json = if json.is_ascii() {
        String::from_utf8(json).map_err(|_| Unreadable::NotJson)?
    } else {
        json.into_iter().map(char::from).collect()
    };
    match serde_json::from_str(&json).map_err(|_| Unreadable::NotJson)? {
        Value::Object(map) => Ok(map),
        _ => Err(Unreadable::NotMap),
    }
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let mut inflated = Vec::new();
    let mut bounded = flate2::read::ZlibDecoder::new(bytes).take(MOST_BYTES as u64 + 1);
    bounded.read_to_end(&mut inflated).map_err(|_| Unreadable::Damaged)?;
    if inflated.len() > MOST_BYTES { Err(Unreadable::TooLarge) } else { Ok(inflated) }
}

/// Seconds since 1970, as Django writes them: digits, upper case, lower case.
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

/// Lower case only, as Django writes it.
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
