//! What the hosting actor, the hub and the transport share of one connection.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::{
    ChannelName, Envelope, GroupName, Message,
    close::{Cause, CloseCode, Disconnect},
    error::Closed,
    groups::{
        fan_out::Class,
        hub::{Hub, Key},
        inbox::{Inbox, Input, Mail},
        outbox::{Outbox, Pushed},
    },
    host::shutdown::Live,
    layers::LayerError,
    middleware::Rejection,
    transport::limits::Limits,
};

/// How many messages of the client may go before an event that waits (rule 7, mended to be fair).
const MESSAGES_IN_A_ROW: u32 = 8;
/// How many hooks of one connection run before the others of the worker get their turn.
const HOOKS_A_TURN: u32 = 32;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// `connect` has not answered yet.
    Connecting,
    /// Accepted.
    Open,
    /// A close frame of ours is queued or sent; nothing else goes out any more.
    Closing,
}

/// The answer to a handshake.
#[derive(Debug)]
pub(crate) enum Answer {
    Accept(Accepted),
    Reject(Rejection),
}

/// How a handshake is accepted.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    pub(crate) subprotocol: Option<String>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// A membership: the group, and the slot among its members of this class.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) name: GroupName,
    pub(crate) slot: usize,
}

/// What the driver does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing more: the connection has ended.
    End,
    Mail(Mail),
    Message(Message),
}

/// One connection. Borrows of its cells last for one statement; no user code runs under them.
pub(crate) struct Connection {
    hub: Rc<Hub>,
    key: Key,
    class: Class,
    pub(crate) limits: Arc<Limits>,
    phase: Cell<Phase>,
    /// Whether a hook runs: the relay bypass is closed then.
    busy: Cell<bool>,
    /// How many sends of this connection's hook wait for room.
    sending: Cell<u32>,
    /// The hub's pass in which the driver ran last.
    ran: Cell<u64>,
    /// Hooks in this turn, and messages in a row.
    turn: Cell<(u32, u32)>,
    inbox: RefCell<Inbox>,
    input: RefCell<Input>,
    outbox: RefCell<Outbox>,
    memberships: RefCell<SmallVec<[Membership; 1]>>,
    /// How the connection ended: the first cause stays.
    ending: RefCell<Option<Disconnect>>,
    answer: RefCell<Option<oneshot::Sender<Answer>>>,
    /// Woken when there is something for the driver.
    driver: RefCell<Option<Waker>>,
    /// Woken when there is something to write, or nothing more will be.
    writer: RefCell<Option<Waker>>,
    /// Whether the writer waits to be woken.
    parked: Cell<bool>,
    /// Whether the hub's flush will wake the writer.
    dirty: Cell<bool>,
    /// The transport is through: what waits is written, then the socket is closed.
    finished: Cell<bool>,
    /// Counts the connection for the shutdown, until it is dropped.
    live: Live,
}

impl Connection {
    /// Makes a connection known to its hub.
    pub(crate) fn new(
        hub: &Rc<Hub>,
        class: Class,
        limits: Arc<Limits>,
        live: Live,
        answer: oneshot::Sender<Answer>,
    ) -> Rc<Self> {
        hub.attach(|key| {
            let capacity = hub.directory().config.capacity_of(&channel_name(hub, key));
            Rc::new(Self {
                hub: Rc::clone(hub),
                key,
                class,
                limits,
                phase: Cell::new(Phase::Connecting),
                busy: Cell::new(true),
                sending: Cell::new(0),
                ran: Cell::new(0),
                turn: Cell::new((0, 0)),
                inbox: RefCell::new(Inbox::new(capacity)),
                input: RefCell::default(),
                outbox: RefCell::default(),
                memberships: RefCell::default(),
                ending: RefCell::default(),
                answer: RefCell::new(Some(answer)),
                driver: RefCell::default(),
                writer: RefCell::default(),
                parked: Cell::new(false),
                dirty: Cell::new(false),
                finished: Cell::new(false),
                live,
            })
        })
    }

    pub(crate) fn hub(&self) -> &Rc<Hub> {
        &self.hub
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    pub(crate) fn class(&self) -> Class {
        self.class
    }

    pub(crate) fn channel_name(&self) -> ChannelName {
        channel_name(&self.hub, self.key)
    }

    pub(crate) fn drain_id(&self) -> u64 {
        self.live.drain_id()
    }

    // --- the answer ---

    pub(crate) fn is_connecting(&self) -> bool {
        self.phase.get() == Phase::Connecting
    }

    /// Answers the handshake; false where it was answered before, or its client is gone.
    pub(crate) fn answer(&self, answer: Answer) -> bool {
        let Some(sender) = self.answer.take() else { return false };
        let phase = match &answer {
            Answer::Accept(_) => Phase::Open,
            Answer::Reject(_) => Phase::Closing,
        };
        self.phase.set(phase);
        if phase == Phase::Closing {
            self.set_ending(Cause::Rejected, CloseCode::ABNORMAL, ByteString::new());
        }
        if sender.send(answer).is_err() {
            self.gone();
        }
        true
    }

    // --- what goes out ---

    /// Queues the answer to a ping; without effect once a close frame is queued.
    pub(crate) fn pong(self: &Rc<Self>, payload: &[u8]) {
        // Closed: nothing may follow the close frame (RFC 6455, section 5.5.1).
        let _ = self.write(self.class.wire().encode_pong(payload));
    }

    /// Queues one encoded frame.
    pub(crate) fn write(self: &Rc<Self>, frame: Bytes) -> Result<(), Closed> {
        if self.phase.get() != Phase::Open {
            return Err(Closed);
        }
        let pushed = self.outbox.borrow_mut().push(frame, &self.limits);
        match pushed {
            Pushed::Queued => {}
            Pushed::Dropped(count) => self.hub.directory().counters.outbox_full.add(count as u64),
            Pushed::TooSlow => {
                self.hub.directory().counters.too_slow.one();
                tracing::warn!(
                    channel = %self.channel_name(),
                    limit = self.limits.outbox_size,
                    "the client reads too slowly, its outbox is full: closing with 1013"
                );
                self.end(Cause::TooSlow, CloseCode::TRY_AGAIN, "read too slowly");
                return Err(Closed);
            }
            Pushed::Sealed => return Err(Closed),
        }
        self.mark_dirty();
        Ok(())
    }

    /// Takes the next frame for the socket. `Ready(None)`: nothing more comes, close it.
    pub(crate) fn poll_outbox(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let popped = self.outbox.borrow_mut().pop();
        match popped {
            Some(frame) => {
                // A consumer whose client reads again may go on with its messages.
                if !self.input.borrow().is_empty() && self.outbox.borrow().bytes() <= self.limits.read_ahead {
                    self.wake_driver();
                }
                Poll::Ready(Some(frame))
            }
            None if self.finished.get() => Poll::Ready(None),
            None => {
                self.parked.set(true);
                let mut writer = self.writer.borrow_mut();
                if !writer.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *writer = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Has the writer woken in the next flush. One that is not parked runs anyway.
    fn mark_dirty(self: &Rc<Self>) {
        if self.parked.get() && !self.dirty.get() {
            self.dirty.set(true);
            self.hub.mark_dirty(Rc::clone(self));
        }
    }

    /// Wakes the writer for all that came since the last time.
    pub(crate) fn flush(&self) {
        self.dirty.set(false);
        self.wake_writer();
    }

    fn wake_writer(&self) {
        if self.parked.replace(false)
            && let Some(waker) = &*self.writer.borrow()
        {
            waker.wake_by_ref();
        }
    }

    // --- what comes in from groups ---

    /// Passes a relayed frame on: straight to the outbox where that keeps the order, else through the inbox.
    pub(crate) fn relay(self: &Rc<Self>, frame: Bytes) -> bool {
        if self.phase.get() == Phase::Open && !self.busy.get() && self.inbox.borrow().is_empty() {
            return self.write(frame).is_ok();
        }
        // The frame most likely is in the outbox by the time of the flush: a sender's own copy keeps its place
        // among those of the others, and its next message comes while they are still being written.
        self.mark_dirty();
        self.push_mail(Mail::Frame(frame))
    }

    /// Queues an event for its handler.
    pub(crate) fn push_event(&self, envelope: Envelope) -> bool {
        self.push_mail(Mail::Event(envelope))
    }

    fn push_mail(&self, mail: Mail) -> bool {
        if self.has_ended() {
            return false;
        }
        let mut inbox = self.inbox.borrow_mut();
        let refused = inbox.push(mail);
        let full = inbox.is_full();
        drop(inbox);
        if refused.is_err() {
            self.hub.directory().counters.inbox_full.one();
            return false;
        }
        if full {
            self.hub.note_full(true);
        }
        if !self.busy.get() {
            self.wake_driver();
        }
        true
    }

    pub(crate) fn is_full(&self) -> bool {
        self.inbox.borrow().is_full()
    }

    /// Whether this connection may take events out of its full inbox in the next pass.
    pub(crate) fn may_make_room(&self, pass: u64) -> bool {
        !self.has_ended() && (!self.busy.get() || (self.ran.get() == pass && self.sending.get() == 0))
    }

    pub(crate) fn note_sending(&self, by: isize) {
        self.sending.set(self.sending.get().saturating_add_signed(by as i32));
    }

    // --- what comes in from the client ---

    /// Whether the transport may read on.
    pub(crate) fn wants_input(&self) -> bool {
        self.input.borrow().has_room(self.limits.read_ahead)
    }

    pub(crate) fn has_input(&self) -> bool {
        !self.input.borrow().is_empty()
    }

    /// Adds a message of the client; one that comes after our close frame is dropped (RFC 6455, section 1.4).
    pub(crate) fn push_input(&self, message: Message) {
        if self.phase.get() == Phase::Open && self.ending.borrow().is_none() {
            self.input.borrow_mut().push(message);
        }
    }

    // --- memberships ---

    /// Whether `group` is new to this connection, and within its limit.
    pub(crate) fn may_join(&self, group: &GroupName) -> Result<bool, LayerError> {
        let memberships = self.memberships.borrow();
        if memberships.iter().any(|membership| membership.name == *group) {
            return Ok(false);
        }
        let limit = self.limits.groups;
        if memberships.len() >= limit { Err(LayerError::TooManyGroups { limit }) } else { Ok(true) }
    }

    pub(crate) fn add_membership(&self, name: GroupName, slot: usize) {
        self.memberships.borrow_mut().push(Membership { name, slot });
    }

    pub(crate) fn remove_membership(&self, group: &GroupName) -> Option<usize> {
        let mut memberships = self.memberships.borrow_mut();
        let at = memberships.iter().position(|membership| membership.name == *group)?;
        Some(memberships.swap_remove(at).slot)
    }

    pub(crate) fn take_memberships(&self) -> SmallVec<[Membership; 1]> {
        self.memberships.take()
    }

    // --- the driver ---

    /// Begins a turn of the driver.
    pub(crate) fn begin_turn(&self, cx: &Context<'_>) {
        self.ran.set(self.hub.pass());
        self.turn.set((0, self.turn.get().1));
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
    }

    pub(crate) fn wake_driver(&self) {
        // The waker is the actor's task: woken, it is queued, and runs nothing here.
        if let Some(waker) = &*self.driver.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Opens the relay bypass, where no hook runs, or closes it.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.set(busy);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    /// Whether what the client sends can be answered: a client that does not read is not served on.
    fn may_take_input(&self) -> bool {
        self.outbox.borrow().bytes() <= self.limits.read_ahead || self.has_ended()
    }

    /// What to do next: the client's messages first (rule 7), but fairly.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Next> {
        let (hooks, in_a_row) = self.turn.get();
        let cause = self.ending.borrow().as_ref().map(|ending| ending.cause);
        if let Some(cause) = cause {
            // What a client said before it left is still heard; all else ends at once.
            let heard = matches!(cause, Cause::Client | Cause::Gone);
            if !heard || self.input.borrow().is_empty() {
                return Poll::Ready(Next::End);
            }
        }
        let (has_mail, pressed) = {
            let inbox = self.inbox.borrow();
            (!inbox.is_empty(), inbox.is_pressed())
        };
        let has_input = !self.input.borrow().is_empty() && self.may_take_input();
        if !has_mail && !has_input {
            return Poll::Pending;
        }
        if hooks >= HOOKS_A_TURN {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if has_input && (!has_mail || (in_a_row < MESSAGES_IN_A_ROW && !pressed)) {
            self.turn.set((hooks + 1, in_a_row + 1));
            if let Some(message) = self.input.borrow_mut().pop() {
                return Poll::Ready(Next::Message(message));
            }
        }
        self.turn.set((hooks + 1, 0));
        match self.pop_mail() {
            Some(mail) => Poll::Ready(Next::Mail(mail)),
            None => Poll::Pending,
        }
    }

    fn pop_mail(&self) -> Option<Mail> {
        let mut inbox = self.inbox.borrow_mut();
        let was_full = inbox.is_full();
        let mail = inbox.pop();
        drop(inbox);
        if was_full && mail.is_some() {
            self.hub.note_full(false);
        }
        mail
    }

    // --- the end ---

    /// Whether the connection has ended, or is about to: nothing can be sent to it any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ending.borrow().is_some()
    }

    pub(crate) fn ending(&self) -> Option<Disconnect> {
        self.ending.borrow().clone()
    }

    fn set_ending(&self, cause: Cause, code: CloseCode, reason: ByteString) {
        let mut ending = self.ending.borrow_mut();
        if ending.is_none() {
            *ending = Some(Disconnect { code, reason, cause });
        }
        drop(ending);
        self.wake_driver();
    }

    /// Ends the connection from this side: a close frame where it was accepted, a rejection where not.
    pub(crate) fn end(&self, cause: Cause, code: CloseCode, reason: &str) {
        match self.phase.get() {
            Phase::Connecting => {
                let rejection = match cause {
                    Cause::Error => Rejection::internal(),
                    Cause::Shutdown => Rejection::unavailable("the server is shutting down"),
                    Cause::Consumer if code == CloseCode::TRY_AGAIN => {
                        Rejection::unavailable("try again later")
                    }
                    _ => Rejection::forbidden(),
                };
                self.answer(Answer::Reject(rejection));
            }
            Phase::Open => {
                self.phase.set(Phase::Closing);
                let frame = self.class.wire().encode_close(code, reason);
                let mut outbox = self.outbox.borrow_mut();
                if cause == Cause::TooSlow {
                    outbox.clear();
                }
                outbox.seal(Some(frame));
                drop(outbox);
                self.set_ending(cause, code, ByteString::from(reason));
                if !matches!(cause, Cause::Client | Cause::Gone) {
                    self.input.borrow_mut().clear();
                }
                self.wake_writer();
            }
            Phase::Closing => {}
        }
    }

    /// The client asked to close. The answer waits until its earlier messages were heard, unless a hook holds them up.
    pub(crate) fn client_closed(&self, code: CloseCode, reason: ByteString) {
        self.set_ending(Cause::Client, code, reason);
    }

    /// Answers the client's close frame, once no hook that can run now precedes it.
    pub(crate) fn answer_close(&self) {
        let ending = self.ending.borrow().clone();
        let Some(Disconnect { cause: Cause::Client, code, .. }) = ending else { return };
        if self.phase.get() == Phase::Open {
            self.phase.set(Phase::Closing);
            self.outbox.borrow_mut().seal(Some(self.class.wire().encode_close(code, "")));
            // The server closes TCP first (RFC 6455, section 7.1.1).
            self.finish();
        }
    }

    /// The socket ended without a close frame.
    pub(crate) fn gone(&self) {
        self.set_ending(Cause::Gone, CloseCode::ABNORMAL, ByteString::new());
        self.phase.set(Phase::Closing);
        let mut outbox = self.outbox.borrow_mut();
        outbox.seal(None);
        outbox.clear();
        drop(outbox);
        self.finish();
    }

    /// The transport is through: when all is written the socket is closed.
    pub(crate) fn finish(&self) {
        if !self.finished.replace(true) {
            self.wake_writer();
            self.wake_driver();
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.get()
    }

    /// Whether a close frame of ours is queued or sent.
    pub(crate) fn is_closing(&self) -> bool {
        self.phase.get() == Phase::Closing
    }

    /// Leaves every group and takes the mail out, for the caller to drop.
    pub(crate) fn leave_all(self: &Rc<Self>) -> VecDeque<Mail> {
        self.hub.detach(self);
        let mut inbox = self.inbox.borrow_mut();
        let was_full = inbox.is_full();
        let mail = inbox.take();
        drop(inbox);
        if was_full {
            self.hub.note_full(false);
        }
        mail
    }
}

/// `specific.<process>!<hub>.<slot>.<serial>`: who holds the name can find the connection without a look-up.
fn channel_name(hub: &Hub, key: Key) -> ChannelName {
    crate::layers::consumer_channel(&hub.directory().process, hub.queue().id(), key)
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("key", &self.key)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
