//! Requests to JetStream.

use std::{fmt, rc::Rc};

use async_nats::{HeaderMap, Message as NatsMessage, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    entry::{Spot, Stored, mark_headers},
    stream::Found,
    streams::StreamState,
};
use crate::{
    GroupName,
    groups::history::position::Tag,
    layers::nats::{expected::Expected, link::NatsLink},
};

/// The server's number for "stream not found".
const NOT_FOUND: u64 = 10_059;
/// Its number for "no message found".
const NO_MESSAGE: u64 = 10_037;
/// Its numbers for "JetStream not enabled", and the same for this account.
const NOT_ENABLED: [u64; 2] = [10_039, 10_076];
/// Its numbers for an expected sequence number that is not the last one.
const WRONG_LAST: [u64; 2] = [10_070, 10_071];
/// How many messages one batch has at most. The server has a limit of 1,024.
pub(super) const BATCH: usize = 1_000;
/// How many bytes one batch has at most, but for its last message.
pub(super) const BATCH_BYTES: usize = 4 << 20;

/// Why JetStream has not done something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JetStreamError {
    /// Nobody answered in time, or the connection was lost. It may be done all the same.
    Away(String),
    /// The server has no JetStream for this account.
    Missing(String),
    /// There is no such message.
    NoMessage,
    /// There is no such stream.
    NoStream,
    /// Another message was stored in between.
    Overtaken,
    /// The server said no, and why.
    Refused(String),
}

impl fmt::Display for JetStreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(reason) | Self::Missing(reason) | Self::Refused(reason) => f.write_str(reason),
            Self::NoMessage => f.write_str("the message does not exist"),
            Self::NoStream => f.write_str("the stream does not exist"),
            Self::Overtaken => f.write_str("another message was stored in between"),
        }
    }
}

/// The link, for requests about one stream.
pub(super) struct Api<'a> {
    pub(super) link: &'a Rc<NatsLink>,
    pub(super) stream: &'a str,
}

/// A request whose answer has not been read yet.
pub(super) struct Asked {
    answer: Result<Expected, String>,
}

impl Asked {
    /// Waits for the next message of the answer.
    pub(super) async fn message(&mut self, link: &NatsLink) -> Result<NatsMessage, JetStreamError> {
        let answer = self.answer.as_mut().map_err(|reason| JetStreamError::Away(reason.clone()))?;
        let message = link.wait(answer).await.map_err(JetStreamError::Away)?;
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(JetStreamError::Missing("the server has no JetStream for this account".to_owned()));
        }
        Ok(message)
    }

    /// Waits for an answer in JSON.
    pub(super) async fn json(mut self, link: &NatsLink) -> Result<Value, JetStreamError> {
        let message = self.message(link).await?;
        let answer: Value = serde_json::from_slice(&message.payload)
            .map_err(|error| JetStreamError::Refused(format!("the answer is invalid: {error}")))?;
        let Some(error) = answer.get("error") else { return Ok(answer) };
        let number = error.get("err_code").and_then(Value::as_u64).unwrap_or_default();
        let text =
            error.get("description").and_then(Value::as_str).unwrap_or("no reason was given").to_owned();
        Err(match number {
            NOT_FOUND => JetStreamError::NoStream,
            NO_MESSAGE => JetStreamError::NoMessage,
            number if NOT_ENABLED.contains(&number) => JetStreamError::Missing(text),
            number if WRONG_LAST.contains(&number) => JetStreamError::Overtaken,
            _ => JetStreamError::Refused(text),
        })
    }

    /// Waits for a message of the stream. `None` if there is none.
    pub(super) async fn stored(mut self, link: &NatsLink) -> Result<Option<Stored>, JetStreamError> {
        let message = self.message(link).await?;
        stored(&message)
    }
}

fn stored(message: &NatsMessage) -> Result<Option<Stored>, JetStreamError> {
    match (message.status, Stored::read(message)) {
        (Some(StatusCode::NOT_FOUND), _) => Ok(None),
        (None | Some(StatusCode::OK), Some(stored)) => Ok(Some(stored)),
        (status, _) => {
            let text = message.description.clone().unwrap_or_default();
            Err(JetStreamError::Refused(format!("the answer is invalid: {status:?} {text}")))
        }
    }
}

impl Api<'_> {
    async fn ask(&self, subject: String, payload: impl Into<Bytes>, headers: Option<HeaderMap>) -> Asked {
        Asked { answer: self.link.request(subject, headers, payload.into()).await }
    }

    async fn stream(&self, verb: &str, body: &Value) -> Asked {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask(format!("$JS.API.STREAM.{verb}.{}", self.stream), body, None).await
    }

    pub(super) async fn consumer(&self, verb: &str, name: &str, body: String) -> Asked {
        let dot = if name.is_empty() { "" } else { "." };
        self.ask(format!("$JS.API.CONSUMER.{verb}.{}{dot}{name}", self.stream), body, None).await
    }

    /// Asks for the stream's state, and waits.
    pub(super) async fn info(&self) -> Result<Found, JetStreamError> {
        found(self.ask_info().await.json(self.link).await?)
    }

    /// Asks for the stream's state.
    pub(super) async fn ask_info(&self) -> Asked {
        self.stream("INFO", &Value::Null).await
    }

    /// Makes the stream. If it exists with these settings, this does nothing.
    pub(super) async fn create(&self, config: &Value) -> Result<Found, JetStreamError> {
        found(self.stream("CREATE", config).await.json(self.link).await?)
    }

    /// Changes the settings of the stream.
    pub(super) async fn update(&self, config: &Value) -> Result<Found, JetStreamError> {
        found(self.stream("UPDATE", config).await.json(self.link).await?)
    }

    /// Asks for one message, by a request of direct get. Any server that has the stream answers.
    pub(super) async fn ask_direct(&self, body: &Value) -> Asked {
        self.ask(format!("$JS.API.DIRECT.GET.{}", self.stream), body.to_string(), None).await
    }

    /// Asks for the first message with this subject that has the number or a higher one.
    pub(super) async fn ask_next(&self, subject: &str, from: u64) -> Asked {
        self.ask_direct(&json!({ "seq": from.max(1), "next_by_subj": subject })).await
    }

    pub(super) async fn next(&self, subject: &str, from: u64) -> Result<Option<Stored>, JetStreamError> {
        self.ask_next(subject, from).await.stored(self.link).await
    }

    /// Asks for the last message with this subject.
    pub(super) async fn ask_last(&self, subject: &str) -> Asked {
        self.ask_direct(&json!({ "last_by_subj": subject })).await
    }

    /// What the last message with this subject says.
    pub(super) async fn last_payload(&self, subject: &str) -> Result<Option<Bytes>, JetStreamError> {
        let mut asked = self.ask_last(subject).await;
        let message = asked.message(self.link).await?;
        Ok(stored(&message)?.map(|_| message.payload))
    }

    /// The last message with this subject.
    ///
    /// If several servers have the stream, the one that decides is asked: another one may lag behind.
    pub(super) async fn last(
        &self,
        subject: &str,
        state: StreamState,
    ) -> Result<Option<Stored>, JetStreamError> {
        if state.is_on_one_server() {
            return self.ask_last(subject).await.stored(self.link).await;
        }
        let asked = self.stream("MSG.GET", &json!({ "last_by_subj": subject })).await;
        match asked.json(self.link).await {
            Ok(answer) => {
                let number = answer.pointer("/message/seq").and_then(Value::as_u64);
                let number =
                    number.ok_or_else(|| JetStreamError::Refused("the answer has no number".into()))?;
                // It is read again as it is, because this answer is in base64.
                self.next(subject, number).await
            }
            Err(JetStreamError::NoMessage) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The messages with this subject from a number on, as many as the server gives in one answer.
    ///
    /// `None` if the server knows no batches: it is older than 2.11.
    pub(super) async fn batch(
        &self,
        subject: &str,
        from: u64,
        most: usize,
    ) -> Result<Option<Vec<Stored>>, JetStreamError> {
        let most = most.clamp(1, BATCH);
        let body = json!({
            "seq": from.max(1), "next_by_subj": subject, "batch": most, "max_bytes": BATCH_BYTES,
        });
        let mut asked = self.ask_direct(&body).await;
        let mut messages = Vec::new();
        loop {
            let message = asked.message(self.link).await?;
            let pending = message.headers.as_ref().and_then(|headers| headers.get("Nats-Num-Pending"));
            let is_end = message.status.is_some_and(|status| status.as_u16() == 204);
            match (is_end, pending) {
                (true, _) => return Ok(Some(messages)),
                (false, None) if message.status != Some(StatusCode::NOT_FOUND) => return Ok(None),
                (false, _) => match stored(&message)? {
                    Some(stored) => messages.push(stored),
                    None => return Ok(Some(messages)),
                },
            }
        }
    }

    /// Stores a message, and waits until that is done. Returns its number.
    pub(super) async fn store(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<u64, JetStreamError> {
        let answer = self.ask(subject, payload, Some(headers)).await.json(self.link).await?;
        let number = answer.get("seq").and_then(Value::as_u64).filter(|number| *number > 0);
        number.ok_or_else(|| {
            JetStreamError::Refused("the server has not said which number the message has".into())
        })
    }

    /// Writes a mark that stands for a place, behind the message `last`. Returns the place.
    ///
    /// Without a place it stands for its own, and begins the log.
    pub(super) async fn mark(
        &self,
        policy: usize,
        group: &GroupName,
        spot: Option<Spot>,
        last: u64,
    ) -> Result<(u64, Spot), JetStreamError> {
        let subject = self.link.shared.driver.subjects.log(policy, group);
        let spot = spot.unwrap_or_else(|| Spot { offset: 0, tag: Tag::fresh() });
        let sequence = self.store(subject, mark_headers(spot, last), Bytes::new()).await?;
        let offset = if spot.offset == 0 { sequence } else { spot.offset };
        Ok((sequence, Spot { offset, ..spot }))
    }
}

pub(super) fn found(answer: Value) -> Result<Found, JetStreamError> {
    Found::read(&answer)
        .ok_or_else(|| JetStreamError::Refused("the server has not described the stream".into()))
}
