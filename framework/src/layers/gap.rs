//! The event that tells consumers that a layer had lost its server.

use crate::{Event, GroupName};

/// Tells the members of a group that they may have missed events.
///
/// The layer had lost its server for a while, and is connected again. A layer that shares groups with other
/// processes sends this event to the members in this process, once for each group that was affected. It sends
/// it when all later events arrive again. So a handler can fetch the events that may be missing, or a
/// `#[relay]` can tell the client. A consumer without a handler for this event does not get it.
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
    /// The group whose members may have missed events.
    pub group: GroupName,
    /// How many seconds the server was away, from the moment when the layer noticed it.
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

    /// Whether an event with this name is a gap. Consumers need no handler for it.
    pub(crate) fn is(name: &str) -> bool {
        Self::NAMES.contains(&name)
    }
}
