//! Carries out requests for logs, on the driver's thread.

use std::{collections::HashMap, rc::Rc, time::Duration};

use redis::Value;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    task::spawn_local,
    time::{Instant, sleep_until},
};

use super::{
    linked::Linked,
    read::{LogQuery, RawLog},
    scripts::{begin, note},
    store::LogRequest,
};
use crate::{
    GroupName,
    groups::history::store::Part,
    layers::{LayerError, redis::batch::Replies},
};

/// How many requests are sent to Redis at once.
const AT_ONCE: usize = 64;

/// For how long marks are gathered before they are written.
const GATHER: Duration = Duration::from_millis(50);

/// When marks are written again that could not be, because the server is away.
const AGAIN: Duration = Duration::from_millis(500);

/// How often a log is read again that changes between two commands.
const ATTEMPTS: usize = 3;

/// The mark of events that are in no log, until it is written.
#[derive(Debug, Clone, Copy)]
struct Mark {
    newest: f64,
    /// Whether only this process has had them.
    is_unlogged: bool,
}

/// Carries out requests until the layer ends.
pub(in crate::layers::redis) async fn serve<L: Linked>(
    io: Rc<L>,
    mut requests: UnboundedReceiver<LogRequest>,
) {
    let mut some = Vec::with_capacity(AT_ONCE);
    let mut marks: HashMap<GroupName, Mark> = HashMap::new();
    let mut until = Instant::now();
    loop {
        let count = if marks.is_empty() {
            requests.recv_many(&mut some, AT_ONCE).await
        } else {
            tokio::select! {
                count = requests.recv_many(&mut some, AT_ONCE) => count,
                () = sleep_until(until) => {
                    until = Instant::now() + AGAIN;
                    write_marks(&io, &mut marks);
                    continue;
                }
            }
        };
        if count == 0 {
            return;
        }
        let mut reads: HashMap<usize, Vec<_>> = HashMap::new();
        for request in some.drain(..) {
            match request {
                LogRequest::Note { group, mark, is_unlogged } => {
                    until = if marks.is_empty() { Instant::now() + GATHER } else { until };
                    let noted = marks.entry(group).or_insert(Mark { newest: mark, is_unlogged });
                    noted.newest = noted.newest.max(mark);
                    noted.is_unlogged |= is_unlogged;
                }
                LogRequest::Read { query, reply } => {
                    reads.entry(io.shared().group_shard(&query.group)).or_default().push((query, reply));
                }
            }
        }
        for (shard, reads) in reads {
            // Each shard is waited for alone, so that one which hangs holds up no other.
            let io = Rc::clone(&io);
            spawn_local(async move {
                let (mut queries, replies): (Vec<_>, Vec<_>) = reads.into_iter().unzip();
                for (log, reply) in read_all(&*io, shard, &mut queries).await.into_iter().zip(replies) {
                    // The caller may have gone.
                    let _ = reply.send(log);
                }
            });
        }
    }
}

/// Reads logs of one shard. Where there is no log, or one that has lost entries, a new epoch is begun.
async fn read_all<L: Linked>(
    io: &L,
    shard: usize,
    queries: &mut [LogQuery],
) -> Vec<Result<RawLog, LayerError>> {
    let mut logs = read_once(io, shard, queries.iter()).await;
    for _ in 1..ATTEMPTS {
        let is_wrong = |log: &Result<RawLog, _>| {
            log.as_ref().is_ok_and(|log| log.state.top.is_none() || log.is_rolled_back)
        };
        let wrong: Vec<usize> = (0..logs.len()).filter(|at| is_wrong(&logs[*at])).collect();
        if wrong.is_empty() {
            break;
        }
        let mut commands = redis::pipe();
        for query in wrong.iter().map(|at| &queries[*at]) {
            commands.add_command(begin(io.prefix(), &query.group, query.policy, query.seen));
        }
        let replies = io.link(shard).run(&commands).await;
        let mut replies = Replies::new(io.status(), shard, &commands, replies);
        let begun: Vec<_> = wrong.iter().map(|_| replies.next()).collect();
        let again = read_once(io, shard, wrong.iter().map(|at| &queries[*at])).await;
        for ((at, begun), log) in wrong.into_iter().zip(begun).zip(again) {
            if let Ok(Value::Int(1)) = begun
                && logs[at].as_ref().is_ok_and(|log| log.is_rolled_back)
            {
                let group = &queries[at].group;
                tracing::warn!(%group, "Redis has lost the newest events of a group's history: it begins anew");
            }
            logs[at] = begun.and(log);
        }
    }
    // Offsets of another epoch say nothing in this one.
    let is_other = |query: &LogQuery, log: &Result<RawLog, _>| match (query.part, log) {
        (Part::After(place), Ok(log)) => log.state.top.is_some_and(|top| top.epoch != place.epoch),
        _ => false,
    };
    let others: Vec<usize> = (0..logs.len()).filter(|at| is_other(&queries[*at], &logs[*at])).collect();
    for at in &others {
        queries[*at].part = Part::Newest;
    }
    let again = read_once(io, shard, others.iter().map(|at| &queries[*at])).await;
    for (at, log) in others.into_iter().zip(again) {
        logs[at] = log;
    }
    for (query, log) in queries.iter().zip(&logs) {
        if let Ok(log) = log {
            io.compare_policy(&query.group, query.policy, log.state.policy.as_deref());
        }
    }
    logs
}

/// Reads logs of one shard as they are.
pub(in crate::layers::redis) async fn read_once<'a, L: Linked>(
    io: &L,
    shard: usize,
    queries: impl Iterator<Item = &'a LogQuery> + Clone,
) -> Vec<Result<RawLog, LayerError>> {
    let mut commands = redis::pipe();
    for query in queries.clone() {
        query.add_to(io.prefix(), &mut commands);
    }
    let replies = io.link(shard).run(&commands).await;
    let mut replies = Replies::new(io.status(), shard, &commands, replies);
    let read = |query: &LogQuery| {
        let all: Vec<_> = (0..LogQuery::COMMANDS).map(|_| replies.next()).collect();
        // A command that is refused, when it is queued, is why the last one is refused too.
        let last = all.into_iter().reduce(|refused, next| refused.and(next));
        let last = last.unwrap_or_else(|| Err(LayerError::Refused("a reply is missing".into())))?;
        query.read(last).ok_or_else(|| {
            LayerError::Refused(format!("the log of {} has another form than it must have", query.group))
        })
    };
    queries.map(read).collect()
}

/// Writes marks of events that are in no log, without waiting for that. Those of servers that are away are kept.
fn write_marks<L: Linked>(io: &Rc<L>, marks: &mut HashMap<GroupName, Mark>) {
    let mut sorted: HashMap<usize, redis::Pipeline> = HashMap::new();
    for (group, mark) in marks.extract_if(|group, _| io.status().is_up(io.shared().group_shard(group))) {
        if let Some(policy) = io.shared().config.layer.history_of(&group) {
            let commands = sorted.entry(io.shared().group_shard(&group)).or_default();
            commands.add_command(note(io.prefix(), &group, policy, mark.newest, mark.is_unlogged));
        }
    }
    for (shard, commands) in sorted {
        let io = Rc::clone(io);
        spawn_local(async move {
            let replies = io.link(shard).run(&commands).await;
            let mut replies = Replies::new(io.status(), shard, &commands, replies);
            // What Redis refuses is logged.
            (0..commands.len()).for_each(|_| drop(replies.next()));
        });
    }
}
