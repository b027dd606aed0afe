//! Channel layers: how events reach consumers, groups and queues.
//!
//! Programs hold a [`Layer`]; backends implement [`ChannelLayer`] around the in-process [`Groups`].

mod gap;
mod local;
mod memory;
#[cfg(feature = "nats")]
#[cfg_attr(docsrs, doc(cfg(feature = "nats")))]
pub mod nats;
mod open;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
#[cfg(any(feature = "nats", feature = "redis"))]
mod server;

use std::{
    collections::HashMap,
    fmt,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;

#[cfg(any(feature = "nats", feature = "redis"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "nats", feature = "redis"))))]
pub use self::server::{Away, ServerConfig, ServerLayer};
pub use self::{
    gap::LayerGap,
    local::Groups,
    memory::MemoryLayer,
    open::{OpenError, OpenOptions},
};
pub use crate::groups::{config::LayerConfig, error::LayerError};
use crate::{ChannelName, Delivery, Envelope, GroupName, IntoEnvelope, groups::hubs, metrics::Metrics};

/// A backend: implement it to bring events over another server. Programs use it through [`Layer`].
///
/// What the process itself needs, its members and queues, is [`Groups`]: a backend holds one and hands to
/// it what arrives. Delivery is at most once (rule 24).
#[async_trait]
pub trait ChannelLayer: Send + Sync + fmt::Debug + 'static {
    /// The in-process part: who is connected here, and in which groups.
    fn groups(&self) -> &Groups;

    /// Sends to one channel: a consumer's, or a queue's.
    ///
    /// # Errors
    /// [`LayerError::ChannelFull`] at its capacity, [`LayerError::NoReceiver`] for a consumer that has gone,
    /// [`LayerError::TooManyChannels`].
    async fn send(&self, channel: &ChannelName, envelope: Envelope) -> Result<(), LayerError>;

    /// Waits for the next message of a queue. Dropping the future must lose nothing (rule 8 is mended).
    ///
    /// # Errors
    /// [`LayerError::ConsumerChannel`], [`LayerError::WrongProcess`] (rule 30), [`LayerError::TooManyChannels`].
    async fn receive(&self, channel: &ChannelName) -> Result<Envelope, LayerError>;

    /// Hears that one who called `receive` in turns, as a worker does, calls it no more.
    ///
    /// A backend to which this process counts as a receiver between two calls gives that up where no other waits, and hands
    /// on what has come for it. The default does nothing.
    fn received_last(&self, channel: &ChannelName) {
        let _ = channel;
    }

    /// Makes the name of a queue of this process: `<prefix><process>!<random>`.
    ///
    /// Only this process can receive from it.
    ///
    /// # Errors
    /// [`LayerError::Name`] where `prefix` holds what a name may not, or is too long.
    async fn new_channel(&self, prefix: &str) -> Result<ChannelName, LayerError>;

    /// What a consumer that has joined a group must still wait for, so that every send which starts after that reaches it.
    ///
    /// A consumer joins in its own process, without the backend; one that tells a server of the first member of a group
    /// says here when the server knows. It is called at every join: where there is nothing to wait for it must cost
    /// nothing. It must end, whatever the server does. The default is `None`.
    fn joined<'a>(&'a self, group: &'a GroupName) -> Option<BoxFuture<'a, ()>> {
        let _ = group;
        None
    }

    /// Adds a channel to a group, or renews its membership (rule 26).
    ///
    /// # Errors
    /// [`LayerError::NoReceiver`], [`LayerError::TooManyGroups`], [`LayerError::TooManyQueues`].
    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError>;

    /// Takes a channel out of a group; nothing happens where it is not in it (rule 26).
    ///
    /// # Errors
    /// Where the backend could not be asked.
    async fn group_discard(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError>;

    /// Sends to every member of a group. A full member misses the event; that is no error (rule 23).
    ///
    /// # Errors
    /// Where the backend did not take the event.
    async fn group_send(&self, group: &GroupName, envelope: Envelope) -> Result<(), LayerError>;

    /// As `group_send`, and waits to say how far the event got in this process.
    ///
    /// # Errors
    /// As `group_send`.
    async fn group_send_counted(&self, group: &GroupName, envelope: Envelope)
    -> Result<Delivery, LayerError>;

    /// Drops every message and every membership of a queue. Consumers stay in their groups.
    ///
    /// # Errors
    /// Where the backend could not be asked.
    async fn flush(&self) -> Result<(), LayerError>;

    /// Takes this process out of its server, at the program's end. Nothing arrives from there any more. The default does
    /// nothing.
    async fn close(&self) {}
}

/// A channel layer, for use from anywhere. Cheap to clone.
///
/// Hooks, HTTP handlers, jobs and other threads use it alike.
#[derive(Debug, Clone)]
pub struct Layer(Arc<dyn ChannelLayer>);

impl Layer {
    /// Wraps a backend.
    pub fn new(layer: impl ChannelLayer) -> Self {
        Self(Arc::new(layer))
    }

    pub(crate) fn from_arc(layer: Arc<dyn ChannelLayer>) -> Self {
        Self(layer)
    }

    /// The backend, for what this type does not offer.
    #[must_use]
    pub fn backend(&self) -> &dyn ChannelLayer {
        &*self.0
    }

    /// Sends an event to one channel: a consumer's, or a queue's.
    ///
    /// The event is a value, a reference, or an [`Envelope`], as that of an event that is no Rust type here.
    ///
    /// # Errors
    /// [`LayerError::ChannelFull`], [`LayerError::NoReceiver`] for a consumer that has gone.
    pub async fn send(&self, channel: &ChannelName, event: impl IntoEnvelope) -> Result<(), LayerError> {
        self.0.send(channel, event.into()).await
    }

    /// Waits for the next event of a queue. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`LayerError::ConsumerChannel`] for a consumer's channel, [`LayerError::WrongProcess`] for another process's.
    pub async fn receive(&self, channel: &ChannelName) -> Result<Envelope, LayerError> {
        self.0.receive(channel).await
    }

    /// Makes the name of a queue of this process: `specific.<process>!<random>`.
    ///
    /// # Errors
    /// Where the backend cannot make one.
    pub async fn new_channel(&self) -> Result<ChannelName, LayerError> {
        self.0.new_channel("specific.").await
    }

    /// Adds a channel to a group. Consumers join by [`Context::group_add`](crate::ConnectionContext::group_add).
    ///
    /// # Errors
    /// [`LayerError::NoReceiver`] for a consumer that has gone, [`LayerError::TooManyQueues`].
    pub async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.0.group_add(group, channel).await
    }

    /// Takes a channel out of a group; nothing happens where it is not in it.
    ///
    /// # Errors
    /// Where the backend could not be asked.
    pub async fn group_discard(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.0.group_discard(group, channel).await
    }

    /// Sends an event to every member of a group.
    ///
    /// It returns when every worker concerned has the event, or the deadline of 5 s passed for one
    /// ([`Metrics::thread_behind`]). A full member misses it, without an error (rule 23).
    ///
    /// # Errors
    /// Where the layer did not take the event.
    pub async fn group_send(&self, group: &GroupName, event: impl IntoEnvelope) -> Result<(), LayerError> {
        self.0.group_send(group, event.into()).await
    }

    /// As [`group_send`](Self::group_send), and waits for the workers to say how far the event got.
    ///
    /// # Errors
    /// As [`group_send`](Self::group_send).
    pub async fn group_send_counted(
        &self,
        group: &GroupName,
        event: impl IntoEnvelope,
    ) -> Result<Delivery, LayerError> {
        self.0.group_send_counted(group, event.into()).await
    }

    /// As [`group_send`](Self::group_send), from a thread without a runtime.
    ///
    /// # Errors
    /// [`LayerError::WouldBlock`] on a thread that runs consumers.
    pub fn group_send_blocking(&self, group: &GroupName, event: impl IntoEnvelope) -> Result<(), LayerError> {
        block_on(self.0.group_send(group, event.into()))?
    }

    /// As [`send`](Self::send), from a thread without a runtime.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`LayerError::WouldBlock`] on a thread that runs consumers.
    pub fn send_blocking(&self, channel: &ChannelName, event: impl IntoEnvelope) -> Result<(), LayerError> {
        block_on(self.0.send(channel, event.into()))?
    }

    /// Drops every message and every membership of a queue. Consumers stay in their groups.
    ///
    /// # Errors
    /// Where the backend could not be asked.
    pub async fn flush(&self) -> Result<(), LayerError> {
        self.0.flush().await
    }

    /// Takes this process out of the layer's server: what a program does last, behind [`run`](crate::run).
    ///
    /// Without it other processes write to the groups of this one until their members expire. It waits for a second at
    /// most. A memory layer has no server, and nothing is done.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// What this layer lost in this process, and why.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.0.groups().metrics()
    }
}

fn block_on<F: Future>(future: F) -> Result<F::Output, LayerError> {
    if hubs::thread_must_not_block() {
        return Err(LayerError::WouldBlock);
    }
    Ok(park_until(future))
}

/// Runs a future on this thread, which sleeps while it waits.
fn park_until<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// The alias of the layer that a program uses unless it names another.
pub(crate) const DEFAULT_LAYER: &str = "default";

/// The layers of a program by alias.
#[derive(Debug, Clone)]
pub(crate) struct Layers(Arc<HashMap<String, Layer>>);

impl Layers {
    pub(crate) fn new(layers: HashMap<String, Layer>) -> Self {
        Self(Arc::new(layers))
    }

    pub(crate) fn get(&self, alias: &str) -> Option<&Layer> {
        self.0.get(alias)
    }
}
