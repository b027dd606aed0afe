//! Writes and reads the bytes of a message.
//!
//! They are a random prefix, and the event with its recipients, written by a serializer and perhaps
//! encrypted.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use base64::Engine;
use bytes::Bytes;
use fernet::Fernet;
use sha2::{Digest, Sha256};

use crate::{
    ChannelName, Envelope, EventError,
    event::{
        Format,
        wire::{
            addressed::{self, Recipients, address, check_keys},
            except,
        },
    },
};

/// How much longer than the expiry channels_redis accepts an encrypted message.
const GRACE: Duration = Duration::from_secs(10);

/// Why a message from the server cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Undecodable {
    /// None of the keys opens the message, or the message is too old.
    Encryption,
    /// The bytes are not an event.
    Event(EventError),
    /// The message is shorter than the random prefix.
    Short,
}

impl std::fmt::Display for Undecodable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Encryption => f.write_str(
                "no key opens the message, or it is too old: are symmetric_encryption_keys the same on both sides, and the clocks?",
            ),
            Self::Event(error) => {
                write!(f, "{error}: are serializer_format and random_prefix_length the same on both sides?")
            }
            Self::Short => {
                f.write_str(
                    "the message is shorter than the random prefix: is random_prefix_length the same on both sides?",
                )
            }
        }
    }
}

/// A message that was read.
#[derive(Debug)]
pub(super) struct ReadMessage {
    pub(super) envelope: Envelope,
    /// Its recipients. A message of the pub/sub layer names none.
    pub(super) to: Vec<String>,
    /// The channels that do not get it, although they are in the group.
    pub(super) except: Vec<ChannelName>,
}

/// Writes and reads messages as one configuration says. All processes that share a server need the same one.
pub(super) struct Codec {
    format: Format,
    prefix: usize,
    keys: Vec<Fernet>,
    ttl: Option<Duration>,
    hasher: RandomState,
    count: AtomicU64,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec")
            .field("format", &self.format)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Codec {
    /// Makes a codec. `ttl` is the age above which an encrypted message is refused.
    pub(super) fn new(format: Format, prefix: usize, keys: &[Vec<u8>], ttl: Option<Duration>) -> Self {
        let key = |secret: &Vec<u8>| {
            let key = base64::engine::general_purpose::URL_SAFE.encode(Sha256::digest(secret));
            Fernet::new(&key).expect("a SHA-256 has the 32 bytes of a key")
        };
        Self {
            format,
            prefix,
            keys: keys.iter().map(key).collect(),
            ttl: ttl.map(|ttl| ttl.saturating_add(GRACE)),
            hasher: RandomState::new(),
            count: AtomicU64::new(0),
        }
    }

    /// Writes an event, without prefix, recipients and encryption. This is done once for all messages with
    /// this event.
    pub(super) fn write(&self, envelope: &Envelope) -> Result<Bytes, EventError> {
        let bytes = envelope.to_wire(self.format)?;
        if self.format == Format::MsgPack {
            check_keys(envelope.name(), &bytes)?;
        }
        self.leave_out(bytes, [])
    }

    /// Makes the bytes of an event leave out these channels. Only Greenroom sees that, see [`except`].
    pub(super) fn leave_out<'a>(
        &self,
        event: Bytes,
        channels: impl IntoIterator<Item = &'a ChannelName>,
    ) -> Result<Bytes, EventError> {
        except::write(self.format, event, channels.into_iter().map(ChannelName::as_str))
    }

    /// Makes a message of the event's bytes.
    pub(super) fn frame(&self, event: &[u8], to: Option<Recipients<'_>>) -> Result<Vec<u8>, EventError> {
        let addressed;
        let event = match to {
            Some(to) => {
                addressed = address(self.format, event, to)?;
                &addressed
            }
            None => event,
        };
        let mut message = self.random_prefix(event.len());
        match self.keys.first() {
            Some(key) => message.extend(key.encrypt(event).into_bytes()),
            None => message.extend_from_slice(event),
        }
        Ok(message)
    }

    /// Reads the event of a message, its recipients, and the channels that it leaves out.
    pub(super) fn read(&self, message: Bytes) -> Result<ReadMessage, Undecodable> {
        if message.len() < self.prefix {
            return Err(Undecodable::Short);
        }
        let mut event = message.slice(self.prefix..);
        if !self.keys.is_empty() {
            event = self.decrypt(&event, self.ttl).ok_or(Undecodable::Encryption)?.into();
        }
        let (event, except) = except::read(self.format, event);
        let (envelope, to) = addressed::read(self.format, event).map_err(Undecodable::Event)?;
        Ok(ReadMessage { envelope, to, except: ChannelName::of_texts(except) })
    }

    /// Makes an event ready to be kept in a log. The bytes have no prefix, because entries need not differ.
    pub(super) fn seal(&self, event: &Bytes) -> Bytes {
        match self.keys.first() {
            Some(key) => key.encrypt(event).into_bytes().into(),
            None => event.clone(),
        }
    }

    /// Opens what [`seal`](Self::seal) has made, and gives the event in MessagePack, and the channels that do not get it.
    ///
    /// An entry of a log may be older than any message in a queue.
    pub(super) fn open(&self, sealed: Bytes) -> Result<(Bytes, Vec<ChannelName>), Undecodable> {
        let event = if self.keys.is_empty() {
            sealed
        } else {
            self.decrypt(&sealed, None).ok_or(Undecodable::Encryption)?.into()
        };
        let (event, except) = except::read(self.format, event);
        let envelope = Envelope::from_wire(self.format, event).map_err(Undecodable::Event)?;
        let event = envelope.to_wire(Format::MsgPack).map_err(Undecodable::Event)?;
        Ok((event, ChannelName::of_texts(except)))
    }

    fn decrypt(&self, token: &[u8], ttl: Option<Duration>) -> Option<Vec<u8>> {
        let token = std::str::from_utf8(token).ok()?;
        self.keys.iter().find_map(|key| match ttl {
            Some(ttl) => key.decrypt_with_ttl(token, ttl.as_secs()).ok(),
            None => key.decrypt(token).ok(),
        })
    }

    /// Random bytes, which make equal messages two different members of a sorted set. They need not be
    /// secret.
    fn random_prefix(&self, room: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.prefix + room);
        while bytes.len() < self.prefix {
            let random = self.hasher.hash_one(self.count.fetch_add(1, Relaxed)).to_be_bytes();
            bytes.extend(&random[..random.len().min(self.prefix - bytes.len())]);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    #[test]
    fn an_entry_is_opened_at_any_age_in_any_format() {
        let old = Some(Duration::ZERO);
        let except = [ChannelName::new("specific.a!1.2.3").unwrap()];
        for (format, key) in
            [(Format::MsgPack, None), (Format::Json, Some("a")), (Format::MsgPack, Some("a"))]
        {
            let keys: Vec<Vec<u8>> = key.iter().map(|key: &&str| key.as_bytes().to_vec()).collect();
            let codec = Codec::new(format, 12, &keys, old);
            let event = codec.write(&Envelope::new(PythonMessage { b: None, ..message() })).unwrap();
            let sealed = codec.seal(&codec.leave_out(event, &except).unwrap());
            assert_eq!(key.is_some(), !sealed.windows(4).any(|part| part == b"type"));
            let (event, left_out) = codec.open(sealed).unwrap();
            let read = Envelope::from_wire(Format::MsgPack, event).unwrap();
            assert_eq!(*read.event::<PythonMessage>().unwrap(), PythonMessage { b: None, ..message() });
            assert_eq!(left_out, except);
        }
        let foreign = core(Format::MsgPack).open(Bytes::from_static(b"\xc1")).unwrap_err();
        assert!(matches!(foreign, Undecodable::Event(_)));
        let foreign = encrypted(&["a"], None).open(Bytes::from_static(b"\x81")).unwrap_err();
        assert_eq!(foreign, Undecodable::Encryption);
    }

    /// The message of all test vectors, in MessagePack as Python writes it.
    const MESSAGE: &str = "87a474797065ac636861742e6d657373616765a474657874a668c3a96c6c6fa16e01a162c40200ffa166cb3ff8000000000000a36e696cc0a46c697374920102";
    const JSON: &str = "7b2274797065223a2022636861742e6d657373616765222c202274657874223a2022685c75303065396c6c6f222c20226e223a20312c202266223a20312e352c20226e696c223a206e756c6c2c20226c697374223a205b312c20325d7d";

    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, Event)]
    #[event("chat.message")]
    struct PythonMessage {
        text: String,
        n: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        b: Option<Blob>,
        f: f64,
        nil: Option<()>,
        list: Vec<i64>,
    }

    #[derive(Debug, Clone, PartialEq)]
    struct Blob(Vec<u8>);

    impl serde::Serialize for Blob {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&self.0)
        }
    }

    impl<'de> serde::Deserialize<'de> for Blob {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl serde::de::Visitor<'_> for Visitor {
                type Value = Blob;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("bytes")
                }
                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                    Ok(Blob(bytes.to_vec()))
                }
            }
            deserializer.deserialize_bytes(Visitor)
        }
    }

    fn message() -> PythonMessage {
        let b = Some(Blob(vec![0, 0xff]));
        PythonMessage { text: "héllo".into(), n: 1, b, f: 1.5, nil: None, list: vec![1, 2] }
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    fn core(format: Format) -> Codec {
        Codec::new(format, 12, &[], Some(Duration::from_secs(60)))
    }

    fn encrypted(keys: &[&str], ttl: Option<Duration>) -> Codec {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        Codec::new(Format::MsgPack, 12, &keys, ttl)
    }

    #[test]
    fn msgpack_is_written_as_python_writes_it() {
        let written = core(Format::MsgPack).write(&Envelope::new(message())).unwrap();
        assert_eq!(&written[..], unhex(MESSAGE));
        // The whole payload of the pub/sub layer.
        let codec = Codec::new(Format::MsgPack, 0, &[], None);
        assert_eq!(codec.frame(&written, None).unwrap(), unhex(MESSAGE));
    }

    #[test]
    fn a_message_to_a_consumer_is_written_as_python_writes_it() {
        let codec = core(Format::MsgPack);
        let event = codec.write(&Envelope::new(message())).unwrap();
        let process = "specific.0123456789abcdef0123456789abcdef!";
        let (a, b) = (format!("{process}{}", "a".repeat(32)), format!("{process}{}", "b".repeat(32)));
        let entries = &MESSAGE[2..];
        let key = "b05f5f617367695f6368616e6e656c5f5f";
        let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();

        let direct = codec.frame(&event, Some(Recipients::One(&a))).unwrap();
        assert_eq!(direct.len(), 169);
        assert_eq!(direct[12..], unhex(&format!("88{entries}{key}d94a{}", hex(&a))));
        let group = codec.frame(&event, Some(Recipients::Many(&[&a, &b]))).unwrap();
        assert_eq!(group.len(), 246);
        assert_eq!(group[12..], unhex(&format!("88{entries}{key}92d94a{}d94a{}", hex(&a), hex(&b))));
        let plain = codec.frame(&event, Some(Recipients::Many(&["plain-chan"]))).unwrap();
        assert_eq!(plain.len(), 105);
        assert_eq!(plain[12..], unhex(&format!("88{entries}{key}91aa706c61696e2d6368616e")));
    }

    #[test]
    fn a_message_of_python_is_read() {
        let member = [unhex("c2094cac629f6fbed82c07cd"), unhex(MESSAGE)].concat();
        let ReadMessage { envelope, to, .. } = core(Format::MsgPack).read(member.into()).unwrap();
        assert_eq!((&*envelope.event::<PythonMessage>().unwrap(), to.len()), (&message(), 0));
        let member = [unhex("c2094cac629f6fbed82c07cd"), unhex(JSON)].concat();
        let ReadMessage { envelope, .. } = core(Format::Json).read(member.into()).unwrap();
        assert_eq!(*envelope.event::<PythonMessage>().unwrap(), PythonMessage { b: None, ..message() });
    }

    #[test]
    fn a_map_that_python_does_not_read_is_not_written() {
        #[derive(Clone, serde::Serialize, serde::Deserialize, Event)]
        struct Scores {
            rounds: Vec<std::collections::BTreeMap<u32, f64>>,
        }
        let scores = Envelope::new(Scores { rounds: vec![[(7, 1.5)].into()] });
        // Numbers as keys become texts, as in JSON.
        for format in [Format::Json, Format::MsgPack] {
            let written = core(format).write(&scores).unwrap();
            let read = core(format).read(core(format).frame(&written, None).unwrap().into()).unwrap();
            assert_eq!(read.envelope.event::<Scores>().unwrap().rounds[0][&7], 1.5);
        }
        // An event that another program wrote is passed on as it came.
        let foreign = b"\x82\xa4type\xa6scores\xa6rounds\x91\x81\x07\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00";
        let foreign = Envelope::from_wire(Format::MsgPack, &foreign[..]).unwrap();
        assert_eq!(foreign.event::<Scores>().unwrap().rounds[0][&7], 1.5);
        let error = core(Format::MsgPack).write(&foreign).unwrap_err();
        assert!(matches!(error, EventError::Unwritable { .. }), "{error}");
        assert!(error.to_string().contains("integer `7`, expected a text as the key of a map"), "{error}");
    }

    #[test]
    fn a_message_is_read_as_it_was_written_and_only_the_prefix_differs() {
        for codec in
            [core(Format::MsgPack), core(Format::Json), encrypted(&["a"], Some(Duration::from_secs(60)))]
        {
            let sent = PythonMessage { b: None, ..message() };
            let event = codec.write(&Envelope::new(sent.clone())).unwrap();
            let (one, two) = (codec.frame(&event, None).unwrap(), codec.frame(&event, None).unwrap());
            assert_ne!(one[..12], two[..12]);
            let ReadMessage { envelope, to, except } = codec.read(one.into()).unwrap();
            assert_eq!((&*envelope.event::<PythonMessage>().unwrap(), to.len()), (&sent, 0));
            assert!(except.is_empty());

            let names = [ChannelName::new("specific.a!1.2.3").unwrap(), ChannelName::new("jobs").unwrap()];
            let event = codec.leave_out(event, &names).unwrap();
            let framed = codec.frame(&event, Some(Recipients::Many(&["specific.a!g.1"]))).unwrap();
            let ReadMessage { envelope, to, except } = codec.read(framed.into()).unwrap();
            assert_eq!(*envelope.event::<PythonMessage>().unwrap(), sent);
            assert_eq!((to, except), (vec!["specific.a!g.1".to_owned()], names.to_vec()));
        }
    }

    /// `test_serialize`, `test_deserialize` with their prefixes.
    #[test]
    fn the_prefix_has_the_length_that_was_asked_for() {
        let pack = unhex("83a161c3a162c0a16381a16490");
        for length in [0, 8, 12, 20] {
            let codec = Codec::new(Format::MsgPack, length, &[], None);
            let framed = codec.frame(&pack, None).unwrap();
            assert_eq!((framed.len(), &framed[length..]), (length + pack.len(), &pack[..]));
        }
    }

    #[test]
    fn a_token_of_python_is_opened_by_any_of_the_keys() {
        const TOKEN: &str = "gAAAAABlU_EAAAECAwQFBgcICQoLDA0OD4ip2D3dGWpsh9K3N3f_EWoMms-eOkTMDGlG08j4l0QBIZvW-R3y3HfrKhWLlI2Fy-Cmtk_BoY7046XowXBhABgLcX7lGaV5cbtfMPTbcq0dLQJ98H_VH1S57CGadNc1JbhL4A_4aAmWePHpVbJpm8U=";
        let member: Bytes = [&[7; 12][..], TOKEN.as_bytes()].concat().into();
        // The pub/sub layer does not check the age.
        for keys in [&["a-test-key"][..], &["newer", "a-test-key"]] {
            let ReadMessage { envelope, .. } = encrypted(keys, None).read(member.clone()).unwrap();
            assert_eq!(*envelope.event::<PythonMessage>().unwrap(), message());
        }
        // The core layer does, and the token is from 2023.
        for codec in
            [encrypted(&["a-test-key"], Some(Duration::from_secs(60))), encrypted(&["another"], None)]
        {
            assert_eq!(codec.read(member.clone()).unwrap_err(), Undecodable::Encryption);
        }
    }

    /// `test_serialization_encrypted`.
    #[test]
    fn an_encrypted_message_is_not_readable() {
        let codec = encrypted(&["a-test-key"], Some(Duration::from_secs(60)));
        let event = codec.write(&Envelope::new(message())).unwrap();
        let framed = codec.frame(&event, None).unwrap();
        assert_eq!(framed.len(), 12 + 184, "the length of Python's token");
        assert!(!framed.windows(4).any(|part| part == b"chat"));
        // The first key is used, so that a process that does not have the second yet can read the message.
        let (newer, both) = (encrypted(&["newer"], None), encrypted(&["newer", "a-test-key"], None));
        let framed = both.frame(&event, None).unwrap();
        assert!(newer.read(framed.into()).is_ok());
    }

    #[test]
    fn bytes_that_are_not_a_message_are_refused() {
        let codec = core(Format::MsgPack);
        for length in 0..12 {
            assert_eq!(codec.read(vec![0; length].into()).unwrap_err(), Undecodable::Short);
        }
        for bad in [&b""[..], b"\xc1", b"\x80", b"\x81\x01\x02", b"{\"type\":\"x\"}"] {
            let member = [&[0; 12][..], bad].concat();
            assert!(matches!(codec.read(member.into()), Err(Undecodable::Event(_))), "{bad:?}");
        }
        let framed = codec.frame(&unhex(MESSAGE), None).unwrap();
        assert_eq!(encrypted(&["a"], None).read(framed.into()).unwrap_err(), Undecodable::Encryption);
    }
}
