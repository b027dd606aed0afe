//! The pages, compiled into the program.

use actix_web::web::ServiceConfig;
use examples_shared::pages::{self, css, html, javascript, svg};

pub(crate) fn configure(config: &mut ServiceConfig) {
    config
        .configure(pages::configure)
        .route("/", html(include_str!("../static/index.html")))
        .route("/game/{arena:[A-Za-z0-9_-]{1,40}}/", html(include_str!("../static/game.html")))
        .route("/static/home.js", javascript(include_str!("../static/home.js")))
        .route("/static/game.js", javascript(include_str!("../static/game.js")))
        .route("/static/game.css", css(include_str!("../static/game.css")))
        .route("/static/icon.svg", svg(include_str!("../static/icon.svg")));
}
