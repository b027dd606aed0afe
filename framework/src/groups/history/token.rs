//! What a client keeps and gives back: the proof of where it may begin to read, and the name of its connection.
//!
//! Both are signed with the layer's [`Secret`]. So a client can neither read what was sent before it was a member, nor
//! end the connection of somebody else.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use super::position::Epoch;
use crate::{ChannelName, GroupName, names::MAX_NAME_LENGTH};

/// How long the proof of a place holds. It is made anew at each return.
pub(crate) const TOKEN_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// The first byte of a floor token. Another layout gets another number.
const VERSION: u8 = 1;
/// How many bytes a floor token has before its code: the version, and the fields in their order.
const FIELDS: usize = 1 + Gid::LENGTH + 8 + 8 + UserHash::LENGTH + 4;
/// How many bytes of its HMAC stand in a floor token.
const CODE: usize = 12;
/// How many hexadecimal digits of its HMAC stand in the name of a connection.
const DIGITS: usize = 16;

/// The key that the processes of a layer sign with.
#[derive(Clone)]
pub(crate) struct Secret([u8; 32]);

impl Secret {
    /// A new secret. `None` if the system has no source of random bytes.
    pub(crate) fn random() -> Option<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).is_ok().then_some(Self(bytes))
    }

    /// The bytes, for the server that keeps them for all processes.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The code of a message. The purpose keeps a code from being taken for one of another kind.
    fn code(&self, purpose: &str, message: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.chain_update(purpose).chain_update([0]).chain_update(message)
    }
}

impl From<[u8; 32]> for Secret {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The name of a group on the wire: 72 bits of its hash. As a text it has 12 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Gid([u8; Self::LENGTH]);

impl Gid {
    const LENGTH: usize = 9;

    pub(crate) fn of(group: &GroupName) -> Self {
        let hash: [u8; 32] = Sha256::digest(group.as_bytes()).into();
        Self(std::array::from_fn(|at| hash[at]))
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for Gid {
    type Err = Forged;

    fn from_str(text: &str) -> Result<Self, Forged> {
        decoded(text).map(Self)
    }
}

/// 64 bits of the hash of a user, or of being nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct UserHash([u8; Self::LENGTH]);

impl UserHash {
    const LENGTH: usize = 8;

    /// The hash of a user. All who have no user have the same one, which no user has.
    pub(crate) fn of(user: Option<&str>) -> Self {
        let hash = match user {
            Some(user) => Sha256::new().chain_update("greenroom user\0").chain_update(user),
            None => Sha256::new().chain_update("greenroom nobody\0"),
        };
        let hash: [u8; 32] = hash.finalize().into();
        Self(std::array::from_fn(|at| hash[at]))
    }
}

/// A text that this layer has not signed, or that is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forged;

impl fmt::Display for Forged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this layer has not signed it, or it is damaged")
    }
}

impl std::error::Error for Forged {}

/// What a floor token says: from where on a user was a member of a group.
///
/// A member gets one when it joins. With it a client may read the group's log behind the floor, and nothing before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FloorToken {
    pub(crate) gid: Gid,
    /// The life of the log in which the floor is.
    pub(crate) epoch: Epoch,
    /// The offset of the last entry that the member must not read.
    pub(crate) floor: u64,
    pub(crate) user: UserHash,
    /// When the token ends, in [seconds since 1970](unix_seconds).
    pub(crate) expires: u32,
}

impl FloorToken {
    const PURPOSE: &str = "greenroom floor";

    /// The token: 67 characters of base64url.
    pub(crate) fn sign(&self, secret: &Secret) -> String {
        let mut bytes = Vec::with_capacity(FIELDS + CODE);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.gid.0);
        bytes.extend_from_slice(&self.epoch.get().to_be_bytes());
        bytes.extend_from_slice(&self.floor.to_be_bytes());
        bytes.extend_from_slice(&self.user.0);
        bytes.extend_from_slice(&self.expires.to_be_bytes());
        let code: [u8; 32] = secret.code(Self::PURPOSE, &bytes).finalize().into_bytes().into();
        bytes.extend(code.iter().take(CODE));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token. Whether it has ended, and whose it is, the caller checks.
    ///
    /// # Errors
    /// [`Forged`] if it was not signed with this secret.
    pub(crate) fn read(secret: &Secret, text: &str) -> Result<Self, Forged> {
        let bytes: [u8; FIELDS + CODE] = decoded(text)?;
        let (fields, code) = bytes.split_at(FIELDS);
        // The comparison takes the same time wherever the codes differ.
        secret.code(Self::PURPOSE, fields).verify_truncated_left(code).map_err(|_| Forged)?;
        let ([VERSION], rest) = take(fields)? else { return Err(Forged) };
        let (gid, rest) = take(rest)?;
        let (epoch, rest) = take(rest)?;
        let (floor, rest) = take(rest)?;
        let (user, rest) = take(rest)?;
        let (expires, _) = take(rest)?;
        Ok(Self {
            gid: Gid(gid),
            epoch: Epoch::of(u64::from_be_bytes(epoch)).ok_or(Forged)?,
            floor: u64::from_be_bytes(floor),
            user: UserHash(user),
            expires: u32::from_be_bytes(expires),
        })
    }

    /// The group and the epoch that a token names which was not signed with this secret.
    ///
    /// It proves nothing. But whoever shows it believes to have been there, and can be told that this is over.
    pub(crate) fn unproven(text: &str) -> Option<(Gid, Epoch)> {
        let bytes: [u8; FIELDS + CODE] = decoded(text).ok()?;
        let ([VERSION], rest) = take(&bytes).ok()? else { return None };
        let (gid, rest) = take(rest).ok()?;
        let (epoch, _) = take(rest).ok()?;
        Some((Gid(gid), Epoch::of(u64::from_be_bytes(epoch))?))
    }

    /// Whether the token has ended.
    pub(crate) fn has_ended(&self, now: SystemTime) -> bool {
        self.expires <= unix_seconds(now)
    }
}

/// The whole seconds since 1970. Times before count as 0, and times after February 2106 as the last second of it.
pub(crate) fn unix_seconds(time: SystemTime) -> u32 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

/// The name that a client knows its connection by: `<channel>~<16 hexadecimal digits>`.
///
/// A client that names it again has had it from this layer: nobody else can make the digits.
pub(crate) fn connection_id(secret: &Secret, channel: &ChannelName) -> String {
    let code: [u8; 32] = secret.code(CONNECTION, channel.as_bytes()).finalize().into_bytes().into();
    let mut id = String::with_capacity(channel.len() + 1 + DIGITS);
    id.push_str(channel);
    id.push('~');
    for byte in &code[..DIGITS / 2] {
        id.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    }
    id
}

/// The channel of a connection with this name. `None` if this layer has not given the name.
pub(crate) fn read_connection_id(secret: &Secret, id: &str) -> Option<ChannelName> {
    let (channel, digits) = id.split_once('~')?;
    if channel.len() > MAX_NAME_LENGTH || digits.len() != DIGITS {
        return None;
    }
    let mut code = [0; DIGITS / 2];
    for (byte, digits) in code.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = digits.iter().try_fold(0, |number, digit| Some(number << 4 | hex_digit(*digit)?))?;
    }
    secret.code(CONNECTION, channel.as_bytes()).verify_truncated_left(&code).ok()?;
    ChannelName::new(channel).ok()
}

const CONNECTION: &str = "greenroom connection";

/// The value of a hexadecimal digit, in lower case.
fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// So many bytes in base64url, in the only way in which they can be written.
fn decoded<const LENGTH: usize>(text: &str) -> Result<[u8; LENGTH], Forged> {
    if text.len() != (LENGTH * 4).div_ceil(3) {
        return Err(Forged);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Forged)?;
    bytes.try_into().map_err(|_| Forged)
}

/// Splits a field off.
fn take<const LENGTH: usize>(bytes: &[u8]) -> Result<([u8; LENGTH], &[u8]), Forged> {
    bytes.split_first_chunk().map(|(field, rest)| (*field, rest)).ok_or(Forged)
}

#[cfg(test)]
mod tests;
