//! The events of which nobody knows whether they are in their logs, because the answers are lost.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
};

use tokio::time::{Instant, sleep};

use super::{
    append::{AppendError, Appending, Settled},
    entry::Place,
    linked::Linked,
    read::{LogQuery, RawLog},
    serve::read_once,
};
use crate::{
    Delivery,
    groups::history::store::Part,
    layers::{
        Away, LayerError,
        server::{
            NOBODY_KNOWS,
            driver::Driver,
            shared::Shared,
            status::{Status, ended},
        },
    },
};

/// How many events may wait for each shard. One more counts as lost.
const MOST: usize = 10_000;

/// The events of a layer whose answers are lost, by shard.
#[derive(Debug)]
pub(in crate::layers::redis) struct UnsureEvents(Vec<RefCell<Vec<Unsure>>>);

#[derive(Debug)]
struct Unsure {
    appending: Appending,
    since: Instant,
}

impl UnsureEvents {
    pub(in crate::layers::redis) fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| RefCell::default()).collect())
    }

    /// Keeps an event until the next connection tells whether it is in its log. Gives it back if there are too many.
    #[must_use]
    pub(in crate::layers::redis) fn push(&self, shard: usize, appending: Appending) -> Option<Appending> {
        let mut unsure = self.0[shard].borrow_mut();
        if unsure.len() >= MOST {
            return Some(appending);
        }
        unsure.push(Unsure { appending, since: Instant::now() });
        None
    }

    /// Tells callers that nobody knows what became of their events, if a server is away for too long.
    ///
    /// It is found out all the same when the server is back.
    pub(in crate::layers::redis) async fn give_up<D: Driver>(&self, shared: &Shared<D>) {
        let patience = shared.config.timeout;
        loop {
            sleep(patience / 4).await;
            for (shard, unsure) in self.0.iter().enumerate() {
                for Unsure { appending, since } in unsure.borrow_mut().iter_mut() {
                    if since.elapsed() >= patience
                        && let Some(reply) = appending.reply.take()
                    {
                        let told = match shared.config.away {
                            Away::Error => Err(shared.status.away(shard)),
                            Away::Local => Ok(Delivery::default()),
                        };
                        // The caller may have gone.
                        let _ = reply.send(told);
                    }
                }
            }
        }
    }
}

/// Looks in the logs for the events of a shard, in their order, and hands on each whose fate is known.
///
/// # Errors
/// If the shard is away again. The rest waits for the next connection.
pub(in crate::layers::redis) async fn resolve<L: Linked>(io: &L, shard: usize) -> Result<(), String> {
    let waiting = &io.state().unsure.0[shard];
    let mut unsure = waiting.take().into_iter();
    let mut logs = HashMap::new();
    while let Some(Unsure { appending, since }) = unsure.next() {
        let log = match logs.entry(appending.group.clone()) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(place) => place.insert(newest(io, shard, &appending).await),
        };
        let outcome = match log {
            Ok(log) => fate(io.status(), shard, log, &appending).map(|place| (place, Delivery::default())),
            Err(LayerError::Unavailable(reason)) => {
                let reason = reason.clone();
                let mut all = waiting.borrow_mut();
                all.insert(0, Unsure { appending, since });
                all.splice(1..1, unsure);
                return Err(reason);
            }
            Err(error) => Err(AppendError::Unknown(error.clone())),
        };
        if let Ok(room) = io.shared().room_for(appending.sealed.len()).await {
            io.hand_on(Settled { appending, outcome }, room);
        }
    }
    Ok(())
}

/// Where an event is, by the newest entries of its log.
///
/// If it is not among these, it may have been, and more have followed than the group keeps. Then others may have it, and
/// it must not count as one that nobody has.
fn fate(status: &Status, shard: usize, log: &RawLog, appending: &Appending) -> Result<Place, AppendError> {
    if let Some(place) = log.find(appending.nonce, appending.tag) {
        return Ok(place);
    }
    let (sent, seen) = appending.sent;
    if log.has_all_since(seen, sent.elapsed()) {
        let reason = "the connection was lost before the event was in the log";
        return Err(AppendError::Not(status.unavailable(shard, reason)));
    }
    Err(AppendError::Unknown(status.unavailable(shard, NOBODY_KNOWS)))
}

/// The newest entries of an event's log.
async fn newest<L: Linked>(io: &L, shard: usize, appending: &Appending) -> Result<RawLog, LayerError> {
    let Appending { group, policy, .. } = appending;
    let (part, most) = (Part::Newest, policy.size());
    let query = LogQuery { group: group.clone(), policy: *policy, part, most, seen: None };
    read_once(io, shard, [&query].into_iter()).await.pop().unwrap_or_else(|| Err(ended()))
}
