//! What becomes of the connections.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use async_nats::Event;
use tokio::sync::Notify;
use tracing::Dispatch;

use super::shared::NatsShared;

/// Why a connection ended, where the server has not said it.
const ENDED: &str = "the connection has ended";

/// What becomes of the connections: the client says it on its own tasks.
#[derive(Debug)]
pub(super) struct Fate {
    shared: Arc<NatsShared>,
    /// For texts: the client's own have another.
    log: Dispatch,
    lost: Notify,
    /// What the server has said last. Held for a copy.
    said: Mutex<Option<String>>,
    /// Told when a group misses something.
    pub(super) misses: Notify,
    /// Whether the client has dropped something itself, of whatever group.
    pub(super) is_slow: AtomicBool,
}

impl Fate {
    pub(super) fn new(shared: &Arc<NatsShared>, log: Dispatch) -> Self {
        Self {
            shared: Arc::clone(shared),
            log,
            lost: Notify::new(),
            said: Mutex::default(),
            misses: Notify::new(),
            is_slow: AtomicBool::new(false),
        }
    }

    /// Logs, as the client on this thread may not.
    pub(super) fn log<T>(&self, text: impl FnOnce() -> T) -> T {
        tracing::dispatcher::with_default(&self.log, text)
    }

    /// Notes what the client tells.
    pub(super) fn note(&self, event: Event) {
        match event {
            Event::Disconnected | Event::Closed => self.lost.notify_one(),
            Event::SlowConsumer(_) => {
                self.shared.counters().inbound_full.one();
                self.is_slow.store(true, Relaxed);
                self.misses.notify_one();
            }
            Event::ServerError(error) => {
                let error = error.to_string();
                let reason = error.trim_start_matches("nats: ");
                if reason.starts_with("Permissions Violation for Publish") && reason.contains(".group.") {
                    self.shared.counters().unpublished.one();
                }
                if let Some(more) = self.shared.status.logs("refused") {
                    let address = self.shared.status.address(0);
                    self.log(|| tracing::warn!(address, reason, more, "NATS refused something"));
                }
                *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
            }
            _ => {}
        }
    }

    /// Why something did not come about: what the server has said, or else this.
    pub(super) fn reason(&self, otherwise: &str) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        said.unwrap_or_else(|| otherwise.to_owned())
    }

    /// Waits until one of the connections is lost, and says why.
    pub(super) async fn lost(&self) -> String {
        self.lost.notified().await;
        let reason = self.reason(ENDED);
        // That ends no connection.
        if reason.starts_with("Permissions Violation") { ENDED.to_owned() } else { reason }
    }
}
