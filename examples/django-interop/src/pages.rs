//! The pages, compiled into the program. Django serves the same files.

use actix_web::{
    HttpResponse,
    http::header,
    web::{self, ServiceConfig},
};
use greenroom::{Layer, prelude::*};

/// What came from Django and nobody here could use, for who looks.
#[derive(Serialize)]
struct Counts {
    /// Events without a handler.
    unhandled: u64,
    /// Events of a relay whose fields do not fit it.
    relay_failed: u64,
    /// What is no event at all.
    undecodable: u64,
}

pub(crate) fn configure(config: &mut ServiceConfig, layer: Layer) {
    config
        .route("/", web::get().to(home))
        .route("/chat/{room:[A-Za-z0-9_-]{1,80}}/", web::get().to(room))
        .route("/static/chat.css", web::get().to(|| file("text/css", include_str!("../pages/chat.css"))))
        .route("/static/chat.js", web::get().to(|| file("text/javascript", include_str!("../pages/chat.js"))))
        .route("/counts/", web::get().to(counts))
        .app_data(web::Data::new(layer));
}

async fn home() -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, "/chat/lobby/")).finish()
}

/// Django's template engine puts in the other server's name.
async fn room() -> HttpResponse {
    file("text/html; charset=utf-8", include_str!("../pages/room.html").replace("{{ server }}", "Rust")).await
}

async fn counts(layer: web::Data<Layer>) -> HttpResponse {
    let metrics = layer.metrics();
    HttpResponse::Ok().json(Counts {
        unhandled: metrics.unhandled,
        relay_failed: metrics.relay_failed,
        undecodable: metrics.undecodable,
    })
}

async fn file(kind: &'static str, content: impl Into<String>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(content.into())
}
