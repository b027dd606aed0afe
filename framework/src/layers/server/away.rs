//! What a layer does while its server is away.

/// What happens to a `group_send` while the layer's server is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Away {
    /// It fails at once with [`LayerError::Unavailable`](crate::LayerError::Unavailable), and nobody gets the event.
    ///
    /// While the server is there, a `group_send` then waits until it has the event.
    Error,
    /// The members in this process get the event, those in others do not; it is counted in
    /// [`Metrics::unpublished`](crate::Metrics::unpublished), and consumers learn of the gap by a [`LayerGap`](crate::layers::LayerGap).
    #[default]
    Local,
}
