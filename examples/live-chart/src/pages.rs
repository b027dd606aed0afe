//! The page, compiled into the program, and the addresses for posts of other programs.

use actix_web::{
    HttpResponse,
    web::{self, ServiceConfig},
};
use examples_shared::pages::{self, css, html, javascript, svg};
use greenroom::{middleware::AllowedHosts, prelude::*};

use crate::chart::{BadData, Chart};

pub(crate) fn configure(config: &mut ServiceConfig, chart: &Chart, hosts: AllowedHosts) {
    let posts =
        web::scope("").guard(hosts).route("/data", web::post().to(add)).route("/job", web::post().to(run));
    config
        .app_data(web::Data::new(chart.clone()))
        // Only `application/json` is accepted: a browser does not let a page of another site send it here.
        .app_data(web::JsonConfig::default().limit(4096))
        .configure(pages::configure)
        .route("/", html(include_str!("../static/index.html")))
        .route("/static/chart.css", css(include_str!("../static/chart.css")))
        .route("/static/chart.js", javascript(include_str!("../static/chart.js")))
        .route("/static/icon.svg", svg(include_str!("../static/icon.svg")))
        .service(posts);
}

#[derive(Deserialize)]
struct Add {
    name: String,
    add: u32,
}

/// Takes a post of a script or of the page's form. It is not a consumer, and it reaches every page through the group.
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
