//! HTTP consumers with handlers, with relays only and without events; relays alone suit both kinds.

use greenroom::{
    Body, Consumer, Event, HttpConsumer, HttpContext, NoEvents, Outgoing, Result, UrlRouter, event_handlers,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Told {
    text: String,
}

struct Handles;

impl HttpConsumer for Handles {
    async fn handle(&mut self, body: Body, ctx: &mut HttpContext) -> Result<()> {
        ctx.send_headers(200, &[])?;
        ctx.send_body(body.into_bytes()).await
    }
}

#[event_handlers]
impl Handles {
    async fn told(&mut self, event: &Told, ctx: &mut greenroom::HttpContext) -> Result<()> {
        ctx.send_body(event.text.clone()).await
    }
}

struct Relays<T>(T);

impl<T: 'static> HttpConsumer for Relays<T> {
    async fn handle(&mut self, _: Body, ctx: &mut HttpContext) -> Result<()> {
        ctx.send_json(200, "ok")
    }
}

impl<T: 'static> Consumer for Relays<T> {}

#[event_handlers]
impl<T> Relays<T> {
    #[relay]
    fn told(event: &Told) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

#[derive(NoEvents)]
struct Silent;

impl HttpConsumer for Silent {
    async fn handle(&mut self, _: Body, ctx: &mut HttpContext) -> Result<()> {
        ctx.send_response(204, &[], "")
    }
}

#[test]
fn compiles() {
    let routes = UrlRouter::new()
        .http("/handles", |_: &greenroom::Scope| Ok(Handles))
        .http("/relays", |_: &greenroom::Scope| Ok(Relays(1)))
        .route("/relays", |_: &greenroom::Scope| Ok(Relays("one")))
        .http("/silent", |_: &greenroom::Scope| Ok(Silent));
    routes.build().unwrap();
}
