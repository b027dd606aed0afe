//! The worker-local part of a layer's groups: the connections of this thread, and who of them is in which group.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use slab::Slab;
use smallvec::SmallVec;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, Instant},
};

use super::{
    Delivery,
    directory::Directory,
    fan_out::{Class, Form, Parcel},
    queue::{Job, WorkerQueue},
};
use crate::{
    Envelope, GroupName,
    close::{Cause, CloseCode},
    consumer::connection::Connection,
    layers::LayerError,
};

/// How long a sender waits, in all, for members that keep running without taking an event.
const ROOM_DEADLINE: Duration = Duration::from_secs(5);

/// How many jobs of other threads run before this thread's connections get a turn.
const JOBS_A_TURN: u32 = 64;

thread_local! {
    /// The hubs of this thread: one a layer. Few, so a list.
    static HUBS: RefCell<Vec<Rc<Hub>>> = const { RefCell::new(Vec::new()) };
}

/// Where a connection stands in its hub. The serial number tells it from an earlier one in the same slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) serial: u64,
}

/// One worker's part of a layer.
///
/// While `groups` or `connections` is borrowed no user code runs and no value of a user is dropped: what
/// is pushed is a clone whose original lives on, and what is refused is given back to the caller.
pub(crate) struct Hub {
    directory: Arc<Directory>,
    queue: Arc<WorkerQueue>,
    connections: RefCell<Slab<Rc<Connection>>>,
    groups: RefCell<HashMap<GroupName, LocalGroup>>,
    next_serial: Cell<u64>,
    /// How many inboxes of this hub are full: while none is, a send need not look.
    full: Cell<usize>,
    /// How many senders wait for room: while one does, none may overtake it.
    waiting: Cell<usize>,
    /// Counts the passes that senders let the others run; see [`Hub::begin_pass`].
    pass: Cell<u64>,
    /// The connection whose hook runs now.
    running: Cell<Option<Key>>,
}

#[derive(Default)]
struct LocalGroup {
    classes: SmallVec<[Members; 1]>,
    /// The turn of the senders that wait for room in this group, first come first served.
    turn: Option<Arc<Semaphore>>,
}

struct Members {
    class: Class,
    connections: Slab<Rc<Connection>>,
}

/// The hub of this thread for `directory`, made at its first connection.
pub(crate) fn of_thread(directory: &Arc<Directory>) -> Rc<Hub> {
    if let Some(hub) = find(|hub| hub.directory.id() == directory.id()) {
        return hub;
    }
    let hub = Rc::new(Hub {
        directory: Arc::clone(directory),
        queue: WorkerQueue::new(),
        connections: RefCell::default(),
        groups: RefCell::default(),
        next_serial: Cell::new(1),
        full: Cell::new(0),
        waiting: Cell::new(0),
        pass: Cell::new(0),
        running: Cell::new(None),
    });
    HUBS.with_borrow_mut(|hubs| hubs.push(Rc::clone(&hub)));
    directory.add_hub(&hub.queue);
    actix_rt::spawn(run_jobs(Rc::clone(&hub)));
    hub
}

fn find(wanted: impl Fn(&Hub) -> bool) -> Option<Rc<Hub>> {
    // A send from a thread-local's destructor finds the list gone: there is no hub then.
    HUBS.try_with(|hubs| hubs.borrow().iter().find(|hub| wanted(hub)).cloned()).ok().flatten()
}

/// Whether this thread runs consumers, so that blocking it would block them.
pub(crate) fn thread_is_worker() -> bool {
    find(|_| true).is_some()
}

/// Delivers to the members on this thread; `None` where `queue` is another thread's.
///
/// Waits, where a member's inbox is full, until the members that can run have run.
pub(crate) async fn deliver_here(
    queue: &Arc<WorkerQueue>,
    group: &GroupName,
    parcel: &Parcel,
) -> Option<Delivery> {
    // The future must be `Send`, so no hub may be held over an await: it is looked up anew at each step.
    let here = || find(|hub| Arc::ptr_eq(&hub.queue, queue));
    let must_wait = {
        let hub = here()?;
        hub.full.get() > 0 || hub.waiting.get() > 0
    };
    if !must_wait {
        return here().map(|hub| hub.deliver(group, parcel));
    }
    let waiting = Waiting::new(Arc::clone(queue));
    let turn = here()?.turn(group);
    let _turn: Option<OwnedSemaphorePermit> = match turn {
        Some(turn) => turn.acquire_owned().await.ok(),
        None => None,
    };
    let deadline = Instant::now() + ROOM_DEADLINE;
    loop {
        let moving = here()?.begin_pass(group);
        if !moving || Instant::now() >= deadline {
            break;
        }
        yield_pass().await;
    }
    drop(waiting);
    here().map(|hub| hub.deliver(group, parcel))
}

/// Lets every task of this thread that can run do so once.
///
/// Not `tokio::task::yield_now`: that comes back after one batch of tasks, before the rest have run.
async fn yield_pass() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Counts a waiting sender, also where its future is dropped.
struct Waiting {
    queue: Arc<WorkerQueue>,
    /// The connection whose hook sends: it takes no event until the send is through.
    sender: Option<Key>,
}

impl Waiting {
    fn new(queue: Arc<WorkerQueue>) -> Self {
        let sender = find(|hub| Arc::ptr_eq(&hub.queue, &queue)).and_then(|hub| hub.running.get());
        let waiting = Self { queue, sender };
        waiting.change(1);
        waiting
    }

    fn change(&self, by: isize) {
        let Some(hub) = find(|hub| Arc::ptr_eq(&hub.queue, &self.queue)) else { return };
        hub.waiting.set(hub.waiting.get().saturating_add_signed(by));
        if let Some(connection) = self.sender.and_then(|key| hub.connection(key)) {
            connection.note_sending(by);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.change(-1);
    }
}

/// Runs the jobs of other threads, in the order they came.
async fn run_jobs(hub: Rc<Hub>) {
    /// Closes the queue on every way out, the end of the worker's runtime included.
    struct Close(Rc<Hub>);
    impl Drop for Close {
        fn drop(&mut self) {
            self.0.queue.close();
        }
    }
    let close = Close(hub);
    let hub = &close.0;
    let mut run = 0_u32;
    loop {
        run += 1;
        if run.is_multiple_of(JOBS_A_TURN) {
            yield_pass().await;
        }
        match poll_fn(|cx| hub.queue.poll_pop(cx)).await {
            Job::CloseAll { drain } => hub.close_all(drain),
            Job::Deliver { group, parcel, reply, room } => {
                let delivery = deliver_here(&hub.queue, &group, &parcel).await.unwrap_or_default();
                drop(room);
                if let Some(reply) = reply {
                    // Who asked may have gone.
                    let _ = reply.send(delivery);
                }
            }
            Job::Join { key, group, reply } => {
                let joined = match hub.connection(key) {
                    Some(connection) => hub.join(&connection, &group),
                    None => Err(LayerError::NoReceiver),
                };
                let _ = reply.send(joined);
            }
            Job::Leave { key, group, reply } => {
                if let Some(connection) = hub.connection(key) {
                    hub.leave(&connection, &group);
                }
                let _ = reply.send(());
            }
            Job::Send { key, envelope, reply } => {
                let _ = reply.send(hub.send(key, envelope));
            }
        }
    }
}

impl Hub {
    pub(crate) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    pub(crate) fn queue(&self) -> &Arc<WorkerQueue> {
        &self.queue
    }

    /// Makes a connection known, under the key that `make` gets.
    pub(crate) fn attach(&self, make: impl FnOnce(Key) -> Rc<Connection>) -> Rc<Connection> {
        let serial = self.next_serial.get();
        self.next_serial.set(serial + 1);
        let mut connections = self.connections.borrow_mut();
        let entry = connections.vacant_entry();
        let connection = make(Key { slot: entry.key() as u32, serial });
        entry.insert(Rc::clone(&connection));
        connection
    }

    /// Forgets a connection and all its memberships. Doing it twice does nothing.
    pub(crate) fn detach(&self, connection: &Rc<Connection>) {
        for group in connection.take_memberships() {
            self.remove(&group.name, connection, group.slot);
        }
        let key = connection.key();
        let mut connections = self.connections.borrow_mut();
        if connections.get(key.slot as usize).is_some_and(|known| known.key() == key) {
            connections.remove(key.slot as usize);
        }
    }

    pub(crate) fn connection(&self, key: Key) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        connections.get(key.slot as usize).filter(|known| known.key() == key).cloned()
    }

    /// Makes a connection a member from now on. Joining twice does nothing (rule 26).
    pub(crate) fn join(&self, connection: &Rc<Connection>, group: &GroupName) -> Result<(), LayerError> {
        if connection.has_ended() {
            return Err(LayerError::NoReceiver);
        }
        if !connection.may_join(group)? {
            return Ok(());
        }
        let class = connection.class();
        let mut groups = self.groups.borrow_mut();
        let local = groups.entry(group.clone()).or_default();
        let members = match local.classes.iter().position(|members| members.class == class) {
            Some(at) => &mut local.classes[at],
            None => {
                self.directory.enter(group, &self.queue, class);
                local.classes.push(Members { class, connections: Slab::new() });
                local.classes.last_mut().expect("one was pushed")
            }
        };
        let slot = members.connections.insert(Rc::clone(connection));
        connection.add_membership(group.clone(), slot);
        Ok(())
    }

    /// Ends a membership from now on. Leaving a group that was never joined does nothing (rule 26).
    pub(crate) fn leave(&self, connection: &Rc<Connection>, group: &GroupName) {
        if let Some(slot) = connection.remove_membership(group) {
            self.remove(group, connection, slot);
        }
    }

    fn remove(&self, group: &GroupName, connection: &Rc<Connection>, slot: usize) {
        let mut groups = self.groups.borrow_mut();
        let Some(local) = groups.get_mut(group) else { return };
        let class = connection.class();
        let Some(at) = local.classes.iter().position(|members| members.class == class) else { return };
        let members = &mut local.classes[at].connections;
        if members.get(slot).is_some_and(|known| Rc::ptr_eq(known, connection)) {
            members.remove(slot);
        }
        if members.is_empty() {
            local.classes.remove(at);
            self.directory.leave(group, &self.queue, &class);
        }
        if local.classes.is_empty() {
            groups.remove(group);
        }
    }

    /// Hands a parcel to the members of this worker, at once.
    fn deliver(&self, group: &GroupName, parcel: &Parcel) -> Delivery {
        let mut sum = Delivery::default();
        let groups = self.groups.borrow();
        let Some(local) = groups.get(group) else { return sum };
        for members in &local.classes {
            let Some(form) = parcel.form(&members.class) else { continue };
            for (_, member) in &members.connections {
                let taken = match form {
                    Form::Failed => false,
                    Form::Frame(bytes) => member.relay(bytes.clone()),
                    Form::Handler => member.push_event(parcel.envelope.clone()),
                };
                if taken { sum.delivered += 1 } else { sum.dropped += 1 }
            }
        }
        sum
    }

    /// Hands an event to one connection (rule 23: a full inbox is an error here).
    pub(crate) fn send(&self, key: Key, envelope: Envelope) -> Result<(), LayerError> {
        let connection = self.connection(key).ok_or(LayerError::NoReceiver)?;
        if connection.has_ended() {
            return Err(LayerError::NoReceiver);
        }
        if connection.push_event(envelope) { Ok(()) } else { Err(LayerError::ChannelFull(connection.channel_name())) }
    }

    fn close_all(&self, drain: u64) {
        let connections: Vec<_> =
            self.connections.borrow().iter().map(|(_, connection)| Rc::clone(connection)).collect();
        for connection in connections {
            if connection.drain_id() == drain {
                connection.end(Cause::Shutdown, CloseCode::GOING_AWAY, "the server is shutting down");
            }
        }
    }

    /// An inbox became full, or got room again.
    pub(crate) fn note_full(&self, full: bool) {
        self.full.set(self.full.get().saturating_add_signed(if full { 1 } else { -1 }));
    }

    pub(crate) fn pass(&self) -> u64 {
        self.pass.get()
    }

    /// Notes whose hooks run now, or that none do.
    pub(crate) fn set_running(&self, key: Option<Key>) {
        self.running.set(key);
    }

    fn turn(&self, group: &GroupName) -> Option<Arc<Semaphore>> {
        let mut groups = self.groups.borrow_mut();
        let local = groups.get_mut(group)?;
        Some(Arc::clone(local.turn.get_or_insert_with(|| Arc::new(Semaphore::new(1)))))
    }

    /// Whether a member with a full inbox may make room if the sender lets all run once more.
    ///
    /// One whose hook is suspended will not, unless it ran in the pass before: then it may be about to end.
    fn begin_pass(&self, group: &GroupName) -> bool {
        if self.full.get() == 0 {
            return false;
        }
        let pass = self.pass.get();
        let groups = self.groups.borrow();
        let Some(local) = groups.get(group) else { return false };
        let mut members = local.classes.iter().flat_map(|members| &members.connections);
        let moving = members.any(|(_, member)| member.is_full() && member.may_make_room(pass));
        self.pass.set(pass + 1);
        moving
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("worker", &self.queue.id()).finish_non_exhaustive()
    }
}
