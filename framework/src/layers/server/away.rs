//! The setting that says what a layer does while its server is away.

/// What happens to a `group_send` while the layer's server is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Away {
    /// The `group_send` fails, and nobody gets the event.
    ///
    /// The error is [`LayerError::Unavailable`](crate::LayerError::Unavailable), and comes at once.
    ///
    /// With this setting, a `group_send` also waits until the server has the event.
    Error,
    /// The members in this process get the event, and those in other processes do not.
    ///
    /// The loss is counted in [`Metrics::unpublished`](crate::Metrics::unpublished). Consumers learn of the
    /// gap by a [`LayerGap`](crate::layers::LayerGap).
    #[default]
    Local,
}
