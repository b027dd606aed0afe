//! The header of a frame, and the mask of its payload (RFC 6455, sections 5.2 and 5.3).

use super::ProtocolError;

/// The longest header: two bytes, a 64-bit length, a mask.
pub(super) const MAX_HEADER: usize = 14;

/// The longest payload of a control frame (section 5.5).
pub(super) const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// A compressed message (RFC 7692, section 6).
const RSV1: u8 = 0x40;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// Which side of the connection this end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Takes masked frames, sends unmasked ones.
    Server,
    /// Takes unmasked frames, sends masked ones.
    #[cfg(any(test, feature = "testing"))]
    Client,
}

/// The reserved bits of the agreed extensions. Only the first frame of a message may have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extensions {
    reserved: u8,
}

impl Extensions {
    pub(super) const NONE: Self = Self { reserved: 0 };
    /// Compression was agreed on.
    pub(super) const DEFLATE: Self = Self { reserved: RSV1 };
}

/// The kind of a frame (section 11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    /// A further fragment of a message.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The end of the connection.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping.
    Pong = 0xa,
}

impl Opcode {
    fn parse(opcode: u8) -> Result<Self, ProtocolError> {
        Ok(match opcode {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return Err(ProtocolError::UnknownOpcode(opcode)),
        })
    }

    /// Whether the frame may come between the fragments of a message (section 5.5).
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) fin: bool,
    /// Whether the frame begins a compressed message.
    pub(super) compressed: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: Mask,
    /// The length that the peer announced. Nothing may be allocated because of it.
    pub(super) length: u64,
}

impl FrameHeader {
    /// Reads the header at the front of `bytes`, and its length. `None` if more bytes are needed.
    ///
    /// Each byte is checked as soon as it has arrived, so a bad frame is refused before its payload arrives.
    pub(super) fn parse(
        bytes: &[u8],
        role: Role,
        extensions: Extensions,
    ) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        if first & RESERVED & !extensions.reserved != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        let fin = first & FIN != 0;
        let opcode = Opcode::parse(first & OPCODE)?;
        // A sender "MUST NOT set the RSV1 bit" of any frame but the first of a message (RFC 7692, section 6.1).
        let compressed = first & RSV1 != 0;
        if compressed && !matches!(opcode, Opcode::Text | Opcode::Binary) {
            return Err(ProtocolError::ReservedBits);
        }
        if opcode.is_control() && !fin {
            return Err(ProtocolError::FragmentedControl);
        }

        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        let masked = second & MASKED != 0;
        match role {
            Role::Server if !masked => return Err(ProtocolError::Unmasked),
            #[cfg(any(test, feature = "testing"))]
            Role::Client if masked => return Err(ProtocolError::Masked),
            _ => {}
        }
        let short = second & LENGTH;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL {
            return Err(ProtocolError::ControlTooLong);
        }

        let Some((length, rest)) = parse_length(short, rest)? else { return Ok(None) };
        let (mask, rest) = if masked {
            let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            (Mask::from(*mask), rest)
        } else {
            (Mask::NONE, rest)
        };
        Ok(Some((Self { fin, compressed, opcode, mask, length }, bytes.len() - rest.len())))
    }
}

/// Reads the length: seven bits of the second byte, and up to eight bytes behind it.
///
/// It must be written in the fewest bytes (section 5.2).
fn parse_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    let (length, least, rest) = match short {
        126 => {
            let Some((bytes, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*bytes)), 126, rest)
        }
        127 => {
            let Some((bytes, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*bytes), 1 << 16, rest)
        }
        short => (u64::from(short), 0, rest),
    };
    if length >> 63 != 0 {
        return Err(ProtocolError::LengthTopBit);
    }
    if length < least {
        return Err(ProtocolError::LengthNotMinimal);
    }
    Ok(Some((length, rest)))
}

/// A frame's mask, rotated so that its first byte is for the next byte of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mask([u8; 4]);

impl From<[u8; 4]> for Mask {
    fn from(mask: [u8; 4]) -> Self {
        Self(mask)
    }
}

/// A 32-bit word times this is that word, four times in a row.
const FOUR_TIMES: u128 = u128::MAX / u32::MAX as u128;

impl Mask {
    /// The mask of frames of a server, which changes nothing.
    pub(super) const NONE: Self = Self([0; 4]);

    /// Masks or unmasks the next bytes of the payload.
    pub(super) fn apply(&mut self, payload: &mut [u8]) {
        if *self == Self::NONE {
            return;
        }
        // Word by word, for which the compiler uses its widest registers. Byte by byte costs more than the copy.
        let wide = u128::from(u32::from_ne_bytes(self.0)) * FOUR_TIMES;
        let (words, rest) = payload.as_chunks_mut::<16>();
        for word in words {
            *word = (u128::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, mask) in rest.iter_mut().zip(self.0.iter().cycle()) {
            *byte ^= mask;
        }
        self.0.rotate_left(payload.len() % 4);
    }
}

/// Appends one frame. `out` grows if it has no room for the header ([`header_length`]) and the payload.
pub(super) fn write(out: &mut Vec<u8>, fin: bool, opcode: Opcode, mask: Option<[u8; 4]>, payload: &[u8]) {
    let masked = if mask.is_some() { MASKED } else { 0 };
    write_header(out, fin, opcode, masked, payload.len());
    let Some(mask) = mask else { return out.extend_from_slice(payload) };
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(payload) = out.get_mut(start..) {
        Mask::from(mask).apply(payload);
    }
}

/// Appends one unmasked frame whose payload comes in two pieces.
pub(super) fn write_pieces(out: &mut Vec<u8>, opcode: Opcode, pieces: [&[u8]; 2]) {
    write_header(out, true, opcode, 0, pieces.iter().map(|piece| piece.len()).sum());
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
}

/// Appends a header without the mask.
fn write_header(out: &mut Vec<u8>, fin: bool, opcode: Opcode, masked: u8, length: usize) {
    out.push(if fin { FIN } else { 0 } | opcode as u8);
    // The length is written in the fewest bytes that hold it.
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => out.push(masked | length),
        (_, Ok(length)) => {
            out.push(masked | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Marks the first frame of a message as compressed.
pub(super) fn mark_compressed(frame: &mut [u8]) {
    if let Some(first) = frame.first_mut() {
        *first |= RSV1;
    }
}

/// The opcode and payload of an unmasked frame, if it is a whole message without compression.
pub(super) fn message(frame: &[u8]) -> Option<(Opcode, &[u8])> {
    let (&first, rest) = frame.split_first()?;
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        _ => return None,
    };
    let (&short, rest) = rest.split_first()?;
    let (length, payload) = parse_length(short, rest).ok()??;
    (length == payload.len() as u64).then_some((opcode, payload))
}

/// How many bytes come before a payload of this length in an unmasked frame.
pub(super) fn header_length(payload: usize) -> usize {
    match payload {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}
