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
pub(super) struct Echoes(Mutex<HashMap<String, VecDeque<ExpectedEcho>>>);

/// One who waits.
#[derive(Debug)]
pub(super) struct ExpectedEcho {
    message: Bytes,
    /// By which subscription to its group it comes.
    subscription: u64,
    /// Whether to count how far the event gets.
    pub(super) count: bool,
    pub(super) heard: oneshot::Sender<Delivery>,
}

impl Echoes {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, VecDeque<ExpectedEcho>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a message that is about to be published.
    pub(super) fn expect(
        &self,
        topic: &str,
        subscription: u64,
        message: Bytes,
        count: bool,
    ) -> oneshot::Receiver<Delivery> {
        let (heard, receiver) = oneshot::channel();
        let echo = ExpectedEcho { message, subscription, count, heard };
        let mut echoes = self.lock();
        let waiting = echoes.entry(topic.to_owned()).or_default();
        // Who gave up is not waited for.
        waiting.retain(|echo| !echo.heard.is_closed());
        waiting.push_back(echo);
        drop(echoes);
        receiver
    }

    /// Who waits for a message that has come. One of the same bytes from elsewhere is as good: both come.
    pub(super) fn take(&self, topic: &str, message: &[u8]) -> Option<ExpectedEcho> {
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
    ///
    /// Members may have come since: what is sent to them comes by another subscription.
    pub(super) fn leave(&self, topics: &[(String, u64)]) {
        for (topic, over) in topics {
            let mut echoes = self.lock();
            let Some(waiting) = echoes.get_mut(topic) else { continue };
            let (gone, rest): (VecDeque<_>, _) =
                waiting.drain(..).partition(|echo| echo.subscription == *over);
            *waiting = rest;
            if waiting.is_empty() {
                echoes.remove(topic);
            }
            drop(echoes);
            for echo in gone {
                let _ = echo.heard.send(Delivery::default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That the last member has left is heard of late: somebody has joined and sent meanwhile.
    #[test]
    fn a_late_leave_ends_no_later_wait() {
        let echoes = Echoes::default();
        let mut before = echoes.expect("topic", 1, Bytes::from_static(b"a"), true);
        let mut after = echoes.expect("topic", 2, Bytes::from_static(b"b"), true);
        echoes.leave(&[("topic".to_owned(), 1)]);
        assert_eq!(before.try_recv(), Ok(Delivery::default()));
        assert!(after.try_recv().is_err());
        let echo = echoes.take("topic", b"b").expect("it is waited for");
        echo.heard.send(Delivery { delivered: 1, ..Delivery::default() }).unwrap();
        assert_eq!(after.try_recv().unwrap().delivered, 1);
        assert!(echoes.lock().is_empty());
    }
}
