//! A worker that was started, and how it ends.

use std::{fmt, io, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::oneshot;

use super::{
    Summary,
    ledger::{JobLedger, time_is_up},
};
use crate::{host::signals::Signals, shown::Shown};

/// How long a thread may take to cancel its jobs when their time is up.
const STOP_DEADLINE: Duration = Duration::from_secs(1);

/// A worker that was started by [`Worker::start`](super::Worker::start).
///
/// When it is dropped, the worker stops at once: running jobs are cancelled.
///
/// The [guide](crate::docs::guide#background-work) has an example.
#[must_use = "a worker that is dropped stops at once"]
pub struct RunningWorker {
    ledger: Arc<JobLedger>,
    pub(super) threads: FuturesUnordered<oneshot::Receiver<io::Result<()>>>,
    failed: Option<io::Error>,
}

impl RunningWorker {
    pub(super) fn new(
        ledger: Arc<JobLedger>,
        threads: FuturesUnordered<oneshot::Receiver<io::Result<()>>>,
    ) -> Self {
        Self { ledger, threads, failed: None }
    }

    /// Makes a handle, which can stop the worker from elsewhere.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        WorkerHandle(Arc::clone(&self.ledger))
    }

    /// Stops gracefully, and waits for the end: [`WorkerHandle::stop`], then [`wait`](Self::wait).
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn stop(mut self) -> io::Result<Summary> {
        self.ledger.stop();
        self.wait().await
    }

    /// Waits until the worker has ended, because it was stopped or a thread failed.
    ///
    /// A job that blocks its thread cannot be cancelled. One second after its time is up it is given up, and is
    /// listed in [`Summary::cancelled`]. Its thread ends with the process. If the future is dropped, nothing changes.
    ///
    /// # Errors
    /// If a thread could not work. The other threads then stop gracefully.
    pub async fn wait(&mut self) -> io::Result<Summary> {
        let mut stop = self.ledger.stopped();
        let mut late = std::pin::pin!(time_is_up(&mut stop, STOP_DEADLINE));
        loop {
            let ended = tokio::select! {
                biased;
                ended = self.threads.next() => ended,
                () = &mut late => {
                    self.give_up();
                    None
                }
            };
            let error = match ended {
                None => break,
                Some(Ok(Ok(()))) => continue,
                Some(Ok(Err(error))) => error,
                Some(Err(_)) => io::Error::other("a thread of the worker panicked"),
            };
            tracing::error!(%error, "a thread ended unexpectedly, the worker stops");
            self.ledger.stop();
            self.failed.get_or_insert(error);
        }
        match self.failed.take() {
            None => Ok(self.ledger.summary()),
            Some(error) => Err(error),
        }
    }

    /// Gives up the jobs that block their threads, and no longer waits for these threads.
    fn give_up(&mut self) {
        for job in self.ledger.give_up() {
            let (channel, event) = (job.channel, job.event);
            tracing::warn!(%channel, event = ?Shown(event), "a job blocks its thread and is given up");
        }
        self.threads.clear();
    }

    /// Works until a signal, then stops gracefully. At a second signal it stops at once.
    pub(super) async fn until(mut self, mut signals: Signals) -> io::Result<Summary> {
        tokio::select! {
            ended = self.wait() => return ended,
            name = signals.next() => {
                tracing::info!(signal = name, grace = ?self.ledger.grace(), "stopping: no more jobs are taken");
            }
        }
        self.ledger.stop();
        tokio::select! {
            ended = self.wait() => {
                if let Ok(Summary { jobs, failed, cancelled, .. }) = &ended {
                    tracing::info!(jobs, failed, cancelled = cancelled.len(), "stopped");
                }
                ended
            }
            name = signals.next() => {
                tracing::warn!(signal = name, "a second signal: stopping at once");
                self.ledger.stop_at_once();
                let cancelled = self.wait().await?.cancelled.len();
                let text = format!("stopped at once by a second signal, {name}; jobs cancelled: {cancelled}");
                Err(io::Error::new(io::ErrorKind::Interrupted, text))
            }
        }
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        self.ledger.stop_at_once();
    }
}

impl fmt::Debug for RunningWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningWorker").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

/// Stops a [`RunningWorker`]. Cheap to clone.
///
/// The [guide](crate::docs::guide#background-work) has an example.
#[derive(Debug, Clone)]
pub struct WorkerHandle(Arc<JobLedger>);

impl WorkerHandle {
    /// Stops gracefully: the worker takes no more jobs from now on.
    ///
    /// Running jobs have the [grace](super::Worker::grace) to end, then they are cancelled. Jobs that wait in the
    /// layer stay there. [`RunningWorker::wait`] waits for the end.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// As [`stop`](Self::stop), but cancels the running jobs at once.
    pub fn stop_at_once(&self) {
        self.0.stop_at_once();
    }
}
