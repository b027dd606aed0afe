//! What every channel layer must do: one suite, run over each of them.
//!
//! A case is a function over a [`Server`]; its documentation names the rule of Channels that it checks
//! and the test of Channels or channels_redis that it mirrors. A layer's own test file says how its server
//! is started, and which suites it runs; each case is a test of its own:
//!
//! ```text
//! mod memory {
//!     conformance_tests::every_layer!(super::Memory);
//!     conformance_tests::moved_clock!(super::Memory);
//!     conformance_tests::processes!(super::Memory, "the memory layer serves one process");
//! }
//! ```
//!
//! | Suite | Asks of a layer |
//! |---|---|
//! | [`every_layer!`] | nothing further |
//! | [`moved_clock!`] | that its messages and groups expire by tokio's clock, which tests move |
//! | [`stored!`] | that a channel of any process keeps a message until someone receives it |
//! | [`processes!`] | that the layers of one server are as layers of several processes |
//! | [`shared!`] | both, and that the server knows who is in a group |
//! | [`workers!`] | that of several processes which receive from a channel one gets a message |
//! | [`faults!`] | a [`FaultyServer`](faulty::FaultyServer): one that can be ended, frozen and cut off |
//! | [`drops!`] | the same, and that what is too much for its members is dropped |
//!
//! A suite that a layer cannot run is given the reason, which stands beside every test that is ignored for it.

mod common;
mod list;
mod recorder;

pub mod blocking;
pub mod consumers;
pub mod drops;
pub mod endings;
pub mod expiry;
pub mod faulty;
pub mod groups;
pub mod limits;
pub mod names;
pub mod outages;
pub mod processes;
pub mod queues;
pub mod races;
pub mod receive;
pub mod reports;
pub mod threads;
pub mod values;
pub mod workers;

use greenroom::{Layer, LayerConfig};

/// Where the layers of a case meet: Redis, or nothing at all.
#[expect(async_fn_in_trait, reason = "a case runs on one thread")]
pub trait Server: Sized {
    /// Whether a layer is all there is, so that it knows that a channel of another one has no receiver.
    const ALONE: bool = false;

    /// Whether a message waits in a channel of any process until someone receives it.
    const STORES: bool = true;

    /// Starts one with nothing on it; each case has one of its own.
    async fn start() -> Self;

    /// Makes the layer of one more process.
    async fn make(&self, config: LayerConfig) -> Layer;
}

#[cfg(test)]
mod tests {
    /// A case that nobody lists would never run.
    #[test]
    fn every_case_is_listed() {
        let sources = [
            ("blocking", include_str!("blocking.rs")),
            ("consumers", include_str!("consumers.rs")),
            ("drops", include_str!("drops.rs")),
            ("endings", include_str!("endings.rs")),
            ("expiry", include_str!("expiry.rs")),
            ("groups", include_str!("groups.rs")),
            ("limits", include_str!("limits.rs")),
            ("names", include_str!("names.rs")),
            ("outages", include_str!("outages.rs")),
            ("processes", include_str!("processes.rs")),
            ("queues", include_str!("queues.rs")),
            ("races", include_str!("races.rs")),
            ("receive", include_str!("receive.rs")),
            ("reports", include_str!("reports.rs")),
            ("threads", include_str!("threads.rs")),
            ("values", include_str!("values.rs")),
            ("workers", include_str!("workers.rs")),
        ];
        let list = include_str!("list.rs");
        for (topic, source) in sources {
            let cases: Vec<_> =
                source.split("pub async fn ").skip(1).filter_map(|rest| rest.split('<').next()).collect();
            assert!(!cases.is_empty(), "{topic} has no cases");
            for case in cases {
                assert!(list.contains(&format!("{topic}::{case},")), "{topic}::{case} is not in list.rs");
            }
        }
    }
}
