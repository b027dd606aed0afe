//! How full the tables of a layer's hubs are, for tests that nothing is left behind.

use tokio::sync::oneshot;

pub use crate::groups::census::Census;
use crate::{Layer, groups::queue::Call};

/// Counts the entries of each thread's tables for a layer.
///
/// A thread that has had no connection yet is left out.
pub async fn census(layer: &Layer) -> Vec<Census> {
    let mut counts = Vec::new();
    for hub in layer.backend().groups().directory().all_hubs() {
        let (reply, answer) = oneshot::channel();
        // A thread that has ended holds nothing.
        if hub.push(Call::Census { reply }).is_ok()
            && let Ok(count) = answer.await
        {
            counts.push(count);
        }
    }
    counts
}
