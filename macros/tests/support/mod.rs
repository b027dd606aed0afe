//! What the runtime tests share.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    pin::pin,
    task::{self, Poll, Waker},
};

use greenroom::{Context, Envelope, EventHandlers, Handled, Result};

/// Gives a consumer an event, as a connection does.
pub(crate) fn handle<C: EventHandlers>(consumer: &mut C, envelope: impl Into<Envelope>) -> Result<Handled> {
    let mut context = Context {};
    block_on(consumer.handle_event(&envelope.into(), &mut context))
}

/// Gives a consumer an event as a JSON text, as it comes from another program.
pub(crate) fn handle_json<C: EventHandlers>(consumer: &mut C, text: &str) -> Result<Handled> {
    handle(consumer, Envelope::from_json(text)?)
}

/// Runs a future that never waits.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a handler in these tests waits"),
    }
}
