//! The figures, as one line of JSON.

use crowd::process;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{Crowd, check};

/// CPU time and memory at one moment. A process that has ended counts as nothing.
pub struct Snapshot {
    at: Instant,
    servers: u64,
    beside: u64,
    own: u64,
    memory: u64,
    delivered: usize,
}

impl Snapshot {
    pub fn take(crowd: &Crowd) -> Self {
        let cpu = |pids: &[u32]| pids.iter().map(|pid| process::cpu(*pid).unwrap_or(0)).sum();
        Self {
            at: Instant::now(),
            servers: cpu(&crowd.options.pid),
            beside: cpu(&crowd.options.beside),
            own: cpu(&[std::process::id()]),
            memory: crowd.options.pid.iter().map(|pid| process::memory(*pid).unwrap_or(0)).sum(),
            delivered: crowd.delays.borrow()[0].len(),
        }
    }
}

/// The 50th, 95th and 99th percentile and the largest value, in milliseconds, and how many there are.
fn spread(mut micros: Vec<u32>) -> Value {
    micros.sort_unstable();
    let last = micros.len().saturating_sub(1) as f64;
    let at =
        |share: f64| micros.get((last * share) as usize).map_or(0.0, |micros| f64::from(*micros) / 1000.0);
    json!({"count": micros.len(), "p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "most": at(1.0)})
}

pub fn report(crowd: &Crowd, empty: &Snapshot, before: &Snapshot, after: &Snapshot) -> Value {
    let end = Snapshot::take(crowd);
    let sums = check::sums(&crowd.rooms, &crowd.checks);
    let [all, beyond, missed] = crowd.delays.take();
    let [catching, greeting] = crowd.catching.take();
    let absences = crowd.absences.borrow();
    let marks = crowd.marks.borrow();
    // For each mark: the connections that ended between it and the next one.
    let waves = marks.iter().enumerate().map(|(number, mark)| {
        let next = marks.get(number + 1).copied().unwrap_or(u64::MAX);
        let of_it: Vec<_> = absences.iter().filter(|(ended, _)| (*mark..next).contains(ended)).collect();
        let last = of_it.iter().map(|(_, back)| back - mark).max().unwrap_or(0);
        json!({
            "clients": of_it.len(),
            "all_back_s": last as f64 / 1e6,
            "away": spread(of_it.iter().map(|(ended, back)| (back - ended) as u32).collect()),
        })
    });
    let waves: Vec<_> = waves.collect();
    let endings: serde_json::Map<_, _> =
        crowd.endings.borrow().iter().map(|(code, count)| (code.to_string(), json!(count))).collect();
    let seconds = (after.at - before.at).as_secs_f64();
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds / 1e6;
    let deliveries = (after.delivered - before.delivered).max(1) as f64;
    let one = |before: u64, after: u64| after.saturating_sub(before) as f64 / 1e3 / deliveries;
    json!({
        "clients": crowd.options.clients,
        "expected": sums.expected,
        "delivered": sums.delivered,
        "lost": sums.lost,
        "told_lost": sums.told,
        "doubtful": sums.doubtful,
        "counts": *crowd.counts.borrow(),
        "outcomes": *crowd.lost.borrow(),
        "wrong": *crowd.wrong.borrow(),
        "endings": endings,
        "never_back": crowd.gone.get(),
        "waves": waves,
        "delay": spread(all),
        "beyond": spread(beyond),
        "beyond_missed": spread(missed),
        "catching_up": spread(catching),
        "greeting": spread(greeting),
        "seconds": seconds,
        "per_s": deliveries / seconds,
        "cpu_ms": each(before.servers, after.servers),
        "beside_cpu_ms": each(before.beside, after.beside),
        "own_cpu_ms": each(before.own, after.own),
        "cpu_us_per_delivery": one(before.servers, after.servers),
        "beside_us_per_delivery": one(before.beside, after.beside),
        "rss_empty": empty.memory,
        "rss_joined": before.memory,
        "rss_end": end.memory,
    })
}
