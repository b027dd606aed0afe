//! Looks whether the logs here end where those of the server do.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use redis::Value;
use tokio::{
    task::spawn_local,
    time::{Instant, sleep},
};

use super::{linked::Linked, read::RawState, scripts::state_seconds, secret::share_secret};
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

/// How often the states of logs with members here get their whole lifetime again, which is an hour at least.
const RENEW: Duration = Duration::from_secs(300);

/// Of how many logs that is asked at once.
const CHECKED: usize = 512;

/// For each group with members, the mark that others knew of at the last look, if the event had not come here.
type Missed = RefCell<HashMap<GroupName, f64>>;

/// Says when states are renewed: at the first look, and then now and then.
#[derive(Debug, Default)]
struct Renewal(Option<Instant>);

impl Renewal {
    /// Whether it is time. If so, the next time is counted from now on.
    fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() >= RENEW);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

/// Looks again and again whether the logs here end where those of the server do. If not, they are read.
///
/// An event may have found a full queue, and no later event says so. It is also looked whether others know of events that
/// are in no log, and have not come here: then the members are told.
///
/// Now and then the states are renewed. A room may be quiet for longer than a state lives after its last use. With members
/// it is in use all the same: without its state they would be told that all is lost.
pub(in crate::layers::redis) async fn check<L: Linked>(io: Rc<L>) {
    let directory = io.directory();
    let missed: Rc<Missed> = Rc::default();
    let mut renewal = Renewal::default();
    loop {
        // The processes do not all ask at once.
        sleep(CHECK.mul_f64(0.8) + jitter(CHECK.mul_f64(0.4))).await;
        if io.status().is_up(0) {
            share_secret(&*io).await;
        }
        missed.borrow_mut().retain(|group, _| directory.has_members(group));
        let renews = renewal.is_due();
        let here = |log: &Arc<Log>| log.opened().is_some() && directory.has_members(&log.group);
        let mut sorted: HashMap<usize, Vec<Arc<Log>>> = HashMap::new();
        for log in directory.logs.all().into_iter().filter(here) {
            sorted.entry(io.shared().group_shard(&log.group)).or_default().push(log);
        }
        for (shard, logs) in sorted.into_iter().filter(|(shard, _)| io.status().is_up(*shard)) {
            spawn_local(look(Rc::clone(&io), shard, logs, Rc::clone(&missed), renews));
        }
    }
}

/// Looks at these logs, which are on one shard.
async fn look<L: Linked>(io: Rc<L>, shard: usize, logs: Vec<Arc<Log>>, missed: Rc<Missed>, renews: bool) {
    for some in logs.chunks(CHECKED) {
        for State { log, is_behind, foreign } in states(&*io, shard, some, renews).await {
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

/// What the server says of these logs. If `renews`, their states live on for their whole time.
async fn states<L: Linked>(io: &L, shard: usize, logs: &[Arc<Log>], renews: bool) -> Vec<State> {
    let mut commands = redis::pipe();
    let seen: Vec<_> = logs.iter().map(|log| log.seen()).collect();
    for log in logs {
        let [state, _] = log_keys(io.prefix(), &log.group);
        RawState::ask(&state, &mut commands);
    }
    // The replies to these come last, and say nothing new.
    for log in logs.iter().filter(|_| renews) {
        let [state, _] = log_keys(io.prefix(), &log.group);
        commands.cmd("EXPIRE").arg(&state).arg(state_seconds(log.policy));
    }
    let Ok(replies) = io.link(shard).run(&commands).await else { return Vec::new() };
    let state = |((log, seen), reply): ((&Arc<Log>, Option<Position>), Value)| {
        let RawState { top, foreign, policy } = RawState::read(reply).unwrap_or_default();
        io.compare_policy(&log.group, log.policy, policy.as_deref());
        // More may have come meanwhile.
        State { log: Arc::clone(log), is_behind: top != seen && log.seen() == seen, foreign }
    };
    logs.iter().zip(seen).zip(replies).map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn states_are_renewed_at_first_and_then_now_and_then() {
        let mut renewal = Renewal::default();
        assert!(renewal.is_due());
        tokio::time::advance(RENEW - Duration::from_secs(1)).await;
        assert!(!renewal.is_due());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(renewal.is_due());
        assert!(!renewal.is_due());
    }
}
