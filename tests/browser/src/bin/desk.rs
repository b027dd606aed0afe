//! A server for the tests of requests: `desk --bind ADDRESS`. It answers as it is asked.

use std::sync::{Arc, Mutex, PoisonError};

use greenroom::{Answer, Body, HttpConsumer, HttpContext, RequestError, Server, UrlRouter, prelude::*};
use serde_json::Value;
use tokio::sync::oneshot;

/// An empty page of the desk's origin.
#[derive(NoEvents)]
struct Page;

impl HttpConsumer for Page {
    async fn handle(&mut self, _body: Body, ctx: &mut HttpContext) -> Result<()> {
        ctx.send_response(200, &[("content-type", "text/html")], "<!doctype html><title>desk</title><body>")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    /// Answers the value.
    Echo(Value),
    Fail,
    /// Notes the value, and answers it at `release`.
    Hold(Value),
    /// Answers what was noted of all clients since the server began.
    Notes,
    Note(String),
    Refuse,
    Release,
    /// Closes the connection with this code.
    Close(u16),
}

#[derive(NoEvents)]
struct Desk {
    held: Vec<(oneshot::Sender<Value>, Value)>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl JsonConsumer for Desk {
    type Input = Ask;

    async fn receive_json(&mut self, ask: Ask, ctx: &mut Context) -> Result<()> {
        match ask {
            Ask::Close(code) => ctx.close_with(code, "retry=1ms")?,
            Ask::Release => {
                for (held, value) in self.held.drain(..).rev() {
                    // It fails if the client has gone.
                    let _ = held.send(value);
                }
            }
            Ask::Note(text) => self.notes().push(text),
            _ => {}
        }
        Ok(())
    }

    async fn request(&mut self, ask: Ask, ctx: &mut Context) -> Result<Answer> {
        match ask {
            Ask::Echo(value) => Answer::json(&value),
            Ask::Fail => Err(std::io::Error::other("nobody may read this"))?,
            Ask::Hold(value) => {
                self.notes().push(format!("held {value}"));
                let (held, answer) = oneshot::channel();
                self.held.push((held, value));
                Ok(Answer::later(async { Answer::json(&answer.await?) }))
            }
            Ask::Notes => Answer::json(&*self.notes()),
            Ask::Refuse => Err(RequestError::new("not_found", "no such room"))?,
            other => {
                self.receive_json(other, ctx).await?;
                Answer::json(&())
            }
        }
    }
}

impl Desk {
    fn notes(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[actix_web::main]
async fn main() -> Result<()> {
    let bind = std::env::args().nth(2).ok_or_else(|| greenroom::Error::msg("usage: desk --bind ADDRESS"))?;
    let notes = Arc::<Mutex<Vec<String>>>::default();
    let routes = UrlRouter::new()
        .http("/", |_: &Scope| Ok(Page))
        .route("/desk", move |_: &Scope| Ok(Desk { held: Vec::new(), notes: Arc::clone(&notes) }));
    let server = Server::new(routes)?.threads(1).bind(bind)?;
    println!("listening on http://{}", server.addresses()[0]);
    Ok(server.run().await?)
}
