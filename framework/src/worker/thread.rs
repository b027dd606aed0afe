//! The threads of a worker: each runs some of the consumers.

use std::{io, sync::Arc, thread};

use actix_rt::System;
use futures_util::stream::FuturesUnordered;
use tokio::{sync::oneshot, task::JoinSet};

use super::{RunningWorker, ledger::JobLedger, life::Seat, starter::JobStarter};
use crate::groups::hubs;

/// How many blocking threads the runtimes of all threads together may have.
const BLOCKING_THREADS: usize = 512;

/// Starts at most `threads` threads, and deals the consumers out to them.
pub(super) fn start(
    work: Vec<(Arc<dyn JobStarter>, Seat)>,
    threads: usize,
    ledger: Arc<JobLedger>,
) -> io::Result<RunningWorker> {
    let threads = threads.min(work.len()).max(1);
    let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
    for (at, part) in work.into_iter().enumerate() {
        shares[at % threads].push(part);
    }
    let ended = FuturesUnordered::new();
    // If a further thread cannot be started, this is dropped, which stops the earlier ones.
    let running = RunningWorker::new(Arc::clone(&ledger), ended);
    for (index, share) in shares.into_iter().enumerate() {
        let (done, end) = oneshot::channel();
        let ledger = Arc::clone(&ledger);
        thread::Builder::new()
            .name(format!("greenroom jobs {index}"))
            .spawn(move || work_on(share, BLOCKING_THREADS.div_ceil(threads), &ledger, done))?;
        running.threads.push(end);
    }
    Ok(running)
}

/// Runs the consumers of one thread.
///
/// It sends `done` before the runtime is dropped, because the drop waits for blocking work.
fn work_on(
    share: Vec<(Arc<dyn JobStarter>, Seat)>,
    blocking: usize,
    ledger: &JobLedger,
    done: oneshot::Sender<io::Result<()>>,
) {
    hubs::note_thread_does_jobs();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(blocking).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            // Sending fails only if nobody waits any more.
            let _ = done.send(Err(error));
            return;
        }
    };
    System::with_tokio_rt(move || runtime).block_on(async move {
        let mut consumers = JoinSet::new();
        for (starter, seat) in share {
            consumers.spawn_local(async move { starter.live(seat).await });
        }
        let mut result = Ok(());
        while let Some(ended) = consumers.join_next().await {
            if let Err(error) = ended {
                // User code is guarded, so this is a bug in Greenroom. A consumer must not end silently.
                tracing::error!(%error, "a consumer ended unexpectedly, the worker stops");
                ledger.stop();
                result = Err(io::Error::other(error));
            }
        }
        let _ = done.send(result);
    });
}
