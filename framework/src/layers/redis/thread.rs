//! The thread that speaks with Redis: a writer, a reader a shard, and who keeps up connections and memberships.

use std::{
    rc::Rc,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::{
    select,
    sync::mpsc::UnboundedReceiver,
    task::LocalSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{
    inbound::{self, Inbox},
    link::BLOCK,
    reader::read,
    shared::{Operation, Shared},
    writer::{Io, write},
};

/// The pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long the end of a layer may take to leave its groups in Redis.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// Starts the threads of a layer. What is returned is told when its end has left all groups.
pub(super) fn start(
    shared: Arc<Shared>,
    operations: UnboundedReceiver<Operation>,
) -> std::io::Result<mpsc::Receiver<()>> {
    let (inbox, inbound) = Inbox::new(shared.config.queue_bytes);
    inbound::start("greenroom-redis-in", Arc::clone(&shared), inbound)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, end) = mpsc::sync_channel(1);
    let last = Arc::clone(&shared);
    let run = move || {
        LocalSet::new().block_on(&runtime, serve(Rc::new(Io::new(shared, inbox)), operations));
        for shard in 0..last.status.len() {
            last.status.set_away(shard, "the layer has ended".to_owned());
        }
        last.ended.send_replace(true);
        // Who ended the layer may not wait for it.
        let _ = ended.try_send(());
    };
    thread::Builder::new().name("greenroom-redis".into()).spawn(run)?;
    Ok(end)
}

async fn serve(io: Rc<Io>, operations: UnboundedReceiver<Operation>) {
    for shard in 0..io.links.len() {
        let io = Rc::clone(&io);
        tokio::task::spawn_local(async move { keep_up(&io, shard).await });
    }
    select! {
        () = write(&io, operations) => {}
        () = follow(&io) => {}
        () = io.shared.stop.notified() => {}
    }
    // Whoever has joined meanwhile goes too.
    let _ = timeout(FAREWELL, io.leave_all()).await;
}

/// Keeps a shard connected for ever.
async fn keep_up(io: &Io, shard: usize) {
    let (shared, link) = (&io.shared, &io.links[shard]);
    let address = shared.status.address(shard);
    let mut pause = FIRST_PAUSE;
    let mut lost: Option<Instant> = None;
    loop {
        let reason = match connect(io, shard).await {
            Err(reason) => reason,
            Ok(reader) => {
                shared.status.set_up(shard);
                pause = FIRST_PAUSE;
                if let Some(lost) = lost {
                    come_back(io, shard, lost.elapsed());
                }
                let reason = select! {
                    reason = read(io, shard, reader) => reason,
                    reason = link.failed() => reason,
                };
                lost = Some(Instant::now());
                reason
            }
        };
        link.disconnect();
        if shared.status.set_away(shard, reason.clone()) {
            tracing::warn!(address, reason, "Redis is away");
        }
        shared.members.unsettle(|group| shared.group_shard(group) == shard);
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Connects to a shard, and is a member again of all groups there.
async fn connect(io: &Io, shard: usize) -> Result<redis::aio::MultiplexedConnection, String> {
    let link = &io.links[shard];
    let client = link.connect().await?;
    let reader = link.open(&client, BLOCK + io.shared.config.timeout).await?;
    io.rejoin(shard).await?;
    Ok(reader)
}

/// Tells everyone whom it concerns that messages may be missing.
fn come_back(io: &Io, shard: usize, away: Duration) {
    let shared = &io.shared;
    tracing::info!(address = shared.status.address(shard), ?away, "Redis is back");
    shared.counters().reconnected.one();
    let concerned = shared.members.all(|group| shared.rests_on(group, shard));
    io.inbox.gap(concerned.into_iter().map(|(group, _)| group).collect(), away.as_secs_f64());
}

/// Tells Redis which groups have members here, when that changes, and again and again.
async fn follow(io: &Io) {
    let shared = &io.shared;
    let period = shared.config.renewal();
    let mut renewal = interval_at(Instant::now() + period, period);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        select! {
            groups = shared.groups.changed() => {
                for group in groups {
                    if shared.groups.has_members(&group) {
                        if let Some(number) = shared.members.insert(&group) {
                            shared.ask(Operation::Join { group, number });
                        }
                    } else if let Some(number) = shared.members.remove(&group) {
                        shared.ask(Operation::Leave { group, number });
                    }
                }
                // Who waits for a group that has no member any more need not.
                shared.members.changed.notify_waiters();
            }
            _ = renewal.tick() => {
                for (group, number) in shared.members.all(|_| true) {
                    shared.ask(Operation::Join { group, number });
                }
            }
        }
    }
}
