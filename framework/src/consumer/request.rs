//! Requests of a client, and their answers.

use std::{fmt, panic::AssertUnwindSafe, rc::Rc};

use bytestring::ByteString;
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use super::{Context, connection::Connection, failure::ended_quietly};
use crate::{
    Message, Outgoing, Result,
    error::{Closed, Error, InputError, RequestError, StopConsumer},
    event::{Event, wire::to_json},
    guard::{drop_guarded, panicked},
    json,
    shown::Shown,
};

/// The `type` of a request, as it stands in its text.
const REQUEST: &str = "\"greenroom.request\"";
/// The greatest id: every whole number up to here has a value of its own in JavaScript.
const LARGEST_ID: u64 = (1 << 53) - 1;

/// What a request is answered with: a value now, or a value later.
///
/// [`JsonConsumer::request`](crate::JsonConsumer::request) returns it. To answer with an error, return a
/// [`RequestError`].
pub struct Answer(Form);

enum Form {
    /// The value, as JSON.
    Now(String),
    Later(LocalBoxFuture<'static, Result<Answer>>),
}

impl Answer {
    /// Answers with a value. `&()` becomes `null`.
    ///
    /// # Errors
    /// If `value` cannot be written as JSON, for example a map whose keys are not text.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        Ok(Self(Form::Now(serde_json::to_string(value)?)))
    }

    /// Answers with an event in the form in which members get it: `{"type":"card.moved","id":7}`.
    ///
    /// [`json`](Self::json) writes what serde makes of the value. For an enum that is another form: `{"Moved":{"id":7}}`.
    ///
    /// # Errors
    /// As [`json`](Self::json).
    pub fn event<E: Event>(event: &E) -> Result<Self> {
        Ok(Self(Form::Now(to_json(event)?)))
    }

    /// Answers with what `answer` returns, and lets the hook end before.
    ///
    /// The consumer hears the next message meanwhile, so answers may come in another order than their requests. The
    /// future runs as a task of the connection, like those of
    /// [`Context::spawn`](crate::ConnectionContext::spawn), and is cancelled with the connection. At the limit of
    /// [`Limits::tasks`](crate::Limits::tasks) the request is answered at once with the code
    /// [`RequestError::BUSY`]. Errors and panics are answered as those of the hook: no client waits for an answer that
    /// nobody gives.
    ///
    /// The future cannot borrow the consumer. To let an event handler give the answer, keep the sender of a
    /// `tokio::sync::oneshot` channel in the consumer, and await the receiver here.
    ///
    /// ```
    /// use greenroom::{Answer, prelude::*};
    ///
    /// # #[derive(NoEvents)]
    /// struct Reports;
    ///
    /// impl JsonConsumer for Reports {
    ///     type Input = u32;
    /// #   async fn receive_json(&mut self, _: u32, _: &mut Context) -> Result<()> { Ok(()) }
    ///
    ///     async fn request(&mut self, year: u32, _ctx: &mut Context) -> Result<Answer> {
    ///         Ok(Answer::later(async move {
    ///             let sum = tokio::task::spawn_blocking(move || year * 2).await?;
    ///             Answer::json(&sum)
    ///         }))
    ///     }
    /// }
    /// ```
    pub fn later(answer: impl Future<Output = Result<Self>> + 'static) -> Self {
        Self(Form::Later(Box::pin(answer)))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Now(json) => f.debug_tuple("Answer").field(json).finish(),
            Form::Later(_) => f.write_str("Answer::later(…)"),
        }
    }
}

/// One request of a client, for consumers that are not a [`JsonConsumer`](crate::JsonConsumer).
///
/// ```
/// use greenroom::{Answer, Request, prelude::*};
///
/// # #[derive(NoEvents)]
/// struct Sums;
///
/// impl Sums {
///     async fn sum(&mut self, request: &Request) -> Result<Answer> {
///         let numbers: Vec<u32> = request.input()?;
///         Answer::json(&numbers.iter().sum::<u32>())
///     }
/// }
///
/// impl Consumer for Sums {
///     async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
///         let Some(request) = Request::read(&message)? else { return ctx.send(message) };
///         let answer = self.sum(&request).await;
///         request.answer(answer, ctx)
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Request {
    id: u64,
    text: ByteString,
}

impl Request {
    /// Reads a request; `None` if the message is not a request.
    ///
    /// A message that is not a request costs the comparison of its first bytes; only if it is an object that begins with
    /// the member `id` or `input`, a search in its text.
    ///
    /// # Errors
    /// [`InputError::Json`] for a request that is not JSON, or without a valid id: it cannot be answered.
    pub fn read(message: &Message) -> Result<Option<Self>, InputError> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(deserialize_with = "id")]
            id: u64,
        }
        match message {
            Message::Text(text) if is_request(text) => {
                let Head { id } = message.json()?;
                Ok(Some(Self { id, text: text.clone() }))
            }
            _ => Ok(None),
        }
    }

    /// The id that the client chose. It may be that of an earlier request.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What the client asks, as a value of a serde type.
    ///
    /// # Errors
    /// [`InputError::Json`] if there is no input, or the input does not fit `T`.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, InputError> {
        #[derive(Deserialize)]
        struct Body<T> {
            input: T,
        }
        let body: Body<T> = json::read(&self.text).map_err(InputError::json)?;
        Ok(body.input)
    }

    /// Answers the request with a value or an error.
    ///
    /// A [`RequestError`] is answered with its code and its text, an [`InputError`] with the code
    /// [`RequestError::INVALID`] and its text. Any other error is logged, and answered with the code
    /// [`RequestError::INTERNAL`] and a fixed text.
    ///
    /// # Errors
    /// As [`Context::send`], and the error itself if it is [`StopConsumer`].
    pub fn answer(self, answer: Result<Answer>, ctx: &Context) -> Result<()> {
        let answer = match answer {
            Ok(Answer(Form::Later(later))) => match self.spawn(later, ctx) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::debug!(channel = %ctx.channel_name(), %error, "a request was answered with busy");
                    Err(RequestError::new(RequestError::BUSY, "too many requests wait for an answer").into())
                }
            },
            Ok(Answer(Form::Now(json))) => Ok(json),
            Err(error) => Err(error),
        };
        ctx.send(frame(self.id, answer, ctx.connection())?)
    }

    fn spawn(&self, later: LocalBoxFuture<'static, Result<Answer>>, ctx: &Context) -> Result<()> {
        let id = self.id;
        let connection = Rc::downgrade(ctx.connection());
        ctx.spawn(async move {
            let answer = value(later).await;
            let Some(connection) = connection.upgrade() else { return };
            match frame(id, answer, &connection) {
                // It fails if the connection has ended meanwhile: then nobody waits for the answer.
                Ok(frame) => drop(connection.send(&frame)),
                Err(error) => drop(ended_quietly(&connection, &error)),
            }
        })?;
        Ok(())
    }
}

/// Awaits the value of an answer. A panic becomes an error.
async fn value(mut later: LocalBoxFuture<'static, Result<Answer>>) -> Result<String> {
    loop {
        let answer = AssertUnwindSafe(later).catch_unwind().await;
        match answer.unwrap_or_else(|panic| Err(panicked(panic)))?.0 {
            Form::Now(json) => return Ok(json),
            Form::Later(next) => later = next,
        }
    }
}

/// The message that answers a request. An error that means the end of the connection is returned.
fn frame(id: u64, answer: Result<String>, connection: &Connection) -> Result<Outgoing> {
    let (member, json) = match answer {
        Ok(json) => ("value", json),
        Err(error) if error.is::<StopConsumer>() || (error.is::<Closed>() && connection.has_ended()) => {
            return Err(error);
        }
        Err(error) => ("error", serde_json::to_string(&shown_to_client(error, connection))?),
    };
    Ok(Outgoing::text(format!(r#"{{"type":"greenroom.answer","id":{id},"{member}":{json}}}"#)))
}

/// What the client may know of an error. The rest goes to the log.
fn shown_to_client(error: Error, connection: &Connection) -> RequestError {
    let shown = if let Some(error) = error.downcast_ref::<RequestError>() {
        error.clone()
    } else if error.is::<InputError>() {
        RequestError::new(RequestError::INVALID, error.to_string())
    } else {
        let channel = connection.channel_name();
        tracing::error!(%channel, error = %Shown(&error), "a request failed, and was answered with an error");
        RequestError::new(RequestError::INTERNAL, "the server could not answer")
    };
    drop_guarded(error, "an error");
    shown
}

/// Whether a text is a request. Nearly every other message shows at its first member that it is not.
fn is_request(text: &str) -> bool {
    let Some(members) = text.trim_ascii_start().strip_prefix('{').map(str::trim_ascii_start) else {
        return false;
    };
    if let Some(rest) = members.strip_prefix("\"type\"") {
        let value = rest.trim_ascii_start().strip_prefix(':').unwrap_or_default();
        return value.trim_ascii_start().starts_with(REQUEST);
    }
    // Programs that sort the members of an object write `id` first.
    let may_be = members.starts_with("\"id\"") || members.starts_with("\"input\"");
    may_be && text.contains(REQUEST) && has_type(text)
}

fn has_type(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Tag {
        r#type: String,
    }
    json::read::<Tag>(text).is_ok_and(|tag| tag.r#type == "greenroom.request")
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let id = u64::deserialize(deserializer)?;
    if id > LARGEST_ID {
        let text = format!("the id of a request must be at most {LARGEST_ID}");
        return Err(serde::de::Error::custom(text));
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Request>, InputError> {
        Request::read(&Message::Text(text.into()))
    }

    #[test]
    fn a_request_is_found_whatever_the_order_of_its_members() {
        for text in [
            r#"{"type":"greenroom.request","id":7,"input":[1]}"#,
            " {\n\t\"type\" :\r\n\"greenroom.request\" , \"input\": [1], \"more\": {}, \"id\": 7 } ",
            r#"{"id":7,"input":[1],"type":"greenroom.request"}"#,
            r#" { "input" : [1], "type" : "greenroom.request", "id" : 7 }"#,
        ] {
            let request = read(text).unwrap().unwrap();
            assert_eq!((request.id(), request.input::<Vec<u8>>().unwrap()), (7, vec![1]), "{text}");
        }
        for text in [
            "",
            "{",
            "{}",
            "7",
            r#""greenroom.request""#,
            r#"["type","greenroom.request"]"#,
            r#"{"type":"greenroom.requests","id":7,"input":1}"#,
            r#"{"type":"greenroom.request"#,
            r#"{"id":7,"input":{"type":"greenroom.request"}}"#,
            r#"{"id":7,"type":"other","input":"greenroom.request"}"#,
            r#"{"id":7,"type":"greenroom.request"#,
            r#"{"type":"greenroom.answer","id":7,"value":1}"#,
            r#"{"input":{"type":"greenroom.request"}}"#,
        ] {
            assert!(read(text).unwrap().is_none(), "{text}");
        }
        let binary = Message::Binary(br#"{"type":"greenroom.request","id":7,"input":1}"#.as_slice().into());
        assert!(Request::read(&binary).unwrap().is_none());
    }

    #[test]
    fn however_one_byte_is_changed_the_type_alone_decides() {
        for text in [
            r#" { "type" : "greenroom.request", "id" : 7, "input" : 1 }"#,
            r#"{"id":7,"input":1,"type":"greenroom.request"}"#,
        ] {
            for at in 0..text.len() {
                for byte in 0..128 {
                    let mut bytes = text.as_bytes().to_vec();
                    bytes[at] = byte;
                    let changed = String::from_utf8(bytes).unwrap();
                    let Ok(json) = serde_json::from_str::<serde_json::Value>(&changed) else { continue };
                    // Another member may not stand before these three.
                    let known = |name: &String| ["type", "id", "input"].contains(&name.as_str());
                    if json.as_object().is_some_and(|members| !members.keys().all(known)) {
                        continue;
                    }
                    let expected = json["type"] == "greenroom.request";
                    assert_eq!(is_request(&changed), expected, "{changed}");
                }
            }
        }
    }

    #[test]
    fn an_id_is_a_whole_number_that_javascript_can_hold() {
        for id in [0, 1, LARGEST_ID] {
            let text = format!(r#"{{"type":"greenroom.request","id":{id},"input":1}}"#);
            assert_eq!(read(&text).unwrap().unwrap().id(), id);
        }
        for id in [
            "-1",
            "1.0",
            "1e3",
            "\"7\"",
            "null",
            "[7]",
            "9007199254740992",
            "18446744073709551616",
            "7,\"id\":7",
        ] {
            let text = format!(r#"{{"type":"greenroom.request","id":{id},"input":1}}"#);
            assert!(read(&text).is_err(), "{id}");
        }
        assert!(read(r#"{"type":"greenroom.request","input":1}"#).is_err());
        assert!(read(r#"{"type":"greenroom.request","id":7,"input":1"#).is_err());
    }

    #[test]
    fn an_input_may_be_missing_only_if_its_type_is_an_option() {
        let request = read(r#"{"type":"greenroom.request","id":7}"#).unwrap().unwrap();
        assert_eq!(request.input::<Option<u8>>().unwrap(), None);
        let error = Error::from(request.input::<u8>().unwrap_err()).to_string();
        assert!(error.contains("missing field `input`"), "{error}");
    }

    #[test]
    fn an_input_of_other_languages_is_repaired() {
        let request = read(r#"{"type":"greenroom.request","id":7,"input":["\ud83d",NaN]}"#).unwrap().unwrap();
        assert_eq!(request.input::<(String, Option<f64>)>().unwrap(), ("\u{fffd}".to_owned(), None));
    }
}
