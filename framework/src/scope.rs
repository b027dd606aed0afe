//! What is known of a connection.
/// stub
#[derive(Debug)]
pub struct Scope;
