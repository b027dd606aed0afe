//! Adds an event to a group's log.

use std::rc::Rc;

use bytes::Bytes;

use super::{
    api::JetStreamError,
    entry::{Spot, entry_headers},
    streams::{StreamState, Streams},
    tasks::AppendError,
};
use crate::{
    GroupName,
    groups::history::position::{Position, Tag},
    layers::nats::link::NatsLink,
};

impl Streams {
    /// Adds an event to the log of a group, and waits until it is stored. Returns its place.
    pub(in crate::layers::nats) async fn append(
        &self,
        link: &Rc<NatsLink>,
        policy: usize,
        group: &GroupName,
        nonce: u64,
        payload: Bytes,
    ) -> Result<Position, AppendError> {
        let not = |error: JetStreamError| AppendError::Not(error.to_string());
        let Some(stream) = self.of(policy) else {
            return Err(AppendError::Not("there is no such policy".into()));
        };
        let tag = Tag::fresh();
        let subject = link.shared.driver.subjects.log(policy, group);
        for again in [true, false] {
            let epoch = match stream.state() {
                StreamState::Ready { epoch, .. } => epoch,
                StreamState::Unknown(_) | StreamState::Unusable => {
                    stream.look(link).await.map_err(not)?.epoch
                }
            };
            let headers = entry_headers(tag, nonce, epoch);
            match stream.api(link).store(subject.clone(), headers, payload.clone()).await {
                Ok(offset) => return Ok(Spot { offset, tag }.within(epoch)),
                Err(JetStreamError::Away(reason)) => return Err(AppendError::Unknown(reason)),
                // Nobody has taken it: the stream was deleted.
                Err(JetStreamError::Missing(_)) if again => drop(stream.look(link).await.map_err(not)?),
                Err(error) => return Err(not(error)),
            }
        }
        Err(AppendError::Not("the stream does not take it".into()))
    }
}
