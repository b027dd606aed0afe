//! What the hosting actor, the hub and the transport share of one connection.

mod deadlines;
mod ending;
mod sink;
mod turn;

pub(crate) use self::turn::Next;
use self::{deadlines::Clocks, ending::Ending, sink::Sink};

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use actix_web::http::header::{HeaderName, HeaderValue};
use bytestring::ByteString;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::{
    ChannelName, Envelope, Frame, GroupName, Message,
    close::{Cause, CloseCode},
    consumer::http::Head,
    error::Closed,
    groups::{
        budget::{Budget, Ledger},
        fan_out::Class,
        hub::{Hub, Key},
        inbox::{Inbox, Input, Mail},
        outbox::{Outbox, Packet, Pushed},
    },
    host::{peers::Place, shutdown::Live},
    layers::LayerError,
    metrics::Counters,
    middleware::Rejection,
    transport::{Transport, Wire, limits::Limits, rate::Bucket, websocket::deflate::Packer},
};

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

/// The answer to a handshake, or to an HTTP request.
#[derive(Debug)]
pub(crate) enum Answer {
    Accept(Accepted),
    Reject(Rejection),
    /// The headers of an HTTP response.
    Respond(Head),
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
    /// The last of the hub's jobs that it was served, or that was there before it.
    served: u64,
}

#[derive(Default)]
struct Rare {
    /// Counts the connection for its peer, until it is dropped.
    place: OnceCell<Place>,
    /// What the client may still send.
    bucket: OnceCell<Bucket>,
    /// By which fallback transport the client asked last.
    transport: Cell<Option<Transport>>,
    /// How many bytes wait for a client's acknowledgement, outside the outbox.
    kept: Cell<usize>,
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
    /// What compresses frames on their way from the outbox to the socket, where the client agreed on context takeover.
    packer: Option<Box<RefCell<Packer>>>,
    memberships: RefCell<SmallVec<[Membership; 1]>>,
    /// How the connection ended: the first cause stays.
    ending: OnceCell<Box<Ending>>,
    answer: Cell<Option<oneshot::Sender<Answer>>>,
    /// Woken when there is something for the driver.
    driver: Cell<Option<Waker>>,
    /// Where frames are written to.
    sink: RefCell<Sink>,
    /// Whether the writer waits for the flush; it does not while the socket takes nothing.
    parked: Cell<bool>,
    /// Whether the hub's flush will run the writer.
    dirty: Cell<bool>,
    /// The transport is through: what waits is written, then the socket is closed.
    finished: Cell<bool>,
    /// Whether the client's close frame was read.
    client_closed: Cell<bool>,
    clocks: Clocks,
    /// What only connections under some limits have.
    rare: OnceCell<Box<Rare>>,
    /// Counts the connection for the shutdown, until it is dropped.
    live: Live,
}

impl Connection {
    /// Makes a connection known to its hub.
    pub(crate) fn new(
        hub: &Rc<Hub>,
        class: Class,
        limits: Arc<Limits>,
        budget: &Arc<Budget>,
        live: Live,
        answer: oneshot::Sender<Answer>,
        packer: Option<Packer>,
    ) -> Rc<Self> {
        hub.attach(|key| {
            let capacity = hub.directory().config.capacity_with(|| channel_name(hub, key));
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
                outbox: RefCell::new(Outbox::new(hub.ledger(budget))),
                packer: packer.map(|packer| Box::new(RefCell::new(packer))),
                memberships: RefCell::default(),
                ending: OnceCell::new(),
                answer: Cell::new(Some(answer)),
                driver: Cell::default(),
                sink: RefCell::default(),
                parked: Cell::new(false),
                dirty: Cell::new(false),
                finished: Cell::new(false),
                client_closed: Cell::new(false),
                clocks: Clocks::default(),
                rare: OnceCell::new(),
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

    /// After what time the client should come back, once the server shuts down.
    pub(crate) fn retry_hint(&self) -> Duration {
        self.live.retry_hint()
    }

    /// Keeps the connection's place among those of its peer.
    pub(crate) fn keep_place(&self, place: Place) {
        // Kept once: a connection has one peer.
        let _ = self.rare().place.set(place);
    }

    /// How the client is reached.
    pub(crate) fn transport(&self) -> Transport {
        match self.class.wire() {
            // An exchange has a context without this question.
            Wire::Body | Wire::WebSocket(_) => Transport::WebSocket,
            // Until it has asked for anything, as in `connect`, it is what most will do.
            Wire::Fallback => self.rare().transport.get().unwrap_or(Transport::LongPolling),
        }
    }

    /// Notes by which fallback transport the client asks.
    pub(crate) fn note_transport(&self, transport: Transport) {
        self.rare().transport.set(Some(transport));
    }

    /// Notes how much waits for the client's acknowledgement.
    pub(crate) fn note_kept(&self, bytes: usize, over_budget: bool) {
        self.rare().kept.set(bytes);
        if over_budget {
            self.relieve();
        }
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.hub.directory().counters
    }

    // --- the answer ---

    pub(crate) fn is_connecting(&self) -> bool {
        self.phase.get() == Phase::Connecting
    }

    /// Answers the handshake; false where it was answered before, or its client is gone.
    pub(crate) fn answer(&self, answer: Answer) -> bool {
        let Some(sender) = self.answer.take() else { return false };
        let phase = match &answer {
            Answer::Accept(_) | Answer::Respond(_) => Phase::Open,
            Answer::Reject(_) => Phase::Closing,
        };
        self.phase.set(phase);
        if phase == Phase::Closing {
            self.set_ending(Cause::Rejected, CloseCode::ABNORMAL, ByteString::new());
        }
        if sender.send(answer).is_err() {
            self.gone();
        } else if phase == Phase::Open {
            self.start_clocks();
        } else {
            // There is no socket to end: the host has the answer.
            self.finish();
        }
        true
    }

    // --- what goes out ---

    /// Queues the answer to a ping; without effect once a close frame is queued.
    pub(crate) fn pong(self: &Rc<Self>, payload: &[u8]) {
        // Closed: nothing may follow the close frame (RFC 6455, section 5.5.1).
        let _ = self.write(self.class.wire().encode_pong(payload));
    }

    /// Queues a message for the client, compressed where that was agreed on.
    pub(crate) fn send(self: &Rc<Self>, frame: &Frame) -> Result<(), Closed> {
        if self.phase.get() != Phase::Open {
            return Err(Closed);
        }
        // What the outbox will not take is not compressed first.
        let refused = self.outbox.borrow().refuses(frame, &self.limits);
        let counters = (!refused).then(|| &self.hub.directory().counters);
        let frame = self.class.encode(frame, counters);
        self.write(frame)
    }

    /// Queues one encoded frame.
    pub(crate) fn write(self: &Rc<Self>, frame: impl Into<Packet>) -> Result<(), Closed> {
        self.catch_up();
        // What the policy drops is no error to the sender: it is counted.
        self.push_frame(frame.into()).map(|_queued| ())
    }

    /// Queues one encoded frame; false where the overflow policy dropped it. No user code: hubs call it while borrowed.
    fn push_frame(self: &Rc<Self>, frame: Packet) -> Result<bool, Closed> {
        if self.phase.get() != Phase::Open {
            return Err(Closed);
        }
        let counters = self.counters();
        let pushed = self.outbox.borrow_mut().push(frame, &self.limits);
        match pushed {
            Pushed::Queued { dropped: 0, over_budget: false } => {}
            Pushed::Queued { dropped, over_budget } => {
                counters.outbox_full.add(dropped as u64);
                if over_budget {
                    self.relieve();
                }
            }
            Pushed::Replaced { dropped } => {
                counters.conflated.one();
                counters.outbox_full.add(dropped as u64);
            }
            Pushed::Refused => {
                counters.outbox_full.one();
                return Ok(false);
            }
            Pushed::TooSlow => {
                counters.too_slow.one();
                self.end(Cause::TooSlow, CloseCode::TRY_AGAIN, "read too slowly");
                return Err(Closed);
            }
            Pushed::Sealed => return Err(Closed),
        }
        self.mark_dirty();
        Ok(true)
    }

    /// Whether so many bytes more fit into the outbox.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let outbox = self.outbox.borrow();
        outbox.is_empty() || outbox.bytes() + bytes <= self.limits.outbox_size
    }

    /// Has the process make room, which may cost this connection.
    #[cold]
    fn relieve(&self) {
        self.hub.relieve(&self.ledger());
    }

    /// How many bytes wait, where they count in `ledger`.
    pub(crate) fn held_of(&self, ledger: &Ledger) -> usize {
        let outbox = self.outbox.borrow();
        if !std::ptr::eq(&raw const **outbox.ledger(), ledger) {
            return 0;
        }
        outbox.bytes() + self.rare.get().map_or(0, |rare| rare.kept.get())
    }

    /// Where its bytes count.
    pub(crate) fn ledger(&self) -> Rc<Ledger> {
        Rc::clone(self.outbox.borrow().ledger())
    }

    // --- what comes in from groups ---

    /// Passes a relayed frame on: straight to the outbox where that keeps the order, else through the inbox.
    pub(crate) fn relay(self: &Rc<Self>, frame: Packet) -> bool {
        if self.phase.get() == Phase::Open && !self.busy.get() && self.inbox.borrow().is_empty() {
            return self.push_frame(frame).unwrap_or(false);
        }
        // The frame most likely is in the outbox by the time of the flush: a sender's own copy keeps its place
        // among those of the others, and its next message comes while they are still being written.
        self.mark_dirty();
        self.push_mail(Mail::Frame(frame))
    }

    /// Queues an event for its handler, behind all that its groups sent before.
    pub(crate) fn push_event(&self, envelope: Envelope) -> bool {
        self.catch_up();
        self.take_event(envelope)
    }

    /// Queues an event of a group for its handler.
    pub(crate) fn take_event(&self, envelope: Envelope) -> bool {
        self.push_mail(Mail::Event(envelope))
    }

    /// Takes what large groups have sent so far, as far as the inbox has room: what is behind a full inbox keeps
    /// its place among the events, and frames do not wait for those.
    pub(super) fn catch_up(&self) {
        if self.hub.has_pending() {
            self.hub.catch_up_one(self.key);
        }
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
    ///
    /// One whose hook is suspended may not, unless it ran `since` then: its hook may be about to end.
    pub(crate) fn may_make_room(&self, since: u64) -> bool {
        !self.has_ended() && (!self.busy.get() || (self.ran.get() >= since && self.sending.get() == 0))
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
        self.note_message();
        if self.phase.get() != Phase::Closing && !self.has_ended() {
            self.input.borrow_mut().push(message);
        }
    }

    /// Notes that the client's close frame was read: nothing comes after it.
    pub(crate) fn note_client_closed(&self) {
        self.client_closed.set(true);
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

    /// Notes a membership, to which nothing up to the job `served` is owed.
    pub(crate) fn add_membership(&self, name: GroupName, slot: usize, served: u64) {
        self.memberships.borrow_mut().push(Membership { name, slot, served });
    }

    /// The job up to which all its memberships are served.
    pub(crate) fn served(&self) -> u64 {
        self.memberships.borrow().iter().map(|membership| membership.served).min().unwrap_or(u64::MAX)
    }

    /// The job up to which one is.
    pub(crate) fn served_of(&self, group: &GroupName) -> u64 {
        let memberships = self.memberships.borrow();
        let membership = memberships.iter().find(|membership| membership.name == *group);
        membership.map_or(u64::MAX, |membership| membership.served)
    }

    /// Whether it is a member of a group since before a job, and was not served it.
    pub(crate) fn is_owed(&self, group: &GroupName, job: u64) -> bool {
        self.served_of(group) < job
    }

    /// Notes that one membership is served up to a job.
    pub(crate) fn note_served(&self, group: &GroupName, job: u64) {
        let mut memberships = self.memberships.borrow_mut();
        if let Some(membership) = memberships.iter_mut().find(|membership| membership.name == *group) {
            membership.served = job;
        }
    }

    /// Notes that all are.
    pub(crate) fn note_all_served(&self, job: u64) {
        for membership in self.memberships.borrow_mut().iter_mut() {
            membership.served = job;
        }
    }

    pub(crate) fn remove_membership(&self, group: &GroupName) -> Option<usize> {
        let mut memberships = self.memberships.borrow_mut();
        let at = memberships.iter().position(|membership| membership.name == *group)?;
        Some(memberships.swap_remove(at).slot)
    }

    pub(crate) fn take_memberships(&self) -> SmallVec<[Membership; 1]> {
        self.memberships.take()
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
