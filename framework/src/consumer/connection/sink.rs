//! Writes a connection's frames: to a body that asks for them, or to the connection's own socket.
//!
//! The hub's flush writes to the socket as long as the socket takes everything at once. The rest, and the end, are left
//! to the connection's task, because the task can wait.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::AsyncWrite as _;

use super::{
    Connection,
    way_out::{JOINED, SCRATCH, Sink, Writer, write_all, write_packed},
};
use crate::wire::socket::Socket;

impl Connection {
    /// Takes the next frame for a body. `Ready(None)` means that nothing more comes, so the body ends.
    pub(crate) fn poll_outbox(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let before = self.outbox.borrow().bytes();
        let popped = self.outbox.borrow_mut().pop();
        match popped {
            Some(mut frame) => {
                if let Some(packer) = &self.packer {
                    frame = packer.borrow_mut().pack(frame, &self.hub.directory().counters);
                }
                if self.is_finished() && self.is_written() {
                    self.wake_task();
                }
                self.note_room(before);
                Poll::Ready(Some(frame))
            }
            None if self.is_finished() => Poll::Ready(None),
            None => {
                self.writer.set(Writer::Parked);
                if let Sink::Body(writer) = &mut *self.sink.borrow_mut()
                    && !writer.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
                {
                    *writer = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Gives the connection its own socket, and writes what waits.
    pub(crate) fn take_over(&self, socket: Socket) {
        if self.is_finished() && self.outbox.borrow().is_empty() {
            // The connection ended meanwhile, and has nothing to send.
            return;
        }
        *self.sink.borrow_mut() = Sink::Socket(socket);
        self.write_out();
        self.wake_task();
    }

    /// Reads from the connection's socket. Returns `Ok(0)` at its end, and is pending before there is a socket.
    pub(crate) fn poll_socket(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut *self.sink.borrow_mut() {
            Sink::Body(_) => Poll::Pending,
            Sink::Socket(socket) | Sink::Lingering(socket) => socket.poll_read_into(cx, buffer),
            Sink::Closed => Poll::Ready(Ok(0)),
        }
    }

    /// Makes the writer run in the next flush. A writer that is not parked runs anyway.
    pub(super) fn mark_dirty(&self) {
        if self.writer.get() == Writer::Parked {
            self.writer.set(Writer::Due);
            self.hub.mark_dirty(self.key.slot, self.limits.flush);
        }
    }

    /// Wakes a body. The flush or the task writes to a socket.
    pub(super) fn wake_writer(&self) {
        if let Sink::Body(Some(waker)) = &*self.sink.borrow()
            && self.writer.replace(Writer::Running) != Writer::Running
        {
            waker.wake_by_ref();
        }
    }

    /// Writes what waits, as much as the socket takes at once.
    pub(super) fn write_out(&self) {
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
                if self.writer.replace(Writer::Running) != Writer::Running {
                    waker.wake_by_ref();
                }
                return;
            }
            Sink::Body(None) => return,
        };
        self.writer.set(if written.is_ok() { Writer::Parked } else { Writer::Running });
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wake_task(),
            // The error makes no difference: the client is gone.
            Err(_) => return self.gone(),
        }
        self.note_room(before);
    }

    /// Wakes the task if the client has read enough for its next messages to be served, and then who waits for room.
    fn note_room(&self, before: usize) {
        let limit = self.limits.read_ahead;
        if before > limit && self.outbox.borrow().bytes() <= limit && self.has_input() {
            self.wake_task();
        }
        self.note_taken();
        self.hub.note_room(self.key);
    }

    /// Writes what the flush had to leave, and ends the socket. `Ready` means that there is no socket any more.
    pub(crate) fn poll_sink(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut *self.sink.borrow_mut() {
                // The host ends a body when everything is written.
                Sink::Body(_) if self.is_finished() && !self.is_written() => return Poll::Pending,
                Sink::Body(_) | Sink::Closed => return Poll::Ready(()),
                Sink::Lingering(_) => break,
                // The flush writes to this socket.
                Sink::Socket(_) if self.writer.get() != Writer::Running && !self.has_ended() => {
                    return Poll::Pending;
                }
                Sink::Socket(_) => {}
            }
            self.write_out();
            let mut sink = self.sink.borrow_mut();
            let Sink::Socket(socket) = &mut *sink else { continue };
            if self.writer.get() == Writer::Running {
                // The next write finds an error.
                let _ = ready!(socket.poll_writable(cx));
                continue;
            }
            if !self.is_finished() {
                return Poll::Pending;
            }
            // If both close frames were sent, no bytes of the client can be unread.
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

    /// Throws away what the client still sends, until the client closes.
    fn poll_linger(&self, cx: &mut Context<'_>) -> Poll<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(4 * JOINED, 0);
            while let Ok(1..) = ready!(self.poll_socket(cx, scratch)) {}
            self.cut();
            Poll::Ready(())
        })
    }

    /// Drops the socket, whatever waits for it. A body was woken before, and finds nothing more.
    pub(crate) fn cut(&self) {
        *self.sink.borrow_mut() = Sink::Closed;
    }

    /// Whether the socket was dropped, with what waited for it.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(*self.sink.borrow(), Sink::Closed)
    }

    /// Whether the connection has its own socket.
    pub(crate) fn has_socket(&self) -> bool {
        matches!(*self.sink.borrow(), Sink::Socket(_) | Sink::Lingering(_))
    }
}
