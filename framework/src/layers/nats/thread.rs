//! The driver's thread on NATS. It connects again and again, and works while it is connected.

use std::{rc::Rc, sync::Arc, thread, time::Duration};

use async_nats::ServerAddr;
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{
    select,
    sync::mpsc::{UnboundedReceiver, channel},
    task::LocalSet,
    time::timeout,
};
use tracing::{Dispatch, dispatcher};

use super::{
    fate::Fate,
    link::NatsLink,
    shared::{Nats, NatsOperation, NatsShared, NatsSource},
    work::{follow, hear_all, leave, listen, refuse, tell_misses, write},
};
use crate::layers::server::{
    driver::{Driver, InboundSenderOf},
    outage::Outage,
};

/// How long to wait if the system gives no runtime, before the next attempt.
const RUNTIME_PAUSE: Duration = Duration::from_millis(50);

/// How many events that are in no log may wait until that is told in the stream.
const FOREIGN: usize = 1_024;

/// How a pair of connections ended.
enum ConnectionEnd {
    Lost(String),
    Stopped,
}

/// Keeps connected until the layer ends.
pub(super) fn run(
    shared: &Arc<NatsShared>,
    inbox: InboundSenderOf<Nats>,
    mut operations: UnboundedReceiver<NatsOperation>,
) {
    let inbox = Rc::new(inbox);
    let mut outage = Outage::new(&shared.status, 0);
    // Other servers of the cluster, as one of the servers has named them.
    let mut discovered = Vec::new();
    loop {
        // Each pair of connections has its own runtime. When the runtime is dropped, all work that the client
        // had still to do is dropped too. It has been counted as lost by then.
        let end = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let log = dispatcher::get_default(Clone::clone);
                // The client logs each failed attempt. This layer logs an outage only once.
                let quiet = dispatcher::set_default(&Dispatch::none());
                let fate = Arc::new(Fate::new(shared, log));
                let serve = serve(&fate, shared, &inbox, &mut operations, &mut outage, &mut discovered);
                let end = LocalSet::new().block_on(&runtime, serve);
                drop(quiet);
                // A look-up of a name may still be running, and is not waited for.
                runtime.shutdown_background();
                end
            }
            Err(error) => {
                thread::sleep(RUNTIME_PAUSE);
                if shared.stop.notified().now_or_never().is_some() {
                    ConnectionEnd::Stopped
                } else {
                    ConnectionEnd::Lost(error.to_string())
                }
            }
        };
        let ConnectionEnd::Lost(reason) = end else { return };
        outage.lost(reason);
        shared.members.unsettle(|_| true);
    }
}

/// Connects, and works until a connection is lost or the layer ends.
async fn serve(
    fate: &Arc<Fate>,
    shared: &Arc<NatsShared>,
    inbox: &Rc<InboundSenderOf<Nats>>,
    operations: &mut UnboundedReceiver<NatsOperation>,
    outage: &mut Outage<'_>,
    discovered: &mut Vec<ServerAddr>,
) -> ConnectionEnd {
    let mut servers = shared.driver.settings.servers();
    // These servers stay known if no server answers.
    discovered.retain(|server| !servers.contains(server));
    servers.extend(discovered.iter().cloned());
    let (foreign, mut foreign_events) = channel(FOREIGN);
    let connect = async {
        outage.pause().await;
        let link = NatsLink::connect(shared, inbox, fate, &servers, foreign).await?;
        let begin = async {
            shared.driver.streams.look(&link).await;
            link.find_secret().await;
            hear_all(&link).await
        };
        select! {
            heard = begin => heard?,
            reason = fate.lost() => return Err(reason),
        }
        Ok::<_, String>(link)
    };
    let link = select! {
        link = connect => match link {
            Ok(link) => link,
            Err(reason) => {
                shared.give_up_unsure();
                return ConnectionEnd::Lost(reason);
            }
        },
        () = refuse(shared, operations) => return ConnectionEnd::Stopped,
        () = shared.stop.notified() => return ConnectionEnd::Stopped,
    };
    *discovered = link.discovered();
    let away = fate.log(|| outage.found());
    if away.is_some() {
        // What others have sent meanwhile is not in them.
        shared.driver.own_logs.end_all();
    }
    let (logged, others): (Vec<_>, Vec<_>) =
        shared.members.groups(|_| true).into_iter().partition(|group| shared.policy(group).is_some());
    if let Some(away) = away {
        shared.tell_gap(inbox, others, away).await;
    }
    let groups = link.without_unread(logged);
    // A log may also have been asked for before there was a connection.
    let refill = NatsSource::Refill { groups, seconds: away.map(|away| away.as_secs_f64()) };
    inbox.message(Bytes::new(), refill).await;
    let reason = select! {
        reason = fate.lost() => reason,
        reason = write(&link, operations) => reason,
        reason = follow(&link) => reason,
        reason = listen(&link) => reason,
        () = tell_misses(&link) => "a task has ended".to_owned(),
        () = link.mark_foreign(&mut foreign_events) => "a task has ended".to_owned(),
        () = async { link.find_unsure().await; link.keep_logs().await } => "a task has ended".to_owned(),
        () = shared.stop.notified() => {
            // What cannot be written in this time is lost.
            let _ = timeout(Nats::FAREWELL, leave(&link, operations)).await;
            return ConnectionEnd::Stopped;
        }
    };
    ConnectionEnd::Lost(reason)
}
