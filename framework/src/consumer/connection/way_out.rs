//! What a connection's frames are written to, and how they are written to a socket.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    task::Waker,
};

use crate::{
    groups::outbox::Outbox,
    metrics::Counters,
    wire::{socket::Socket, websocket::deflate::Packer},
};

/// Up to how many bytes frames are joined in one buffer. For more bytes a vectored write is cheaper.
pub(super) const JOINED: usize = 4 << 10;
/// How many frames one vectored write takes.
const SLICES: usize = 16;

thread_local! {
    /// In this buffer small frames are joined. What a lingering client sends is read into it and thrown away.
    pub(super) static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Whether a connection's writer has to be told that there is something to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// No. It runs anyway, because it has just begun or the socket took only a part.
    Running,
    /// Yes, because everything is written.
    Parked,
    /// No. It has been told, and the hub's next flush runs it.
    Due,
}

/// What a connection's frames are written to.
#[derive(Debug)]
pub(crate) enum Sink {
    /// A body of the host, which asks for frames and is woken when there are some.
    Body(Option<Waker>),
    /// The connection's own socket.
    Socket(Socket),
    /// A socket that is shut for writing, and is read until the client closes too.
    ///
    /// If it were closed earlier with unread bytes, TCP would reset the connection and might lose the close frame.
    Lingering(Socket),
    /// The socket or the body is gone.
    Closed,
}

impl Default for Sink {
    fn default() -> Self {
        Self::Body(None)
    }
}

/// Writes the waiting frames in as few calls as possible.
///
/// # Errors
/// `WouldBlock` if the socket did not take all of them.
pub(super) fn write_all(socket: &mut Socket, outbox: &mut Outbox) -> io::Result<()> {
    while let Some(front) = outbox.front() {
        let written = if front.len() == outbox.bytes() {
            socket.try_write(front)
        } else if outbox.bytes() <= JOINED {
            SCRATCH.with_borrow_mut(|joined| {
                joined.clear();
                for frame in outbox.frames() {
                    joined.extend_from_slice(frame);
                }
                socket.try_write(joined)
            })
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slice, frame) in slices.iter_mut().zip(outbox.frames()) {
                *slice = IoSlice::new(frame);
                count += 1;
            }
            socket.try_write_vectored(&slices[..count])
        }?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        outbox.advance(written);
    }
    socket.try_flush()
}

/// Writes the waiting frames, and packs each just before. What is packed must be written.
pub(super) fn write_packed(
    socket: &mut Socket,
    outbox: &mut Outbox,
    packer: &mut Packer,
    counters: &Counters,
) -> io::Result<()> {
    while let Some(front) = outbox.packed_front(|frame| packer.pack(frame, counters)) {
        let written = socket.try_write(front)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        outbox.advance(written);
    }
    socket.try_flush()
}
