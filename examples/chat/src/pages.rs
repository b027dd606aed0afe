//! The pages, compiled into the program.

use actix_web::web::ServiceConfig;
use examples_shared::pages::{self, css, html, javascript, svg};

pub(crate) fn configure(config: &mut ServiceConfig) {
    config
        .configure(pages::configure)
        .route("/", html(include_str!("../static/index.html")))
        .route("/home/", html(include_str!("../static/index.html")))
        .route("/room/{room:[A-Za-z0-9_-]{1,80}}/", html(include_str!("../static/room.html")))
        .route("/static/chat.css", css(include_str!("../static/chat.css")))
        .route("/static/chat.js", javascript(include_str!("../static/chat.js")))
        .route("/static/icon.svg", svg(include_str!("../static/icon.svg")));
}
