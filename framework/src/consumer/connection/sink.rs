//! Where a connection's frames go: to a body that asks for them, or to a socket of its own.
//!
//! The hub's flush writes to the socket as long as that takes all at once. What is left, and the end, are
//! the driver's, which can wait.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use tokio::io::AsyncWrite as _;

use super::Connection;
use crate::{
    groups::outbox::Outbox,
    metrics::Counters,
    transport::{socket::Socket, websocket::deflate::Packer},
};

/// Up to how many bytes frames are joined in one buffer: for more a vectored write is cheaper.
const JOINED: usize = 4 << 10;
/// How many frames one vectored write takes.
const SLICES: usize = 16;

thread_local! {
    /// Where small frames are joined, and what a lingering client sends is thrown away.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
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

impl Connection {
    /// Takes the next frame for a body. `Ready(None)`: nothing more comes, close it.
    pub(crate) fn poll_outbox(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let before = self.outbox.borrow().bytes();
        let popped = self.outbox.borrow_mut().pop();
        match popped {
            Some(mut frame) => {
                if let Some(packer) = &self.packer {
                    frame = packer.borrow_mut().pack(frame, &self.hub.directory().counters);
                }
                if self.finished.get() && self.is_written() {
                    self.wake_driver();
                }
                self.note_room(before);
                Poll::Ready(Some(frame))
            }
            None if self.finished.get() => Poll::Ready(None),
            None => {
                self.parked.set(true);
                if let Sink::Body(writer) = &mut *self.sink.borrow_mut()
                    && !writer.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
                {
                    *writer = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Gives the connection a socket of its own, and writes what waits.
    pub(crate) fn take_over(&self, socket: Socket) {
        if self.finished.get() && self.outbox.borrow().is_empty() {
            // It ended meanwhile, with nothing to say.
            return;
        }
        *self.sink.borrow_mut() = Sink::Socket(socket);
        self.write_out();
        self.wake_driver();
    }

    /// Reads from the connection's socket. `Ok(0)` at its end, pending before there is one.
    pub(crate) fn poll_socket(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut *self.sink.borrow_mut() {
            Sink::Body(_) => Poll::Pending,
            Sink::Socket(socket) | Sink::Lingering(socket) => socket.poll_read_into(cx, buffer),
            Sink::Closed => Poll::Ready(Ok(0)),
        }
    }

    /// Has the writer run in the next flush. One that is not parked runs anyway.
    pub(super) fn mark_dirty(self: &Rc<Self>) {
        if self.parked.get() && !self.dirty.get() {
            self.dirty.set(true);
            self.hub.mark_dirty(Rc::clone(self));
        }
    }

    /// Writes, or has the body written, what came since the last time.
    pub(crate) fn flush(&self) {
        self.dirty.set(false);
        self.write_out();
    }

    /// Wakes a body; a socket is written to by the flush or the driver.
    pub(super) fn wake_writer(&self) {
        if let Sink::Body(Some(waker)) = &*self.sink.borrow()
            && self.parked.replace(false)
        {
            waker.wake_by_ref();
        }
    }

    /// Writes what waits as far as the socket takes it at once.
    fn write_out(&self) {
        let before = self.outbox.borrow().bytes();
        let written = match &mut *self.sink.borrow_mut() {
            Sink::Socket(socket) => {
                let outbox = &mut self.outbox.borrow_mut();
                match &self.packer {
                    None => write_all(socket, outbox),
                    Some(packer) => {
                        let counters = &self.hub.directory().counters;
                        write_packed(socket, outbox, &mut packer.borrow_mut(), counters)
                    }
                }
            }
            Sink::Lingering(_) | Sink::Closed => return,
            Sink::Body(Some(waker)) => {
                if self.parked.replace(false) {
                    waker.wake_by_ref();
                }
                return;
            }
            Sink::Body(None) => return,
        };
        self.parked.set(written.is_ok());
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wake_driver(),
            // How it broke makes no difference to anyone: the client is gone.
            Err(_) => return self.gone(),
        }
        self.note_room(before);
    }

    /// A consumer whose client reads again may go on with its messages.
    fn note_room(&self, before: usize) {
        let limit = self.limits.read_ahead;
        if before > limit && self.outbox.borrow().bytes() <= limit && self.has_input() {
            self.wake_driver();
        }
    }

    /// Goes on where the flush had to stop, and ends the socket. `Ready`: there is none, or none any more.
    pub(crate) fn poll_sink(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut *self.sink.borrow_mut() {
                // Its host ends a body, once that is written.
                Sink::Body(_) if self.finished.get() && !self.is_written() => return Poll::Pending,
                Sink::Body(_) | Sink::Closed => return Poll::Ready(()),
                Sink::Lingering(_) => break,
                // Written to by the flush.
                Sink::Socket(_) if self.parked.get() && !self.has_ended() => return Poll::Pending,
                Sink::Socket(_) => {}
            }
            self.write_out();
            let mut sink = self.sink.borrow_mut();
            let Sink::Socket(socket) = &mut *sink else { continue };
            if !self.parked.get() {
                // An error is found by the next write.
                let _ = ready!(socket.poll_writable(cx));
                continue;
            }
            if !self.finished.get() {
                return Poll::Pending;
            }
            // Where both close frames were sent, nothing of the client's can be unread.
            let clean = self.client_closed.get();
            let ended = if clean && socket.ends_when_dropped() {
                Ok(())
            } else {
                ready!(Pin::new(&mut *socket).poll_shutdown(cx))
            };
            if clean || ended.is_err() {
                *sink = Sink::Closed;
                return Poll::Ready(());
            }
            if let Sink::Socket(socket) = std::mem::replace(&mut *sink, Sink::Closed) {
                *sink = Sink::Lingering(socket);
            }
        }
        self.poll_linger(cx)
    }

    /// Throws away what the client still sends, until it closes.
    fn poll_linger(&self, cx: &mut Context<'_>) -> Poll<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(4 * JOINED, 0);
            while let Ok(1..) = ready!(self.poll_socket(cx, scratch)) {}
            self.cut();
            Poll::Ready(())
        })
    }

    /// Drops the socket, whatever waits for it. A body was woken before: it finds nothing more.
    pub(crate) fn cut(&self) {
        *self.sink.borrow_mut() = Sink::Closed;
    }

    /// Whether what waited was thrown away.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(*self.sink.borrow(), Sink::Closed)
    }

    /// Whether there is a socket of the connection's own.
    pub(crate) fn has_socket(&self) -> bool {
        matches!(*self.sink.borrow(), Sink::Socket(_) | Sink::Lingering(_))
    }
}

/// Writes the frames that wait in as few calls as they go in. An error of kind `WouldBlock`: not all.
fn write_all(socket: &mut Socket, outbox: &mut Outbox) -> io::Result<()> {
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
fn write_packed(
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
