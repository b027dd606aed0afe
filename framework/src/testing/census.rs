//! What the tables of a layer's workers hold, for tests of what is left behind.

use tokio::sync::oneshot;

use crate::{Layer, groups::queue::Job};

/// How many entries the tables of one worker have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Census {
    /// Connections, those included whose `disconnect` runs.
    pub connections: usize,
    /// Groups with a member on this worker.
    pub groups: usize,
    /// Events that large groups are still to get.
    pub pending: usize,
    /// Connections that wait to be flushed.
    pub unflushed: usize,
    /// Connections that a timing wheel watches.
    pub timed: usize,
}

/// Counts what each worker holds for a layer; a worker without a connection yet is not in it.
pub async fn census(layer: &Layer) -> Vec<Census> {
    let mut counts = Vec::new();
    for worker in layer.backend().groups().directory().workers() {
        let (reply, answer) = oneshot::channel();
        // A worker that has ended holds nothing.
        if worker.push(Job::Census { reply }).is_ok()
            && let Ok(count) = answer.await
        {
            counts.push(count);
        }
    }
    counts
}
