//! Makes messages of the frames that arrive.

use bytes::Bytes;
use bytestring::ByteString;

use super::{
    Chunk, ProtocolError, Role,
    deflate::{InflateParams, Inflater},
    frame::{Extensions, FrameHeader, MAX_HEADER, Mask, Opcode},
    utf8,
};
use crate::close::CloseCode;

/// A message or a control frame that a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A whole binary message.
    Binary(Bytes),
    /// A close frame, with its code and reason if it had a code. Nothing comes after it.
    Close(Option<(CloseCode, ByteString)>),
    /// A ping. The answer is a pong with the same bytes.
    Ping(Bytes),
    /// A pong.
    Pong(Bytes),
    /// A whole text message.
    Text(ByteString),
}

/// Makes messages of the bytes that arrive, however they are cut.
///
/// The decoder is strict: whatever RFC 6455 forbids is an error, as early as possible. It holds what has arrived of an
/// unfinished message, and nothing else. So between messages it has no memory on the heap, unless the client's
/// compressor keeps its window. An announced length is compared with the limit, but memory grows only with the bytes
/// that have arrived. A compressed message is inflated when it has arrived whole: a kilobyte can become a megabyte, which
/// a client could otherwise have held by leaving its message unfinished.
#[derive(Debug)]
pub(crate) struct Decoder {
    settings: DecoderSettings,
    /// What has arrived of the unfinished message, unmasked and still compressed. Behind it, what has arrived of an
    /// unfinished control frame.
    buffer: Vec<u8>,
    /// How many bytes of an unfinished text message are known to be whole characters.
    valid: usize,
    /// The unfinished frame.
    frame: Option<IncomingFrame>,
    /// The start of an unfinished header.
    header: [u8; MAX_HEADER],
    header_held: u8,
    /// The kind of the unfinished message.
    message: Option<MessageKind>,
    /// Whether the unfinished message is compressed.
    compressed: bool,
    /// With context takeover: the inflater of all messages, which has the client's window.
    inflater: Option<Box<Inflater>>,
    /// Whether an error or a close frame has come.
    ended: bool,
}

/// The settings of a decoder, which are all that an idle connection keeps of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecoderSettings {
    max_message: usize,
    /// The largest size of a compressed message once it is inflated. 32 bits keep an idle connection small.
    max_inflated: u32,
    role: Role,
    deflate: DeflateMode,
}

/// Whether messages may be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeflateMode {
    Off,
    /// Each is compressed by itself.
    Alone,
    /// Each is compressed with the window of the messages before it.
    Takeover,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MessageKind {
    Binary,
    Text,
}

/// A frame whose header was read.
#[derive(Debug)]
struct IncomingFrame {
    /// Where its payload starts in the buffer.
    start: usize,
    /// How much of its payload is still to come.
    missing: usize,
    mask: Mask,
    opcode: Opcode,
    fin: bool,
}

impl From<DecoderSettings> for Decoder {
    fn from(settings: DecoderSettings) -> Self {
        Self {
            settings,
            buffer: Vec::new(),
            valid: 0,
            frame: None,
            header: [0; MAX_HEADER],
            header_held: 0,
            message: None,
            compressed: false,
            inflater: None,
            ended: false,
        }
    }
}

impl Decoder {
    /// A decoder of messages up to `max_message` bytes.
    pub(crate) fn new(role: Role, max_message: usize) -> Self {
        Self::from(DecoderSettings { max_message, max_inflated: 0, role, deflate: DeflateMode::Off })
    }

    pub(crate) fn settings(&self) -> DecoderSettings {
        self.settings
    }

    /// Whether the decoder holds nothing, so that a new one with the same settings can replace it.
    pub(crate) fn is_at_rest(&self) -> bool {
        !self.is_unfinished() && self.buffer.capacity() == 0 && self.inflater.is_none() && !self.ended
    }

    /// Accepts compressed messages too, if that was agreed on.
    pub(crate) fn with_deflate(mut self, params: Option<InflateParams>) -> Self {
        if let Some(params) = params {
            self.settings.deflate = if params.takeover { DeflateMode::Takeover } else { DeflateMode::Alone };
            self.settings.max_inflated = u32::try_from(params.limit).unwrap_or(u32::MAX);
        }
        self
    }

    fn extensions(&self) -> Extensions {
        if self.settings.deflate == DeflateMode::Off { Extensions::NONE } else { Extensions::DEFLATE }
    }

    /// Whether a message has begun and not ended. It may be between two frames.
    pub(crate) fn is_in_message(&self) -> bool {
        self.message.is_some()
    }

    /// Whether a message or a frame has begun and not ended.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.message.is_some() || self.frame.is_some() || self.header_held > 0
    }

    /// How many bytes of the unfinished message or frame are held.
    pub(crate) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Takes the next item from `input`, or returns `None` when it has taken all bytes.
    ///
    /// Call it until it returns `None`, and again with the bytes that arrive next. After an error or a close frame it
    /// takes all input and returns `None`.
    ///
    /// # Errors
    /// For the first frame that breaks the protocol, after the items before it were returned.
    pub(crate) fn decode(&mut self, input: &mut Chunk<'_>) -> Result<Option<Item>, ProtocolError> {
        if self.ended {
            input.clear();
            return Ok(None);
        }
        let item = self.next_item(input);
        if matches!(item, Err(_) | Ok(Some(Item::Close(_)))) {
            self.ended = true;
            self.buffer = Vec::new();
            self.inflater = None;
            input.clear();
        }
        item
    }

    fn next_item(&mut self, input: &mut Chunk<'_>) -> Result<Option<Item>, ProtocolError> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.next_header(input)? {
                    Some(header) => self.begin(header)?,
                    None => return Ok(None),
                },
            };
            let item = if self.is_alone(&frame, input) {
                Some(self.take_whole(frame, input)?)
            } else {
                self.collect(&mut frame, input)?;
                if frame.missing > 0 {
                    self.frame = Some(frame);
                    return Ok(None);
                }
                self.finish(&frame)?
            };
            if item.is_some() {
                return Ok(item);
            }
        }
    }

    fn next_header(&mut self, input: &mut Chunk<'_>) -> Result<Option<FrameHeader>, ProtocolError> {
        let (held, extensions) = (usize::from(self.header_held), self.extensions());
        if held == 0
            && let Some((header, length)) =
                FrameHeader::parse(input.as_slice(), self.settings.role, extensions)?
        {
            input.skip(length);
            return Ok(Some(header));
        }
        // The header is cut: join what is held with the input, which may have more than the header.
        let mut end = held;
        for (place, byte) in self.header[held..].iter_mut().zip(input.as_slice()) {
            *place = *byte;
            end += 1;
        }
        let header = FrameHeader::parse(&self.header[..end], self.settings.role, extensions)?;
        let (header, length) = header.map_or((None, end), |(header, length)| (Some(header), length));
        input.skip(length - held);
        self.header_held = if header.is_some() { 0 } else { end as u8 };
        Ok(header)
    }

    /// Checks the header against the message that it belongs to.
    fn begin(&mut self, header: FrameHeader) -> Result<IncomingFrame, ProtocolError> {
        match header.opcode {
            Opcode::Continuation if self.message.is_none() => return Err(ProtocolError::StrayContinuation),
            Opcode::Text | Opcode::Binary if self.message.is_some() => {
                return Err(ProtocolError::UnfinishedMessage);
            }
            Opcode::Text => self.message = Some(MessageKind::Text),
            Opcode::Binary => self.message = Some(MessageKind::Binary),
            _ => {}
        }
        if matches!(header.opcode, Opcode::Text | Opcode::Binary) {
            self.compressed = header.compressed;
        }
        let start = self.buffer.len();
        let too_big = ProtocolError::TooBig(self.settings.max_message);
        let missing = usize::try_from(header.length).map_err(|_| too_big)?;
        // The checks of the header already bound a control frame.
        if !header.opcode.is_control() && missing > self.room() {
            return Err(too_big);
        }
        Ok(IncomingFrame { start, missing, mask: header.mask, opcode: header.opcode, fin: header.fin })
    }

    /// How many more bytes of the unfinished message may arrive.
    fn room(&self) -> usize {
        if !self.compressed {
            return self.settings.max_message.saturating_sub(self.buffer.len());
        }
        // Some messages get a little longer by compression. A message at the limit is accepted in both forms.
        let most = self.settings.max_message.saturating_add(self.settings.max_message / 1024 + 64);
        most.saturating_sub(self.buffer.len())
    }

    /// Whether the frame has arrived whole and is an item by itself: the usual case, which needs no buffer.
    fn is_alone(&self, frame: &IncomingFrame, input: &Chunk<'_>) -> bool {
        let untouched = frame.start == self.buffer.len() && frame.missing <= input.len();
        match frame.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => untouched,
            Opcode::Text | Opcode::Binary => untouched && frame.fin,
            Opcode::Continuation => false,
        }
    }

    fn take_whole(&mut self, frame: IncomingFrame, input: &mut Chunk<'_>) -> Result<Item, ProtocolError> {
        let payload = input.take(frame.missing, frame.mask);
        match frame.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => control(frame.opcode, payload),
            Opcode::Text | Opcode::Binary | Opcode::Continuation => self.end_message(payload),
        }
    }

    /// Moves what has arrived of the frame to the buffer.
    fn collect(&mut self, frame: &mut IncomingFrame, input: &mut Chunk<'_>) -> Result<(), ProtocolError> {
        let from = self.buffer.len();
        let count = frame.missing.min(input.len());
        self.reserve(frame, count);
        self.buffer.extend_from_slice(&input.as_slice()[..count]);
        frame.mask.apply(&mut self.buffer[from..]);
        frame.missing -= count;
        input.skip(count);

        // `end_message` checks the last piece. It has to check the whole text: no `ByteString` can be made of bytes
        // without a check.
        let last = frame.fin && frame.missing == 0;
        let is_text = self.message == Some(MessageKind::Text) && !self.compressed;
        if is_text && !frame.opcode.is_control() && !last {
            self.valid = utf8::check(&self.buffer, self.valid)?;
        }
        Ok(())
    }

    /// Inflates a whole message, and gives the inflater back unless it keeps the client's window.
    fn inflate(&mut self, compressed: &[u8]) -> Result<Bytes, ProtocolError> {
        let mut inflater = self.inflater.take().unwrap_or_else(Inflater::take);
        let takeover = self.settings.deflate == DeflateMode::Takeover;
        let mut message = Vec::new();
        inflater.inflate(compressed, &mut message, self.settings.max_inflated as usize)?;
        inflater.finish(takeover)?;
        if takeover {
            self.inflater = Some(inflater);
        } else {
            inflater.give_back();
        }
        Ok(message.into())
    }

    /// Makes room for `count` bytes that have arrived.
    ///
    /// The buffer at least doubles, so that a message in small pieces is not copied for each piece. If the end of the
    /// message is known, the buffer does not grow beyond it.
    fn reserve(&mut self, frame: &IncomingFrame, count: usize) {
        let needed = self.buffer.len() + count;
        if needed > self.buffer.capacity() {
            let end = if frame.fin { self.buffer.len() + frame.missing } else { self.settings.max_message };
            let wanted = (self.buffer.len() * 2).min(end).max(needed);
            self.buffer.reserve_exact(wanted - self.buffer.len());
        }
    }

    /// Ends a frame whose payload is in the buffer.
    fn finish(&mut self, frame: &IncomingFrame) -> Result<Option<Item>, ProtocolError> {
        if frame.opcode.is_control() {
            let payload = if frame.start == 0 {
                std::mem::take(&mut self.buffer)
            } else {
                self.buffer.split_off(frame.start)
            };
            return control(frame.opcode, payload.into()).map(Some);
        }
        if !frame.fin {
            return Ok(None);
        }
        let message = std::mem::take(&mut self.buffer);
        self.end_message(message.into()).map(Some)
    }

    fn end_message(&mut self, mut payload: Bytes) -> Result<Item, ProtocolError> {
        self.valid = 0;
        if std::mem::take(&mut self.compressed) {
            payload = self.inflate(&payload)?;
        }
        match self.message.take() {
            Some(MessageKind::Text) => text(payload).map(Item::Text),
            Some(MessageKind::Binary) | None => Ok(Item::Binary(payload)),
        }
    }
}

fn control(opcode: Opcode, payload: Bytes) -> Result<Item, ProtocolError> {
    match opcode {
        Opcode::Ping => Ok(Item::Ping(payload)),
        Opcode::Pong => Ok(Item::Pong(payload)),
        _ => close(payload).map(Item::Close),
    }
}

/// Reads a close frame (section 5.5.1): nothing, or a code and a reason.
fn close(mut payload: Bytes) -> Result<Option<(CloseCode, ByteString)>, ProtocolError> {
    if payload.is_empty() {
        return Ok(None);
    }
    let Some(code) = payload.first_chunk() else { return Err(ProtocolError::CloseTooShort) };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.can_be_received() {
        return Err(ProtocolError::BadCloseCode(code.0));
    }
    let reason = text(payload.split_off(2))?;
    Ok(Some((code, reason)))
}

fn text(payload: Bytes) -> Result<ByteString, ProtocolError> {
    ByteString::try_from(payload).map_err(|_| ProtocolError::InvalidUtf8)
}

#[cfg(test)]
mod tests;
