//! What a backend adds to what all layers on a server share.

use std::{fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{UnboundedReceiver, UnboundedSender},
    oneshot,
};

use super::{Away, inbound::InboundSender, shared::Shared, status::ended};
use crate::{ChannelName, Delivery, Envelope, EventError, GroupName, LayerError};

/// The way in of a driver's layer.
pub(in crate::layers) type InboundSenderOf<D> = InboundSender<<D as Driver>::Source, <D as Driver>::Over>;

/// A kind of server: how it is written to, and what becomes of what comes from it.
///
/// A driver holds the state that only this kind needs; the rest is [`Shared`]. Its thread keeps up the connections, tells the
/// server of the groups that have members here ([`Shared::note_changes`]), and does what callers ask by `Operation`s.
pub(in crate::layers) trait Driver: fmt::Debug + Send + Sync + Sized + 'static {
    /// What the thread is asked to do.
    type Operation: Send + 'static;
    /// By what a message came.
    type Source: Send + 'static;
    /// What nothing comes by any more.
    type Over: Send + 'static;

    /// What the server is called in texts.
    const SERVER: &'static str;
    /// The names of the thread that speaks with the server, and of the one that delivers.
    const THREADS: [&'static str; 2];
    /// Whether the server itself knows who is in a group: plain channels are members there, and other programs may have put
    /// a consumer of this process in.
    const KEEPS_MEMBERS: bool = false;
    /// How long the end of the layer may take.
    const FAREWELL: Duration = Duration::from_secs(1);

    /// Gives what the thread does that speaks with the server, until [`Shared::stop`].
    fn start(
        shared: Arc<Shared<Self>>,
        inbox: InboundSenderOf<Self>,
        operations: UnboundedReceiver<Self::Operation>,
    ) -> io::Result<impl FnOnce() + Send + 'static>;

    /// The way to that thread.
    fn operations(&self) -> &UnboundedSender<Self::Operation>;

    /// Hears that the thread has ended, and no shard is up.
    fn ended(_shared: &Shared<Self>, _inbox: &InboundSenderOf<Self>) {}

    /// Which of the servers a group is on.
    fn shard(_shared: &Shared<Self>, _group: &GroupName) -> usize {
        0
    }

    /// An event as it travels.
    fn encode(&self, envelope: &Envelope) -> Result<Bytes, EventError>;

    /// How many bytes of it the server takes.
    fn largest(&self) -> usize {
        usize::MAX
    }

    /// Sends an event to the members of a group, here and in other processes: see [`local_first`].
    fn publish(
        shared: &Shared<Self>,
        group: &GroupName,
        envelope: Envelope,
        count: bool,
    ) -> impl Future<Output = Result<Delivery, LayerError>> + Send;

    /// Sends a message to a channel that is not this process' own.
    fn send(
        shared: &Shared<Self>,
        channel: &ChannelName,
        event: Bytes,
    ) -> impl Future<Output = Result<(), LayerError>> + Send;

    /// Waits for a message of a channel that any process may read.
    fn receive(
        shared: &Shared<Self>,
        channel: &ChannelName,
    ) -> impl Future<Output = Result<Envelope, LayerError>> + Send;

    /// Hears that a worker, which received in turns, does so no more.
    fn received_last(_shared: &Shared<Self>, _channel: &ChannelName) {}

    /// Puts a channel into a group, or takes it out. It is another process' own or, if the server keeps members, anyone's.
    ///
    /// By default groups are each process' own affair.
    fn set_member(
        _shared: &Shared<Self>,
        _group: &GroupName,
        _channel: &ChannelName,
        is_in: bool,
    ) -> impl Future<Output = Result<(), LayerError>> + Send {
        async move { if is_in { Err(LayerError::NoReceiver) } else { Ok(()) } }
    }

    /// Hears that a channel was put into a group in this process.
    fn added(
        _shared: &Shared<Self>,
        _channel: &ChannelName,
    ) -> impl Future<Output = Result<(), LayerError>> + Send {
        async { Ok(()) }
    }

    /// Forgets what the server keeps.
    fn flush(_shared: &Shared<Self>) -> impl Future<Output = Result<(), LayerError>> + Send {
        async { Ok(()) }
    }

    /// What is said of an operation that was dropped.
    fn unanswered(_shared: &Shared<Self>) -> LayerError {
        ended()
    }

    /// Delivers one message that came. It counts in the bound on bytes until `room` is dropped.
    fn deliver(
        shared: &Shared<Self>,
        bytes: Bytes,
        source: Self::Source,
        room: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send;

    /// Hears that all has come that will.
    fn over(_shared: &Shared<Self>, _over: Self::Over) {}
}

/// An event for the members of a group in other processes.
#[derive(Debug)]
pub(in crate::layers) struct Publication {
    pub(in crate::layers) group: GroupName,
    /// The event itself, if the server keeps members: some of them may be consumers of this process.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "NATS keeps no members"))]
    pub(in crate::layers) envelope: Option<Envelope>,
    pub(in crate::layers) event: Bytes,
    /// How far it got elsewhere, if somebody waits for that.
    pub(in crate::layers) reply: Option<oneshot::Sender<Result<Delivery, LayerError>>>,
    pub(in crate::layers) room: OwnedSemaphorePermit,
}

impl<D: Driver> Shared<D> {
    /// Asks the thread for something.
    pub(in crate::layers) fn tell(&self, operation: D::Operation) {
        // The thread ends with the layer; a caller that waits for a reply then learns that.
        let _ = self.driver.operations().send(operation);
    }

    /// Asks the thread for something, and waits for what becomes of it.
    pub(in crate::layers) async fn ask<T>(
        &self,
        operation: impl FnOnce(oneshot::Sender<Result<T, LayerError>>) -> D::Operation,
    ) -> Result<T, LayerError> {
        let (reply, answer) = oneshot::channel();
        self.tell(operation(reply));
        answer.await.unwrap_or_else(|_| Err(D::unanswered(self)))
    }

    /// The event's bytes, if they are not too many.
    pub(in crate::layers) fn write(&self, envelope: &Envelope) -> Result<Bytes, LayerError> {
        let event = self.driver.encode(envelope).map_err(LayerError::Unwritable)?;
        let (size, limit) = (event.len(), self.config.queue_bytes.min(self.driver.largest()));
        if size > limit { Err(LayerError::MessageTooLarge { size, limit }) } else { Ok(event) }
    }

    /// Fails if this shard is away.
    pub(in crate::layers) fn must_be_up(&self, shard: usize) -> Result<(), LayerError> {
        if self.status.is_up(shard) { Ok(()) } else { Err(self.status.away(shard)) }
    }

    /// Waits until the server knows the members of a group that are here, if it can.
    pub(in crate::layers) async fn settled(&self, group: &GroupName) {
        self.settled_on(group, self.group_shard(group)).await;
    }

    pub(in crate::layers) fn group_shard(&self, group: &GroupName) -> usize {
        D::shard(self, group)
    }
}

/// Sends an event to a group: members here get it at once, those elsewhere by what `operation` makes of it.
pub(in crate::layers) async fn local_first<D: Driver>(
    shared: &Shared<D>,
    group: &GroupName,
    envelope: Envelope,
    count: bool,
    operation: impl FnOnce(Publication) -> D::Operation,
) -> Result<Delivery, LayerError> {
    let must = shared.config.away == Away::Error;
    let shard = shared.group_shard(group);
    if must {
        shared.must_be_up(shard)?;
    }
    // Made before anybody gets it: an event that cannot be written reaches nobody.
    let event = shared.write(&envelope)?;
    let kept = D::KEEPS_MEMBERS.then(|| envelope.clone());
    let mut delivery = shared.serve_here(group, envelope, count).await;
    if let Err(away) = shared.must_be_up(shard) {
        shared.counters().unpublished.one();
        return if must { Err(away) } else { Ok(delivery) };
    }
    let room = shared.room_for(event.len()).await?;
    let (reply, answer) = if must || count { Some(oneshot::channel()).unzip() } else { (None, None) };
    shared.tell(operation(Publication { group: group.clone(), envelope: kept, event, reply, room }));
    if let Some(answer) = answer {
        match answer.await.unwrap_or_else(|_| Err(D::unanswered(shared))) {
            Ok(elsewhere) => delivery.add(elsewhere),
            Err(error) if must => return Err(error),
            // Counted, and told as a gap.
            Err(_) => {}
        }
    }
    Ok(delivery)
}
