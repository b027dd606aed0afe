//! What a server brings for the log of a group, and what its layer says of events that are in no log.

use std::{collections::HashSet, sync::Arc};

use futures_util::{StreamExt, stream};

use super::{
    Delivery,
    directory::Directory,
    history::{
        log::{Log, TakenIn},
        position::{Position, Tag},
        store::Arrival,
    },
};
use crate::{ChannelName, Envelope, GroupName, wire::history::down::Head};

/// How many logs are read at once after an outage.
const AT_ONCE: usize = 64;

/// What became of an entry that has come.
#[derive(Debug)]
pub(crate) enum Brought {
    /// Others before it are missing.
    Gap(Arc<Log>),
    /// It is with the members, or was before.
    Whole(Delivery),
}

impl Directory {
    /// Takes in an entry whose event is at hand, and hands it to the members here.
    ///
    /// If entries before it are missing, the caller reads them, with [`fill`](Self::fill).
    pub(crate) async fn take_in(
        &self,
        group: &GroupName,
        arrival: Arrival,
        envelope: Envelope,
        count: bool,
    ) -> Brought {
        let members = self.members_of(group);
        // Without members, a log that is here is kept up to date for those who come back.
        let make = || members.as_ref().and_then(|_| self.logs.of(&self.config, group));
        let log = self.logs.find(group).or_else(make);
        let Some(log) = log else {
            if members.is_none() {
                return Brought::Whole(Delivery::default());
            }
            // Another process has a policy for this group.
            let except = arrival.entry.except;
            return Brought::Whole(self.publish(group, &except, envelope, count).await);
        };
        if members.as_ref().is_some_and(|members| members.threads.is_empty()) {
            let tag = arrival.prev_tag.unwrap_or(Tag::NONE);
            log.open_at(Position { epoch: arrival.epoch, offset: arrival.prev, tag });
        }
        let taken = log.take_in(arrival, envelope);
        self.logs.check_bytes();
        match taken {
            TakenIn::Gap if members.is_some() => return Brought::Gap(log),
            // Without members, what is missing is read when somebody comes.
            TakenIn::Gap | TakenIn::Known => {}
            TakenIn::New(entries) => return Brought::Whole(self.emit(&log, &entries, count).await),
            // If the server cannot be read, the layer fills the log when it is back.
            TakenIn::Other if members.is_some() => drop(self.fill(&log).await),
            TakenIn::Other => {}
        }
        Brought::Whole(Delivery::default())
    }

    /// Hands an event that is in no log to the members here, because the server is away.
    ///
    /// A member that is away meanwhile is told that it may have missed something. Its mark needs no clock.
    pub(crate) async fn publish_unlogged(
        &self,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Delivery {
        let head = self.foreign_head(group, f64::NEG_INFINITY).map_or(Head::Plain, |(head, _)| head);
        self.publish_headed(head, group, except, envelope, count).await
    }

    /// Hands an event of another program to the members here. Returns its mark: `mark`, or what is later than all before.
    pub(crate) async fn publish_foreign(
        &self,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        mark: f64,
    ) -> f64 {
        let (head, mark) = self.foreign_head(group, mark).unwrap_or((Head::Plain, mark));
        self.publish_headed(head, group, except, envelope, false).await;
        mark
    }

    /// What a client is told of an event that is in no log, and the event's mark. `None` if nobody here needs to know.
    fn foreign_head(&self, group: &GroupName, mark: f64) -> Option<(Head, f64)> {
        let log = self.logs.find(group)?;
        let watermark = log.note_foreign(mark);
        Some((Head::Foreign { alias: log.alias, watermark }, watermark))
    }

    /// Reads what the logs here lack, after the server was away. Returns the groups that miss nothing.
    pub(crate) async fn refill_all(&self, wanted: impl Fn(&GroupName) -> bool) -> HashSet<GroupName> {
        let logs = self.logs.all().into_iter().filter(|log| wanted(&log.group));
        let fill = |log: Arc<Log>| async move { self.refill(&log).await.then(|| log.group.clone()) };
        let filled = stream::iter(logs).map(fill).buffer_unordered(AT_ONCE);
        filled.filter_map(std::future::ready).collect().await
    }

    /// Reads what a log lacks. Returns whether the members here miss nothing.
    async fn refill(&self, log: &Arc<Log>) -> bool {
        let (seen, foreign) = (log.seen(), log.foreign());
        if seen.is_none() || log.opened().is_none() {
            // Its members have joined while the server was away, and miss what others have sent since.
            return self.fill(log).await.is_ok() && self.members_of(&log.group).is_none();
        }
        let is_whole = matches!(self.read_behind(log, seen).await, Ok(Ok(_)));
        // More may have come while this was read.
        self.fill(log).await.is_ok() && is_whole && log.foreign() <= foreign
    }
}
