//! Long pages: browsers, events and handlers, order, limits, protocol, several machines, NATS, Redis, moving, rules, design.
//!
//! The protocol is that of the fallback transports. The page on moving is for programs that used Django Channels.

#[doc = include_str!("../docs/browser.md")]
pub mod browser {}

#[doc = include_str!("../docs/design.md")]
pub mod design {}

#[doc = include_str!("../docs/events.md")]
pub mod events {}

#[doc = include_str!("../docs/limits.md")]
pub mod limits {}

#[cfg(all(feature = "nats", feature = "redis"))]
#[doc = include_str!("../docs/machines.md")]
pub mod machines {}

#[cfg(feature = "redis")]
#[doc = include_str!("../docs/moving.md")]
pub mod moving {}

#[cfg(feature = "nats")]
#[doc = include_str!("../docs/nats.md")]
pub mod nats {}

#[doc = include_str!("../docs/order.md")]
pub mod order {}

#[doc = include_str!("../docs/protocol.md")]
pub mod protocol {}

#[cfg(feature = "redis")]
#[doc = include_str!("../docs/redis.md")]
pub mod redis {}

#[doc = include_str!("../docs/rules.md")]
pub mod rules {}
