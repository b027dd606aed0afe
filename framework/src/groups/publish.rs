//! A send to a group: from the call to every thread that has members.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::join_all;
use smallvec::SmallVec;
use tokio::{sync::oneshot, time::Instant};

use super::{
    Delivery,
    directory::{Directory, GroupEntry, MemberThread, is_over},
    except::Except,
    fan_out::Parcel,
    headroom::{self, LocalDelivery, Sending},
    hubs,
    load::Load,
    queue::{NotQueued, send_deadline},
};
use crate::{ChannelName, Envelope, GroupName, wire::history::down::Head};

impl Directory {
    /// Hands `envelope` to every member of `group` but `except`. Waits only if a bound is reached.
    ///
    /// With `count` the call also waits for the other threads, and the result includes their members.
    pub(crate) async fn publish(
        &self,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Delivery {
        if let Some(log) = self.log_for(group, &envelope) {
            return Box::pin(self.publish_logged(&log, except, envelope, count)).await;
        }
        self.publish_headed(Head::Plain, group, except, envelope, count).await
    }

    /// Hands an event that is in no log to every member of `group` but `except`. The head says what it is.
    pub(super) async fn publish_headed(
        &self,
        head: Head,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Delivery {
        let Some(entry) = self.members_of(group) else { return Delivery::default() };
        let classes = entry.threads.iter().flat_map(|thread| &thread.classes);
        let parcel =
            Parcel::headed(head, envelope, Except::new(&self.process, except), classes, &self.counters);
        let sum = self.publish_to_queues(group, &entry, except, &parcel.envelope);
        self.distribute(group, &entry, Load::Event(&parcel), count, sum).await
    }

    /// Hands an event, or what comes next in a log, to every thread that has members.
    pub(super) async fn distribute(
        &self,
        group: &GroupName,
        entry: &GroupEntry,
        load: Load<'_>,
        count: bool,
        mut sum: Delivery,
    ) -> Delivery {
        let mut replies: SmallVec<[oneshot::Receiver<Delivery>; 4]> = SmallVec::new();
        let here = hubs::find(|hub| hub.directory().id() == self.id()).map(|hub| hub.queue().id());
        let is_here = |thread: &&MemberThread| Some(thread.queue.id()) == here;
        let mut deadline = None;
        let mut sending = None;
        // The members on this thread come first, so that they need not wait for a thread that is behind.
        for thread in entry.threads.iter().filter(is_here) {
            match headroom::deliver_on_this_thread(&thread.queue, group, load).await {
                Some(LocalDelivery::Delivered(delivery)) => sum.add(delivery),
                Some(LocalDelivery::Large) => {
                    // The call waits for the reply, so that nobody sends faster than this thread delivers.
                    let (reply, receiver) = oneshot::channel();
                    sending = Some(Sending::new(Arc::clone(&thread.queue)));
                    match headroom::start_on_this_thread(&thread.queue, group, load, reply, &mut deadline)
                        .await
                    {
                        Ok(()) => replies.push(receiver),
                        Err(reason) => self.note_not_queued(reason, group, &mut sum),
                    }
                }
                // The thread is ending, and its members with it.
                None => {}
            }
        }
        let mut behind: Vec<&MemberThread> = Vec::new();
        for thread in entry.threads.iter().filter(|thread| !is_here(thread)) {
            let (reply, receiver) = if count { Some(oneshot::channel()).unzip() } else { (None, None) };
            match thread.queue.deliver_now(group, load, reply) {
                Ok(()) => replies.extend(receiver),
                Err(NotQueued::Behind) => behind.push(thread),
                Err(NotQueued::Gone) => {}
            }
        }
        if !behind.is_empty() {
            // They are waited for side by side: a thread that is blocked takes no time from one that is only slow.
            let deadline = *deadline.get_or_insert_with(send_deadline);
            let waits = behind.into_iter().map(async |thread| {
                let (reply, receiver) = if count { Some(oneshot::channel()).unzip() } else { (None, None) };
                let queued = thread.queue.deliver(group, load, reply, deadline).await;
                if let (Err(NotQueued::Behind), Load::Log(log, _)) = (&queued, load) {
                    // Its members miss nothing: they find the entry in the log.
                    thread.queue.look_at(log);
                }
                queued.map(|()| receiver)
            });
            for queued in Box::pin(join_all(waits)).await {
                match queued {
                    Ok(receiver) => replies.extend(receiver),
                    Err(reason) => self.note_not_queued(reason, group, &mut sum),
                }
            }
        }
        for reply in replies {
            // An error means that the thread has ended meanwhile and has delivered to nobody.
            sum.add(reply.await.unwrap_or_default());
        }
        drop(sending);
        sum
    }

    fn note_not_queued(&self, reason: NotQueued, group: &GroupName, sum: &mut Delivery) {
        if reason == NotQueued::Behind {
            self.counters.thread_behind.one();
            tracing::warn!(%group, "the queue of a thread was full until the deadline: its members miss an event");
            sum.threads_behind += 1;
        }
    }

    /// Puts an event into the queues of a group but `except`, and hands it to no consumer.
    #[cfg(feature = "nats")]
    pub(crate) fn publish_to_queues_of(
        &self,
        group: &GroupName,
        except: &[ChannelName],
        envelope: &Envelope,
    ) -> Delivery {
        let members = self.members_of(group);
        members.map(|members| self.publish_to_queues(group, &members, except, envelope)).unwrap_or_default()
    }

    /// Puts an event into the queues of a group but `except`.
    pub(super) fn publish_to_queues(
        &self,
        group: &GroupName,
        entry: &GroupEntry,
        except: &[ChannelName],
        envelope: &Envelope,
    ) -> Delivery {
        let mut sum = Delivery::default();
        if entry.queues.is_empty() {
            return sum;
        }
        let except: HashSet<&ChannelName> = except.iter().collect();
        let (now, expiry) = (Instant::now(), self.config.group_expiry);
        if entry.queues.iter().any(|(_, added)| is_over(*added, now, expiry)) {
            // This looks at the group as it is now. A queue that was renewed since `entry` was read stays.
            self.expire_queues(group, now);
        }
        for (channel, added) in &entry.queues {
            if is_over(*added, now, expiry) || except.contains(channel) {
                continue;
            }
            match self.queues.push(channel, envelope.clone(), &self.config, &self.counters) {
                Ok(()) => sum.delivered += 1,
                // Rule 23: a full member of a group misses the event, and the send does not fail.
                Err(error) => {
                    sum.dropped += 1;
                    tracing::info!(%group, %channel, %error, "a member of a group missed an event");
                }
            }
        }
        sum
    }
}
