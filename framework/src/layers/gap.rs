//! The event by which consumers learn that a layer was away from its server.

use crate::{Event, GroupName};

/// Members of this group may have missed events: the layer lost its server for a while, and has it again.
///
/// A layer that shares groups with other processes sends it to the members in this process, once for each of their groups
/// that was concerned, when everything that is sent from now on arrives again: fetch then what may be missing, or tell the
/// client by a `#[relay]`. A consumer without a handler for it does not hear of it.
///
/// ```
/// use greenroom::{layers::LayerGap, prelude::*};
///
/// # struct Ticker;
/// # impl Consumer for Ticker {}
/// #[event_handlers]
/// impl Ticker {
///     async fn layer_gap(&mut self, gap: &LayerGap, ctx: &mut Context) -> Result<()> {
///         ctx.send_text(format!("{} may miss something: reload", gap.group))
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, Event)]
#[event("layer.gap")]
#[non_exhaustive]
pub struct LayerGap {
    /// The group.
    pub group: GroupName,
    /// For how many seconds the server was away, so far as it was noticed.
    pub seconds: f64,
}

impl LayerGap {
    #[cfg_attr(
        not(any(feature = "nats", feature = "redis")),
        expect(dead_code, reason = "no layer here has a server")
    )]
    pub(crate) fn new(group: GroupName, seconds: f64) -> Self {
        Self { group, seconds }
    }

    /// Whether this event is one: no consumer needs to have a handler for it.
    pub(crate) fn is(name: &str) -> bool {
        Self::NAMES.contains(&name)
    }
}
