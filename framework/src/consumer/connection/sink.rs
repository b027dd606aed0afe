//! Where a connection's frames go: to a body that asks for them, or to a socket of its own.
//!
//! The hub's flush writes to the socket as long as that takes all at once. What is left, and the end, are
//! the task's, which can wait.

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
    /// Takes the next frame for a body. `Ready(None)`: nothing more comes, close it.
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

    /// Gives the connection a socket of its own, and writes what waits.
    pub(crate) fn take_over(&self, socket: Socket) {
        if self.is_finished() && self.outbox.borrow().is_empty() {
            // It ended meanwhile, with nothing to say.
            return;
        }
        *self.sink.borrow_mut() = Sink::Socket(socket);
        self.write_out();
        self.wake_task();
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
    pub(super) fn mark_dirty(&self) {
        if self.writer.get() == Writer::Parked {
            self.writer.set(Writer::Due);
            self.hub.mark_dirty(self.key.slot, self.limits.flush);
        }
    }

    /// Wakes a body; a socket is written to by the flush or the task.
    pub(super) fn wake_writer(&self) {
        if let Sink::Body(Some(waker)) = &*self.sink.borrow()
            && self.writer.replace(Writer::Running) != Writer::Running
        {
            waker.wake_by_ref();
        }
    }

    /// Writes what waits as far as the socket takes it at once.
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
            // How it broke makes no difference to anyone: the client is gone.
            Err(_) => return self.gone(),
        }
        self.note_room(before);
    }

    /// A consumer whose client reads again may go on with its messages.
    fn note_room(&self, before: usize) {
        let limit = self.limits.read_ahead;
        if before > limit && self.outbox.borrow().bytes() <= limit && self.has_input() {
            self.wake_task();
        }
    }

    /// Goes on where the flush had to stop, and ends the socket. `Ready`: there is none, or none any more.
    pub(crate) fn poll_sink(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut *self.sink.borrow_mut() {
                // Its host ends a body, once that is written.
                Sink::Body(_) if self.is_finished() && !self.is_written() => return Poll::Pending,
                Sink::Body(_) | Sink::Closed => return Poll::Ready(()),
                Sink::Lingering(_) => break,
                // Written to by the flush.
                Sink::Socket(_) if self.writer.get() != Writer::Running && !self.has_ended() => {
                    return Poll::Pending;
                }
                Sink::Socket(_) => {}
            }
            self.write_out();
            let mut sink = self.sink.borrow_mut();
            let Sink::Socket(socket) = &mut *sink else { continue };
            if self.writer.get() == Writer::Running {
                // An error is found by the next write.
                let _ = ready!(socket.poll_writable(cx));
                continue;
            }
            if !self.is_finished() {
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
