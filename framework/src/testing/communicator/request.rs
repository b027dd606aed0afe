//! Requests of a client, and their answers.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{json, value::RawValue};
use tokio::time::timeout;

use super::{CommunicatorError, WebsocketCommunicator};
use crate::{Message, wire::websocket::Item};

/// With this each answer begins.
const ANSWER: &str = r#"{"type":"greenroom.answer","#;

#[derive(Deserialize)]
struct Answer {
    id: u64,
    value: Option<Box<RawValue>>,
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    code: String,
    text: String,
}

impl WebsocketCommunicator {
    /// Sends a request, and waits for its answer: `let members: u32 = client.request(&Ask::Members).await?`.
    ///
    /// Messages that come before the answer can be received afterwards.
    ///
    /// # Errors
    /// As [`receive_answer`](Self::receive_answer).
    ///
    /// # Panics
    /// If the input cannot be written as JSON.
    pub async fn request<T: DeserializeOwned>(
        &mut self,
        input: &(impl Serialize + ?Sized),
    ) -> Result<T, CommunicatorError> {
        let id = self.send_request(input);
        self.receive_answer(id).await
    }

    /// Sends a request, and returns its id without waiting for the answer.
    ///
    /// # Panics
    /// If the input cannot be written as JSON.
    pub fn send_request(&mut self, input: &(impl Serialize + ?Sized)) -> u64 {
        self.requests += 1;
        let input = serde_json::to_value(input).expect("the input can be written as JSON");
        self.send_json(&json!({"type": "greenroom.request", "id": self.requests, "input": input}));
        self.requests
    }

    /// Waits for the answer to a request. All other messages can be received afterwards.
    ///
    /// # Errors
    /// [`CommunicatorError::Refused`] for an error of the server, [`CommunicatorError::Timeout`] if no answer comes within
    /// the [`timeout`](Self::timeout), and as [`receive_json`](Self::receive_json).
    pub async fn receive_answer<T: DeserializeOwned>(&mut self, id: u64) -> Result<T, CommunicatorError> {
        let mut others = Vec::new();
        let limit = self.timeout;
        let answer = timeout(limit, self.find_answer(id, &mut others)).await;
        // They are put back, so that they can be received.
        if let Some(open) = &mut self.open {
            for message in others.into_iter().rev() {
                open.items.push_front(match message {
                    Message::Binary(bytes) => Item::Binary(bytes),
                    Message::Text(text) => Item::Text(text),
                });
            }
        }
        answer.map_err(|_| CommunicatorError::Timeout(limit))?
    }

    async fn find_answer<T: DeserializeOwned>(
        &mut self,
        id: u64,
        others: &mut Vec<Message>,
    ) -> Result<T, CommunicatorError> {
        loop {
            let message = self.receive().await?;
            let text = message.as_text().filter(|text| text.starts_with(ANSWER)).unwrap_or_default();
            match serde_json::from_str::<Answer>(text) {
                Ok(Answer { error: Some(AnswerError { code, text }), id: found, .. }) if found == id => {
                    return Err(CommunicatorError::Refused { code, text });
                }
                Ok(answer) if answer.id == id => {
                    let value = answer.value.as_deref().map_or("null", RawValue::get);
                    return serde_json::from_str(value).map_err(|error| CommunicatorError::Json {
                        text: value.to_owned(),
                        reason: error.to_string(),
                    });
                }
                _ => others.push(message),
            }
        }
    }
}
