//! Finds out what became of an event when the connection was lost before there was an answer.

use super::{
    api::JetStreamError,
    entry::{Stored, What},
    read::Reader,
    tasks::{AppendError, Unsure},
};
use crate::{
    groups::history::position::{Epoch, Position},
    layers::server::NOBODY_KNOWS,
};

/// How many entries are searched for one whose fate is not known.
const SEARCHED: usize = 1_000;

impl Reader<'_> {
    /// The place of an event of which nobody has said whether it is in the log.
    pub(super) async fn find(&self, unsure: &Unsure) -> Result<Position, AppendError> {
        let (epoch, messages) =
            self.newest().await.map_err(|error| AppendError::Unknown(error.to_string()))?;
        let nonce = unsure.nonce;
        let is_it =
            |stored: &&Stored| matches!(stored.what, What::Entry { nonce: Some(own), .. } if own == nonce);
        if let Some(stored) = messages.iter().find(is_it) {
            return Ok(stored.spot().within(epoch));
        }
        // It may have been there, and more have followed than the stream keeps. Then others may have it. The oldest ones are
        // dropped first: none that is newer than one of these.
        let terms = &self.stream.terms;
        let keeps_all = messages.len() < terms.size.min(SEARCHED) && unsure.since.elapsed() < terms.age;
        let seen = unsure.seen.filter(|seen| seen.epoch == epoch);
        let reaches =
            |seen: Position| messages.first().is_some_and(|first| first.spot().offset <= seen.offset);
        if keeps_all || seen.is_some_and(reaches) {
            return Err(AppendError::Not("the connection was lost".into()));
        }
        Err(AppendError::Unknown(NOBODY_KNOWS.into()))
    }

    /// The newest messages of the log, and the epoch that they are of.
    async fn newest(&self) -> Result<(Epoch, Vec<Stored>), JetStreamError> {
        let found = self.stream.look(self.api.link).await?;
        let messages = match self.top().await? {
            Some(top) => self.backward(top.sequence, SEARCHED).await?,
            None => Vec::new(),
        };
        Ok((found.epoch, messages))
    }
}
