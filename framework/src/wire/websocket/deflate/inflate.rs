//! Inflates messages of a client.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};

use super::TAIL;
use crate::wire::websocket::ProtocolError;

/// How many inflated bytes are made at a time.
const CHUNK: usize = 16 << 10;

/// The window of every inflater, in bits: the largest, which fits all clients.
const WINDOW_BITS: u8 = 15;

/// An empty block that ends a stream.
const LAST: [u8; 5] = [1, 0, 0, 0xff, 0xff];

/// How messages of a client are inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InflateParams {
    /// The largest size of a message once it is inflated.
    pub(crate) limit: usize,
    /// Whether the client's compressor keeps its window from one message to the next.
    pub(crate) takeover: bool,
}

thread_local! {
    static POOL: RefCell<InflaterPool> = const { RefCell::new(InflaterPool { inflater: None, chunk: Vec::new() }) };
}

/// The spare inflater of this thread, of 48 KB. A message is inflated in one go, so one is enough.
#[derive(Default)]
struct InflaterPool {
    inflater: Option<Box<Inflater>>,
    /// Output goes here first, so that a message is allocated in its exact size.
    chunk: Vec<u8>,
}

/// Inflates a message. With context takeover it inflates all messages of a client.
#[derive(Debug)]
pub(crate) struct Inflater {
    stream: Decompress,
    /// How many compressed bytes of the message have arrived.
    received: usize,
    /// Whether the last block that arrived ends a stream, and nothing came after it.
    ended: bool,
}

impl Inflater {
    /// Takes an inflater from the pool of this thread, or makes a new one.
    pub(crate) fn take() -> Box<Self> {
        let kept = POOL.with_borrow_mut(|pool| pool.inflater.take());
        kept.unwrap_or_else(|| {
            let stream = Decompress::new_with_window_bits(false, WINDOW_BITS);
            Box::new(Self { stream, received: 0, ended: false })
        })
    }

    /// Gives the inflater back to the pool, for any other message.
    pub(crate) fn give_back(mut self: Box<Self>) {
        self.stream.reset(false);
        self.received = 0;
        self.ended = false;
        POOL.with_borrow_mut(|pool| pool.inflater = Some(self));
    }

    /// How many compressed bytes of the message were looked at.
    #[cfg(test)]
    pub(crate) fn received(&self) -> usize {
        self.received
    }

    /// Inflates bytes that are unmasked already, and appends the result to `message`.
    ///
    /// # Errors
    /// [`InflatedTooBig`](ProtocolError::InflatedTooBig) before `message` becomes longer than `limit`;
    /// [`BadDeflate`](ProtocolError::BadDeflate) if the bytes are not compressed data.
    pub(crate) fn inflate(
        &mut self,
        mut compressed: &[u8],
        message: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), ProtocolError> {
        self.received += compressed.len();
        POOL.with_borrow_mut(|pool| {
            let chunk = &mut pool.chunk;
            chunk.reserve_exact(CHUNK);
            loop {
                if self.ended {
                    if compressed.is_empty() {
                        return Ok(());
                    }
                    // The client flushes by ending its stream (section 7.2.3.4), so the next one begins.
                    self.stream.reset(false);
                    self.ended = false;
                }
                chunk.clear();
                let before = self.stream.total_in();
                let status = self
                    .stream
                    .decompress_vec(compressed, chunk, FlushDecompress::None)
                    .map_err(|_| ProtocolError::BadDeflate)?;
                let taken = (self.stream.total_in() - before) as usize;
                compressed = compressed.get(taken..).unwrap_or_default();
                append(message, chunk, limit)?;
                self.ended = status == Status::StreamEnd;
                if self.ended {
                    continue;
                }
                if compressed.is_empty() && chunk.len() < chunk.capacity() {
                    return Ok(());
                }
                if taken == 0 && chunk.is_empty() {
                    return Err(ProtocolError::BadDeflate);
                }
            }
        })
    }

    /// Ends a message. It must end with a block, else it was cut off.
    ///
    /// # Errors
    /// [`BadDeflate`](ProtocolError::BadDeflate) if the message was cut off. With context takeover this is found only
    /// if the bytes that are put back at the end inflate to something, or else in the next message.
    pub(crate) fn finish(&mut self, takeover: bool) -> Result<(), ProtocolError> {
        let received = std::mem::take(&mut self.received);
        // Some clients send no bytes for an empty message. After the end of a stream no flush follows.
        if received == 0 || self.ended {
            return Ok(());
        }
        self.inflates_to_nothing(&TAIL)?;
        if self.ended {
            return Err(ProtocolError::BadDeflate);
        }
        if !takeover {
            // Only behind the end of a block are these bytes an empty block that ends the stream.
            self.inflates_to_nothing(&LAST)?;
            if !self.ended {
                return Err(ProtocolError::BadDeflate);
            }
        }
        self.received = 0;
        Ok(())
    }

    fn inflates_to_nothing(&mut self, compressed: &[u8]) -> Result<(), ProtocolError> {
        self.inflate(compressed, &mut Vec::new(), 0).map_err(|_| ProtocolError::BadDeflate)
    }
}

/// Appends a chunk. The capacity doubles, so that a long message is not copied for each chunk.
fn append(message: &mut Vec<u8>, chunk: &[u8], limit: usize) -> Result<(), ProtocolError> {
    let needed = message.len() + chunk.len();
    if needed > limit {
        return Err(ProtocolError::InflatedTooBig(limit));
    }
    if needed > message.capacity() {
        let wanted = (message.len() * 2).min(limit).max(needed);
        message.reserve_exact(wanted - message.len());
    }
    message.extend_from_slice(chunk);
    Ok(())
}

#[cfg(test)]
mod tests;
