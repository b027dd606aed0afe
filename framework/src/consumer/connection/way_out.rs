//! Where a connection's frames go, and how they are written to a socket.

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

/// Up to how many bytes frames are joined in one buffer: for more a vectored write is cheaper.
pub(super) const JOINED: usize = 4 << 10;
/// How many frames one vectored write takes.
const SLICES: usize = 16;

thread_local! {
    /// Where small frames are joined, and what a lingering client sends is thrown away.
    pub(super) static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Whether the writer of a connection has to be told that there is something to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// No: it runs anyway, because it has just begun or because the socket took only a part.
    Running,
    /// Yes: all is written.
    Parked,
    /// It was told: the hub's next flush runs it.
    Due,
}

/// The way out of a connection.
#[derive(Debug)]
pub(crate) enum Sink {
    /// The host's body asks for frames, and is woken when there are some.
    Body(Option<Waker>),
    /// A socket that is the connection's own.
    Socket(Socket),
    /// A socket on which all is written and shut. It is read until the client closes too: closed before,
    /// with bytes unread, TCP would reset it and could take the close frame with it.
    Lingering(Socket),
    /// There was a socket, or a body.
    Closed,
}

impl Default for Sink {
    fn default() -> Self {
        Self::Body(None)
    }
}

/// Writes the frames that wait in as few calls as they go in. An error of kind `WouldBlock`: not all.
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

/// Writes the frames that wait, each packed when its turn has come: what is packed must be written.
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
