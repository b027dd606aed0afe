//! Follows the events of the connections: errors, losses, dropped messages.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use async_nats::Event;
use tokio::sync::{Notify, watch};
use tracing::Dispatch;

use super::shared::NatsShared;

/// The reason why a connection ended, if the server has not said one.
const ENDED: &str = "the connection has ended";

/// Collects the events of the connections. The client reports them on its own tasks.
#[derive(Debug)]
pub(super) struct Fate {
    shared: Arc<NatsShared>,
    /// Where this layer logs. The log lines of the client go nowhere.
    log: Dispatch,
    lost: Notify,
    /// The last error of the server. The lock is held only for a copy.
    said: Mutex<Option<String>>,
    /// Is notified when a group misses an event.
    pub(super) misses: Notify,
    /// Whether the client itself has dropped messages. It does not say of which group.
    pub(super) is_slow: AtomicBool,
    /// Whether the layer may not make consumers of JetStream.
    denies_consumers: watch::Sender<bool>,
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
            denies_consumers: watch::Sender::new(false),
        }
    }

    /// Logs to the program's log, which is switched off on this thread for the client.
    pub(super) fn log<T>(&self, text: impl FnOnce() -> T) -> T {
        tracing::dispatcher::with_default(&self.log, text)
    }

    /// Notes an event of the client.
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
                if reason.starts_with("Permissions Violation for Publish")
                    && reason.contains("$JS.API.CONSUMER.")
                {
                    self.denies_consumers.send_replace(true);
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

    /// Whether the server has said that the layer may not make consumers of JetStream.
    pub(super) fn denies_consumers(&self) -> bool {
        *self.denies_consumers.borrow()
    }

    /// Waits until the server says so.
    pub(super) async fn denied_consumer(&self) {
        // It cannot fail while this waits: the sender is here.
        let _ = self.denies_consumers.subscribe().wait_for(|denies| *denies).await;
    }

    /// Why something failed: the last error of the server, or else `otherwise`.
    pub(super) fn reason(&self, otherwise: &str) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        said.unwrap_or_else(|| otherwise.to_owned())
    }

    /// Waits until one of the connections is lost, and returns why.
    pub(super) async fn lost(&self) -> String {
        self.lost.notified().await;
        let reason = self.reason(ENDED);
        // A permissions violation does not end a connection, so it is not the reason.
        if reason.starts_with("Permissions Violation") { ENDED.to_owned() } else { reason }
    }
}
