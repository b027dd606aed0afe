//! Pings, idle limits and timeouts of one connection.
//!
//! An event on the connection only notes the current tick of the hub's clock. The hub's wheel says when to look at the
//! connection. The look is part of the task's next turn: after the read of what has arrived, and never behind a hook.

use super::{Connection, Life};
use crate::{
    close::{Cause, CloseCode},
    wire::{
        limits::{Limits, Ticks},
        rate::Bucket,
    },
};

/// The slowest rate of a message after [`Limits::frame_timeout`], in bytes a tick: 4 KiB a second.
const FAIR_RATE: usize = 1 << 10;
/// After how many ticks to look again at a connection that cannot be judged now.
const AGAIN: u32 = 4;

impl Connection {
    fn now(&self) -> u32 {
        self.hub.wheel().now()
    }

    /// Starts the clocks, when the connection is accepted.
    pub(super) fn start_clocks(&self) {
        // This sets the clock, which stands if nothing was scheduled. A look too early does no harm.
        self.hub.wheel().schedule(self.key.slot, 0);
        self.restart_read_clocks();
    }

    /// Notes that bytes have arrived.
    pub(crate) fn note_read(&self) {
        self.clocks.read.set(self.now());
    }

    /// Notes that the last bytes ended inside a message or a frame.
    pub(crate) fn note_unfinished(&self) {
        if self.clocks.frame.get() == 0 {
            self.clocks.frame.set(self.now());
        }
    }

    /// Notes that a message or a frame has ended, and the next has not begun.
    pub(crate) fn note_finished(&self) {
        self.clocks.frame.set(0);
    }

    pub(super) fn note_message(&self) {
        self.clocks.message.set(self.now());
    }

    /// Notes that the transport has stopped reading at its bound.
    pub(crate) fn note_stopped(&self) {
        self.clocks.stopped.set(true);
    }

    /// Notes that the transport reads. If it had stopped, the clocks start again.
    ///
    /// A pong or the end of a message may have arrived meanwhile, and wait to be read.
    pub(crate) fn note_reading(&self) {
        if self.clocks.stopped.replace(false) {
            self.restart_read_clocks();
        }
    }

    fn restart_read_clocks(&self) {
        let now = self.now();
        self.clocks.read.set(now);
        self.clocks.message.set(now);
        if self.clocks.frame.get() != 0 {
            self.clocks.frame.set(now);
        }
    }

    /// Notes that the close frame is queued. The client has a limited time to answer it.
    pub(super) fn note_closing(&self) {
        let wheel = self.hub.wheel();
        // This call sets the clock, which stands if nothing was scheduled.
        wheel.schedule(self.key.slot, u32::MAX);
        self.clocks.sent.set(wheel.now());
        wheel.schedule(self.key.slot, self.limits.close_timeout.after(wheel.now()));
    }

    /// Looks at the deadlines if the wheel asked for it.
    ///
    /// `held` is how many bytes of an unfinished message have arrived.
    pub(crate) fn look(&self, held: usize) {
        if !self.clocks.due.replace(false) {
            return;
        }
        if self.is_finished() && self.is_written() && !self.has_socket() {
            return;
        }
        let next = match self.life.get() {
            Life::Connecting => return,
            Life::Open => self.look_open(held),
            Life::Closing | Life::Finished => self.look_closing(),
        };
        if let Some(next) = next {
            self.hub.wheel().schedule(self.key.slot, next);
        }
    }

    /// Returns when to look again, or `None` if nothing is limited or the connection was closed.
    fn look_open(&self, held: usize) -> Option<u32> {
        let write = self.look_writing().ok()?;
        // A client that asked to close waits for a hook, and the hook has its own grace.
        if self.has_ended() {
            return write;
        }
        let frame = self.look_frame(held).ok()?;
        let idle = self.look_idle().ok()?;
        let ping = self.look_ping().ok()?;
        [write, frame, idle, ping].into_iter().flatten().min()
    }

    fn look_writing(&self) -> Result<Option<u32>, Ended> {
        let Some(timeout) = self.limits.write_timeout else { return Ok(None) };
        let now = self.now();
        let (waits, progress) = {
            let outbox = self.outbox.borrow();
            (!outbox.is_empty(), outbox.progress())
        };
        // What begins to wait after this look is not due before the next look.
        let due = timeout.after(if waits { progress } else { now });
        if now < due {
            return Ok(Some(due));
        }
        self.counters().write_timeout.one();
        self.end(Cause::TooSlow, CloseCode::TRY_AGAIN, "read nothing for too long");
        Err(Ended)
    }

    fn look_frame(&self, held: usize) -> Result<Option<u32>, Ended> {
        let Some(timeout) = self.limits.frame_timeout else { return Ok(None) };
        let (now, began) = (self.now(), self.clocks.frame.get());
        let allowed = Ticks(timeout.0.saturating_add(u32::try_from(held / FAIR_RATE).unwrap_or(u32::MAX)));
        let due =
            if began == 0 || self.clocks.stopped.get() { timeout.after(now) } else { allowed.after(began) };
        if now < due {
            return Ok(Some(due));
        }
        self.counters().frame_timeout.one();
        self.end(Cause::Timeout, CloseCode::POLICY, "the message took too long");
        Err(Ended)
    }

    fn look_idle(&self) -> Result<Option<u32>, Ended> {
        let Some(timeout) = self.limits.idle_timeout else { return Ok(None) };
        let now = self.now();
        if self.clocks.stopped.get() {
            return Ok(Some(timeout.after(now)));
        }
        let due = timeout.after(self.clocks.message.get());
        if now < due {
            return Ok(Some(due));
        }
        if self.is_busy() || self.has_input() {
            return Ok(Some(now + AGAIN));
        }
        self.counters().idle_timeout.one();
        self.end(Cause::Timeout, CloseCode::NORMAL, "idle");
        Err(Ended)
    }

    fn look_ping(&self) -> Result<Option<u32>, Ended> {
        let Limits { ping_interval: Some(interval), pong_timeout, .. } = &*self.limits else {
            return Ok(None);
        };
        let (now, read, sent) = (self.now(), self.clocks.read.get(), self.clocks.sent.get());
        // While frames wait, a ping would wait behind them. Then the client shows that it is alive by reading.
        let waits = !self.outbox.borrow().is_empty();
        let missing = sent > read && !self.clocks.stopped.get();
        if let Some(timeout) = pong_timeout.filter(|_| missing) {
            let due = timeout.after(sent);
            if now < due {
                return Ok(Some(due));
            }
            if waits && self.limits.write_timeout.is_some() {
                return Ok(Some(now + AGAIN));
            }
            self.counters().pong_timeout.one();
            self.end(Cause::Timeout, CloseCode::INTERNAL, "keepalive ping timeout");
            return Err(Ended);
        }
        // Each connection has its own time, so that the pings of many connections do not fall into one tick.
        let sooner = self.key.slot % (interval.0 / 4 + 1);
        let due = read.max(sent).saturating_add(interval.0 - sooner).max(1);
        if now < due {
            return Ok(Some(due));
        }
        // A client that asks for a sign of life gets no answer while nothing is read, so this is one that it can see.
        let sign = if self.clocks.stopped.get() { self.encode_pong() } else { None };
        let ping = sign.unwrap_or_else(|| self.class.wire().encode_ping());
        // If the ping was not queued, no pong will come.
        if !waits && self.push_frame(ping.into()) == Ok(true) {
            self.clocks.sent.set(now);
            return Ok(Some(pong_timeout.map_or(interval.after(now), |timeout| timeout.after(now))));
        }
        Ok(Some(now + AGAIN))
    }

    fn look_closing(&self) -> Option<u32> {
        let now = self.now();
        let (waits, progress) = {
            let outbox = self.outbox.borrow();
            (!outbox.is_empty(), outbox.progress())
        };
        let due = self.limits.close_timeout.after(progress.max(self.clocks.sent.get()));
        if now < due {
            return Some(due);
        }
        let channel = self.channel_name();
        tracing::debug!(%channel, unread = waits, "the client did not answer the close frame, or read it");
        self.counters().close_timeout.one();
        // A client that has read nothing for so long will not read the rest, and holds memory.
        self.abandon();
        None
    }

    /// Whether the client's rate allows one more message or ping.
    pub(crate) fn may_send_one(&self) -> bool {
        let Some(rate) = self.limits.message_rate else { return true };
        self.rare().bucket.get_or_init(Bucket::full).take(rate)
    }

    /// Ends the connection of a client that sends too many messages.
    pub(crate) fn refuse_flood(&self) {
        tracing::debug!(channel = %self.channel_name(), "the client sent too many messages");
        self.counters().message_rate.one();
        self.client_ended(Cause::Protocol, CloseCode::POLICY, "too many messages".into());
    }
}

/// The look closed the connection.
struct Ended;
