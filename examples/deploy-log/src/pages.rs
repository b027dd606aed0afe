//! The page, compiled into the program.

use actix_web::{
    HttpResponse,
    http::header,
    web::{self, ServiceConfig},
};

/// Nothing from elsewhere, and no script or style in the markup: what a deployment prints could not become either.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

pub(crate) fn configure(config: &mut ServiceConfig) {
    config
        .route("/", web::get().to(|| file("text/html; charset=utf-8", include_str!("../static/index.html"))))
        .route("/static/deploy.css", web::get().to(|| file("text/css", include_str!("../static/deploy.css"))))
        .route(
            "/static/deploy.js",
            web::get().to(|| file("text/javascript", include_str!("../static/deploy.js"))),
        )
        .route(
            "/static/icon.svg",
            web::get().to(|| file("image/svg+xml", include_str!("../static/icon.svg"))),
        );
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
