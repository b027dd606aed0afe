//! The two connections to NATS, from when both are there until one of them is lost.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_nats::{Client, HeaderMap, Message as NatsMessage, ServerAddr, StatusCode, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_local, unconstrained},
    time::timeout,
};

use super::{
    answer::ProcessAnswer,
    fate::Fate,
    shared::{LOST, Nats, NatsShared, NatsSource},
    subjects::READERS,
};
use crate::{ChannelName, GroupName, LayerError, layers::server::driver::InboundSenderOf};

/// In the header: how often a message was passed on.
const PASSED: &str = "Greenroom-Passed";

/// How many may wait to be told that there is no room for what they ask.
const REFUSALS: usize = 1_000;
/// Longer than any connection that is lost is kept.
const NEVER: Duration = Duration::from_secs(86_400);

/// Of groups: what is published to them and heard of them, and what others are asked.
pub(super) const GROUPS: usize = 0;
/// Of channels: what others ask this process, and what it answers.
pub(super) const CHANNELS: usize = 1;

/// Two connections, so that each shows when the server has read what was written on the other: a publication on one comes
/// back on the other, behind all that was written before it. (The client's `flush` ends at the socket.) On its own
/// connection nothing comes back: members here have the event, and who passes a message on is not asked itself.
pub(super) struct NatsLink {
    pub(super) shared: Arc<NatsShared>,
    pub(super) inbox: Rc<InboundSenderOf<Nats>>,
    clients: [Client; 2],
    pub(super) fate: Arc<Fate>,
    /// What this process is known by in what it publishes to groups.
    from: Subject,
    /// Those who wait for an answer, by its number.
    waiting: RefCell<HashMap<u64, oneshot::Sender<NatsMessage>>>,
    next: Cell<u64>,
    pub(super) groups: RefCell<HashMap<GroupName, Subscription>>,
    pub(super) channels: RefCell<HashMap<ChannelName, Subscription>>,
    /// What hears tasks and answers.
    own: RefCell<Vec<Subscription>>,
    /// How many wait to be told that there is no room.
    refusals: Cell<usize>,
    /// The groups that missed something, for there was no room for it, since when.
    pub(super) missed: RefCell<HashMap<GroupName, Instant>>,
}

/// Something that is heard, until it is dropped.
pub(super) struct Subscription {
    leave: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Subscription {
    /// Ends it; behind this the server has been told so before all that it is told next.
    pub(super) async fn leave(self) {
        drop(self.leave);
        // It ends by itself.
        let _ = self.task.await;
    }
}

impl NatsLink {
    /// Connects, and hears what others ask and answer.
    pub(super) async fn connect(
        shared: &Arc<NatsShared>,
        inbox: &Rc<InboundSenderOf<Nats>>,
        fate: &Arc<Fate>,
        servers: &[ServerAddr],
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
            waiting: RefCell::default(),
            next: Cell::new(0),
            groups: RefCell::default(),
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

    /// Where else the servers of the cluster are, as they say.
    pub(super) fn discovered(&self) -> Vec<ServerAddr> {
        let urls = self.clients[GROUPS].server_info().connect_urls;
        urls.iter().filter_map(|url| url.parse().ok()).collect()
    }

    async fn hear_own(self: &Rc<Self>) -> Result<(), String> {
        for connection in [GROUPS, CHANNELS] {
            let link = Rc::downgrade(self);
            let replies = self.shared.driver.subjects.reply(connection, '*');
            let hear = move |message: NatsMessage| {
                let Some(link) = link.upgrade() else { return };
                let number = message.subject.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
                let waiting = number.and_then(|number| link.waiting.borrow_mut().remove(&number));
                // Who asked may have given up.
                if let Some(waiting) = waiting {
                    let _ = waiting.send(message);
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

    /// Hears a group.
    pub(super) async fn hear_group(self: &Rc<Self>, group: &GroupName) -> Result<(), String> {
        let (link, name) = (Rc::downgrade(self), group.clone());
        let hear = move |message: NatsMessage| {
            let Some(link) = link.upgrade() else { return };
            if message.reply.as_ref() == Some(&link.from) {
                // The server had it still of the connection before: members here have had it.
                return;
            }
            // A copy: what is kept for a while is not to keep the client's buffer.
            let bytes = Bytes::copy_from_slice(&message.payload);
            if !link.inbox.offer(bytes, NatsSource::Group(name.clone())) {
                link.miss();
                link.missed.borrow_mut().entry(name.clone()).or_insert_with(Instant::now);
                link.fate.misses.notify_one();
            }
        };
        let heard = self.subscribe(GROUPS, self.shared.driver.subjects.group(group), None, hear).await?;
        self.groups.borrow_mut().insert(group.clone(), heard);
        Ok(())
    }

    /// Takes part in a channel of any process.
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

    /// Hands on what this process is asked; where there is no room, who asks is told so.
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

    fn miss(&self) {
        self.shared.counters().inbound_full.one();
        if let Some(more) = self.shared.status.logs("inbound") {
            self.fate
                .log(|| tracing::warn!(more, "messages of NATS are dropped: too many wait to be delivered"));
        }
    }

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
        // Without tokio's budget: whatever the client has read is to be taken before it reads on, for what it keeps is not
        // counted in bytes.
        let task = spawn_local(unconstrained(async move {
            loop {
                tokio::select! {
                    biased;
                    message = heard.next() => match message {
                        Some(message) => hear(message),
                        None => return,
                    },
                    _ = &mut left => {
                        // It fails where the connection is gone, and this with it.
                        let _ = heard.unsubscribe().await;
                        return;
                    }
                }
            }
        }));
        Ok(Subscription { leave, task })
    }

    /// Publishes to a group.
    pub(super) async fn publish(&self, group: &GroupName, event: Bytes) -> Result<(), String> {
        let subject = self.shared.driver.subjects.group(group);
        let published = self.clients[GROUPS].publish_with_reply(subject, self.from.clone(), event).await;
        published.map_err(|error| error.to_string())
    }

    pub(super) async fn answer(&self, to: String, answer: &ProcessAnswer) {
        // It fails where the connection is gone; who asked learns of that by the time that it takes.
        let _ = self.clients[CHANNELS].publish(to, answer.to_text().into()).await;
    }

    /// Waits until what was written is out of this process.
    pub(super) async fn flush(&self, connection: usize) -> Result<(), String> {
        self.clients[connection].flush().await.map_err(|error| error.to_string())
    }

    /// Asks whoever hears a subject. When this returns it is on its way; what that gives is the answer.
    pub(super) async fn ask(
        self: &Rc<Self>,
        connection: usize,
        subject: String,
        payload: Bytes,
        passed: u8,
    ) -> impl Future<Output = Result<ProcessAnswer, LayerError>> + use<> {
        let answer = self.expect();
        let reply = self.shared.driver.subjects.reply(connection, answer.number);
        let client = &self.clients[connection];
        let asked = if passed == 0 {
            client.publish_with_reply(subject, reply, payload).await
        } else {
            let mut headers = HeaderMap::new();
            headers.insert(PASSED, passed.to_string());
            client.publish_with_reply_and_headers(subject, reply, headers, payload).await
        };
        let link = Rc::clone(self);
        async move {
            if let Err(error) = asked {
                return Err(LayerError::Refused(error.to_string()));
            }
            let answered = answer.wait(&link).await;
            let message =
                answered.map_err(|failed| link.shared.status.unavailable(0, &failed.reason(&link)))?;
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                return Ok(ProcessAnswer::None);
            }
            Ok(ProcessAnswer::read(&message.payload))
        }
    }

    /// Waits until the server has read all that was written on one of the connections so far.
    pub(super) async fn synced(self: &Rc<Self>, connection: usize) -> Result<(), String> {
        let answer = self.expect();
        self.call(connection, answer.number).await?;
        match answer.wait(self).await {
            Ok(_) => Ok(()),
            Err(failed) => Err(self.fate.reason(&failed.reason(self))),
        }
    }

    /// Waits until what is published on one of the connections comes back on the other: the server hears of the two in any
    /// order, so the first ones may go nowhere.
    async fn meet(self: &Rc<Self>, connection: usize) -> Result<(), String> {
        let mut answer = self.expect();
        let met = async {
            let mut pause = Duration::from_millis(5);
            loop {
                self.call(connection, answer.number).await?;
                if timeout(pause, &mut answer.message).await.is_ok() {
                    return Ok(());
                }
                pause *= 2;
            }
        };
        let patience = self.shared.config.timeout;
        match timeout(patience, met).await {
            Ok(met) => met,
            Err(_) => Err(self.fate.reason(&Failed::Late.reason(self))),
        }
    }

    /// Publishes on one of the connections what the other hears.
    async fn call(&self, connection: usize, number: u64) -> Result<(), String> {
        let other = if connection == GROUPS { CHANNELS } else { GROUPS };
        let subject = self.shared.driver.subjects.reply(other, number);
        self.clients[connection].publish(subject, Bytes::new()).await.map_err(|error| error.to_string())
    }

    fn expect(self: &Rc<Self>) -> Expected {
        let number = self.next.get();
        self.next.set(number + 1);
        let (sender, message) = oneshot::channel();
        self.waiting.borrow_mut().insert(number, sender);
        Expected { link: Rc::clone(self), number, message }
    }
}

/// An answer that is waited for. It is not expected any more where this is dropped.
struct Expected {
    link: Rc<NatsLink>,
    number: u64,
    message: oneshot::Receiver<NatsMessage>,
}

impl Expected {
    async fn wait(mut self, link: &NatsLink) -> Result<NatsMessage, Failed> {
        match timeout(link.shared.config.timeout, &mut self.message).await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(_)) => Err(Failed::Lost),
            Err(_) => Err(Failed::Late),
        }
    }
}

/// Why there is no answer.
enum Failed {
    Late,
    Lost,
}

impl Failed {
    fn reason(&self, link: &NatsLink) -> String {
        match self {
            Self::Late => format!("no answer in {:?}", link.shared.config.timeout),
            Self::Lost => LOST.to_owned(),
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.link.waiting.borrow_mut().remove(&self.number);
    }
}

async fn client(
    shared: &Arc<NatsShared>,
    fate: &Arc<Fate>,
    servers: &[ServerAddr],
    what: &str,
) -> Result<Client, String> {
    // Where the program has several, rustls takes none by itself; one that was chosen stays. Any server may ask for TLS.
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
        // The client would connect again by itself, and then write what it had kept: late, and what was counted as lost.
        // This layer makes new ones instead.
        .reconnect_delay_callback(move |_| if was_connected.load(Relaxed) { NEVER } else { Duration::ZERO });
    // The name service has no limit of its own.
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
