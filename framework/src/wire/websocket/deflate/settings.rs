//! The settings of compression.

/// How messages are compressed (permessage-deflate, RFC 7692). Set it with
/// [`Limits::deflate`](crate::Limits::deflate).
///
/// Compression is used with clients that offer it, as all browsers do. By default no context is taken over from one
/// message to the next, in either direction. So an idle connection holds neither a compressor nor an inflater, and a
/// group's message is compressed once for all members. If clients ask for different window sizes, it is compressed
/// once for each size.
///
/// | Setting | Default |
/// |---|---|
/// | [`threshold`](Self::threshold) | 256 bytes; smaller messages are sent as they are |
/// | [`level`](Self::level) | 2 |
/// | [`window_bits`](Self::window_bits) | 15, or what the client asks for |
/// | [`inflated_size`](Self::inflated_size) | the route's [`message_size`](crate::Limits::message_size) |
/// | [`server_context_takeover`](Self::server_context_takeover) | no |
/// | [`client_context_takeover`](Self::client_context_takeover) | no |
///
/// The [guide](crate::docs::guide#compression) has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Deflate {
    pub(crate) threshold: u32,
    pub(crate) level: u8,
    pub(crate) window_bits: u8,
    pub(crate) inflated_size: Option<usize>,
    pub(crate) server_takeover: bool,
    pub(crate) client_takeover: bool,
}

impl Default for Deflate {
    fn default() -> Self {
        Self {
            threshold: 256,
            level: 2,
            window_bits: 15,
            inflated_size: None,
            server_takeover: false,
            client_takeover: false,
        }
    }
}

impl Deflate {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The smallest message, in bytes, that is compressed. Default 256.
    ///
    /// Without context takeover, texts of 128 bytes hardly get smaller. A message that would not get smaller is sent
    /// as it is.
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = u32::try_from(bytes).unwrap_or(u32::MAX);
        self
    }

    /// How hard the compressor tries, from 1 to 9. Default 2.
    ///
    /// Other values count as the nearest. In a measurement 16 KiB of JSON became 2.9 KB in 15 µs with 1, 2.1 KB in 27
    /// µs with 2, and 1.8 KB in 104 µs with 6.
    pub fn level(mut self, level: u8) -> Self {
        self.level = level.clamp(1, 9);
        self
    }

    /// The largest window of the compressor, from 9 to 15 bits. Default 15.
    ///
    /// A window of 15 bits has 2¹⁵ bytes, which are 32 KiB. Other values count as the nearest. A client may ask for
    /// less. Offers of a window of 8 bits are declined.
    pub fn window_bits(mut self, bits: u8) -> Self {
        self.window_bits = bits.clamp(9, 15);
        self
    }

    /// The largest message, in bytes, once it is inflated.
    ///
    /// A larger one closes the connection with 1009. Default: the route's
    /// [`message_size`](crate::Limits::message_size), which also limits the bytes that arrive.
    pub fn inflated_size(mut self, bytes: usize) -> Self {
        self.inflated_size = Some(bytes);
        self
    }

    /// Whether the compressor keeps its window from one message to the next. Default no.
    ///
    /// Small messages that resemble one another get much smaller. But each connection keeps a compressor of 380 KB
    /// (251 KB with 9 window bits) from its first compressed message on. And a group's message is compressed anew for
    /// each of these members, when it leaves the outbox.
    ///
    /// With glibc the process keeps the memory of connections that have ended, unless its environment has
    /// `MALLOC_MMAP_THRESHOLD_=32768`: see [Compression](crate::docs::guide#compression).
    pub fn server_context_takeover(mut self, keep: bool) -> Self {
        self.server_takeover = keep;
        self
    }

    /// Whether the client's compressor may keep its window from one message to the next. Default no.
    ///
    /// Each connection then keeps an inflater of 48 KB from its first compressed message on.
    pub fn client_context_takeover(mut self, keep: bool) -> Self {
        self.client_takeover = keep;
        self
    }
}
