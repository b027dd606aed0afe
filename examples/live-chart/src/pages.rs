//! The page, compiled into the program, and what other programs post to it.

use actix_web::{
    HttpResponse,
    web::{self, ServiceConfig},
};
use examples_shared::pages::{self, css, html, javascript, svg};
use greenroom::prelude::*;

use crate::chart::{BadData, Chart};

pub(crate) fn configure(config: &mut ServiceConfig, chart: &Chart) {
    config
        .app_data(web::Data::new(chart.clone()))
        // Only as `application/json`, which no page of another site can send here unasked.
        .app_data(web::JsonConfig::default().limit(4096))
        .route("/data", web::post().to(add))
        .route("/job", web::post().to(run))
        .configure(pages::configure)
        .route("/", html(include_str!("../static/index.html")))
        .route("/static/chart.css", css(include_str!("../static/chart.css")))
        .route("/static/chart.js", javascript(include_str!("../static/chart.js")))
        .route("/static/icon.svg", svg(include_str!("../static/icon.svg")));
}

#[derive(Deserialize)]
struct Add {
    name: String,
    add: u32,
}

/// Not a consumer: whoever posts here, a script or the page's own form, reaches everyone by the group.
async fn add(chart: web::Data<Chart>, data: web::Json<Add>) -> HttpResponse {
    answer(chart.add(&data.name, data.add).await)
}

#[derive(Deserialize)]
struct Run {
    running: bool,
}

async fn run(chart: web::Data<Chart>, data: web::Json<Run>) -> HttpResponse {
    answer(chart.run(data.running).await)
}

fn answer(done: Result<(), BadData>) -> HttpResponse {
    match done {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}
