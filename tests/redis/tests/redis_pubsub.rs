//! The conformance suite over `RedisPubSubLayer`.

use redis_tests::kinds::{self, Redis};

type PubSub = Redis<kinds::PubSub>;

mod pubsub {
    conformance_tests::every_layer!(super::PubSub);
    conformance_tests::moved_clock!(super::PubSub, "its echo arrives in real time, by Redis' clock");
    conformance_tests::stored!(super::PubSub, "pub/sub stores nothing for a process that does not listen");
    conformance_tests::processes!(super::PubSub);
    conformance_tests::shared!(super::PubSub, "pub/sub stores nothing, and knows no groups");
    conformance_tests::history!(super::PubSub);
    conformance_tests::log_faults!(super::PubSub);
    conformance_tests::workers!(super::PubSub, "each process that listens gets each job");
    conformance_tests::faults!(super::PubSub);
    conformance_tests::drops!(super::PubSub);
}

type LoggedPubSub = Redis<kinds::LoggedPubSub>;

/// All groups have a log.
mod logged {
    conformance_tests::every_layer!(super::LoggedPubSub);
    conformance_tests::processes!(super::LoggedPubSub);
}
