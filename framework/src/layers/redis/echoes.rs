//! What was published and is waited for: Redis sends it back to who published it, and that is when members here get it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::Delivery;

/// Who waits for the echo of which message. The lock is held for an edit of one topic.
#[derive(Debug, Default)]
pub(super) struct Echoes(Mutex<HashMap<String, VecDeque<Echo>>>);

/// One who waits.
#[derive(Debug)]
pub(super) struct Echo {
    message: Bytes,
    /// Whether to count how far the event gets.
    pub(super) count: bool,
    pub(super) heard: oneshot::Sender<Delivery>,
}

impl Echoes {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, VecDeque<Echo>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a message that is about to be published.
    pub(super) fn expect(&self, topic: &str, message: Bytes, count: bool) -> oneshot::Receiver<Delivery> {
        let (heard, receiver) = oneshot::channel();
        let echo = Echo { message, count, heard };
        let mut echoes = self.lock();
        let waiting = echoes.entry(topic.to_owned()).or_default();
        // Who gave up is not waited for.
        waiting.retain(|echo| !echo.heard.is_closed());
        waiting.push_back(echo);
        drop(echoes);
        receiver
    }

    /// Who waits for a message that has come. One of the same bytes from elsewhere is as good: both come.
    pub(super) fn take(&self, topic: &str, message: &[u8]) -> Option<Echo> {
        let mut echoes = self.lock();
        let waiting = echoes.get_mut(topic)?;
        let at = waiting.iter().position(|echo| echo.message == message)?;
        let echo = waiting.remove(at);
        if waiting.is_empty() {
            echoes.remove(topic);
        }
        echo
    }

    /// The connection is gone that would have brought them: who waits learns it.
    pub(super) fn lose(&self, lost: impl Fn(&str) -> bool) {
        let gone: Vec<_> = self.lock().extract_if(|topic, _| lost(topic)).collect();
        drop(gone);
    }

    /// The last member of a group has left: who waits for an event to it need not, and nobody got it.
    pub(super) fn leave(&self, topics: &[String]) {
        for topic in topics {
            let waiting = self.lock().remove(topic).unwrap_or_default();
            for echo in waiting {
                let _ = echo.heard.send(Delivery::default());
            }
        }
    }
}
