//! The layer on a server, for any kind of server.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{
    config::Common,
    delivery,
    driver::Driver,
    inbound::InboundSender,
    shared::{Owner, Shared},
    status::{ENDED, Status},
};
use crate::{
    ChannelName, Delivery, Envelope, GroupName, LayerError,
    groups::hubs,
    layers::{ChannelLayer, Groups},
};

/// A layer that shares groups with other processes by a server.
///
/// `D` speaks with the kind of server. Programs know this type as `RedisLayer`, `RedisPubSubLayer` and
/// `NatsLayer`.
///
/// When it is dropped, it removes this process from the server. On a thread that runs no consumers, the drop
/// waits for that up to a second.
#[derive(Debug)]
pub struct ServerLayer<D> {
    pub(super) shared: Arc<Shared<D>>,
    /// Gets a message when the driver's thread has ended.
    end: Mutex<mpsc::Receiver<()>>,
    farewell: Duration,
}

/// Starts a layer and its two threads.
pub(in crate::layers) fn start<D: Driver>(
    config: Common,
    groups: Groups,
    addresses: impl IntoIterator<Item = String>,
    driver: D,
    operations: UnboundedReceiver<D::Operation>,
) -> io::Result<ServerLayer<D>> {
    let (inbox, inbound) = InboundSender::new(config.queue_bytes);
    let shared = Arc::new(Shared::new(config, groups, Status::new(D::SERVER, addresses), driver));
    let [speaks, delivers] = D::THREADS;
    delivery::start(delivers, Arc::clone(&shared), inbound)?;
    let (ended, end) = mpsc::sync_channel(1);
    let (last, last_inbox) = (Arc::clone(&shared), inbox.clone());
    let run = D::start(Arc::clone(&shared), inbox, operations)?;
    thread::Builder::new().name(speaks.to_owned()).spawn(move || {
        run();
        for shard in 0..last.status.len() {
            last.status.set_away(shard, ENDED.to_owned());
        }
        D::ended(&last, &last_inbox);
        last.ended.send_replace(true);
        // This fails if the layer no longer waits for the end.
        let _ = ended.try_send(());
    })?;
    Ok(ServerLayer { shared, end: Mutex::new(end), farewell: D::FAREWELL })
}

impl<D> ServerLayer<D> {
    /// Waits until every server is connected. A program can call it at its start.
    ///
    /// # Errors
    /// [`LayerError::Unavailable`] after the first attempt that fails. It says which server, and why. The
    /// layer goes on trying.
    pub async fn ready(&self) -> Result<(), LayerError> {
        self.shared.status.ready().await
    }

    /// Whether every server is connected now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.status.all_up()
    }
}

/// Whether this process keeps the memberships of a channel with this owner.
///
/// Otherwise the server does, or another process.
fn is_kept_here<D: Driver>(owner: Owner) -> bool {
    match owner {
        Owner::This => true,
        Owner::Any => !D::KEEPS_MEMBERS,
        Owner::Another => false,
    }
}

#[async_trait]
impl<D: Driver> ChannelLayer for ServerLayer<D> {
    fn groups(&self) -> &Groups {
        &self.shared.groups
    }

    fn joined<'a>(&'a self, group: &'a GroupName) -> Option<BoxFuture<'a, ()>> {
        if self.shared.is_settled(group) {
            return None;
        }
        Some(Box::pin(self.shared.settled(group)))
    }

    async fn send(&self, channel: &ChannelName, envelope: Envelope) -> Result<(), LayerError> {
        if self.shared.owner(channel) == Owner::This {
            return self.shared.groups.send(channel, envelope).await;
        }
        let event = self.shared.write(&envelope, &[])?;
        drop(envelope);
        D::send(&self.shared, channel, event).await
    }

    async fn receive(&self, channel: &ChannelName) -> Result<Envelope, LayerError> {
        match self.shared.owner(channel) {
            Owner::Any => D::receive(&self.shared, channel).await,
            Owner::This | Owner::Another => self.shared.groups.receive(channel).await,
        }
    }

    fn received_last(&self, channel: &ChannelName) {
        D::received_last(&self.shared, channel);
    }

    async fn new_channel(&self, prefix: &str) -> Result<ChannelName, LayerError> {
        self.shared.groups.new_channel(prefix)
    }

    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        let shared = &self.shared;
        if !is_kept_here::<D>(shared.owner(channel)) {
            return D::set_member(shared, group, channel, true).await;
        }
        shared.groups.add(group, channel).await?;
        D::added(shared, channel).await?;
        shared.settled(group).await;
        shared.open_log(group).await;
        Ok(())
    }

    async fn group_discard(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        let shared = &self.shared;
        if !is_kept_here::<D>(shared.owner(channel)) {
            return D::set_member(shared, group, channel, false).await;
        }
        shared.groups.discard(group, channel).await?;
        if D::KEEPS_MEMBERS {
            // Another program may have put a consumer of this process into the group by its own name.
            let _ = D::set_member(shared, group, channel, false).await;
        }
        Ok(())
    }

    async fn group_send(&self, group: &GroupName, envelope: Envelope) -> Result<(), LayerError> {
        D::publish(&self.shared, group, &[], envelope, false).await.map(drop)
    }

    async fn group_send_counted(
        &self,
        group: &GroupName,
        envelope: Envelope,
    ) -> Result<Delivery, LayerError> {
        D::publish(&self.shared, group, &[], envelope, true).await
    }

    async fn group_send_except(
        &self,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Result<Delivery, LayerError> {
        D::publish(&self.shared, group, except, envelope, count).await
    }

    async fn flush(&self) -> Result<(), LayerError> {
        self.shared.groups.flush();
        D::flush(&self.shared).await
    }

    async fn close(&self) {
        self.shared.stop.notify_one();
        let mut ended = self.shared.ended.subscribe();
        // The thread ends within a bounded time, whatever the server does.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl<D> Drop for ServerLayer<D> {
    fn drop(&mut self) {
        self.shared.stop.notify_one();
        if hubs::thread_must_not_block() {
            // The driver's thread goes on without this one.
            return;
        }
        let end = self.end.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = end.recv_timeout(self.farewell);
    }
}
