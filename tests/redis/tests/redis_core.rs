//! The conformance suite over `RedisLayer`.

use redis_tests::kinds::{self, Redis};

type Core = Redis<kinds::Core>;

mod core {
    conformance_tests::every_layer!(super::Core);
    conformance_tests::moved_clock!(super::Core, "Redis has a clock of its own");
    conformance_tests::stored!(super::Core);
    conformance_tests::processes!(super::Core);
    conformance_tests::shared!(super::Core);
    conformance_tests::history!(super::Core);
    conformance_tests::log_faults!(super::Core);
    conformance_tests::workers!(super::Core);
    conformance_tests::faults!(super::Core);
    conformance_tests::drops!(super::Core, "messages that do not fit wait in Redis");
}

type LoggedCore = Redis<kinds::LoggedCore>;

/// All groups have a log.
mod logged {
    conformance_tests::every_layer!(super::LoggedCore);
    conformance_tests::stored!(super::LoggedCore);
    conformance_tests::processes!(super::LoggedCore);
    conformance_tests::shared!(super::LoggedCore);
    conformance_tests::workers!(super::LoggedCore);
}
