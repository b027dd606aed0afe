//! The part of a layer that knows one kind of server.

use std::{fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{UnboundedReceiver, UnboundedSender},
    oneshot,
};

use super::{Away, inbound::InboundSender, shared::Shared, status::ended};
use crate::{ChannelName, Delivery, Envelope, EventError, GroupName, LayerError};

/// The sender with which a driver's thread hands over what comes from the server.
pub(in crate::layers) type InboundSenderOf<D> = InboundSender<<D as Driver>::Source, <D as Driver>::Over>;

/// Speaks with one kind of server: writes to it, and delivers what comes from it.
///
/// A driver holds the state that only this kind needs. The rest of the state is in [`Shared`]. The driver's
/// thread keeps the connections, tells the server which groups have members in this process
/// ([`Shared::note_changes`]), and carries out the `Operation`s of callers.
pub(in crate::layers) trait Driver: fmt::Debug + Send + Sync + Sized + 'static {
    /// A request of a caller to the driver's thread.
    type Operation: Send + 'static;
    /// Says where a message came from, for example from which topic.
    type Source: Send + 'static;
    /// Says from where nothing comes any more, for example from which topics.
    type Over: Send + 'static;

    /// The name of the server in texts.
    const SERVER: &'static str;
    /// The names of the thread that speaks with the server, and of the one that delivers.
    const THREADS: [&'static str; 2];
    /// Whether the server itself keeps the members of groups.
    ///
    /// Plain channels are then members on the server, and other programs may put a consumer of this process
    /// into a group.
    const KEEPS_MEMBERS: bool = false;
    /// How long the end of the layer may take.
    const FAREWELL: Duration = Duration::from_secs(1);

    /// Gives the function that runs on the driver's thread. It speaks with the server until [`Shared::stop`].
    fn start(
        shared: Arc<Shared<Self>>,
        inbox: InboundSenderOf<Self>,
        operations: UnboundedReceiver<Self::Operation>,
    ) -> io::Result<impl FnOnce() + Send + 'static>;

    /// The sender of operations to the driver's thread.
    fn operations(&self) -> &UnboundedSender<Self::Operation>;

    /// Is called when the driver's thread has ended, and all shards are away.
    fn ended(_shared: &Shared<Self>, _inbox: &InboundSenderOf<Self>) {}

    /// The shard of a group: the number of the server that has it.
    fn shard(_shared: &Shared<Self>, _group: &GroupName) -> usize {
        0
    }

    /// Writes an event as it travels, to all processes alike.
    ///
    /// If the server keeps the members, the channels of `except` are told only to the processes that have them. Their
    /// operation is then a [`Publication`], which has `except` too.
    fn encode(&self, envelope: &Envelope, except: &[ChannelName]) -> Result<Bytes, EventError>;

    /// How many bytes of an event the server takes.
    fn largest(&self) -> usize {
        usize::MAX
    }

    /// Sends an event to the members of a group but `except`, in this process and in others. See [`local_first`].
    fn publish(
        shared: &Shared<Self>,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> impl Future<Output = Result<Delivery, LayerError>> + Send;

    /// Sends a message to a channel that does not belong to this process.
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

    /// Is called when a worker that received from a channel stops doing so.
    fn received_last(_shared: &Shared<Self>, _channel: &ChannelName) {}

    /// Puts a channel into a group, or takes it out.
    ///
    /// The channel belongs to another process or, if the server keeps the members, to any process. By default
    /// the server keeps none, and each process has only its own channels in groups.
    fn set_member(
        _shared: &Shared<Self>,
        _group: &GroupName,
        _channel: &ChannelName,
        is_in: bool,
    ) -> impl Future<Output = Result<(), LayerError>> + Send {
        async move { if is_in { Err(LayerError::NoReceiver) } else { Ok(()) } }
    }

    /// Is called when a channel was put into a group in this process.
    fn added(
        _shared: &Shared<Self>,
        _channel: &ChannelName,
    ) -> impl Future<Output = Result<(), LayerError>> + Send {
        async { Ok(()) }
    }

    /// Deletes what the server keeps.
    fn flush(_shared: &Shared<Self>) -> impl Future<Output = Result<(), LayerError>> + Send {
        async { Ok(()) }
    }

    /// The error for an operation that was dropped without an answer.
    fn unanswered(_shared: &Shared<Self>) -> LayerError {
        ended()
    }

    /// Delivers one message of the server. It counts in the bound on bytes until `room` is dropped.
    fn deliver(
        shared: &Shared<Self>,
        bytes: Bytes,
        source: Self::Source,
        room: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send;

    /// Is called when nothing more comes from there.
    ///
    /// All earlier messages have been delivered before.
    fn over(_shared: &Shared<Self>, _over: Self::Over) {}
}

/// An event for the members of a group in other processes.
#[derive(Debug)]
pub(in crate::layers) struct Publication {
    pub(in crate::layers) group: GroupName,
    /// The channels that do not get it, if the server keeps the members.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "NATS keeps no members"))]
    pub(in crate::layers) except: Vec<ChannelName>,
    /// The event itself, if the server keeps the members.
    ///
    /// Some of them may be consumers of this process.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "NATS keeps no members"))]
    pub(in crate::layers) envelope: Option<Envelope>,
    pub(in crate::layers) event: Bytes,
    /// Gets the number of members elsewhere that got the event, if a caller waits.
    pub(in crate::layers) reply: Option<oneshot::Sender<Result<Delivery, LayerError>>>,
    pub(in crate::layers) room: OwnedSemaphorePermit,
}

impl<D: Driver> Shared<D> {
    /// Asks the driver's thread for something, without waiting.
    pub(in crate::layers) fn tell(&self, operation: D::Operation) {
        // The thread ends with the layer. A caller that waits for a reply then learns that.
        let _ = self.driver.operations().send(operation);
    }

    /// Asks the driver's thread for something, and waits for the result.
    pub(in crate::layers) async fn ask<T>(
        &self,
        operation: impl FnOnce(oneshot::Sender<Result<T, LayerError>>) -> D::Operation,
    ) -> Result<T, LayerError> {
        let (reply, answer) = oneshot::channel();
        self.tell(operation(reply));
        answer.await.unwrap_or_else(|_| Err(D::unanswered(self)))
    }

    /// Writes an event. It is an error if the event has too many bytes.
    pub(in crate::layers) fn write(
        &self,
        envelope: &Envelope,
        except: &[ChannelName],
    ) -> Result<Bytes, LayerError> {
        let event = self.driver.encode(envelope, except).map_err(LayerError::Unwritable)?;
        let (size, limit) = (event.len(), self.config.queue_bytes.min(self.driver.largest()));
        if size > limit { Err(LayerError::MessageTooLarge { size, limit }) } else { Ok(event) }
    }

    /// Fails if this shard is away.
    pub(in crate::layers) fn must_be_up(&self, shard: usize) -> Result<(), LayerError> {
        if self.status.is_up(shard) { Ok(()) } else { Err(self.status.away(shard)) }
    }

    /// Whether the server knows of the members of a group in this process.
    pub(in crate::layers) fn is_settled(&self, group: &GroupName) -> bool {
        self.is_settled_on(group, || self.group_shard(group))
    }

    /// Waits until the server knows of a group's members in this process, or is away.
    pub(in crate::layers) async fn settled(&self, group: &GroupName) {
        self.settled_on(group, self.group_shard(group)).await;
    }

    pub(in crate::layers) fn group_shard(&self, group: &GroupName) -> usize {
        D::shard(self, group)
    }
}

/// Sends an event to a group but `except`, first to the members in this process.
///
/// These get it at once. The members in other processes get it by the operation that `operation` makes.
pub(in crate::layers) async fn local_first<D: Driver>(
    shared: &Shared<D>,
    group: &GroupName,
    except: &[ChannelName],
    envelope: Envelope,
    count: bool,
    operation: impl FnOnce(Publication) -> D::Operation,
) -> Result<Delivery, LayerError> {
    let must = shared.config.away == Away::Error;
    let shard = shared.group_shard(group);
    if must {
        shared.must_be_up(shard)?;
    }
    // The event is written before any member gets it. So an event that cannot be written reaches nobody.
    let event = shared.write(&envelope, except)?;
    let is_up = shared.status.is_up(shard);
    // The caller may give up while it waits for room. So the room is taken before any member gets the event.
    let room = if is_up { Some(shared.room_for(event.len()).await?) } else { None };
    if let (true, Err(away)) = (must, shared.must_be_up(shard)) {
        return Err(away);
    }
    let (reply, answer) = if must || count { Some(oneshot::channel()).unzip() } else { (None, None) };
    let kept = D::KEEPS_MEMBERS.then(|| (envelope.clone(), except.to_vec()));
    let last = room.map(|room| {
        let (envelope, except) = kept.unzip();
        let (group, except) = (group.clone(), except.unwrap_or_default());
        let publication = Publication { group, except, envelope, event, reply, room };
        LastWord { shared, operation: Some(operation(publication)) }
    });
    if last.is_none() {
        shared.counters().unpublished.one();
    }
    let mut delivery = shared.serve_here(group, except, envelope, count).await;
    if last.is_none() {
        return Ok(delivery);
    }
    drop(last);
    if let Some(answer) = answer {
        match answer.await.unwrap_or_else(|_| Err(D::unanswered(shared))) {
            Ok(elsewhere) => delivery.add(elsewhere),
            Err(error) if must => return Err(error),
            // The loss has been counted, and the members elsewhere learn of it by a gap.
            Err(_) => {}
        }
    }
    Ok(delivery)
}

/// An operation that is told to the driver's thread when this is dropped.
///
/// So an event that has reached a member in this process also goes to the others, if the caller gives up.
struct LastWord<'a, D: Driver> {
    shared: &'a Shared<D>,
    operation: Option<D::Operation>,
}

impl<D: Driver> Drop for LastWord<'_, D> {
    fn drop(&mut self) {
        if let Some(operation) = self.operation.take() {
            self.shared.tell(operation);
        }
    }
}
