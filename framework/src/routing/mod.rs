//! From paths to consumers.
/// stub
#[derive(Debug)]
pub struct UrlRouter;
