//! What every channel layer must do: one set of cases, which runs over each layer.
//!
//! A case is a function over a [`Server`]. Its documentation names the rule of Channels that it checks,
//! and the test of Channels or channels_redis that it mirrors. The test file of a layer says how its server
//! is started, and which suites it runs. Each case becomes one test:
//!
//! ```text
//! mod memory {
//!     conformance_tests::every_layer!(super::Memory);
//!     conformance_tests::moved_clock!(super::Memory);
//!     conformance_tests::processes!(super::Memory, "the memory layer serves one process");
//! }
//! ```
//!
//! | Suite | What it requires of a layer |
//! |---|---|
//! | [`every_layer!`] | nothing more |
//! | [`moved_clock!`] | that its messages and groups expire by tokio's clock, which tests move |
//! | [`stored!`] | that a channel of any process keeps a message until someone receives it |
//! | [`processes!`] | that several layers on one server act as layers of several processes |
//! | [`shared!`] | both of the above, and that the server knows the members of groups |
//! | [`history!`] | that several layers on one server share what the groups keep |
//! | [`workers!`] | that a message goes to one of the processes that receive from its channel |
//! | [`faults!`] | a [`FaultyServer`](faulty::FaultyServer), which a case can end, freeze and cut off |
//! | [`log_faults!`] | a [`LogServer`](history::LogServer), which a case also makes lose what the groups keep |
//! | [`drops!`] | the same, and that events are dropped when members are too slow |
//!
//! If a layer cannot run a suite, it gives the macro a reason. Every ignored test shows this reason.

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
pub mod history;
pub mod limits;
pub mod names;
pub mod others;
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

/// The server that the layers of a case share, such as Redis. Layers in memory share nothing.
#[expect(async_fn_in_trait, reason = "a case runs on one thread")]
pub trait Server: Sized {
    /// Whether layers share nothing, so that a layer knows that a channel of another layer has no receiver.
    const ALONE: bool = false;

    /// Whether all groups keep their events, so that a member with a full inbox gets them later.
    const KEEPS_EVENTS: bool = false;

    /// Whether a message waits in a channel of any process until someone receives it.
    const STORES: bool = true;

    /// Starts a server with nothing on it. Each case starts its own.
    async fn start() -> Self;

    /// Makes the layer of one more process.
    async fn make(&self, config: LayerConfig) -> Layer;
}

#[cfg(test)]
mod tests {
    /// A case that is not listed would never run.
    #[test]
    fn every_case_is_listed() {
        let sources = [
            ("blocking", include_str!("blocking.rs")),
            ("consumers", include_str!("consumers.rs")),
            ("drops", include_str!("drops.rs")),
            ("endings", include_str!("endings.rs")),
            ("expiry", include_str!("expiry.rs")),
            ("groups", include_str!("groups.rs")),
            ("history", include_str!("history/mod.rs")),
            ("history", include_str!("history/faults.rs")),
            ("limits", include_str!("limits.rs")),
            ("names", include_str!("names.rs")),
            ("others", include_str!("others.rs")),
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
