//! The thread that speaks with Redis: a writer, a reader a shard, and who keeps up connections and memberships.

use std::{pin::pin, rc::Rc, time::Duration};

use tokio::{
    select,
    sync::mpsc::UnboundedReceiver,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use super::{
    link::BLOCK,
    reader::read,
    state::{Core, CoreOperation, CoreShared},
    writer::{BATCH, CoreIo, write},
};
use crate::{
    GroupName,
    layers::server::{driver::Driver, outage::Outage, shared::Changes},
};

/// Works until the layer ends.
pub(super) async fn serve(io: Rc<CoreIo>, operations: UnboundedReceiver<CoreOperation>) {
    for shard in 0..io.links.len() {
        let io = Rc::clone(&io);
        tokio::task::spawn_local(async move { keep_up(&io, shard).await });
    }
    // It ends with the last who could ask, and that is `io`.
    let mut writing = pin!(write(&io, operations));
    select! {
        () = &mut writing => return,
        () = follow(&io) => {}
        () = io.shared.stop.notified() => {}
    }
    let farewell = async {
        // A job that was on its way to a worker that has stopped is another one's; so is one for who still waits.
        io.shared.driver.demand.end();
        io.hand_back().await;
        // Whoever has joined meanwhile goes too.
        io.leave_all().await;
    };
    select! {
        () = writing => {}
        _ = timeout(Core::FAREWELL, farewell) => {}
    }
}

/// Keeps a shard connected for ever.
async fn keep_up(io: &CoreIo, shard: usize) {
    let (shared, link) = (&io.shared, &io.links[shard]);
    let mut outage = Outage::new(&shared.status, shard);
    loop {
        let reason = match connect(io, shard).await {
            Err(reason) => reason,
            Ok(reader) => {
                let away = outage.found();
                let serve = async {
                    if let Some(away) = away {
                        come_back(io, shard, away).await;
                    }
                    read(io, shard, reader).await
                };
                select! {
                    reason = serve => reason,
                    reason = link.failed() => reason,
                }
            }
        };
        link.disconnect();
        outage.lost(reason);
        shared.members.unsettle(|group| shared.group_shard(group) == shard);
        outage.pause().await;
    }
}

/// Connects to a shard, and is a member again of all groups there.
async fn connect(io: &CoreIo, shard: usize) -> Result<redis::aio::MultiplexedConnection, String> {
    let link = &io.links[shard];
    let client = link.connect().await?;
    let reader = link.open(&client, BLOCK + io.shared.config.timeout).await?;
    io.rejoin(shard).await?;
    Ok(reader)
}

/// Tells everyone whom it concerns that messages may be missing.
async fn come_back(io: &CoreIo, shard: usize, away: Duration) {
    let shared = &io.shared;
    let groups = io.told.groups(|group: &GroupName| shared.rests_on(group, shard));
    shared.tell_gap(&io.inbox, groups, away).await;
}

/// Tells Redis which groups have members here, when that changes, and again and again.
async fn follow(io: &CoreIo) {
    let shared = &io.shared;
    let period = shared.driver.renewal;
    let mut renewal = interval_at(Instant::now() + period, period);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        select! {
            groups = shared.groups.changed() => {
                let Changes { joined, left } = shared.note_changes(groups);
                for (group, number) in left {
                    shared.tell(CoreOperation::Leave { group, number });
                }
                for (group, number) in joined {
                    shared.tell(CoreOperation::Join { group, number });
                }
                // Who waits for a group that has no member any more need not.
                shared.members.changed.notify_waiters();
            }
            () = members_noted(shared) => {
                // One is enough for all that are noted before it is done.
                if !io.asked.replace(true) {
                    shared.tell(CoreOperation::Members);
                }
            }
            _ = renewal.tick() => {
                for piece in io.told.members(BATCH, |_| true) {
                    shared.tell(CoreOperation::Renew(piece));
                }
            }
        }
    }
}

/// Waits until a member has come or gone, where Redis is told of each.
async fn members_noted(shared: &CoreShared) {
    match shared.groups.directory().members() {
        Some(changes) => changes.noted().await,
        None => std::future::pending().await,
    }
}
