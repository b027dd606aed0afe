//! The state of a fallback client between its requests.
//!
//! It consists of the connection, and the batches that the client has not acknowledged.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use bytestring::ByteString;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Sleep, sleep},
};

use super::{
    events::NumberedBatch,
    intake::Intake,
    kept::{ACKNOWLEDGED, KeptBatches},
    table::Listed,
};
use crate::{
    Message,
    close::{Cause, CloseCode},
    consumer::connection::Connection,
    time::{self, from_now},
    wire::{Transport, batch::Builder, limits::Ticks},
};

/// How many requests may wait for a session. One more is answered 429.
pub(crate) const MOST_COMMANDS: usize = 8;

/// How long the first request behind the `open` may take, if sessions live longer than that.
///
/// An `open` costs a client nothing, not even a socket, if it does not wait for the answer. So a session whose client
/// has not asked for anything has its place for a short time only.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// A request, as its session sees it.
#[derive(Debug)]
pub(crate) enum Command {
    /// Asks for the next batch. With `hold` it waits for one.
    Poll {
        ack: u64,
        hold: bool,
        reply: Reply,
    },
    /// Asks for all batches from now on. `life` is closed when the stream has ended.
    Events {
        ack: u64,
        out: mpsc::Sender<NumberedBatch>,
        life: oneshot::Sender<Infallible>,
        reply: Reply,
    },
    Send {
        seq: u64,
        ack: u64,
        messages: Vec<Message>,
        reply: Reply,
    },
    Ack {
        ack: u64,
        reply: Reply,
    },
    Close {
        code: CloseCode,
        reason: ByteString,
        reply: Reply,
    },
    /// Says that the client broke the protocol. Its request has already been refused.
    Fail {
        code: CloseCode,
        reason: ByteString,
    },
}

type Reply = oneshot::Sender<SessionAnswer>;

/// The answer of a session to a request. If no answer comes, the session has ended.
#[derive(Debug)]
pub(crate) enum SessionAnswer {
    Batch(Bytes),
    /// No batch is due.
    Nothing,
    /// The request was carried out.
    Done,
    /// A newer request took the place of this one.
    Superseded,
    /// The request does not follow the protocol. The text says why.
    Bad(&'static str),
}

/// The request that waits for batches.
enum Waiter {
    Poll {
        hold: bool,
        reply: Reply,
    },
    /// A stream. `told` is the number of the last batch that was given to it.
    Events {
        out: mpsc::Sender<NumberedBatch>,
        life: oneshot::Sender<Infallible>,
        told: u64,
    },
}

/// The messages of one request, which wait for room in the intake.
struct Post {
    seq: u64,
    messages: Vec<Message>,
    reply: Reply,
}

/// A task that serves the requests of one fallback client.
pub(crate) struct Session {
    listed: Listed,
    commands: mpsc::Receiver<Box<Command>>,
    intake: Rc<Intake>,
    /// The connection, until it has ended. At a shutdown it stays until the client has been told of the end.
    connection: Option<Rc<Connection>>,
    waiter: Option<Waiter>,
    post: Option<Post>,
    /// The number of the last `send` whose messages were taken in.
    seq: u64,
    kept: KeptBatches,
    /// Why the connection ended. It is set when the last batch is made.
    ended: Option<Cause>,
    /// How long the last batch is kept, if that is not for as long as a client may be quiet.
    farewell: Option<Ticks>,
    /// Runs out when no request has come for too long.
    expiry: Pin<Box<Sleep>>,
    /// Whether `expiry` has run out, and now waits for requests that have arrived and were not read yet.
    overdue: bool,
    /// Whether the client has sent a request behind its `open`.
    asked: bool,
}

/// The session is over, and its task ends.
struct SessionOver;

impl Session {
    /// Starts the session of a connection that has just been accepted.
    pub(crate) fn start(
        listed: Listed,
        commands: mpsc::Receiver<Box<Command>>,
        intake: Rc<Intake>,
        connection: Rc<Connection>,
    ) {
        let mut session = Self {
            listed,
            commands,
            intake,
            connection: Some(connection),
            waiter: None,
            post: None,
            seq: 0,
            kept: KeptBatches::default(),
            ended: None,
            farewell: None,
            expiry: Box::pin(sleep(Duration::ZERO)),
            overdue: false,
            asked: false,
        };
        session.touch();
        actix_rt::spawn(async move { poll_fn(|cx| session.poll(cx)).await });
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.intake.set_session(cx.waker());
        match self.turn(cx) {
            Ok(()) => Poll::Pending,
            Err(SessionOver) => Poll::Ready(()),
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), SessionOver> {
        // The loop is bounded, because the channel is: each command comes from a request that waits.
        while let Poll::Ready(Some(command)) = self.commands.poll_recv(cx) {
            self.asked = true;
            self.touch();
            self.take(*command);
        }
        self.drop_left(cx);
        self.take_in();
        self.end(cx)?;
        self.serve(cx)?;
        if self.waiter.is_some() || self.post.is_some() {
            return Ok(());
        }
        while self.expiry.as_mut().poll(cx).is_ready() {
            // A body that arrives is a request under way.
            if self.listed.has_body_under_way() {
                self.touch();
            } else if self.overdue {
                return Err(self.expired());
            } else {
                // A request that came in time may wait to be read, if this or another thread was blocked.
                self.overdue = true;
                let grace = time::grace(self.expiry.deadline());
                self.expiry.as_mut().reset(from_now(grace));
            }
        }
        Ok(())
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Poll { ack, hold, reply } => {
                if let Some(reply) = self.acked(ack, reply) {
                    self.note(if hold { Transport::LongPolling } else { Transport::Polling });
                    self.wait(Waiter::Poll { hold, reply });
                }
            }
            Command::Events { ack, out, life, reply } => {
                if let Some(reply) = self.acked(ack, reply) {
                    self.note(Transport::EventStream);
                    // If this fails, the request has gone, and its stream with it.
                    let _ = reply.send(SessionAnswer::Done);
                    self.wait(Waiter::Events { out, life, told: ack });
                }
            }
            Command::Send { seq, ack, messages, reply } => {
                if let Some(reply) = self.acked(ack, reply) {
                    self.post(Post { seq, messages, reply });
                }
            }
            Command::Ack { ack, reply } => {
                if let Some(reply) = self.acked(ack, reply) {
                    let _ = reply.send(SessionAnswer::Done);
                }
            }
            Command::Close { code, reason, reply } => {
                self.client_ended(Cause::Client, code, reason);
                if self.ended.is_some() {
                    // The client does not ask for the last batch any more.
                    self.kept.clear();
                }
                let _ = reply.send(SessionAnswer::Done);
            }
            Command::Fail { code, reason } => self.client_ended(Cause::Protocol, code, reason),
        }
    }

    fn client_ended(&self, cause: Cause, code: CloseCode, reason: ByteString) {
        self.intake.end(cause, code, reason);
        if let Some(connection) = &self.connection {
            connection.wake_task();
        }
    }

    fn note(&self, transport: Transport) {
        if let Some(connection) = &self.connection {
            connection.note_transport(transport);
        }
    }

    /// Restarts the time after which the session expires.
    fn touch(&mut self) {
        self.overdue = false;
        let until = from_now(self.idle_limit());
        self.expiry.as_mut().reset(until);
    }

    /// How long the session stays without a request.
    fn idle_limit(&self) -> Duration {
        let expires = self.listed.table.settings.expires;
        match self.farewell {
            Some(time) => time.time(),
            None if self.asked => expires,
            None => expires.min(FIRST_REQUEST),
        }
    }

    /// Makes this the one request that gets batches. It takes the place of an older one.
    fn wait(&mut self, waiter: Waiter) {
        if let Some(Waiter::Poll { reply, .. }) = self.waiter.replace(waiter) {
            // If this fails, the client of the older request has left, which is likely.
            let _ = reply.send(SessionAnswer::Superseded);
        }
    }

    /// Forgets the requests whose client has left. They bring nothing, and they get nothing.
    fn drop_left(&mut self, cx: &mut Context<'_>) {
        let left = match &mut self.waiter {
            Some(Waiter::Poll { reply, .. }) => reply.poll_closed(cx).is_ready(),
            Some(Waiter::Events { life, .. }) => life.poll_closed(cx).is_ready(),
            None => false,
        };
        if left {
            self.waiter = None;
            self.touch();
        }
        if self.post.as_mut().is_some_and(|post| post.reply.poll_closed(cx).is_ready()) {
            self.post = None;
            self.touch();
        }
    }

    // --- what comes in ---

    /// Takes an acknowledgement of all batches up to a number.
    ///
    /// If no such batch was made, the request is refused, and `None` is returned.
    fn acked(&mut self, ack: u64, reply: Reply) -> Option<Reply> {
        if !self.kept.acknowledge(ack) {
            let _ = reply.send(SessionAnswer::Bad("ack is beyond the last batch"));
            return None;
        }
        self.count_kept(false);
        Some(reply)
    }

    /// Tells the connection how many bytes of batches are kept.
    fn count_kept(&self, over_budget: bool) {
        if let Some(connection) = &self.connection {
            connection.note_kept(self.kept.bytes(), over_budget);
        }
    }

    /// Takes the messages of a request. A repetition of the last request is only answered.
    fn post(&mut self, post: Post) {
        let answer = if post.seq == self.seq && post.seq > 0 {
            SessionAnswer::Done
        } else if post.seq == self.seq + 1 {
            if let Some(older) = self.post.replace(post) {
                let _ = older.reply.send(SessionAnswer::Superseded);
            }
            return;
        } else {
            SessionAnswer::Bad("seq is neither the last one nor the next")
        };
        let _ = post.reply.send(answer);
    }

    /// Hands over the messages that wait, once there is room.
    ///
    /// It hands over either all of a request, or none.
    fn take_in(&mut self) {
        let Some(post) = &self.post else { return };
        let open = self.connection.as_ref().filter(|connection| !connection.is_closing());
        if open.is_some_and(|connection| !self.intake.has_room(connection)) {
            return;
        }
        self.seq = post.seq;
        let Some(Post { messages, reply, .. }) = self.post.take() else { return };
        // Messages that come after our close are dropped, as on a WebSocket (RFC 6455, section 1.4).
        if let Some(connection) = open {
            self.intake.push(messages);
            connection.wake_task();
        }
        let _ = reply.send(SessionAnswer::Done);
        self.touch();
    }

    // --- what goes out ---

    /// Makes the last batch, if the connection has ended.
    fn end(&mut self, cx: &Context<'_>) -> Result<(), SessionOver> {
        let Some(connection) = self.connection.clone().filter(|connection| connection.is_closing()) else {
            return Ok(());
        };
        if self.ended.is_some() {
            return Ok(());
        }
        let cause = connection.ending().map_or(Cause::Gone, |ending| ending.cause);
        if cause == Cause::TooSlow {
            // The client has missed something, and the memory that it uses is needed: it gets only the close.
            self.kept.clear();
        }
        let closes = self.next(&connection, cx);
        connection.finish();
        if !closes {
            // The outbox has no close: the client is gone, and gets nothing more.
            return Err(SessionOver);
        }
        self.ended = Some(cause);
        if matches!(cause, Cause::Client | Cause::Shutdown) {
            // A drain waits for this session, but not for long. A client that has closed need not come back.
            self.farewell = Some(connection.limits.close_timeout);
        }
        self.touch();
        if cause != Cause::Shutdown {
            // Only a drain waits until the client has been told.
            self.connection = None;
        }
        Ok(())
    }

    /// Makes a batch of all frames that are due. Returns whether it is the last batch.
    fn next(&mut self, connection: &Rc<Connection>, cx: &Context<'_>) -> bool {
        let mut batch = Builder::default();
        while let Poll::Ready(Some(frame)) = connection.poll_outbox(cx) {
            batch.push(frame);
        }
        let Some((json, closes)) = batch.finish(self.kept.next_number()) else { return false };
        let over_budget = self.kept.add(json, connection.ledger());
        self.count_kept(over_budget);
        closes
    }

    /// As [`next`](Self::next), if the client is not too far behind. Otherwise the frames wait in the outbox.
    fn next_in_window(&mut self, cx: &Context<'_>) {
        let Some(connection) = self.connection.clone().filter(|_| self.ended.is_none()) else { return };
        if self.kept.has_room(connection.limits.outbox_size.max(ACKNOWLEDGED)) {
            self.next(&connection, cx);
        }
    }

    /// Gives the batches that are due to the request that waits.
    fn serve(&mut self, cx: &Context<'_>) -> Result<(), SessionOver> {
        if self.ended.is_some() && self.kept.is_empty() {
            // The client has acknowledged the last batch.
            return Err(SessionOver);
        }
        match self.waiter.take() {
            None => {}
            Some(Waiter::Poll { hold, reply }) => {
                if self.kept.is_empty() {
                    self.next_in_window(cx);
                }
                let Some((number, json)) = self.kept.after(0) else {
                    if hold {
                        self.waiter = Some(Waiter::Poll { hold, reply });
                    } else {
                        let _ = reply.send(SessionAnswer::Nothing);
                    }
                    return Ok(());
                };
                // If this fails, the client has left, and its next request gets the batch.
                if reply.send(SessionAnswer::Batch(json)).is_ok() {
                    self.note_given(number);
                }
                self.touch();
            }
            Some(Waiter::Events { out, life, mut told }) => {
                let lasting = self.stream(&out, &mut told, cx);
                // The stream is dropped after the last batch: it then ends behind the batches in its channel.
                if lasting && !(self.ended.is_some() && told == self.kept.last()) {
                    self.waiter = Some(Waiter::Events { out, life, told });
                } else {
                    self.touch();
                }
            }
        }
        Ok(())
    }

    /// Gives a stream the batches that it has not got. Returns false if the stream takes no more.
    fn stream(&mut self, out: &mpsc::Sender<NumberedBatch>, told: &mut u64, cx: &Context<'_>) -> bool {
        loop {
            if *told >= self.kept.last() {
                self.next_in_window(cx);
            }
            let Some((number, json)) = self.kept.after(*told) else { return true };
            if out.try_send((number, json)).is_err() {
                return false;
            }
            *told = number;
            self.note_given(number);
        }
    }

    /// Notes that a request was given a batch.
    fn note_given(&mut self, number: u64) {
        if self.kept.note_given(number)
            && let Some(connection) = &self.connection
        {
            connection.counters().resent.one();
        }
        if self.ended.is_some() && number == self.kept.last() {
            // The client has been told: a drain need not wait for this session.
            self.connection = None;
        }
    }

    /// Ends the connection, because no request came for too long.
    fn expired(&mut self) -> SessionOver {
        if let Some(connection) = self.connection.take().filter(|_| self.ended.is_none()) {
            connection.counters().fallback_expired.one();
            connection.gone();
        }
        SessionOver
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // If the session has not ended by itself, the thread's runtime has ended under it.
        if let Some(connection) = self.connection.take().filter(|_| self.ended.is_none()) {
            connection.gone();
        }
    }
}
