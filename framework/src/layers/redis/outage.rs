//! When a server is lost and found: what is logged of it, and how long to wait before the next attempt.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::status::Status;

/// The pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The state of one shard's connections.
#[derive(Debug)]
pub(super) struct Outage<'a> {
    status: &'a Status,
    shard: usize,
    pause: Duration,
    /// Since when it is connected.
    connected: Option<Instant>,
    lost: Option<Instant>,
    /// Whether the log's last word is that it is away.
    said: bool,
}

impl<'a> Outage<'a> {
    /// Nothing has been tried yet.
    pub(super) fn new(status: &'a Status, shard: usize) -> Self {
        Self { status, shard, pause: FIRST_PAUSE, connected: None, lost: None, said: false }
    }

    /// It is there. Says for how long it was not, if it had been there before.
    pub(super) fn found(&mut self) -> Option<Duration> {
        self.status.set_up(self.shard);
        self.connected = Some(Instant::now());
        let away = self.lost.map(|lost| lost.elapsed());
        if std::mem::take(&mut self.said) {
            let address = self.status.address(self.shard);
            match away {
                Some(away) => tracing::info!(address, ?away, "Redis is back"),
                None => tracing::info!(address, "Redis is there"),
            }
        }
        away
    }

    /// It is away, or could not be reached. What goes on is said once, and not at each attempt.
    pub(super) fn lost(&mut self, reason: String) {
        let lasted = self.connected.take().map(|since| since.elapsed());
        if lasted.is_some() {
            self.lost = Some(Instant::now());
        }
        let steady = lasted.is_none_or(|lasted| lasted >= LONGEST_PAUSE);
        if lasted.is_some() && steady {
            self.pause = FIRST_PAUSE;
        }
        let address = self.status.address(self.shard);
        let news = self.status.set_away(self.shard, reason.clone());
        if !news {
            return;
        }
        if steady && !self.said {
            tracing::warn!(address, reason, "Redis is away");
            self.said = true;
        } else if let Some(more) = self.status.logs("unsteady") {
            tracing::warn!(address, reason, more, "Redis is away, again or for another reason");
            self.said = true;
        }
    }

    /// Waits until it is time to try again.
    pub(super) async fn pause(&mut self) {
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
