//! The logs of a layer's groups, as its process asks for them.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot,
};

use super::{
    entry::RawEntry,
    read::{LogQuery, RawLog, RawState},
};
use crate::{
    GroupName,
    groups::{
        config::LayerConfig,
        directory::Directory,
        history::{
            policy::History,
            position::Position,
            store::{LogRead, LogStore, Part, StoredEntry},
        },
    },
    layers::{Groups, LayerError, redis::codec::Codec, server::status::ended},
};

/// A request to the driver's thread.
#[derive(Debug)]
pub(in crate::layers::redis) enum LogRequest {
    /// Note the mark of an event that is in no log. `is_unlogged` says that only this process has had it.
    Note { group: GroupName, mark: f64, is_unlogged: bool },
    /// Read a log. If the server has none, or has lost entries, a new epoch is begun.
    Read { query: LogQuery, reply: oneshot::Sender<Result<RawLog, LayerError>> },
}

/// Reads logs from Redis.
#[derive(Debug)]
pub(in crate::layers::redis) struct RedisLogs {
    codec: Arc<Codec>,
    layer: LayerConfig,
    requests: UnboundedSender<LogRequest>,
    /// Taken by the driver's thread at its start.
    receiver: Mutex<Option<UnboundedReceiver<LogRequest>>>,
    /// The secret that the processes share, once Redis has said it.
    pub(in crate::layers::redis) secret: OnceLock<SharedSecret>,
}

/// A secret of 32 bytes. It is not shown in logs.
pub(in crate::layers::redis) struct SharedSecret(pub(in crate::layers::redis) [u8; 32]);

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret")
    }
}

impl RedisLogs {
    /// Makes the logs of a layer's groups those on Redis.
    pub(in crate::layers::redis) fn start(
        groups: &Groups,
        codec: &Arc<Codec>,
        layer: &LayerConfig,
    ) -> Arc<Self> {
        let (requests, receiver) = unbounded_channel();
        let logs = Arc::new(Self {
            codec: Arc::clone(codec),
            layer: layer.clone(),
            requests,
            receiver: Mutex::new(Some(receiver)),
            secret: OnceLock::new(),
        });
        let store: Arc<dyn LogStore> = Arc::<Self>::clone(&logs);
        groups.directory().logs.keep_in(store);
        logs
    }

    /// The requests. `None` if they have been taken before.
    pub(in crate::layers::redis) fn take_requests(&self) -> Option<UnboundedReceiver<LogRequest>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The policy of a group that is asked for. One without a policy keeps as little as it can.
    pub(in crate::layers::redis) fn policy(&self, group: &GroupName) -> History {
        self.layer.history_of(group).unwrap_or(History::last(1))
    }

    /// Notes the mark of an event that is in no log. This is written soon.
    pub(in crate::layers::redis) fn note(&self, group: &GroupName, mark: f64) {
        // The thread ends with the layer.
        let _ = self.requests.send(LogRequest::Note { group: group.clone(), mark, is_unlogged: false });
    }

    /// Notes that this process has handed an event to its members that is in no log. This is written when Redis is back.
    pub(in crate::layers::redis) fn note_unlogged(&self, directory: &Directory, group: &GroupName) {
        let mark = directory.logs.find(group).map_or(0.0, |log| log.foreign());
        let _ = self.requests.send(LogRequest::Note { group: group.clone(), mark, is_unlogged: true });
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, LayerError>>) -> LogRequest,
    ) -> Result<T, LayerError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.requests.send(request(reply));
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    fn stored(&self, entry: RawEntry) -> StoredEntry {
        let RawEntry { offset, tag, sealed, .. } = entry;
        // An entry that cannot be read keeps its place. As an event, the empty text is none.
        let (payload, except) = self.codec.open(sealed).unwrap_or_else(|error| {
            tracing::debug!(offset, %error, "an entry of a log cannot be read");
            (Bytes::new(), Vec::new())
        });
        StoredEntry { offset, tag, except, payload }
    }
}

impl LogStore for RedisLogs {
    fn read<'a>(
        &'a self,
        group: &'a GroupName,
        part: Part,
        most: usize,
        seen: Option<Position>,
    ) -> BoxFuture<'a, Result<LogRead, LayerError>> {
        Box::pin(async move {
            let query = LogQuery { group: group.clone(), policy: self.policy(group), part, most, seen };
            let read = self.ask(|reply| LogRequest::Read { query, reply }).await?;
            let RawLog { state: RawState { top, foreign, .. }, entries, .. } = read;
            let top = top.ok_or_else(|| LayerError::Refused("the log has no epoch".to_owned()))?;
            let anchor = match (part, entries.first()) {
                // A place comes from anywhere, and may have any offset.
                (Part::After(place), Some(first)) if first.offset.checked_sub(1) == Some(place.offset) => {
                    Some(first.prev)
                }
                (Part::After(place), _) if place.offset == top.offset => Some(top.tag),
                _ => None,
            };
            let entries = entries.into_iter().map(|entry| self.stored(entry)).collect();
            Ok(LogRead { top, anchor, entries, foreign })
        })
    }
}
