//! What a layer does when it loses its server and finds it again.
//!
//! It logs both, and says how long to wait before the next attempt.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::status::Status;
use crate::time::Pauses;

/// The pauses between attempts to connect.
const PAUSES: Pauses = Pauses::new(Duration::from_millis(50), Duration::from_secs(2));
/// A connection that lasts at least so long is steady.
///
/// If it is lost, the pauses begin anew.
const STEADY: Duration = Duration::from_secs(2);

/// Follows the connections to one shard.
#[derive(Debug)]
pub(in crate::layers) struct Outage<'a> {
    status: &'a Status,
    shard: usize,
    pauses: Pauses,
    /// How long to wait before the next attempt. There is no wait before the first.
    pause: Duration,
    /// When it connected; `None` while it is not connected.
    connected: Option<Instant>,
    /// When a connection was lost last.
    lost: Option<Instant>,
    /// Whether the log last said that the server is away.
    said: bool,
}

impl<'a> Outage<'a> {
    /// Begins before the first attempt.
    pub(in crate::layers) fn new(status: &'a Status, shard: usize) -> Self {
        Self {
            status,
            shard,
            pauses: PAUSES,
            pause: Duration::ZERO,
            connected: None,
            lost: None,
            said: false,
        }
    }

    /// Notes and logs that the server is connected.
    ///
    /// Returns how long it was away, if it had been connected before.
    pub(in crate::layers) fn found(&mut self) -> Option<Duration> {
        self.status.set_up(self.shard);
        self.connected = Some(Instant::now());
        let away = self.lost.map(|lost| lost.elapsed());
        if std::mem::take(&mut self.said) {
            let (server, address) = (self.status.server(), self.status.address(self.shard));
            match away {
                Some(away) => tracing::info!(address, ?away, "{server} is back"),
                None => tracing::info!(address, "{server} is connected"),
            }
        }
        away
    }

    /// Notes that the connection was lost, or could not be made. An outage is logged once, and not at each
    /// attempt.
    pub(in crate::layers) fn lost(&mut self, reason: String) {
        let lasted = self.connected.take().map(|since| since.elapsed());
        if lasted.is_some() {
            self.lost = Some(Instant::now());
        }
        let steady = lasted.is_none_or(|lasted| lasted >= STEADY);
        if lasted.is_some() && steady {
            self.pauses.reset();
        }
        self.pause = self.pauses.next();
        let (server, address) = (self.status.server(), self.status.address(self.shard));
        let news = self.status.set_away(self.shard, reason.clone());
        if !news {
            return;
        }
        if steady && !self.said {
            tracing::warn!(address, reason, "{server} is away");
            self.said = true;
        } else if let Some(more) = self.status.logs("unsteady") {
            tracing::warn!(address, reason, more, "{server} is away, again or for another reason");
            self.said = true;
        }
    }

    /// Waits until it is time to try again.
    pub(in crate::layers) async fn pause(&self) {
        sleep(self.pause).await;
    }
}
