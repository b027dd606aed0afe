//! Requests to other processes and to JetStream, and the answers.

use std::{rc::Rc, time::Duration};

use async_nats::{HeaderMap, Message as NatsMessage, StatusCode};
use bytes::Bytes;
use tokio::time::timeout;

use super::{
    answer::ProcessAnswer,
    expected::{Expected, Failed},
    link::{CHANNELS, GROUPS, NatsLink, PASSED},
};
use crate::LayerError;

impl NatsLink {
    /// Asks the process that is subscribed to a subject.
    ///
    /// When this returns, the request is on its way. The returned future gives the answer.
    pub(super) async fn ask(
        self: &Rc<Self>,
        connection: usize,
        subject: String,
        payload: Bytes,
        passed: u8,
    ) -> impl Future<Output = Result<ProcessAnswer, LayerError>> + use<> {
        let mut answer = self.waiting.expect();
        let reply = self.shared.driver.subjects.reply(connection, answer.number);
        let client = &self.clients[connection];
        let asked = if passed == 0 {
            client.publish_with_reply(subject, reply, payload).await
        } else {
            let mut headers = HeaderMap::new();
            headers.insert(PASSED, passed.to_string());
            client.publish_with_reply_and_headers(subject, reply, headers, payload).await
        };
        let link = Rc::clone(self);
        async move {
            if let Err(error) = asked {
                return Err(LayerError::Refused(error.to_string()));
            }
            let message =
                link.wait(&mut answer).await.map_err(|reason| link.shared.status.unavailable(0, &reason))?;
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                return Ok(ProcessAnswer::None);
            }
            Ok(ProcessAnswer::read(&message.payload))
        }
    }

    /// Waits until the server has read all that was written on a connection so far.
    pub(super) async fn synced(self: &Rc<Self>, connection: usize) -> Result<(), String> {
        let mut answer = self.waiting.expect();
        self.call(connection, answer.number).await?;
        match self.wait(&mut answer).await {
            Ok(_) => Ok(()),
            Err(reason) => Err(self.fate.reason(&reason)),
        }
    }

    /// Waits until a message on one of the connections comes back on the other.
    ///
    /// The server takes from the two connections in any order. So it may not know the subscription yet, and
    /// the first messages may be lost.
    pub(super) async fn meet(self: &Rc<Self>, connection: usize) -> Result<(), String> {
        let mut answer = self.waiting.expect();
        let met = async {
            let mut pause = Duration::from_millis(5);
            loop {
                self.call(connection, answer.number).await?;
                if answer.wait(pause).await.is_ok() {
                    return Ok(());
                }
                pause *= 2;
            }
        };
        let patience = self.shared.config.timeout;
        match timeout(patience, met).await {
            Ok(met) => met,
            Err(_) => Err(self.fate.reason(&Failed::Late.reason(patience))),
        }
    }

    /// Waits for the next message of an answer. The error is the reason why none has come.
    pub(super) async fn wait(&self, answer: &mut Expected) -> Result<NatsMessage, String> {
        let patience = self.shared.config.timeout;
        answer.wait(patience).await.map_err(|failed| failed.reason(patience))
    }

    /// Publishes to a subject of JetStream. The answer comes as [`wait`](Self::wait) says.
    ///
    /// When this returns, the request is on its way.
    pub(super) async fn request(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Expected, String> {
        let answer = self.waiting.expect();
        let reply = self.shared.driver.subjects.reply(GROUPS, answer.number);
        let client = &self.clients[GROUPS];
        let asked = match headers {
            Some(headers) => client.publish_with_reply_and_headers(subject, reply, headers, payload).await,
            None => client.publish_with_reply(subject, reply, payload).await,
        };
        asked.map_err(|error| error.to_string())?;
        Ok(answer)
    }

    /// Publishes to a subject, with a subject of this process for what comes back.
    pub(super) async fn publish_from(
        &self,
        subject: String,
        inbox: String,
        payload: Bytes,
    ) -> Result<(), String> {
        let published = self.clients[GROUPS].publish_with_reply(subject, inbox, payload).await;
        published.map_err(|error| error.to_string())
    }

    /// Publishes on one of the connections a message that comes back on the other.
    async fn call(&self, connection: usize, number: u64) -> Result<(), String> {
        let other = if connection == GROUPS { CHANNELS } else { GROUPS };
        let subject = self.shared.driver.subjects.reply(other, number);
        self.clients[connection].publish(subject, Bytes::new()).await.map_err(|error| error.to_string())
    }
}
