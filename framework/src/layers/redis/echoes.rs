//! The senders that wait for the echo of their messages.
//!
//! Redis sends a message back to the process that published it. Only then do the members in that process get
//! it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::Delivery;

/// The echoes that are waited for, by topic. The lock is held only for an edit of one topic.
#[derive(Debug, Default)]
pub(super) struct Echoes(Mutex<HashMap<String, VecDeque<ExpectedEcho>>>);

/// An echo for which a sender waits.
#[derive(Debug)]
pub(super) struct ExpectedEcho {
    message: Bytes,
    /// The number of the subscription by which the echo comes.
    subscription: u64,
    /// Whether to count how many members the event reaches.
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
        // Senders that gave up are forgotten.
        waiting.retain(|echo| !echo.heard.is_closed());
        waiting.push_back(echo);
        drop(echoes);
        receiver
    }

    /// Takes out the first sender that waits for a message with these bytes.
    ///
    /// An equal message of another process will do as well, because both come.
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

    /// Ends the waiting for echoes whose connection is lost.
    pub(super) fn lose(&self, lost: impl Fn(&str) -> bool) {
        let gone: Vec<_> = self.lock().extract_if(|topic, _| lost(topic)).collect();
        drop(gone);
    }

    /// Ends the waiting for echoes to groups whose last member has left. These events reached no member.
    ///
    /// A group may have got members since. Their events come by another subscription, and are still waited
    /// for.
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

    /// The news that the last member has left comes late. Another member has joined and sent meanwhile.
    #[test]
    fn a_late_leave_ends_no_later_wait() {
        let echoes = Echoes::default();
        let mut before = echoes.expect("topic", 1, Bytes::from_static(b"a"), true);
        let mut after = echoes.expect("topic", 2, Bytes::from_static(b"b"), true);
        echoes.leave(&[("topic".to_owned(), 1)]);
        assert_eq!(before.try_recv(), Ok(Delivery::default()));
        assert!(after.try_recv().is_err());
        let echo = echoes.take("topic", b"b").expect("a sender waits for it");
        echo.heard.send(Delivery { delivered: 1, ..Delivery::default() }).unwrap();
        assert_eq!(after.try_recv().unwrap().delivered, 1);
        assert!(echoes.lock().is_empty());
    }
}
