//! One connection, which its task, its hub and its transport share.
//!
//! This file has the state of a connection, and its answer. The other files do things with this state: [`outgoing`]
//! takes what goes to the client, [`backpressure`] waits for room, [`member`] takes what comes from groups, [`turn`] says
//! what the task does next, [`deadlines`] says what is overdue, [`sink`] writes, [`ending`] ends the connection, and
//! [`record`] logs that. [`rooms`] has the rooms that the consumer has joined, and [`in_rooms`] uses them. For groups that
//! keep their events, [`places`] is the state of a client that is told its places, [`introduction`] lets it begin, [`named`]
//! finds the places that it names, and [`telling`] tells it.

mod answer;
pub(crate) mod backpressure;
mod client_reader;
mod clocks;
mod deadlines;
mod ending;
mod handled;
mod in_rooms;
mod introduction;
mod member;
mod named;
mod outgoing;
pub(crate) mod peers;
pub(crate) mod places;
mod record;
mod rooms;
mod sink;
mod telling;
mod turn;
mod way_out;

pub(crate) use self::{
    answer::{Accepted, Head, RequestAnswer},
    client_reader::ClientReader,
    record::Record,
};
use self::{
    clocks::Clocks,
    peers::PeerGuard,
    places::Places,
    rooms::JoinedRooms,
    way_out::{Sink, Writer},
};

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use bytestring::ByteString;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{
    ChannelName, Message,
    close::{Cause, CloseCode, Disconnect},
    groups::{
        budget::{Budget, Charge},
        drain::{Drain, DrainGuard},
        fan_out::Class,
        hub::Hub,
        inbox::{Inbox, Mail, ReadAhead},
        key::Key,
        member::Memberships,
        outbox::Outbox,
    },
    metrics::Counters,
    wire::{Transport, Wire, limits::Limits, rate::Bucket, websocket::deflate::Packer},
};

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// `connect` has not answered yet.
    Connecting,
    /// Accepted.
    Open,
    /// Our close frame is queued or sent. Nothing else goes out any more.
    Closing,
    /// The transport has ended. What waits is written, then the socket is closed.
    Finished,
}

/// What the task does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing: the connection has ended.
    End,
    /// The client comes back, or is new, and is to be told its places.
    Introduce,
    Mail(Mail),
    Message(Message),
}

/// Up to so many bytes of messages that wait for a hook do not count in the mount's budget.
const UNCOUNTED_INPUT: usize = 64 << 10;

/// How a connection ended, and when. At that time the hooks' grace begins.
#[derive(Debug)]
struct ConnectionEnd {
    how: Disconnect,
    at: Instant,
}

/// What only some connections have.
#[derive(Default)]
struct Rare {
    /// Counts the connection for its peer until it is dropped.
    place: OnceCell<PeerGuard>,
    /// How many messages the client may still send.
    bucket: OnceCell<Bucket>,
    /// The fallback transport of the client's last request.
    transport: Cell<Option<Transport>>,
    /// How many bytes outside the outbox wait for the client's acknowledgement.
    kept: Cell<usize>,
    /// Counts the client's messages that wait for a hook, if they are large.
    input: Cell<Option<Charge>>,
    /// Wakes those who wait until the client has read enough.
    room: OnceCell<Rc<Notify>>,
    /// What the lines of the connection in the log name.
    record: OnceCell<Box<Record>>,
    /// The rooms that the consumer has joined.
    rooms: OnceCell<Box<JoinedRooms>>,
}

impl Rare {
    /// How many bytes of the client's messages that wait for a hook are counted.
    fn input_bytes(&self) -> usize {
        let charge = self.input.take();
        let bytes = charge.as_ref().map_or(0, Charge::bytes);
        self.input.set(charge);
        bytes
    }
}

/// One connection.
///
/// A borrow of one of its cells lasts for one statement, and no user code runs during it.
pub(crate) struct Connection {
    hub: Rc<Hub>,
    key: Key,
    class: Class,
    pub(crate) limits: Arc<Limits>,
    life: Cell<Life>,
    /// Whether a hook runs. Then relayed frames go through the inbox.
    busy: Cell<bool>,
    /// How many sends of this connection's hook wait for room in an inbox.
    sending: Cell<u32>,
    /// The hub's pass in which the task last ran.
    ran: Cell<u64>,
    /// How many hooks ran in this turn, and how many messages in a row.
    turn: Cell<(u32, u32)>,
    inbox: RefCell<Inbox>,
    input: RefCell<ReadAhead>,
    outbox: RefCell<Outbox>,
    /// Compresses frames between the outbox and the socket, if the client has agreed on context takeover.
    packer: Option<Box<RefCell<Packer>>>,
    memberships: Memberships,
    /// How the connection ended. The first cause stays.
    ending: OnceCell<Box<ConnectionEnd>>,
    answer: Cell<Option<oneshot::Sender<RequestAnswer>>>,
    /// Wakes the task when there is something for it.
    task: Cell<Option<Waker>>,
    /// What frames are written to.
    sink: RefCell<Sink>,
    writer: Cell<Writer>,
    /// Whether the client's close frame was read.
    client_closed: Cell<bool>,
    clocks: Clocks,
    /// What the client is told of its places in logs, if it asked for that.
    places: OnceCell<Box<Places>>,
    /// Made only for connections that need it.
    rare: OnceCell<Box<Rare>>,
    /// Counts the connection for the shutdown until it is dropped.
    guard: DrainGuard,
}

impl Connection {
    /// Makes a connection, and makes it known to its hub.
    pub(crate) fn new(
        hub: &Rc<Hub>,
        class: Class,
        limits: Arc<Limits>,
        budget: &Arc<Budget>,
        guard: DrainGuard,
        answer: oneshot::Sender<RequestAnswer>,
        packer: Option<Packer>,
    ) -> Rc<Self> {
        hub.attach(|key| {
            let capacity = hub.directory().config.capacity_with(|| hub.channel_of(key));
            Rc::new(Self {
                hub: Rc::clone(hub),
                key,
                class,
                limits,
                life: Cell::new(Life::Connecting),
                busy: Cell::new(true),
                sending: Cell::new(0),
                ran: Cell::new(0),
                turn: Cell::new((0, 0)),
                inbox: RefCell::new(Inbox::new(capacity)),
                input: RefCell::default(),
                outbox: RefCell::new(Outbox::new(hub.ledger(budget))),
                packer: packer.map(|packer| Box::new(RefCell::new(packer))),
                memberships: Memberships::default(),
                ending: OnceCell::new(),
                answer: Cell::new(Some(answer)),
                task: Cell::default(),
                sink: RefCell::default(),
                writer: Cell::new(Writer::Running),
                client_closed: Cell::new(false),
                clocks: Clocks::default(),
                places: OnceCell::new(),
                rare: OnceCell::new(),
                guard,
            })
        })
    }

    pub(crate) fn hub(&self) -> &Rc<Hub> {
        &self.hub
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    pub(crate) fn channel_name(&self) -> ChannelName {
        self.hub.channel_of(self.key)
    }

    /// After how long the client should come back when the server shuts down.
    pub(crate) fn retry_hint(&self) -> Duration {
        self.guard.retry_hint()
    }

    /// The drain of the connection's host.
    pub(crate) fn drain(&self) -> Drain {
        self.guard.drain()
    }

    /// Keeps the connection's place among those of its peer.
    pub(crate) fn keep_place(&self, place: PeerGuard) {
        // It is set only once, because a connection has one peer.
        let _ = self.rare().place.set(place);
    }

    /// How the client is reached.
    pub(crate) fn transport(&self) -> Transport {
        match self.class.wire() {
            // The context of an HTTP exchange does not ask for its transport.
            Wire::Body | Wire::MarkedWebSocket(_) | Wire::WebSocket(_) => Transport::WebSocket,
            // Before the client's first request, as in `connect`, this is what most clients will use.
            Wire::Fallback | Wire::MarkedFallback => {
                self.rare().transport.get().unwrap_or(Transport::LongPolling)
            }
        }
    }

    /// Notes the fallback transport of the client's request.
    pub(crate) fn note_transport(&self, transport: Transport) {
        self.rare().transport.set(Some(transport));
    }

    /// Notes how many bytes wait for the client's acknowledgement.
    pub(crate) fn note_kept(&self, bytes: usize, over_budget: bool) {
        if self.rare().kept.replace(bytes) > bytes {
            self.note_taken();
        }
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
        self.life.get() == Life::Connecting
    }

    /// Answers the handshake. Returns false if it was answered before, or its client is gone.
    pub(crate) fn answer(&self, answer: RequestAnswer) -> bool {
        let Some(sender) = self.answer.take() else { return false };
        let life = match &answer {
            RequestAnswer::Accept(_) | RequestAnswer::Respond(_) => Life::Open,
            RequestAnswer::Reject(_) => Life::Closing,
        };
        self.life.set(life);
        if life == Life::Closing {
            self.set_ending(Cause::Rejected, CloseCode::ABNORMAL, ByteString::new());
        }
        self.log_answer(&answer);
        if sender.send(answer).is_err() {
            self.gone();
        } else if life == Life::Open {
            self.start_clocks();
        } else {
            // There is no socket to end, because the host has the answer.
            self.finish();
        }
        true
    }

    // --- what comes in from the client ---

    /// Whether the transport may read on.
    pub(crate) fn wants_input(&self) -> bool {
        self.input.borrow().has_room(self.limits.read_ahead)
    }

    pub(crate) fn has_input(&self) -> bool {
        !self.input.borrow().is_empty()
    }

    /// Adds a message of the client.
    ///
    /// A message that comes after our close frame is dropped (RFC 6455, section 1.4).
    pub(crate) fn push_input(&self, message: Message) {
        let message = match self.places.get() {
            Some(_) if matches!(self.class.wire(), Wire::MarkedWebSocket(_)) => {
                match self.unmarked(message) {
                    Some(message) => message,
                    None => return,
                }
            }
            _ => message,
        };
        // A control is no message: a client that only asks for signs of life is idle.
        self.note_message();
        if !self.is_closing() && !self.has_ended() {
            self.input.borrow_mut().push(message);
            self.count_input();
        }
    }

    /// Takes the oldest message of the client that waits.
    fn pop_input(&self) -> Option<Message> {
        let message = self.input.borrow_mut().pop();
        self.count_input();
        message
    }

    /// Drops the client's messages that wait.
    fn drop_input(&self) {
        self.input.borrow_mut().clear();
        self.count_input();
    }

    /// Counts the messages that wait in the mount's budget: a kilobyte that was sent may have become a megabyte.
    ///
    /// A few bytes do not count, so most messages cost no more than two comparisons.
    fn count_input(&self) {
        let waiting = Some(self.input.borrow().bytes()).filter(|bytes| *bytes > UNCOUNTED_INPUT);
        if waiting.unwrap_or(0) == self.rare.get().map_or(0, |rare| rare.input_bytes()) {
            return;
        }
        // The old count goes first, so that nothing counts twice.
        drop(self.rare().input.take());
        let Some(bytes) = waiting else { return };
        let (charge, over_budget) = Charge::new(self.ledger(), bytes);
        self.rare().input.set(Some(charge));
        if over_budget {
            self.relieve();
        }
    }

    /// Notes that the client's close frame was read. Nothing comes after that frame.
    pub(crate) fn note_client_closed(&self) {
        self.client_closed.set(true);
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("key", &self.key).field("life", &self.life).finish_non_exhaustive()
    }
}
