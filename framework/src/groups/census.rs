//! How full the tables of one hub are, for tests that nothing is left behind.

/// How many entries the tables of one thread have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Census {
    /// Connections, including those that are running their `disconnect`.
    pub connections: usize,
    /// Groups with a member on this thread.
    pub groups: usize,
    /// Large sends that some members have not got yet.
    pub pending: usize,
    /// Connections that wait for a flush.
    pub unflushed: usize,
    /// Connections that a timing wheel watches.
    pub timed: usize,
}
