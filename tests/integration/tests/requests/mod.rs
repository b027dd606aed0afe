//! A client asks, and gets its answer.

mod answers;
mod transports;

use greenroom::{
    Answer, RequestError,
    error::{InputError, StopConsumer},
    prelude::*,
};
use integration_tests::Gate;

/// What clients of the desk may send, as a message or as a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Answers the text; as a message, sends it.
    Echo(String),
    /// Answers the text in an event.
    Event(String),
    /// Fails with an error that nobody else may see.
    Fail,
    /// Fails as the reader of an input does.
    Input,
    Panic,
    Refuse,
    /// Sends a message first, then answers.
    Say(String),
    Stop,
    /// Answers when the gate opens.
    Wait(Box<Ask>),
}

#[derive(Clone, Serialize, Deserialize, Event)]
enum Said {
    Aloud { text: String },
}

/// Answers as it is asked.
#[derive(NoEvents, Clone, Default)]
pub(crate) struct Desk {
    pub(crate) gate: Gate,
}

fn answer(ask: Ask) -> Result<Answer> {
    match ask {
        Ask::Echo(text) | Ask::Say(text) => Answer::json(&text),
        Ask::Event(text) => Answer::event(&Said::Aloud { text }),
        Ask::Fail => Err(std::io::Error::other("the password is 1234"))?,
        Ask::Input => Err(InputError::NotText)?,
        Ask::Panic => panic!("a request that panics"),
        Ask::Refuse => Err(RequestError::new("not_found", "no such \"room\""))?,
        Ask::Stop => Err(StopConsumer)?,
        Ask::Wait(inner) => Ok(Answer::later(async move { answer(*inner) })),
    }
}

impl JsonConsumer for Desk {
    type Input = Ask;

    async fn receive_json(&mut self, ask: Ask, ctx: &mut Context) -> Result<()> {
        match ask {
            Ask::Echo(text) => ctx.send_text(text),
            other => answer(other).map(|_| ()),
        }
    }

    async fn request(&mut self, ask: Ask, ctx: &mut Context) -> Result<Answer> {
        if let Ask::Say(text) = &ask {
            ctx.send_text(text.clone())?;
        }
        let Ask::Wait(ask) = ask else { return answer(ask) };
        let gate = self.gate.clone();
        Ok(Answer::later(async move {
            gate.pass().await;
            answer(*ask)
        }))
    }
}
