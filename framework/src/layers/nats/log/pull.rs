//! Reads messages of a log by a *consumer* of JetStream, for servers without batches.
//!
//! The server then sends one message after the other, and is not asked for each.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{Message as NatsMessage, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{
    api::{Api, BATCH, BATCH_BYTES, JetStreamError},
    entry::Stored,
};
use crate::layers::nats::{
    expected,
    link::{NatsLink, Subscription},
};

/// When the server gives up a request for more messages than it has.
const EXPIRES: Duration = Duration::from_secs(1);

/// A consumer of JetStream. The server drops it when this is [ended](Self::end), or after 5 s without a request.
pub(super) struct Pull<'a> {
    api: &'a Api<'a>,
    name: String,
    inbox: String,
    messages: UnboundedReceiver<NatsMessage>,
    /// The subscription to `inbox`.
    _heard: Subscription,
    /// How many messages are left.
    pub(super) pending: u64,
}

impl NatsLink {
    /// Subscribes to a subject of this process alone. Returns it, and what comes there.
    async fn hear_pull(
        &self,
    ) -> Result<(String, UnboundedReceiver<NatsMessage>, Subscription), JetStreamError> {
        let number = self.pulls.get();
        self.pulls.set(number + 1);
        let inbox = self.shared.driver.subjects.pull(number);
        let (sender, messages) = unbounded_channel();
        let hear = move |message| {
            // The reader may have gone.
            let _ = sender.send(message);
        };
        let heard = self.subscribe_group(inbox.clone(), hear).await.map_err(JetStreamError::Away)?;
        Ok((inbox, messages, heard))
    }
}

impl Api<'_> {
    /// Makes a consumer of all messages with this subject.
    ///
    /// `None` if the server refuses it: the layer may not make one, or there are as many as are allowed.
    pub(super) async fn pull(&self, subject: &str) -> Result<Option<Pull<'_>>, JetStreamError> {
        let config = json!({
            "deliver_policy": "all",
            "filter_subject": subject,
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": true,
            "num_replicas": 1,
        });
        let (inbox, messages, heard) = self.link.hear_pull().await?;
        let body = json!({ "stream_name": self.stream, "config": config });
        let asked = self.consumer("CREATE", "", body.to_string()).await;
        let made = tokio::select! {
            made = asked.json(self.link) => made,
            // There is no answer then.
            () = self.link.fate.denied_consumer() => return Ok(None),
        };
        let made = match made {
            Err(JetStreamError::Refused(_)) => return Ok(None),
            made => made?,
        };
        let name = made.get("name").and_then(Value::as_str).map(str::to_owned);
        let pending = made.get("num_pending").and_then(Value::as_u64);
        let Some((name, pending)) = name.zip(pending) else {
            return Err(JetStreamError::Refused("the server has not described the consumer".into()));
        };
        Ok(Some(Pull { api: self, name, inbox, messages, _heard: heard, pending }))
    }
}

impl Pull<'_> {
    /// The next messages, if there are more.
    pub(super) async fn next(&mut self) -> Result<Vec<Stored>, JetStreamError> {
        let messages = self.ask(BATCH, Some(BATCH_BYTES)).await?;
        if messages.is_empty() && self.pending > 0 {
            // The next one alone has more bytes.
            return self.ask(1, None).await;
        }
        Ok(messages)
    }

    async fn ask(&mut self, most: usize, bytes: Option<usize>) -> Result<Vec<Stored>, JetStreamError> {
        let most = usize::try_from(self.pending).unwrap_or(most).min(most);
        let mut body = json!({ "batch": most, "no_wait": true, "expires": EXPIRES.as_nanos() as u64 });
        if let Some(bytes) = bytes {
            body["max_bytes"] = bytes.into();
        }
        let link = self.api.link;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.api.stream, self.name);
        let asked = link.publish_from(subject, self.inbox.clone(), body.to_string().into()).await;
        asked.map_err(JetStreamError::Away)?;
        let mut messages = Vec::with_capacity(most);
        while messages.len() < most && self.pending > 0 {
            let message = self.message().await?;
            match message.status {
                None => {}
                Some(StatusCode::NO_RESPONDERS) => {
                    return Err(JetStreamError::Away("the server has ended the read".into()));
                }
                // There are no more, or the next one has too many bytes.
                Some(_) => break,
            }
            let delivered = message.reply.as_deref().and_then(Delivered::read);
            let Some(Delivered { sequence, stored, pending }) = delivered else {
                return Err(JetStreamError::Refused("a message of the log has no number".into()));
            };
            self.pending = pending;
            messages.push(Stored::of(
                &message,
                sequence,
                None,
                SystemTime::now().duration_since(stored).ok(),
            ));
        }
        Ok(messages)
    }

    async fn message(&mut self) -> Result<NatsMessage, JetStreamError> {
        let patience = self.api.link.shared.config.timeout;
        let message = expected::next(&mut self.messages, patience).await;
        message.map_err(|failed| JetStreamError::Away(failed.reason(patience)))
    }

    /// Has the server drop the consumer.
    pub(super) async fn end(self) {
        // If it cannot be asked, the server drops it by itself.
        drop(self.api.consumer("DELETE", &self.name, String::new()).await);
    }
}

/// What the server says of a message that it sends to a consumer.
#[derive(Debug, PartialEq, Eq)]
struct Delivered {
    sequence: u64,
    stored: SystemTime,
    /// How many follow.
    pending: u64,
}

impl Delivered {
    /// Reads the reply subject: `$JS.ACK`, from some servers a domain and an account, then the stream, the consumer, how
    /// often it was sent, the number in the stream, that of the consumer, the time, and how many follow.
    fn read(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let own = match tokens.len() {
            7 => &tokens[3..],
            9.. => &tokens[5..],
            _ => return None,
        };
        let number = |at: usize| own.get(at)?.parse::<u64>().ok();
        Some(Self {
            sequence: number(0)?,
            stored: UNIX_EPOCH + Duration::from_nanos(number(2)?),
            pending: number(3)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_of_a_message_is_read() {
        let stored = UNIX_EPOCH + Duration::from_nanos(1_795_987_827_320_329_422);
        let read = Delivered { sequence: 120, stored, pending: 4 };
        for reply in [
            "$JS.ACK.GR_greenroom_0.x7Yd.1.120.3.1795987827320329422.4",
            "$JS.ACK._.ABCDEF.GR_greenroom_0.x7Yd.1.120.3.1795987827320329422.4",
            "$JS.ACK.hub.ABCDEF.GR_greenroom_0.x7Yd.1.120.3.1795987827320329422.4.random",
        ] {
            assert_eq!(Delivered::read(reply).as_ref(), Some(&read), "{reply}");
        }
        for strange in
            ["", "$JS.ACK.", "$JS.ACK.a.b.1.x.3.4.5", "$JS.ACK.a.b.1.2.3.4.5.6", "greenroom.log.0.room"]
        {
            assert_eq!(Delivered::read(strange), None, "{strange}");
        }
    }
}
