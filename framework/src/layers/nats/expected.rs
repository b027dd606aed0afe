//! The answers that the connections wait for.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use async_nats::Message as NatsMessage;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

/// The reason why there is no answer, if the connection is lost.
pub(super) const LOST: &str = "the connection was lost before there was an answer";

/// The answers that are expected, each under its own number.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    next: Cell<u64>,
    senders: RefCell<HashMap<u64, UnboundedSender<NatsMessage>>>,
}

impl Waiting {
    /// Expects answers under a new number.
    pub(super) fn expect(self: &Rc<Self>) -> Expected {
        let number = self.next.get();
        self.next.set(number + 1);
        let (sender, messages) = unbounded_channel();
        self.senders.borrow_mut().insert(number, sender);
        Expected { waiting: Rc::clone(self), number, messages }
    }

    /// Hands an answer to the task that expects it, if it still does.
    pub(super) fn answered(&self, number: u64, message: NatsMessage) {
        if let Some(sender) = self.senders.borrow().get(&number) {
            // The task that asked may have given up.
            let _ = sender.send(message);
        }
    }
}

/// An answer that is expected, perhaps in several messages. Dropping this ends the wait for it.
#[derive(Debug)]
pub(super) struct Expected {
    waiting: Rc<Waiting>,
    pub(super) number: u64,
    messages: UnboundedReceiver<NatsMessage>,
}

impl Expected {
    /// Waits for the next message of the answer.
    pub(super) async fn wait(&mut self, patience: Duration) -> Result<NatsMessage, Failed> {
        next(&mut self.messages, patience).await
    }
}

/// Waits for the next message of a subscription.
pub(super) async fn next(
    messages: &mut UnboundedReceiver<NatsMessage>,
    patience: Duration,
) -> Result<NatsMessage, Failed> {
    match timeout(patience, messages.recv()).await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(Failed::Lost),
        Err(_) => Err(Failed::Late),
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.waiting.senders.borrow_mut().remove(&self.number);
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    Late,
    Lost,
}

impl Failed {
    pub(super) fn reason(self, patience: Duration) -> String {
        match self {
            Self::Late => format!("no answer in {patience:?}"),
            Self::Lost => LOST.to_owned(),
        }
    }
}
