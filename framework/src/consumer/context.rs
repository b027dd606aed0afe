//! A hook's view of its connection.
use crate::{Event, Frame, Result};
/// stub
#[derive(Debug)]
pub struct Context {}
#[expect(missing_docs)]
impl Context {
    pub fn accept(&self) -> Result<()> {
        Ok(())
    }
    pub fn send(&self, frame: impl Into<Frame>) -> Result<()> {
        let _: Frame = frame.into();
        Ok(())
    }
    pub fn send_event<E: Event>(&self, event: &E) -> Result<()> {
        Frame::event(event).map(|_| ())
    }
}
