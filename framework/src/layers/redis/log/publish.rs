//! Sends to a group with a log, and what becomes of them in this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep},
};

use super::{
    append::{AppendError, Appending, Settled, arrival},
    entry::Place,
    linked::LoggedDriver,
};
use crate::{
    ChannelName, Delivery, Envelope, GroupName,
    groups::{
        directory::Directory,
        history::{policy::History, position::Tag},
        server_log::Brought,
    },
    layers::{Away, LayerError, server::shared::Shared},
};

/// How often it is looked whether the entries before an entry have come.
const LOOK: Duration = Duration::from_millis(1);
/// How often before they are read from the log.
const LOOKS: usize = 10;

/// An event for a group with a log.
pub(in crate::layers::redis) struct Logged<'a> {
    pub(in crate::layers::redis) group: &'a GroupName,
    pub(in crate::layers::redis) policy: History,
    pub(in crate::layers::redis) except: &'a [ChannelName],
    pub(in crate::layers::redis) envelope: Envelope,
    pub(in crate::layers::redis) event: Bytes,
    pub(in crate::layers::redis) sealed: Bytes,
    pub(in crate::layers::redis) count: bool,
}

impl Logged<'_> {
    /// Appends the event, by the operation that `operation` makes. Waits until the members in this process have it.
    ///
    /// If the caller gives up, the event goes its way all the same.
    pub(in crate::layers::redis) async fn publish<D: LoggedDriver>(
        self,
        shared: &Shared<D>,
        operation: impl FnOnce(Box<Appending>, OwnedSemaphorePermit) -> D::Operation,
    ) -> Result<Delivery, LayerError> {
        let Self { group, policy, except, envelope, event, sealed, count } = self;
        if let Err(away) = shared.must_be_up(shared.group_shard(group)) {
            if shared.config.away == Away::Error {
                return Err(away);
            }
            shared.counters().unpublished.one();
            return Ok(unlogged(shared, group, except, envelope, count).await);
        }
        let room = shared.room_for(event.len() + sealed.len()).await?;
        let (tag, nonce) = Appending::names();
        let (group, except) = (group.clone(), except.to_vec());
        shared
            .ask(|reply| {
                let (reply, is_heard, sent) = (Some(reply), false, (Instant::now(), None));
                let appending = Appending {
                    group,
                    policy,
                    except,
                    envelope,
                    event,
                    sealed,
                    tag,
                    nonce,
                    count,
                    is_heard,
                    sent,
                    reply,
                };
                operation(Box::new(appending), room)
            })
            .await
    }
}

/// Hands an event of this process to its members here, now that it is known whether it is in the log.
pub(in crate::layers::redis) async fn deliver_own<D: LoggedDriver>(shared: &Shared<D>, settled: Settled) {
    let Settled { appending, outcome } = settled;
    let Appending { group, except, envelope, tag, count, reply, .. } = appending;
    // The caller may have gone.
    let answer = |delivered| drop(reply.map(|reply| reply.send(delivered)));
    // It may have come by another way before.
    let before = shared.driver.counted().and_then(|counted| counted.take(tag));
    let directory = shared.groups.directory();
    match outcome {
        Ok((place, elsewhere)) => {
            let done = move |here| {
                let mut delivery = before.unwrap_or(here);
                delivery.add(elsewhere);
                answer(Ok(delivery));
            };
            bring(directory, &group, place, except, envelope, count, done).await;
        }
        Err(AppendError::Unknown(error)) => {
            shared.counters().unpublished.one();
            if shared.config.away == Away::Local {
                // The caller may have been told that all is well. So the members are told: nobody must count on having all.
                shared.driver.logs().note_unlogged(directory, &group);
            }
            // The members here do not get it: they would get it twice if the log has had it.
            answer(Err(error));
        }
        Err(AppendError::Not(error)) => {
            shared.counters().unpublished.one();
            if shared.config.away == Away::Error {
                return answer(Err(error));
            }
            answer(Ok(unlogged(shared, &group, &except, envelope, count).await));
        }
    }
}

/// Hands an event that is in no log to the members here, because the server is away.
async fn unlogged<D: LoggedDriver>(
    shared: &Shared<D>,
    group: &GroupName,
    except: &[ChannelName],
    envelope: Envelope,
    count: bool,
) -> Delivery {
    let directory = shared.groups.directory();
    let delivery = directory.publish_unlogged(group, except, envelope, count).await;
    shared.driver.logs().note_unlogged(directory, group);
    delivery
}

/// Hands an entry of a log to the members here, behind those before it. Then calls `done`.
///
/// Entries come by several ways, so that one may come before another that is on its way. That is waited for, while
/// others are delivered. Only what does not come is read.
pub(in crate::layers::redis) async fn bring(
    directory: &Arc<Directory>,
    group: &GroupName,
    place: Place,
    except: Vec<ChannelName>,
    envelope: Envelope,
    count: bool,
    done: impl FnOnce(Delivery) + Send + 'static,
) {
    let log = match directory.take_in(group, arrival(place, except), envelope, count).await {
        Brought::Whole(delivery) => return done(delivery),
        Brought::Gap(log) => log,
    };
    let directory = Arc::clone(directory);
    tokio::spawn(async move {
        let is_here =
            || log.seen().is_some_and(|seen| seen.epoch != place.at.epoch || seen.offset >= place.at.offset);
        let mut looks = 0;
        while !is_here() && looks < LOOKS {
            sleep(LOOK).await;
            looks += 1;
        }
        if !is_here() {
            // If the server cannot be read, the layer fills the log when it is back.
            let _ = directory.fill(&log).await;
        }
        done(Delivery::default());
    });
}

/// How many members the events of this process have reached that came from the server before their answers.
#[derive(Debug, Default)]
pub(in crate::layers::redis) struct Counted(Mutex<HashMap<Tag, Option<Delivery>>>);

impl Counted {
    fn table(&self) -> MutexGuard<'_, HashMap<Tag, Option<Delivery>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that whom this entry reaches is asked for.
    pub(in crate::layers::redis) fn expect(&self, tag: Tag) {
        self.table().insert(tag, None);
    }

    /// Whether it is asked for.
    pub(in crate::layers::redis) fn is_expected(&self, tag: Tag) -> bool {
        self.table().contains_key(&tag)
    }

    /// Notes whom it has reached.
    pub(in crate::layers::redis) fn note(&self, tag: Tag, delivery: Delivery) {
        if let Some(expected) = self.table().get_mut(&tag) {
            *expected = Some(delivery);
        }
    }

    /// Forgets an entry. Returns whom it has reached, if that was noted.
    pub(in crate::layers::redis) fn take(&self, tag: Tag) -> Option<Delivery> {
        self.table().remove(&tag).flatten()
    }
}
