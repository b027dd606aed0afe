//! Channel layers, which bring events to consumers, groups and queues.
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
use crate::{
    ChannelName, Delivery, Envelope, GroupName, IntoEnvelope,
    groups::{history::reader::HistoryReader, hubs},
    metrics::Metrics,
};

/// A backend of a layer. Implement it to share events by another kind of server.
///
/// Programs use it through [`Layer`]. A backend holds a [`Groups`], with the members and queues of this
/// process, and hands to it the events that arrive. Delivery is at most once (rule 24: an event may be lost).
///
/// Only [`groups`](Self::groups) has no default. The other methods do what a layer inside one process does, so a backend
/// writes only what differs:
///
/// ```
/// use greenroom::{
///     Delivery, Envelope, GroupName, Layer, LayerConfig, LayerError, async_trait,
///     layers::{ChannelLayer, Groups},
/// };
///
/// /// Prints what is sent to groups.
/// #[derive(Debug)]
/// struct Printed(Groups);
///
/// #[async_trait]
/// impl ChannelLayer for Printed {
///     fn groups(&self) -> &Groups {
///         &self.0
///     }
///
///     async fn group_send_counted(&self, group: &GroupName, event: Envelope) -> Result<Delivery, LayerError> {
///         println!("{group}: {}", event.name());
///         Ok(self.0.publish_counted(group, event).await)
///     }
/// }
///
/// let layer = Layer::from(Printed(Groups::new(LayerConfig::new())));
/// # let _: Layer = layer;
/// ```
///
/// A mount and a server take it as it is: `mount.layer(Printed(…))`.
#[async_trait]
pub trait ChannelLayer: Send + Sync + fmt::Debug + 'static {
    /// The consumers, groups and queues of this process.
    fn groups(&self) -> &Groups;

    /// Sends to one channel: a consumer's, or a queue's.
    ///
    /// # Errors
    /// [`LayerError::ChannelFull`] if the channel is at its capacity, [`LayerError::NoReceiver`] for a
    /// consumer that has gone, or [`LayerError::TooManyChannels`].
    async fn send(&self, channel: &ChannelName, envelope: Envelope) -> Result<(), LayerError> {
        self.groups().send(channel, envelope).await
    }

    /// Waits for the next message of a queue.
    ///
    /// No message may be lost when the future is dropped (rule 8: in Channels a cancelled receive can lose
    /// one).
    ///
    /// # Errors
    /// [`LayerError::ConsumerChannel`], [`LayerError::TooManyChannels`], or [`LayerError::WrongProcess`]
    /// (rule 30: only the process that made a channel with a `!` receives from it).
    async fn receive(&self, channel: &ChannelName) -> Result<Envelope, LayerError> {
        self.groups().receive(channel).await
    }

    /// Says that a worker has stopped receiving from a channel.
    ///
    /// A worker calls `receive` again and again. A backend may count this process as a receiver of the
    /// channel also between two calls. If no other caller waits, it must then stop doing so, and hand on the
    /// messages that have come for it. The default does nothing.
    fn received_last(&self, channel: &ChannelName) {
        let _ = channel;
    }

    /// Makes the name of a queue of this process: `<prefix><process>!<random>`.
    ///
    /// Only this process can receive from it.
    ///
    /// # Errors
    /// [`LayerError::Name`] if `prefix` is too long, or contains a character that a name may not have.
    async fn new_channel(&self, prefix: &str) -> Result<ChannelName, LayerError> {
        self.groups().new_channel(prefix)
    }

    /// Gives the future that a consumer must await after it has joined a group.
    ///
    /// Every send that starts after that reaches the consumer. A consumer joins in its own process, without
    /// the backend. A backend that tells a server of the first member of a group gives a future that ends
    /// when the server knows of the group. The future must end, whatever the server does. This method is
    /// called at every join, so it must cost nothing if there is nothing to wait for. The default is `None`.
    fn joined<'a>(&'a self, group: &'a GroupName) -> Option<BoxFuture<'a, ()>> {
        let _ = group;
        None
    }

    /// Adds a channel to a group, or renews its membership.
    ///
    /// Adding it twice is not an error (rule 26).
    ///
    /// # Errors
    /// [`LayerError::NoReceiver`], [`LayerError::TooManyGroups`] or [`LayerError::TooManyQueues`].
    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.groups().add(group, channel).await
    }

    /// Takes a channel out of a group. Nothing happens if the channel is not in the group (rule 26).
    ///
    /// # Errors
    /// If the backend could not be asked.
    async fn group_discard(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.groups().discard(group, channel).await
    }

    /// Sends to every member of a group.
    ///
    /// A member with a full inbox misses the event, without an error (rule 23). The default is
    /// [`group_send_counted`](Self::group_send_counted) without its count, so that a backend writes at least that one.
    /// Write this one too if it need not wait for the count.
    ///
    /// # Errors
    /// If the backend did not take the event.
    async fn group_send(&self, group: &GroupName, envelope: Envelope) -> Result<(), LayerError> {
        self.group_send_counted(group, envelope).await.map(drop)
    }

    /// As `group_send`, but also waits, and returns how many members got the event.
    ///
    /// # Errors
    /// As `group_send`.
    async fn group_send_counted(
        &self,
        group: &GroupName,
        envelope: Envelope,
    ) -> Result<Delivery, LayerError> {
        Ok(self.groups().publish_counted(group, envelope).await)
    }

    /// Sends to every member of a group but `except`. With `count` it also waits, and counts as
    /// `group_send_counted` does.
    ///
    /// `except` may name consumers and queues of any process, and channels that are no members. In this process
    /// [`Groups::publish_except`] leaves them out. A backend with a server tells the other processes.
    ///
    /// # Errors
    /// As `group_send`. The default sends nothing, and returns [`LayerError::Unsupported`].
    async fn group_send_except(
        &self,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Result<Delivery, LayerError> {
        let _ = (group, except, envelope, count);
        Err(LayerError::Unsupported("group_send_except"))
    }

    /// Drops every message and every membership of a queue. Consumers stay in their groups.
    ///
    /// # Errors
    /// If the backend could not be asked.
    async fn flush(&self) -> Result<(), LayerError> {
        self.groups().flush();
        Ok(())
    }

    /// Removes this process from the server, at the program's end.
    ///
    /// After that nothing arrives from the server any more. The default does nothing.
    async fn close(&self) {}
}

/// A channel layer, which can be used from anywhere. It is cheap to clone.
///
/// Hooks, HTTP handlers, jobs and other threads use it in the same way.
///
/// The [guide](crate::docs::guide#layer) has an example.
#[derive(Debug, Clone)]
pub struct Layer(Arc<dyn ChannelLayer>);

impl Layer {
    /// Wraps a backend.
    pub fn new(layer: impl ChannelLayer) -> Self {
        Self(Arc::new(layer))
    }

    /// The backend, for operations that this type does not offer.
    #[must_use]
    pub fn backend(&self) -> &dyn ChannelLayer {
        &*self.0
    }

    /// Sends an event to one channel: a consumer's, or a queue's.
    ///
    /// The event is a value, a reference, or an [`Envelope`], for example of an event for which this program
    /// has no type.
    ///
    /// # Errors
    /// [`LayerError::ChannelFull`], [`LayerError::NoReceiver`] for a consumer that has gone.
    pub async fn send(&self, channel: &ChannelName, event: impl IntoEnvelope) -> Result<(), LayerError> {
        self.0.send(channel, event.into()).await
    }

    /// Waits for the next event of a queue. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`LayerError::ConsumerChannel`] for a consumer's channel, [`LayerError::WrongProcess`] for another
    /// process's.
    pub async fn receive(&self, channel: &ChannelName) -> Result<Envelope, LayerError> {
        self.0.receive(channel).await
    }

    /// Makes the name of a queue of this process: `specific.<process>!<random>`.
    ///
    /// # Errors
    /// If the backend cannot make one.
    pub async fn new_channel(&self) -> Result<ChannelName, LayerError> {
        self.0.new_channel("specific.").await
    }

    /// Adds a channel to a group. Consumers join by [`Context::group_add`](crate::ConnectionContext::group_add).
    ///
    /// # Errors
    /// [`LayerError::NoReceiver`] for a consumer that has gone, or [`LayerError::TooManyQueues`].
    pub async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.0.group_add(group, channel).await
    }

    /// Takes a channel out of a group. Nothing happens if the channel is not in the group.
    ///
    /// # Errors
    /// If the backend could not be asked.
    pub async fn group_discard(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.0.group_discard(group, channel).await
    }

    /// Sends an event to every member of a group.
    ///
    /// It returns when every thread with members has the event, or has let the deadline of 5 s pass
    /// ([`Metrics::thread_behind`]). A member with a full inbox misses the event, without an error (rule 23).
    ///
    /// # Errors
    /// If the layer did not take the event.
    pub async fn group_send(&self, group: &GroupName, event: impl IntoEnvelope) -> Result<(), LayerError> {
        self.0.group_send(group, event.into()).await
    }

    /// As [`group_send`](Self::group_send), but also waits, and returns how many members got the event.
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

    /// Sends an event to every member of a group but some channels.
    ///
    /// `except` is one channel or several: consumers or queues, of this process or of another. Channels that are not
    /// in the group do not matter. In all else this is [`group_send`](Self::group_send), its order included. A consumer
    /// leaves out itself by [`group_send_others`](crate::ConnectionContext::group_send_others).
    ///
    /// The pages of docs on Redis and NATS say how other processes learn whom to leave out, and which programs do not
    /// look: a consumer of Django on Redis' pub/sub gets the event all the same.
    ///
    /// # Errors
    /// As [`group_send`](Self::group_send), and [`LayerError::Unsupported`] if the backend of this layer is not one of
    /// this crate, and cannot do it.
    ///
    /// ```
    /// use greenroom::{ChannelName, Layer, prelude::*};
    ///
    /// #[derive(Clone, Serialize, Deserialize, Event)]
    /// struct Said { text: String }
    ///
    /// /// For those who have not muted the speaker.
    /// async fn say(layer: &Layer, text: String, muted_by: &[ChannelName]) -> Result<()> {
    ///     layer.group_send_except(&GroupName::new("lobby")?, muted_by, Said { text }).await?;
    ///     Ok(())
    /// }
    /// ```
    pub async fn group_send_except(
        &self,
        group: &GroupName,
        except: impl AsRef<[ChannelName]>,
        event: impl IntoEnvelope,
    ) -> Result<(), LayerError> {
        self.0.group_send_except(group, except.as_ref(), event.into(), false).await.map(drop)
    }

    /// As [`group_send_except`](Self::group_send_except), but also waits, and returns how many members got the event.
    ///
    /// Those that were left out are not counted.
    ///
    /// # Errors
    /// As [`group_send_except`](Self::group_send_except).
    pub async fn group_send_except_counted(
        &self,
        group: &GroupName,
        except: impl AsRef<[ChannelName]>,
        event: impl IntoEnvelope,
    ) -> Result<Delivery, LayerError> {
        self.0.group_send_except(group, except.as_ref(), event.into(), true).await
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

    /// Reads the events that a group keeps, and where its log ends now. [`HistoryReader`] has examples.
    pub fn history(&self, group: &GroupName) -> HistoryReader {
        HistoryReader::new(self.0.groups().directory(), group)
    }

    /// Drops every message and every membership of a queue. Consumers stay in their groups.
    ///
    /// # Errors
    /// If the backend could not be asked.
    pub async fn flush(&self) -> Result<(), LayerError> {
        self.0.flush().await
    }

    /// Removes this process from the layer's server. Call it last in a program, after [`run`](crate::run).
    ///
    /// Otherwise other processes write to the groups of this process until its memberships expire. It waits
    /// for a second at most. On a layer in memory it does nothing, except with a
    /// [history file](MemoryLayer::history_file), which it writes.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// The counts of what this layer lost in this process, and why.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.0.groups().metrics()
    }
}

/// Every backend is a layer, so that `mount.layer(MemoryLayer::new())` works, and so does a backend of your own.
impl<L: ChannelLayer> From<L> for Layer {
    fn from(layer: L) -> Self {
        Self::new(layer)
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

/// The alias of the layer that a program uses if it names no other.
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

    /// Whether this is one of the layers, under any alias.
    pub(crate) fn contains(&self, layer: &Layer) -> bool {
        self.0.values().any(|own| Arc::ptr_eq(&own.0, &layer.0))
    }
}
