//! The events that groups keep, so that nothing is missed while a client is away.

pub use crate::groups::history::{
    lost::{LostReason, Outcome},
    policy::History,
    position::{BadPosition, Epoch, Position},
    reader::{HistoryReader, Page, PageEvent},
    since::{EventId, Since},
};
