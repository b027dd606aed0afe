//! The page, compiled into the program, and what other programs post to it.

use actix_web::{
    HttpResponse,
    http::header,
    web::{self, ServiceConfig},
};
use greenroom::prelude::*;

use crate::chart::{BadData, Chart};

/// Nothing from elsewhere, and no script or style in the markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(crate) fn configure(config: &mut ServiceConfig, chart: &Chart) {
    config
        .app_data(web::Data::new(chart.clone()))
        // Only as `application/json`, which no page of another site can send here unasked.
        .app_data(web::JsonConfig::default().limit(4096))
        .route("/data", web::post().to(add))
        .route("/job", web::post().to(run))
        .route("/", web::get().to(|| file("text/html; charset=utf-8", include_str!("../static/index.html"))))
        .route("/static/chart.css", web::get().to(|| file("text/css", include_str!("../static/chart.css"))))
        .route(
            "/static/chart.js",
            web::get().to(|| file("text/javascript", include_str!("../static/chart.js"))),
        )
        .route(
            "/static/icon.svg",
            web::get().to(|| file("image/svg+xml", include_str!("../static/icon.svg"))),
        );
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

async fn file(kind: &'static str, content: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(content)
}
