//! Looks whether the logs here end where those of the server do.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use redis::Value;
use tokio::{task::spawn_local, time::sleep};

use super::{linked::Linked, read::RawState, secret::share_secret};
use crate::{
    GroupName,
    groups::{
        history::{log::Log, position::Position},
        pace::jitter,
    },
    layers::redis::names::log_keys,
};

/// How often it is looked whether a log has got entries of which this process was not told, give or take a fifth.
const CHECK: Duration = Duration::from_secs(10);

/// Of how many logs that is asked at once.
const CHECKED: usize = 512;

/// For each group with members, the mark that others knew of at the last look, if the event had not come here.
type Missed = RefCell<HashMap<GroupName, f64>>;

/// Looks again and again whether the logs here end where those of the server do. If not, they are read.
///
/// An event may have found a full queue, and no later event says so. It is also looked whether others know of events that
/// are in no log, and have not come here: then the members are told.
pub(in crate::layers::redis) async fn check<L: Linked>(io: Rc<L>) {
    let directory = io.directory();
    let missed: Rc<Missed> = Rc::default();
    loop {
        // The processes do not all ask at once.
        sleep(CHECK.mul_f64(0.8) + jitter(CHECK.mul_f64(0.4))).await;
        if io.status().is_up(0) {
            share_secret(&*io).await;
        }
        missed.borrow_mut().retain(|group, _| directory.has_members(group));
        let here = |log: &Arc<Log>| log.opened().is_some() && directory.has_members(&log.group);
        let mut sorted: HashMap<usize, Vec<Arc<Log>>> = HashMap::new();
        for log in directory.logs.all().into_iter().filter(here) {
            sorted.entry(io.shared().group_shard(&log.group)).or_default().push(log);
        }
        for (shard, logs) in sorted.into_iter().filter(|(shard, _)| io.status().is_up(*shard)) {
            spawn_local(look(Rc::clone(&io), shard, logs, Rc::clone(&missed)));
        }
    }
}

/// Looks at these logs, which are on one shard.
async fn look<L: Linked>(io: Rc<L>, shard: usize, logs: Vec<Arc<Log>>, missed: Rc<Missed>) {
    for some in logs.chunks(CHECKED) {
        for State { log, is_behind, foreign } in states(&*io, shard, some).await {
            if is_behind {
                // If the server cannot be read, the next check tries again.
                let _ = io.directory().fill(&log).await;
            }
            let is_missed = foreign > log.foreign();
            // The first time, the event may still be on its way.
            let before = if is_missed {
                missed.borrow_mut().insert(log.group.clone(), foreign)
            } else {
                missed.borrow_mut().remove(&log.group)
            };
            if is_missed && before == Some(foreign) {
                log.note_foreign(foreign);
                io.tell_gap(log.group.clone());
            }
        }
    }
}

/// What the server says of a log that is here.
struct State {
    log: Arc<Log>,
    /// Whether the log ends elsewhere than here.
    is_behind: bool,
    foreign: f64,
}

/// What the server says of these logs.
async fn states<L: Linked>(io: &L, shard: usize, logs: &[Arc<Log>]) -> Vec<State> {
    let mut commands = redis::pipe();
    let seen: Vec<_> = logs.iter().map(|log| log.seen()).collect();
    for log in logs {
        let [state, _] = log_keys(io.prefix(), &log.group);
        RawState::ask(&state, &mut commands);
    }
    let Ok(replies) = io.link(shard).run(&commands).await else { return Vec::new() };
    let state = |((log, seen), reply): ((&Arc<Log>, Option<Position>), Value)| {
        let RawState { top, foreign } = RawState::read(reply).unwrap_or_default();
        // More may have come meanwhile.
        State { log: Arc::clone(log), is_behind: top != seen && log.seen() == seen, foreign }
    };
    logs.iter().zip(seen).zip(replies).map(state).collect()
}
