//! Which jobs a worker runs, how its jobs ended, and whether it stops.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    ChannelName, Layer,
    metrics::Counters,
    time::{after, from_now},
};

/// Whether a worker stops, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    AtOnce,
    /// Running jobs may run until then.
    Gracefully(Instant),
    Not,
}

/// What a worker has done.
///
/// The [guide](crate::docs::guide#background-work) has an example.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The jobs that were cancelled by the stop. At most one a consumer.
    pub cancelled: Vec<CancelledJob>,
    /// How many jobs failed: their handler returned an error or panicked.
    pub failed: u64,
    /// How many jobs were taken, however they ended.
    pub jobs: u64,
    /// How many jobs took longer than their time limit, and were cancelled.
    pub timed_out: u64,
    /// How many jobs had no handler, or fields that do not fit it.
    pub unhandled: u64,
}

/// A job that still ran when the grace of a stop was over.
///
/// See [`Summary`](super::Summary).
///
/// The [guide](crate::docs::guide#background-work) has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CancelledJob {
    /// The channel that it came through.
    pub channel: ChannelName,
    /// The name of its event.
    pub event: String,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobEnd {
    Cancelled,
    Done,
    Failed,
    TimedOut,
    Unhandled,
}

/// What the threads of a worker share with its handles.
#[derive(Debug)]
pub(crate) struct JobLedger {
    layer: Layer,
    grace: Duration,
    stop: watch::Sender<Stop>,
    /// Locked for one entry at a time. No value of a user is dropped under the lock.
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// The running jobs, by the index of their consumer's seat.
    running: HashMap<usize, CancelledJob>,
    summary: Summary,
}

impl JobLedger {
    pub(crate) fn new(layer: &Layer, grace: Duration) -> Self {
        Self { layer: layer.clone(), grace, stop: watch::Sender::new(Stop::Not), entries: Mutex::default() }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counters(&self) -> &Counters {
        &self.layer.backend().groups().directory().counters
    }

    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    /// Asks all consumers to stop gracefully, if nothing has asked them to stop before.
    pub(crate) fn stop(&self) {
        let until = from_now(self.grace);
        self.stop.send_if_modified(|stop| {
            let first = *stop == Stop::Not;
            if first {
                *stop = Stop::Gracefully(until);
            }
            first
        });
    }

    pub(super) fn stop_at_once(&self) {
        self.stop.send_replace(Stop::AtOnce);
    }

    pub(crate) fn stopped(&self) -> watch::Receiver<Stop> {
        self.stop.subscribe()
    }

    /// Notes that a job has begun.
    pub(super) fn begin(&self, seat: usize, channel: &ChannelName, event: &str) {
        self.counters().jobs.one();
        let job = CancelledJob { channel: channel.clone(), event: event.to_owned() };
        let mut entries = self.entries();
        entries.summary.jobs += 1;
        entries.running.insert(seat, job);
    }

    /// Notes how a job ended. False if the job was given up before.
    pub(super) fn end(&self, seat: usize, end: JobEnd) -> bool {
        let mut entries = self.entries();
        let Some(job) = entries.running.remove(&seat) else { return false };
        let Entries { summary, .. } = &mut *entries;
        match end {
            JobEnd::Cancelled => summary.cancelled.push(job),
            JobEnd::Done => {}
            JobEnd::Failed => summary.failed += 1,
            JobEnd::TimedOut => summary.timed_out += 1,
            JobEnd::Unhandled => summary.unhandled += 1,
        }
        drop(entries);
        match end {
            JobEnd::Cancelled => self.counters().jobs_cancelled.one(),
            JobEnd::Done => {}
            JobEnd::Failed => self.counters().jobs_failed.one(),
            JobEnd::TimedOut => self.counters().jobs_timed_out.one(),
            JobEnd::Unhandled => self.counters().unhandled.one(),
        }
        true
    }

    /// Gives up the jobs that still run, because they block their threads.
    pub(super) fn give_up(&self) -> Vec<CancelledJob> {
        let mut entries = self.entries();
        let left: Vec<_> = entries.running.drain().map(|(_, job)| job).collect();
        entries.summary.cancelled.extend(left.iter().cloned());
        drop(entries);
        self.counters().jobs_cancelled.add(left.len() as u64);
        left
    }

    pub(super) fn summary(&self) -> Summary {
        self.entries().summary.clone()
    }
}

/// Waits until a stop is asked for.
pub(super) async fn stop_asked(stop: &mut watch::Receiver<Stop>) {
    // It fails only if nobody is left to ask for a stop.
    let _ = stop.wait_for(|stop| *stop != Stop::Not).await;
}

/// Waits until the time of the running jobs is up, and then for `more`.
pub(super) async fn time_is_up(stop: &mut watch::Receiver<Stop>, more: Duration) {
    stop_asked(stop).await;
    let asked = *stop.borrow();
    if let Stop::Gracefully(until) = asked {
        tokio::select! {
            () = sleep_until(after(until, more)) => return,
            _ = stop.wait_for(|stop| *stop == Stop::AtOnce) => {}
        }
    }
    if !more.is_zero() {
        sleep(more).await;
    }
}
