//! Helpers that the run-time tests share.

use greenroom::{Envelope, EventHandlers, Handled, Result, testing::DetachedContext};

/// Gives a consumer an event, as a connection does.
pub(crate) fn handle<C: EventHandlers>(consumer: &mut C, envelope: impl Into<Envelope>) -> Result<Handled> {
    let envelope = envelope.into();
    actix_rt::System::new().block_on(async {
        let mut context = DetachedContext::of::<C>();
        consumer.handle_event(&envelope, &mut context).await
    })
}

/// Gives a consumer an event as JSON text, as if it came from another program.
pub(crate) fn handle_json<C: EventHandlers>(consumer: &mut C, text: &str) -> Result<Handled> {
    handle(consumer, Envelope::from_json(text)?)
}
