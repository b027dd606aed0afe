//! Pages longer than an item's documentation: order, limits, rules, design.

#[doc = include_str!("../docs/design.md")]
pub mod design {}

#[doc = include_str!("../docs/limits.md")]
pub mod limits {}

#[doc = include_str!("../docs/order.md")]
pub mod order {}

#[doc = include_str!("../docs/rules.md")]
pub mod rules {}
