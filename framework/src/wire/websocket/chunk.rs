//! Bytes that arrived, on their way into the decoder.

use bytes::{Buf, Bytes, BytesMut};

use super::frame::Mask;

/// Payloads up to this length are copied out of the chunk that they came in.
const SMALL: usize = 1 << 10;

/// One chunk from the socket. [`Decoder::decode`](super::Decoder::decode) takes bytes from its front.
///
/// It is made from a slice, such as a thread's read buffer, or from [`Bytes`], such as actix's payload.
#[derive(Debug)]
pub(crate) struct Chunk<'a> {
    source: ChunkBytes<'a>,
    /// How much memory the chunk keeps alive, if that is known, else its length.
    memory: usize,
}

#[derive(Debug)]
enum ChunkBytes<'a> {
    /// Nobody else has the chunk, so a large payload is unmasked in place and leaves without a copy.
    Unique(BytesMut),
    Shared(Bytes),
    Slice(&'a [u8]),
}

impl From<Bytes> for Chunk<'_> {
    fn from(chunk: Bytes) -> Self {
        match chunk.try_into_mut() {
            Ok(chunk) => Self { memory: chunk.capacity(), source: ChunkBytes::Unique(chunk) },
            Err(chunk) => Self { memory: chunk.len(), source: ChunkBytes::Shared(chunk) },
        }
    }
}

impl<'a> From<&'a [u8]> for Chunk<'a> {
    fn from(chunk: &'a [u8]) -> Self {
        Self { memory: chunk.len(), source: ChunkBytes::Slice(chunk) }
    }
}

impl Chunk<'_> {
    /// The bytes that are left.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match &self.source {
            ChunkBytes::Unique(chunk) => chunk,
            ChunkBytes::Shared(chunk) => chunk,
            ChunkBytes::Slice(chunk) => chunk,
        }
    }

    /// How many bytes are left.
    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether all bytes were taken.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The bytes that are left, copied if the chunk is a slice.
    pub(crate) fn take_rest(self) -> Bytes {
        match self.source {
            ChunkBytes::Unique(chunk) => chunk.freeze(),
            ChunkBytes::Shared(chunk) => chunk,
            ChunkBytes::Slice(chunk) => Bytes::copy_from_slice(chunk),
        }
    }

    /// Drops the bytes that are left.
    pub(super) fn clear(&mut self) {
        self.source = ChunkBytes::Slice(&[]);
    }

    /// Drops the next `count` bytes, or all that are left.
    pub(super) fn skip(&mut self, count: usize) {
        let count = count.min(self.len());
        match &mut self.source {
            ChunkBytes::Unique(chunk) => chunk.advance(count),
            ChunkBytes::Shared(chunk) => chunk.advance(count),
            ChunkBytes::Slice(chunk) => chunk.advance(count),
        }
    }

    /// Takes the next `count` bytes, or all that are left, and unmasks them.
    ///
    /// A large payload leaves in the chunk's own memory, if nobody else has the chunk and the payload is most of it.
    /// Others are copied, because a message of ten bytes must not keep a read buffer alive.
    pub(super) fn take(&mut self, count: usize, mut mask: Mask) -> Bytes {
        let count = count.min(self.len());
        if let ChunkBytes::Unique(chunk) = &mut self.source
            && count > SMALL
            && count >= self.memory / 2
        {
            let mut payload = chunk.split_to(count);
            mask.apply(&mut payload);
            return payload.freeze();
        }
        let mut payload = self.as_slice().get(..count).unwrap_or_default().to_vec();
        mask.apply(&mut payload);
        self.skip(count);
        payload.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_MASK: Mask = Mask::NONE;

    #[test]
    fn a_large_payload_leaves_in_the_memory_it_came_in() {
        let chunk = Bytes::from(vec![7; 64 << 10]);
        let memory = chunk.as_ptr();
        let mut input = Chunk::from(chunk);
        input.skip(8);
        let payload = input.take((64 << 10) - 8, NO_MASK);
        assert_eq!(payload.as_ptr(), memory.wrapping_add(8));
        assert!(input.is_empty());
    }

    #[test]
    fn a_small_payload_is_copied_out() {
        for (chunk, count) in [(2048, 1024), (64 << 10, 2000)] {
            let chunk = Bytes::from(vec![7; chunk]);
            let memory = chunk.as_ptr();
            let payload = Chunk::from(chunk).take(count, NO_MASK);
            assert_ne!(payload.as_ptr(), memory);
            assert_eq!(payload.len(), count);
        }
    }

    #[test]
    fn a_small_part_of_a_large_chunk_does_not_keep_it() {
        // Each is most of what is left, but not of what the chunk holds.
        let mut input = Chunk::from(Bytes::from(vec![7; 16 << 10]));
        drop(input.take(12 << 10, NO_MASK));
        let rest = input.as_slice().as_ptr();
        assert_ne!(input.take(3 << 10, NO_MASK).as_ptr(), rest);
    }

    #[test]
    fn a_shared_chunk_is_not_written_to() {
        let chunk = Bytes::from(vec![0; 8 << 10]);
        let other = chunk.clone();
        let payload = Chunk::from(chunk).take(8 << 10, Mask::from([1, 2, 3, 4]));
        assert_eq!(payload[..5], [1, 2, 3, 4, 1]);
        assert!(other.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn taking_more_than_is_left_takes_all_that_is_left() {
        let mut input = Chunk::from(&b"abc"[..]);
        assert_eq!(input.take(9, NO_MASK), "abc");
        input.skip(1);
        assert_eq!(input.take(9, NO_MASK), "");
    }
}
