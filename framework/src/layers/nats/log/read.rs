//! Reads a part of a group's log.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    api::{Api, JetStreamError},
    entry::{Spot, Stored, What},
    streams::{Stream, StreamState, Streams},
};
use crate::{
    GroupName,
    groups::history::{
        position::{Epoch, Position, Tag},
        store::{LogRead, Part},
    },
};

/// Into how many ranges a part of the log is divided for requests of single messages, at most. They are read side by side.
///
/// The last request in each finds nothing more there, and each costs the server as much as one that does.
const RANGES: usize = 16;
/// How many messages a log has at most that is read as a whole, if only a part is wanted.
const WHOLE: u64 = 500;
/// How often a part is read again that has changed meanwhile.
const ATTEMPTS: usize = 5;

/// A reader of one group's log.
pub(super) struct Reader<'a> {
    pub(super) streams: &'a Streams,
    pub(super) stream: &'a Stream,
    pub(super) api: Api<'a>,
    pub(super) group: &'a GroupName,
    pub(super) subject: String,
    pub(super) foreign: String,
}

impl Reader<'_> {
    /// Reads a part of the log, as [`LogStore::read`](crate::groups::history::store::LogStore::read) says.
    pub(super) async fn read(
        &self,
        part: Part,
        most: usize,
        seen: Option<Position>,
    ) -> Result<LogRead, JetStreamError> {
        for attempt in 1..=ATTEMPTS {
            let epoch = match self.stream.state() {
                StreamState::Ready { epoch, .. } => epoch,
                StreamState::Unknown(reason) => return Err(JetStreamError::Away(reason)),
                StreamState::Unusable => {
                    return Err(JetStreamError::Missing("JetStream cannot be used".into()));
                }
            };
            match self.read_once(part, most, seen, epoch).await {
                Ok(Some(read)) => return Ok(read),
                Ok(None) => {}
                // A stream that was deleted does not answer, so this looks whether it is still there.
                Err(JetStreamError::Away(reason)) => {
                    let found = self.stream.look(self.api.link).await?;
                    if found.epoch == epoch || attempt == ATTEMPTS {
                        return Err(JetStreamError::Away(reason));
                    }
                }
                Err(JetStreamError::Missing(_) | JetStreamError::NoStream) if attempt < ATTEMPTS => {
                    self.stream.look(self.api.link).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(JetStreamError::Refused("the log changes faster than it can be read".into()))
    }

    /// Reads the part. `None` if it must be read again, because the stream has changed meanwhile.
    async fn read_once(
        &self,
        part: Part,
        most: usize,
        seen: Option<Position>,
        epoch: Epoch,
    ) -> Result<Option<LogRead>, JetStreamError> {
        let link = self.api.link;
        let Some(top) = self.top().await? else { return Ok(None) };
        let spot = top.spot();
        let messages = match part {
            Part::After(at) if at.epoch != epoch || at.offset >= top.sequence => Vec::new(),
            Part::After(at) => self.forward(at.offset + 1, top.sequence, most).await?,
            Part::Before(offset) => {
                self.backward(offset.min(top.sequence + 1).saturating_sub(1), most).await?
            }
            Part::Newest => self.backward(top.sequence, most).await?,
        };
        // The server drops the oldest messages first. So nothing was dropped between messages that are behind one which
        // is stored after all were read.
        let from = match part {
            Part::After(at) => Some(at.offset),
            Part::Before(_) | Part::Newest => messages.first().map(|first| first.sequence),
        };
        let info = self.api.ask_info().await;
        let foreign = self.api.ask_last(&self.foreign).await;
        let still = match from {
            Some(from) => Some(self.api.ask_next(&self.subject, from).await),
            None => None,
        };
        let found = super::api::found(info.json(link).await?)?;
        let foreign = foreign.stored(link).await?.map_or(0, |mark| mark.sequence);
        let still = match still {
            Some(still) => still.stored(link).await?,
            None => None,
        };
        if found.epoch != epoch {
            self.stream.note(link, &Ok(found));
            return Ok(None);
        }
        if let Some(seen) = seen.filter(|seen| seen.epoch == epoch && seen.offset > spot.offset) {
            if self.has_lost(seen, found.last).await? {
                self.begin_anew(epoch).await?;
            }
            return Ok(None);
        }
        let anchor = match part {
            Part::After(at) if at.epoch == epoch => match &still {
                // The log's first message has the first number of the stream.
                Some(_) if at.offset == 0 => (found.first <= 1 && messages.len() < most).then_some(Tag::NONE),
                Some(first) if first.spot().offset == at.offset => Some(first.spot().tag),
                _ => None,
            },
            _ => None,
        };
        let stored_from = still.map_or(0, |first| first.sequence);
        if link.logs.borrow().contains_key(self.group) {
            self.streams.heard(self.group, &top);
        }
        let messages = messages.into_iter().filter(|message| message.sequence >= stored_from);
        let mut entries: Vec<_> = messages.filter_map(Stored::into_entry).collect();
        match part {
            Part::After(_) => entries.truncate(most),
            Part::Before(_) | Part::Newest => drop(entries.drain(..entries.len().saturating_sub(most))),
        }
        Ok(Some(LogRead { top: spot.within(epoch), anchor, entries, foreign: foreign as f64 }))
    }

    /// The last message of the log. An empty log is begun by a mark.
    ///
    /// `None` if another process was faster.
    pub(super) async fn top(&self) -> Result<Option<Stored>, JetStreamError> {
        if let Some(last) = self.api.last(&self.subject, self.stream.state()).await? {
            return Ok(Some(last));
        }
        match self.api.mark(self.stream.policy, self.group, None, 0).await {
            Ok((sequence, spot)) => Ok(Some(Stored::new_mark(sequence, spot))),
            Err(JetStreamError::Overtaken) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the server has lost a place that this process has seen. `last` is the stream's last message.
    async fn has_lost(&self, seen: Position, last: u64) -> Result<bool, JetStreamError> {
        if last < seen.offset {
            return Ok(true);
        }
        let spot = Spot { offset: seen.offset, tag: seen.tag };
        let stored = self.api.next(&self.subject, seen.offset).await?;
        // If it is there after all, a server answered that lags behind the others, and the log is read again.
        Ok(stored.is_none_or(|stored| stored.spot() != spot))
    }

    /// Begins a new epoch, unless another process has done so.
    async fn begin_anew(&self, epoch: Epoch) -> Result<(), JetStreamError> {
        let found = self.api.info().await?;
        let found = if found.epoch == epoch { self.api.update(&found.anew()).await? } else { found };
        let name = self.stream.terms.name.as_str();
        self.api.link.fate.log(|| {
            tracing::warn!(
                stream = name,
                "JetStream has lost the newest entries of a log: its history begins anew"
            );
        });
        self.stream.note(self.api.link, &Ok(found));
        Ok(())
    }

    /// The messages with these numbers, in order, from the first on: at least `most` entries if there are so many.
    async fn forward(&self, from: u64, to: u64, most: usize) -> Result<Vec<Stored>, JetStreamError> {
        let from = from.max(1);
        if from > to || most == 0 {
            return Ok(Vec::new());
        }
        let mut messages = match self.in_batches(from, to, most).await? {
            Some(messages) => messages,
            None => match self.by_consumer(from, to).await? {
                Some(messages) => messages,
                None => self.one_by_one(from, to, most).await?,
            },
        };
        messages.retain(|message| message.sequence <= to);
        Ok(messages)
    }

    /// As [`forward`](Self::forward), by batches. `None` if the server knows none.
    async fn in_batches(
        &self,
        mut from: u64,
        to: u64,
        most: usize,
    ) -> Result<Option<Vec<Stored>>, JetStreamError> {
        if !self.api.link.may_batch.get() {
            return Ok(None);
        }
        let (mut messages, mut entries) = (Vec::new(), 0);
        while from <= to && entries < most {
            let Some(batch) = self.api.batch(&self.subject, from, (most - entries).saturating_add(1)).await?
            else {
                self.api.link.may_batch.set(false);
                return Ok(None);
            };
            let Some(last) = batch.last() else { break };
            from = last.sequence + 1;
            entries += entries_in(&batch);
            messages.extend(batch);
        }
        Ok(Some(messages))
    }

    /// All messages with these numbers, by a consumer of JetStream. `None` if the log must be read in another way, or if not
    /// all have come.
    ///
    /// The whole log is read: in the middle of a log, 2.9 counts for each message anew how many follow.
    async fn by_consumer(&self, from: u64, to: u64) -> Result<Option<Vec<Stored>>, JetStreamError> {
        // A consumer of a stream with several replicas may come to be on a server that is away, and then nobody answers.
        let is_safe = self.stream.state().is_on_one_server() && !self.api.link.fate.denies_consumers();
        if !is_safe || to - from < RANGES as u64 {
            return Ok(None);
        }
        let Some(mut pull) = self.api.pull(&self.subject).await? else { return Ok(None) };
        let is_short = pull.pending <= WHOLE;
        let mut messages: Vec<Stored> = Vec::new();
        while is_short && pull.pending > 0 && messages.last().is_none_or(|last| last.sequence < to) {
            let part = pull.next().await?;
            if part.is_empty() {
                break;
            }
            messages.extend(part);
        }
        let is_whole =
            is_short && (pull.pending == 0 || messages.last().is_some_and(|last| last.sequence >= to));
        pull.end().await;
        messages.retain(|message| (from..=to).contains(&message.sequence));
        Ok(is_whole.then_some(messages))
    }

    /// As [`forward`](Self::forward), by requests for single messages.
    ///
    /// The numbers of the messages are not known, so the range is divided, and each part is followed from message to
    /// message.
    async fn one_by_one(&self, from: u64, to: u64, most: usize) -> Result<Vec<Stored>, JetStreamError> {
        let length = to - from + 1;
        let step = length.div_ceil(RANGES as u64).max(1);
        let ranges = (0..length.div_ceil(step)).map(|number| {
            let first = from + number * step;
            self.follow(first, (first + step - 1).min(to))
        });
        let mut parts = stream::iter(ranges).buffered(RANGES);
        let (mut messages, mut entries) = (Vec::new(), 0);
        while entries < most {
            let Some(part) = parts.try_next().await? else { break };
            entries += entries_in(&part);
            messages.extend(part);
        }
        Ok(messages)
    }

    async fn follow(&self, mut from: u64, to: u64) -> Result<Vec<Stored>, JetStreamError> {
        let mut messages = Vec::new();
        while from <= to {
            match self.api.next(&self.subject, from).await? {
                Some(next) if next.sequence <= to => {
                    from = next.sequence + 1;
                    messages.push(next);
                }
                _ => break,
            }
        }
        Ok(messages)
    }

    /// The last messages up to a number, in order: at least `most` entries if there are so many.
    ///
    /// The server only looks forward. So this looks into a range before the end, and into ever longer ones before it.
    pub(super) async fn backward(&self, to: u64, most: usize) -> Result<Vec<Stored>, JetStreamError> {
        if most == 0 {
            return Ok(Vec::new());
        }
        if !self.api.link.may_batch.get()
            && let Some(all) = self.by_consumer(1, to.max(1)).await?
        {
            return Ok(all);
        }
        let Some(first) = self.api.next(&self.subject, 1).await? else { return Ok(Vec::new()) };
        let mut messages: Vec<Stored> = Vec::new();
        let (mut end, mut length, mut entries) = (to, (most as u64).saturating_add(4).saturating_mul(2), 0);
        while end >= first.sequence && entries < most {
            let from = end.saturating_sub(length - 1).max(first.sequence);
            let part = self.forward(from, end, usize::MAX).await?;
            entries += entries_in(&part);
            messages.splice(..0, part);
            (end, length) = (from - 1, length.saturating_mul(4));
        }
        Ok(messages)
    }
}

fn entries_in(messages: &[Stored]) -> usize {
    messages.iter().filter(|stored| matches!(stored.what, What::Entry { .. })).count()
}
