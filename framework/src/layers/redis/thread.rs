//! The driver's thread of a core layer.
//!
//! Its tasks are a writer, a reader for each shard, and those that keep the connections and the memberships.

use std::{pin::pin, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    select,
    sync::mpsc::UnboundedReceiver,
    time::{MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{
    link::BLOCK,
    log,
    reader::read,
    state::{Core, CoreOperation, CoreShared},
    writer::{BATCH, CoreIo, write, write_shard},
};
use crate::{
    GroupName,
    layers::server::{
        driver::{Driver, InboundSenderOf},
        outage::Outage,
        shared::Changes,
    },
    time::from_now,
};

/// How long to wait until Redis is asked again for what it has refused for now.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs the tasks of the thread until the layer ends.
pub(super) async fn serve(
    shared: Arc<CoreShared>,
    inbox: InboundSenderOf<Core>,
    operations: UnboundedReceiver<CoreOperation>,
) {
    let (io, lanes) = CoreIo::new(shared, inbox);
    let io = Rc::new(io);
    for (shard, lane) in lanes.into_iter().enumerate() {
        let (connected, written) = (Rc::clone(&io), Rc::clone(&io));
        tokio::task::spawn_local(async move { keep_up(&connected, shard).await });
        tokio::task::spawn_local(async move { write_shard(&written, shard, lane).await });
    }
    log::thread::start(&io);
    // The writer ends when no sender of operations is left, and `io` holds one.
    let mut writing = pin!(write(&io, operations));
    select! {
        () = &mut writing => return,
        () = follow(&io) => {}
        () = ask_again(&io) => {}
        () = io.shared.stop.notified() => {}
    }
    let farewell = async {
        // A job that is on its way to a worker which has stopped goes to another worker. So does a message
        // for a caller that still waits.
        io.shared.driver.demand.end();
        io.hand_back().await;
        // This also removes members that have joined meanwhile.
        io.leave_all().await;
    };
    select! {
        () = writing => {}
        _ = timeout(Core::FAREWELL, farewell) => {}
    }
}

/// Connects to a shard again and again, and reads while it is connected.
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

/// Connects to a shard, and writes the memberships of this process again.
async fn connect(io: &CoreIo, shard: usize) -> Result<redis::aio::MultiplexedConnection, String> {
    let link = &io.links[shard];
    let client = link.connect().await?;
    let reader = link.open(&client, BLOCK + io.shared.config.timeout).await?;
    log::thread::prepare(io, shard).await;
    io.rejoin(shard).await?;
    log::unsure::resolve(io, shard).await?;
    Ok(reader)
}

/// Tells the members of all affected groups that they may have missed events.
async fn come_back(io: &CoreIo, shard: usize, away: Duration) {
    let shared = &io.shared;
    let mut groups = io.told.groups(|group: &GroupName| shared.rests_on(group, shard));
    // The log of a group knows what its members have missed.
    let directory = shared.groups.directory();
    let filled = directory.refill_all(|group| shared.rests_on(group, shard)).await;
    groups.retain(|group| !filled.contains(group));
    shared.tell_gap(&io.inbox, groups, away).await;
}

/// Tells Redis which groups have members in this process.
///
/// It does so at each change, and at each renewal.
async fn follow(io: &CoreIo) {
    let shared = &io.shared;
    let period = shared.driver.renewal;
    let mut renewal = interval_at(from_now(period), period);
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
                // A caller that waits for a group which has lost its last member need not wait any more.
                shared.members.changed.notify_waiters();
            }
            () = members_noted(shared) => {
                // One operation is enough for all changes that are noted before it is carried out.
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

/// Asks Redis again to take the names that it has refused for now.
async fn ask_again(io: &CoreIo) {
    loop {
        io.refused.notified().await;
        sleep(AGAIN).await;
        for piece in io.told.refused(BATCH) {
            io.shared.tell(CoreOperation::Renew(piece));
        }
    }
}

/// Waits until a member has joined or left, if Redis is told of each. Otherwise waits for ever.
async fn members_noted(shared: &CoreShared) {
    match shared.groups.directory().members() {
        Some(changes) => changes.noted().await,
        None => std::future::pending().await,
    }
}
