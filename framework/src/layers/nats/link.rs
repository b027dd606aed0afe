//! The two connections to NATS, while both are open.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_nats::{Client, Message as NatsMessage, ServerAddr, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, spawn_local, unconstrained},
    time::timeout,
};

use super::{
    answer::ProcessAnswer,
    expected::Waiting,
    fate::Fate,
    log::{streams::StreamState, tasks::ForeignEvent},
    shared::{Nats, NatsShared, NatsSource},
    subjects::READERS,
};
use crate::{ChannelName, Delivery, GroupName, layers::server::driver::InboundSenderOf};

/// The header that says how often a message was passed on.
pub(super) const PASSED: &str = "Greenroom-Passed";

/// How many refusals for lack of room may wait to be sent.
const REFUSALS: usize = 1_000;
/// How many groups without members stay subscribed at most.
const LINGERING: usize = 10_000;
/// A time that is longer than a lost connection is kept.
const NEVER: Duration = Duration::from_secs(86_400);

/// The connection for events of groups, and for requests to other processes.
pub(super) const GROUPS: usize = 0;
/// The connection for requests to this process, and for its answers.
pub(super) const CHANNELS: usize = 1;

/// The two connections to NATS.
///
/// With two, each shows when the server has read everything that was written on the other: a publication on
/// one comes back on the other, after all that was written before it. (The client's `flush` waits only for
/// the socket.) On the same connection nothing comes back. So members in this process do not get an event
/// twice, and a process that passes a message on is not asked to take it.
pub(super) struct NatsLink {
    pub(super) shared: Arc<NatsShared>,
    pub(super) inbox: Rc<InboundSenderOf<Nats>>,
    pub(super) clients: [Client; 2],
    pub(super) fate: Arc<Fate>,
    /// The reply subject by which this process recognizes its own events.
    from: Subject,
    /// The same for events that no log keeps, to groups with a log.
    transient: Subject,
    /// The tasks that wait for an answer.
    pub(super) waiting: Rc<Waiting>,
    pub(super) groups: RefCell<HashMap<GroupName, Subscription>>,
    /// The subscriptions to the logs of groups.
    pub(super) logs: RefCell<HashMap<GroupName, Subscription>>,
    /// The groups without members whose subscriptions stay for now, and until when.
    pub(super) lingering: RefCell<HashMap<GroupName, Instant>>,
    /// Who waits until the members here have an event of this process, by the event's nonce.
    pub(super) pending: RefCell<HashMap<u64, oneshot::Sender<Delivery>>>,
    /// The events that are in no log, until that is told in the stream.
    pub(super) foreign: mpsc::Sender<ForeignEvent>,
    /// The policies whose streams did not answer when this was connected, until their logs are read.
    pub(super) unread: RefCell<HashSet<usize>>,
    /// How many reads of logs have had a subject of their own.
    pub(super) pulls: Cell<u64>,
    /// Whether the server may know batches.
    pub(super) may_batch: Cell<bool>,
    pub(super) channels: RefCell<HashMap<ChannelName, Subscription>>,
    /// The subscriptions to requests and answers.
    own: RefCell<Vec<Subscription>>,
    /// How many refusals for lack of room wait to be sent.
    refusals: Cell<usize>,
    /// The groups that missed events because there was no room, and since when.
    pub(super) missed: RefCell<HashMap<GroupName, Instant>>,
}

/// A subscription. It lasts until this is dropped.
pub(super) struct Subscription {
    leave: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Subscription {
    /// Ends the subscription. When this returns, the server is told so before anything that is written later.
    pub(super) async fn leave(self) {
        drop(self.leave);
        // The task ends by itself.
        let _ = self.task.await;
    }
}

impl NatsLink {
    /// Connects, and subscribes to requests and answers of other processes.
    pub(super) async fn connect(
        shared: &Arc<NatsShared>,
        inbox: &Rc<InboundSenderOf<Nats>>,
        fate: &Arc<Fate>,
        servers: &[ServerAddr],
        foreign: mpsc::Sender<ForeignEvent>,
    ) -> Result<Rc<Self>, String> {
        let clients = [
            client(shared, fate, servers, "groups").await?,
            client(shared, fate, servers, "channels").await?,
        ];
        let max_payload = clients.iter().map(Client::max_payload).min().unwrap_or_default();
        shared.driver.max_payload.store(max_payload, Relaxed);
        let link = Rc::new(Self {
            shared: Arc::clone(shared),
            inbox: Rc::clone(inbox),
            clients,
            fate: Arc::clone(fate),
            from: shared.driver.subjects.from().into(),
            transient: shared.driver.subjects.transient().into(),
            waiting: Rc::default(),
            groups: RefCell::default(),
            logs: RefCell::default(),
            lingering: RefCell::default(),
            pending: RefCell::default(),
            foreign,
            unread: RefCell::default(),
            pulls: Cell::new(0),
            may_batch: Cell::new(true),
            channels: RefCell::default(),
            own: RefCell::default(),
            refusals: Cell::new(0),
            missed: RefCell::default(),
        });
        link.hear_own().await?;
        for connection in [GROUPS, CHANNELS] {
            link.meet(connection).await?;
        }
        Ok(link)
    }

    /// The other servers of the cluster, as the server names them.
    pub(super) fn discovered(&self) -> Vec<ServerAddr> {
        let urls = self.clients[GROUPS].server_info().connect_urls;
        urls.iter().filter_map(|url| url.parse().ok()).collect()
    }

    /// Subscribes to requests and answers.
    async fn hear_own(self: &Rc<Self>) -> Result<(), String> {
        for connection in [GROUPS, CHANNELS] {
            let link = Rc::downgrade(self);
            let replies = self.shared.driver.subjects.reply(connection, '*');
            let hear = move |message: NatsMessage| {
                let Some(link) = link.upgrade() else { return };
                let number = message.subject.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
                if let Some(number) = number {
                    link.waiting.answered(number, message);
                }
            };
            let heard = self.subscribe(connection, replies, None, hear).await?;
            self.own.borrow_mut().push(heard);
        }
        for subject in self.shared.driver.subjects.own_tasks() {
            let link = Rc::downgrade(self);
            let hear = move |message: NatsMessage| {
                let Some(link) = link.upgrade() else { return };
                let to = message.reply.as_ref().map(ToString::to_string);
                let source = NatsSource::Task { subject: message.subject.to_string(), to };
                link.arrived(&message, source);
            };
            let heard = self.subscribe(CHANNELS, subject, None, hear).await?;
            self.own.borrow_mut().push(heard);
        }
        Ok(())
    }

    /// Subscribes to a group, unless it was never unsubscribed.
    pub(super) async fn hear_group(self: &Rc<Self>, group: &GroupName) -> Result<(), String> {
        if self.lingering.borrow_mut().remove(group).is_some() {
            return Ok(());
        }
        let policy = self.shared.policy(group);
        let (link, name) = (Rc::downgrade(self), group.clone());
        let hear = move |message: NatsMessage| {
            let Some(link) = link.upgrade() else { return };
            if message.reply.as_ref().is_some_and(|reply| *reply == link.from || *reply == link.transient) {
                // This process sent the event by its previous connection. Its members have had the event
                // already.
                return;
            }
            // The payload is copied, because a message that waits would keep the whole buffer of the client.
            let bytes = Bytes::copy_from_slice(&message.payload);
            let is_transient =
                || message.reply.as_ref().is_some_and(|to| link.shared.driver.subjects.is_transient(to));
            match policy {
                Some(policy) if !is_transient() => {
                    if link.shared.driver.streams.state(policy) != StreamState::Unusable {
                        link.foreign(ForeignEvent { group: name.clone(), policy, payload: bytes });
                    } else if !link.inbox.offer(bytes, NatsSource::Own(name.clone())) {
                        link.miss_group(&name);
                    }
                }
                _ if link.inbox.offer(bytes, NatsSource::Group(name.clone())) => {}
                _ => link.miss_group(&name),
            }
        };
        let heard = self.subscribe_group(self.shared.driver.subjects.group(group), hear).await?;
        self.groups.borrow_mut().insert(group.clone(), heard);
        match policy {
            Some(policy) => self.hear_log(group, policy).await,
            None => Ok(()),
        }
    }

    /// Whether the subscription to a group without members stays for a while, so that its log goes on.
    pub(super) fn lingers(&self, group: &GroupName) -> bool {
        let within = self.shared.config.layer.history_of(group).map(|history| history.time());
        let mut lingering = self.lingering.borrow_mut();
        let stays =
            within.filter(|_| lingering.len() < LINGERING && self.groups.borrow().contains_key(group));
        stays.is_some_and(|within| lingering.insert(group.clone(), Instant::now() + within).is_none())
    }

    /// Ends the subscriptions to a group.
    pub(super) async fn unhear_group(&self, group: &GroupName) {
        let heard = [self.groups.borrow_mut().remove(group), self.logs.borrow_mut().remove(group)];
        for heard in heard.into_iter().flatten() {
            heard.leave().await;
        }
        self.forget_log(group);
    }

    /// Subscribes to a subject on the connection for events of groups.
    pub(super) async fn subscribe_group(
        &self,
        subject: String,
        hear: impl Fn(NatsMessage) + 'static,
    ) -> Result<Subscription, String> {
        self.subscribe(GROUPS, subject, None, hear).await
    }

    /// Counts an event of a group that is dropped. The group's members learn of it.
    pub(super) fn miss_group(&self, group: &GroupName) {
        self.miss();
        self.refill_group(group);
    }

    /// Has a group's members learn that they missed something. If the group has a log, it is filled instead.
    pub(super) fn refill_group(&self, group: &GroupName) {
        self.missed.borrow_mut().entry(group.clone()).or_insert_with(Instant::now);
        self.fate.misses.notify_one();
    }

    /// Subscribes to a channel of any process.
    pub(super) async fn hear_channel(self: &Rc<Self>, channel: &ChannelName) -> Result<(), String> {
        let (link, name) = (Rc::downgrade(self), channel.clone());
        let hear = move |message: NatsMessage| {
            let Some(link) = link.upgrade() else { return };
            let passed = message.headers.as_ref().and_then(|headers| headers.get(PASSED));
            let passed = passed.and_then(|passed| passed.as_str().parse().ok()).unwrap_or_default();
            let to = message.reply.as_ref().map(ToString::to_string);
            link.arrived(&message, NatsSource::Channel { channel: name.clone(), passed, to });
        };
        let subject = self.shared.driver.subjects.channel(channel);
        let heard = self.subscribe(CHANNELS, subject, Some(READERS), hear).await?;
        self.channels.borrow_mut().insert(channel.clone(), heard);
        Ok(())
    }

    /// Hands over a request to this process. If there is no room, the process that asks is told so.
    fn arrived(self: &Rc<Self>, message: &NatsMessage, source: NatsSource) {
        if self.inbox.offer(Bytes::copy_from_slice(&message.payload), source) {
            return;
        }
        self.miss();
        let refusals = self.refusals.get();
        let Some(to) = message.reply.clone().filter(|_| refusals < REFUSALS) else { return };
        self.refusals.set(refusals + 1);
        let link = Rc::clone(self);
        spawn_local(async move {
            link.answer(to.to_string(), &ProcessAnswer::Full).await;
            link.refusals.set(link.refusals.get() - 1);
        });
    }

    /// Counts a message that is dropped. This is logged at most once a minute.
    fn miss(&self) {
        self.shared.counters().inbound_full.one();
        if let Some(more) = self.shared.status.logs("inbound") {
            self.fate.log(|| {
                tracing::warn!(more, "messages from NATS are dropped: too many wait to be delivered")
            });
        }
    }

    /// Subscribes to a subject, and calls `hear` for each message.
    async fn subscribe(
        &self,
        connection: usize,
        subject: String,
        queue: Option<&str>,
        hear: impl Fn(NatsMessage) + 'static,
    ) -> Result<Subscription, String> {
        let client = &self.clients[connection];
        let subscribed = match queue {
            Some(queue) => client.queue_subscribe(subject, queue.to_owned()).await,
            None => client.subscribe(subject).await,
        };
        let mut heard = subscribed.map_err(|error| error.to_string())?;
        let (leave, mut left) = oneshot::channel();
        // The task runs without tokio's budget. All messages that the client has read must be taken before it
        // reads on, because the client does not count its messages in bytes.
        let task = spawn_local(unconstrained(async move {
            loop {
                tokio::select! {
                    biased;
                    message = heard.next() => match message {
                        Some(message) => hear(message),
                        None => return,
                    },
                    _ = &mut left => {
                        // This fails if the connection is lost, and then the subscription is gone too.
                        let _ = heard.unsubscribe().await;
                        return;
                    }
                }
            }
        }));
        Ok(Subscription { leave, task })
    }

    /// Publishes to a group.
    pub(super) async fn publish(
        &self,
        group: &GroupName,
        event: Bytes,
        transient: bool,
    ) -> Result<(), String> {
        let subject = self.shared.driver.subjects.group(group);
        let from = if transient { &self.transient } else { &self.from };
        let published = self.clients[GROUPS].publish_with_reply(subject, from.clone(), event).await;
        published.map_err(|error| error.to_string())
    }

    /// Tells the other processes with members in a group that its log lacks an event.
    pub(super) async fn tell_members_elsewhere(
        &self,
        policy: usize,
        group: &GroupName,
    ) -> Result<(), String> {
        let subject = self.shared.driver.subjects.at_policy(policy, group);
        let published = self.clients[GROUPS].publish(subject, Bytes::new()).await;
        published.map_err(|error| error.to_string())
    }

    /// Sends an answer to a request.
    pub(super) async fn answer(&self, to: String, answer: &ProcessAnswer) {
        // This fails if the connection is lost. The process that asked then gets no answer in time.
        let _ = self.clients[CHANNELS].publish(to, answer.to_text().into()).await;
    }

    /// Waits until everything that was written is in the socket.
    pub(super) async fn flush(&self, connection: usize) -> Result<(), String> {
        self.clients[connection].flush().await.map_err(|error| error.to_string())
    }
}

async fn client(
    shared: &Arc<NatsShared>,
    fate: &Arc<Fate>,
    servers: &[ServerAddr],
    what: &str,
) -> Result<Client, String> {
    // If several crypto providers are compiled in, rustls chooses none by itself. A provider that the program
    // has installed stays. This is done for every URL, because any server may ask for TLS.
    let _ = async_nats::rustls::crypto::ring::default_provider().install_default();
    let options = shared.driver.settings.options(shared.config.timeout).map_err(|error| error.to_string())?;
    let fate = Arc::clone(fate);
    let connected = Arc::new(AtomicBool::new(false));
    let was_connected = Arc::clone(&connected);
    let options = options
        .name(format!("greenroom {what}"))
        .event_callback(move |event| {
            fate.note(event);
            std::future::ready(())
        })
        // The client would connect again by itself. Then it would write what it had kept, which is late and
        // was counted as lost. So the client must never reconnect, and this layer makes new connections
        // instead.
        .reconnect_delay_callback(move |_| if was_connected.load(Relaxed) { NEVER } else { Duration::ZERO });
    // The limit also holds for the look-up of names, which has none.
    let patience = shared.config.timeout * (servers.len() as u32 + 1);
    match timeout(patience, options.connect(servers)).await {
        Ok(Ok(client)) => {
            connected.store(true, Relaxed);
            Ok(client)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {patience:?}")),
    }
}
