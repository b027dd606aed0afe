//! The page, compiled into the program.

use actix_web::web::ServiceConfig;
use examples_shared::pages::{self, css, html, javascript, svg};

pub(crate) fn configure(config: &mut ServiceConfig) {
    config
        .configure(pages::configure)
        .route("/", html(include_str!("../static/index.html")))
        .route("/static/deploy.css", css(include_str!("../static/deploy.css")))
        .route("/static/deploy.js", javascript(include_str!("../static/deploy.js")))
        .route("/static/icon.svg", svg(include_str!("../static/icon.svg")));
}
