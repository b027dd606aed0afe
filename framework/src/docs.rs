//! The tutorial, the guide, and pages about single subjects.
//!
//! The protocol is that of the fallback transports. The page on moving is for programs that used Django Channels.

#[doc = include_str!("../docs/browser.md")]
pub mod browser {}

#[doc = include_str!("../docs/cookbook.md")]
pub mod cookbook {}

#[doc = include_str!("../docs/design.md")]
pub mod design {}

#[doc = include_str!("../docs/events.md")]
pub mod events {}

pub mod guide {
    #![doc = include_str!("../docs/guide.md")]
    #[allow(unused_imports, reason = "the links of the page name the items of the crate")]
    use crate::*;
}

#[doc = include_str!("../docs/history.md")]
pub mod history {}

#[doc = include_str!("../docs/limits.md")]
pub mod limits {}

#[doc = include_str!("../docs/logs.md")]
pub mod logs {}

#[cfg(all(feature = "nats", feature = "redis"))]
#[doc = include_str!("../docs/machines.md")]
pub mod machines {}

#[cfg(feature = "redis")]
#[doc = include_str!("../docs/moving.md")]
pub mod moving {}

#[doc = include_str!("../docs/moving-rust.md")]
pub mod moving_from_others {}

#[cfg(feature = "nats")]
#[doc = include_str!("../docs/nats.md")]
pub mod nats {}

#[doc = include_str!("../docs/order.md")]
pub mod order {}

#[doc = include_str!("../docs/performance.md")]
pub mod performance {}

#[doc = include_str!("../docs/protocol.md")]
pub mod protocol {}

#[cfg(feature = "redis")]
#[doc = include_str!("../docs/redis.md")]
pub mod redis {}

#[doc = include_str!("../docs/rules.md")]
pub mod rules {}

#[cfg(feature = "testing")]
#[doc = include_str!("../docs/testing.md")]
pub mod testing {}

#[doc = include_str!("../docs/troubleshooting.md")]
pub mod troubleshooting {}

/// [part 1]: crate::docs::tutorial::part_1
/// [part 2]: crate::docs::tutorial::part_2
/// [part 3]: crate::docs::tutorial::part_3
/// [part 4]: crate::docs::tutorial::part_4
#[doc = include_str!("../docs/tutorial/README.md")]
pub mod tutorial {
    // A code host shows these pages too. The first definition of a link counts: here those of rustdoc, there those at the
    // end of each file.

    /// [part 2]: crate::docs::tutorial::part_2
    /// [middleware]: crate::docs::guide#middleware
    #[doc = include_str!("../docs/tutorial/part-1.md")]
    pub mod part_1 {}

    /// [part 1]: crate::docs::tutorial::part_1
    /// [part 3]: crate::docs::tutorial::part_3
    /// [middleware]: crate::docs::guide#middleware
    #[doc = include_str!("../docs/tutorial/part-2.md")]
    pub mod part_2 {}

    /// [part 2]: crate::docs::tutorial::part_2
    /// [part 4]: crate::docs::tutorial::part_4
    /// [events]: crate::docs::events
    /// [testing]: crate::docs::guide#testing
    #[doc = include_str!("../docs/tutorial/part-3.md")]
    pub mod part_3 {}

    // Without a feature its page is not there.
    #[cfg_attr(all(feature = "nats", feature = "redis"), doc = "[machines]: crate::docs::machines")]
    #[cfg_attr(feature = "redis", doc = "[moving]: crate::docs::moving\n[redis]: crate::docs::redis")]
    /// [machines]: crate::docs
    /// [moving]: crate::docs
    /// [redis]: crate::docs
    /// [part 3]: crate::docs::tutorial::part_3
    /// [cookbook]: crate::docs::cookbook
    /// [guide]: crate::docs::guide
    /// [history]: crate::docs::history
    /// [limits]: crate::docs::limits
    /// [order]: crate::docs::order
    /// [browser]: crate::docs::browser
    #[doc = include_str!("../docs/tutorial/part-4.md")]
    pub mod part_4 {}
}
