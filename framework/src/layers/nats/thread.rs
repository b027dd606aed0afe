//! The thread that speaks with NATS: it connects, again and again, and does the work while it is connected.

use std::{
    rc::Rc,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use async_nats::ServerAddr;
use futures_util::FutureExt;
use tokio::{
    select,
    sync::mpsc::UnboundedReceiver,
    task::LocalSet,
    time::{sleep, timeout},
};
use tracing::{Dispatch, dispatcher};

use super::{
    fate::Fate,
    link::Link,
    shared::{Inbox, Operation, Shared},
    work::{follow, hear_all, leave, listen, refuse, tell_misses, write},
};
use crate::layers::server::inbound;

/// The pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long the end of a layer may take to write what it has, and to hand on what nobody reads any more.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// Starts the threads of a layer. What is returned is told when it has ended.
pub(super) fn start(
    shared: Arc<Shared>,
    operations: UnboundedReceiver<Operation>,
) -> std::io::Result<mpsc::Receiver<()>> {
    let (inbox, inbound) = Inbox::new(shared.config.queue_bytes);
    inbound::start("greenroom-nats-in", Arc::clone(&shared), inbound)?;
    let (ended, end) = mpsc::sync_channel(1);
    let run = move || {
        Server { operations, discovered: Vec::new(), lost: None, pause: Duration::ZERO }.run(&shared, inbox);
        shared.status.set_away(0, "the layer has ended".to_owned());
        shared.ended.send_replace(true);
        // Who ended the layer may not wait for it.
        let _ = ended.try_send(());
    };
    thread::Builder::new().name("greenroom-nats".into()).spawn(run)?;
    Ok(end)
}

/// What is kept from one pair of connections to the next.
struct Server {
    operations: UnboundedReceiver<Operation>,
    /// Where else the cluster is.
    discovered: Vec<ServerAddr>,
    /// Since when it is away, where it was there before.
    lost: Option<Instant>,
    /// Before the next attempt.
    pause: Duration,
}

/// How a pair of connections ended.
enum End {
    Lost(String),
    Stopped,
}

impl Server {
    fn run(&mut self, shared: &Arc<Shared>, inbox: Inbox) {
        let inbox = Rc::new(inbox);
        loop {
            // A runtime for each pair of connections: it takes with it all that the client had still to do, which is
            // counted as lost by then.
            let end = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let log = dispatcher::get_default(Clone::clone);
                    // The client logs each failed attempt, for as long as they fail; this layer says it once.
                    let quiet = dispatcher::set_default(&Dispatch::none());
                    let fate = Arc::new(Fate::new(shared, log));
                    let end = LocalSet::new().block_on(&runtime, self.serve(&fate, shared, &inbox));
                    drop(quiet);
                    // A name may still be looked up.
                    runtime.shutdown_background();
                    end
                }
                Err(error) => {
                    thread::sleep(FIRST_PAUSE);
                    if shared.stop.notified().now_or_never().is_some() {
                        End::Stopped
                    } else {
                        End::Lost(error.to_string())
                    }
                }
            };
            let End::Lost(reason) = end else { return };
            let address = shared.status.address(0);
            if shared.status.set_away(0, reason.clone()) {
                tracing::warn!(address, reason, "NATS is away");
            }
            shared.members.unsettle(|_| true);
            self.pause = if self.pause.is_zero() { FIRST_PAUSE } else { (self.pause * 2).min(LONGEST_PAUSE) };
        }
    }

    /// Connects, and works until that ends.
    async fn serve(&mut self, fate: &Arc<Fate>, shared: &Arc<Shared>, inbox: &Rc<Inbox>) -> End {
        let mut servers = shared.config.servers();
        servers.extend(
            self.discovered.iter().filter(|&server| !servers.contains(server)).cloned().collect::<Vec<_>>(),
        );
        let connect = async {
            sleep(self.pause).await;
            let link = Link::connect(shared, inbox, fate, &servers).await?;
            select! {
                heard = hear_all(&link) => heard?,
                reason = fate.lost() => return Err(reason),
            }
            Ok::<_, String>(link)
        };
        let link = select! {
            link = connect => match link {
                Ok(link) => link,
                Err(reason) => return End::Lost(reason),
            },
            () = refuse(shared, &mut self.operations) => return End::Stopped,
            () = shared.stop.notified() => return End::Stopped,
        };
        self.discovered = link.discovered();
        self.pause = Duration::ZERO;
        shared.status.set_up(0);
        if let Some(lost) = self.lost.take() {
            come_back(&link, lost.elapsed()).await;
        }
        let reason = select! {
            reason = fate.lost() => reason,
            reason = write(&link, &mut self.operations) => reason,
            reason = follow(&link) => reason,
            reason = listen(&link) => reason,
            () = tell_misses(&link) => "a task has ended".to_owned(),
            () = shared.stop.notified() => {
                // What it cannot do in its time is lost.
                let _ = timeout(FAREWELL, leave(&link, &mut self.operations)).await;
                return End::Stopped;
            }
        };
        self.lost = Some(Instant::now());
        End::Lost(reason)
    }
}

/// Tells everyone that messages may be missing.
async fn come_back(link: &Link, away: Duration) {
    let shared = &link.shared;
    let address = shared.status.address(0);
    link.fate.log(|| tracing::info!(address, ?away, "NATS is back"));
    shared.counters().reconnected.one();
    let groups = shared.members.all(|_| true).into_iter().map(|(group, _)| group).collect();
    link.inbox.gap(groups, away.as_secs_f64()).await;
}
