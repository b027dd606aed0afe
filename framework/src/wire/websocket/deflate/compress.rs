//! Compresses messages to a client.

use std::{cell::RefCell, num::NonZeroU32};

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};

use super::TAIL;
use crate::{
    Outgoing,
    metrics::Counters,
    wire::websocket::{encode, frame::Opcode},
};

/// How many compressors a thread keeps, one for each window size and level in use.
///
/// Each takes up to 380 KB.
const KEPT: usize = 8;

/// Larger scratch memory is freed after its use.
const SCRATCH: usize = 64 << 10;

/// How messages to a client are compressed. Members with the same parameters share their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CompressParams {
    pub(super) bits: u8,
    pub(super) level: u8,
    /// Never 0, so that an `Option` of these parameters takes no more room.
    pub(super) threshold: NonZeroU32,
}

thread_local! {
    static POOL: RefCell<CompressorPool> = const { RefCell::new(CompressorPool { compressors: Vec::new(), scratch: Vec::new() }) };
}

/// The compressors of this thread. They are reset before each message, which takes nothing over.
struct CompressorPool {
    compressors: Vec<(u8, u8, Compress)>,
    scratch: Vec<u8>,
}

/// Runs `work` with the pool of this thread. `None` if the thread ends and the pool is gone already.
fn with_pool<T>(work: impl FnOnce(&mut CompressorPool) -> Option<T>) -> Option<T> {
    let done = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        let done = work(&mut pool);
        if pool.scratch.capacity() > SCRATCH {
            pool.scratch = Vec::new();
        }
        done
    });
    done.ok().flatten()
}

impl CompressParams {
    /// Encodes a message as one compressed frame. `None` if it is short or would not get smaller.
    pub(crate) fn encode(self, message: &Outgoing, counters: &Counters) -> Option<Bytes> {
        let (opcode, payload) = encode::parts(message);
        self.compress(opcode, payload, counters)
    }

    /// As [`encode`](Self::encode), for a message that is an unmasked frame already.
    pub(crate) fn encode_frame(self, frame: &[u8], counters: &Counters) -> Option<Bytes> {
        let (opcode, payload) = crate::wire::websocket::frame::message(frame)?;
        self.compress(opcode, payload, counters)
    }

    fn compress(self, opcode: Opcode, payload: &[u8], counters: &Counters) -> Option<Bytes> {
        if payload.len() < self.threshold.get() as usize {
            return None;
        }
        with_pool(|pool| {
            let CompressorPool { compressors, scratch } = pool;
            let wanted = (self.bits, self.level);
            let known = compressors.iter().position(|(bits, level, _)| (*bits, *level) == wanted);
            let at = known.unwrap_or_else(|| {
                if compressors.len() >= KEPT {
                    compressors.remove(0);
                }
                compressors.push((self.bits, self.level, self.compressor()));
                compressors.len() - 1
            });
            let (_, _, compressor) = compressors.get_mut(at)?;
            compressor.reset();
            deflate(compressor, opcode, payload, scratch, counters)
        })
    }

    fn compressor(self) -> Compress {
        Compress::new_with_window_bits(Compression::new(self.level.into()), false, self.bits)
    }
}

/// The compressor of one connection, which keeps its window from one message to the next.
///
/// The outbox of the connection holds plain frames, and may drop some. A frame that leaves it is packed, in order, and
/// cannot be dropped any more.
pub(crate) struct Packer {
    params: CompressParams,
    compressor: Option<Compress>,
}

impl Packer {
    pub(super) fn new(params: CompressParams) -> Self {
        Self { params, compressor: None }
    }

    /// Compresses an unmasked frame, if it is a whole message and gets smaller. Otherwise returns it as it is.
    ///
    /// Call it once for each frame that is written, in order.
    pub(crate) fn pack(&mut self, frame: Bytes, counters: &Counters) -> Bytes {
        let Some((opcode, payload)) = crate::wire::websocket::frame::message(&frame) else {
            return frame;
        };
        if payload.len() < self.params.threshold.get() as usize {
            return frame;
        }
        let compressor = self.compressor.get_or_insert_with(|| self.params.compressor());
        let packed = with_pool(|pool| deflate(compressor, opcode, payload, &mut pool.scratch, counters));
        packed.unwrap_or_else(|| {
            // The window now holds bytes that the client did not get. A compressor may always begin a new one.
            compressor.reset();
            frame
        })
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("params", &self.params).finish_non_exhaustive()
    }
}

/// Makes the compressed frame of a message, and counts it.
///
/// `None` if it would not be smaller. Then the caller must reset the compressor.
fn deflate(
    compressor: &mut Compress,
    opcode: Opcode,
    payload: &[u8],
    scratch: &mut Vec<u8>,
    counters: &Counters,
) -> Option<Bytes> {
    scratch.clear();
    // Output that does not fit is larger than the message itself. With the few extra bytes, output that fits ends
    // below the capacity. At the capacity, the compressor might have more output.
    scratch.reserve(payload.len() + TAIL.len() + 1);
    let before = compressor.total_in();
    compressor.compress_vec(payload, scratch, FlushCompress::Sync).ok()?;
    let is_all = compressor.total_in() - before == payload.len() as u64 && scratch.len() < scratch.capacity();
    let compressed =
        scratch.strip_suffix(&TAIL).filter(|compressed| is_all && compressed.len() < payload.len())?;
    counters.compressed.one();
    counters.compressed_from_bytes.add(payload.len() as u64);
    counters.compressed_to_bytes.add(compressed.len() as u64);
    Some(encode::compressed(opcode, compressed))
}

#[cfg(test)]
mod tests;
