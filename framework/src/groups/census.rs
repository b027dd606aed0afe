//! What the tables of one hub hold, for tests of what is left behind.

/// How many entries the tables of one worker have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Census {
    /// Connections, those included whose `disconnect` runs.
    pub connections: usize,
    /// Groups with a member on this worker.
    pub groups: usize,
    /// Events that large groups are still to get.
    pub pending: usize,
    /// Connections that wait to be flushed.
    pub unflushed: usize,
    /// Connections that a timing wheel watches.
    pub timed: usize,
}
