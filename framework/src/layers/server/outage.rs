//! When a server is lost and found: what is logged of it, and how long to wait before the next attempt.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::status::Status;

/// The pauses between attempts to connect.
pub(in crate::layers) const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The state of one shard's connections.
#[derive(Debug)]
pub(in crate::layers) struct Outage<'a> {
    status: &'a Status,
    shard: usize,
    /// Before the next attempt: none before the first.
    pause: Duration,
    /// Since when it is connected.
    connected: Option<Instant>,
    lost: Option<Instant>,
    /// Whether the log's last word is that it is away.
    said: bool,
}

impl<'a> Outage<'a> {
    /// Nothing has been tried yet.
    pub(in crate::layers) fn new(status: &'a Status, shard: usize) -> Self {
        Self { status, shard, pause: Duration::ZERO, connected: None, lost: None, said: false }
    }

    /// It is there. Says for how long it was not, if it had been there before.
    pub(in crate::layers) fn found(&mut self) -> Option<Duration> {
        self.status.set_up(self.shard);
        self.connected = Some(Instant::now());
        let away = self.lost.map(|lost| lost.elapsed());
        if std::mem::take(&mut self.said) {
            let (server, address) = (self.status.server(), self.status.address(self.shard));
            match away {
                Some(away) => tracing::info!(address, ?away, "{server} is back"),
                None => tracing::info!(address, "{server} is there"),
            }
        }
        away
    }

    /// It is away, or could not be reached. What goes on is said once, and not at each attempt.
    pub(in crate::layers) fn lost(&mut self, reason: String) {
        let lasted = self.connected.take().map(|since| since.elapsed());
        if lasted.is_some() {
            self.lost = Some(Instant::now());
        }
        let steady = lasted.is_none_or(|lasted| lasted >= LONGEST_PAUSE);
        let longer = if lasted.is_some() && steady { Duration::ZERO } else { self.pause * 2 };
        self.pause = longer.clamp(FIRST_PAUSE, LONGEST_PAUSE);
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
