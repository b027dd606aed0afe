//! The places that a client names when it comes back, and what they prove.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use super::{Connection, places::Places};
use crate::{
    groups::history::{
        log::Log,
        lost::{LostReason, Outcome},
        position::{Epoch, Position, Tag},
        token::{FloorToken, Gid},
    },
    wire::history::resume::Named,
};

/// A place that the client has named, and what this layer says of its proof.
#[derive(Clone, Copy)]
pub(super) enum NamedPlace {
    /// A place in which the client has been, and the mark of the newest event in no log that it has.
    Proven(Position, f64),
    /// This layer has not signed the proof. It names an epoch all the same: that of a log that may be gone.
    Unproven(Epoch),
    Refused(LostReason),
}

impl Connection {
    /// Checks the proofs of the places that a client names. Returns also whether all are signed by this layer.
    pub(super) fn check(&self, places: &Places, named: Vec<Named>) -> (BTreeMap<Gid, NamedPlace>, bool) {
        let now = SystemTime::now();
        let secret = self.hub.directory().logs.secret();
        let mut checked = BTreeMap::new();
        let mut are_signed = true;
        for place in named {
            let Some(Ok(token)) = secret.map(|secret| FloorToken::read(secret, &place.token)) else {
                tracing::debug!(channel = %self.channel_name(), "a client's token is forged, or of another layer");
                match FloorToken::unproven(&place.token) {
                    Some((gid, epoch)) => {
                        checked.entry(gid).or_insert(NamedPlace::Unproven(epoch));
                    }
                    // Nobody knows which group it is.
                    None => self.counters().lost(LostReason::Forged),
                }
                are_signed = false;
                continue;
            };
            let is_theirs = token.user == places.user && place.offset >= token.floor;
            let result = match Tag::of(place.tag).filter(|_| is_theirs) {
                None => NamedPlace::Refused(LostReason::Forged),
                Some(_) if token.has_ended(now) => NamedPlace::Refused(LostReason::Expired),
                Some(tag) => {
                    let position = Position { epoch: token.epoch, offset: place.offset, tag };
                    NamedPlace::Proven(position, place.foreign)
                }
            };
            checked.insert(token.gid, result);
        }
        (checked, are_signed)
    }

    /// Finds a place in its log, if all that came behind it is there. Counts what became of it.
    pub(super) async fn find(&self, log: &Arc<Log>, named: NamedPlace) -> Result<Position, LostReason> {
        let directory = Arc::clone(self.hub.directory());
        let found = match named {
            NamedPlace::Proven(_, foreign) if log.foreign() > foreign => Err(LostReason::Foreign),
            NamedPlace::Proven(place, _) => directory.reach(log, place).await,
            // With its log the secret of a process is gone too.
            NamedPlace::Unproven(epoch) if log.seen().is_some_and(|seen| seen.epoch != epoch) => {
                Err(LostReason::Epoch)
            }
            NamedPlace::Unproven(_) => Err(LostReason::Forged),
            NamedPlace::Refused(reason) => Err(reason),
        };
        match found {
            Ok(_) => directory.counters.recovered.one(),
            Err(reason) => directory.counters.lost(reason),
        }
        found
    }

    /// Finds the place that the client has named, and holds its member there.
    pub(super) async fn find_and_hold(&self, log: &Arc<Log>, named: NamedPlace) -> Outcome {
        let found = self.find(log, named).await;
        if let Ok(place) = found {
            self.hub.hold_at(self, log, place);
        }
        Outcome::of(&found)
    }
}
