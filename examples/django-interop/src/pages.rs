//! The pages, compiled into the program. Django serves the same files.

use actix_web::{
    HttpResponse,
    http::header,
    web::{self, ServiceConfig},
};
use examples_shared::pages::{self, css, html, javascript};
use greenroom::{Layer, prelude::*};

/// Counts of the messages from Django that this server could not use.
#[derive(Serialize)]
struct Counts {
    /// Events without a handler.
    unhandled: u64,
    /// Events whose fields do not fit the type of their relay.
    relay_failed: u64,
    /// Messages that are not an event.
    undecodable: u64,
}

pub(crate) fn configure(config: &mut ServiceConfig, layer: Layer) {
    // On the other server, Django's template engine puts the name in.
    let room = include_str!("../pages/room.html").replace("{{ server }}", "Rust");
    config
        .configure(pages::configure)
        .route("/", web::get().to(home))
        .route("/chat/{room:[A-Za-z0-9_-]{1,80}}/", html(room))
        .route("/static/chat.css", css(include_str!("../pages/chat.css")))
        .route("/static/chat.js", javascript(include_str!("../pages/chat.js")))
        .route("/counts/", web::get().to(counts))
        .app_data(web::Data::new(layer));
}

async fn home() -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, "/chat/lobby/")).finish()
}

async fn counts(layer: web::Data<Layer>) -> HttpResponse {
    let metrics = layer.metrics();
    HttpResponse::Ok().json(Counts {
        unhandled: metrics.unhandled,
        relay_failed: metrics.relay_failed,
        undecodable: metrics.undecodable,
    })
}
