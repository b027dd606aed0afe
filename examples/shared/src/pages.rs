//! Serves pages that are compiled into the program, and the style sheet and script that all pages share.

use actix_web::{
    HttpResponse, Route,
    http::header,
    web::{self, Bytes, ServiceConfig},
};

/// Forbids content from other sites, and scripts and styles in the markup. So no text from a person or a program can become
/// a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Serves the files that all pages share: `/static/base.css` and `/static/page.js`.
pub fn configure(config: &mut ServiceConfig) {
    config
        .route("/static/base.css", css(include_str!("../static/base.css")))
        .route("/static/page.js", javascript(include_str!("../static/page.js")));
}

/// Serves a page.
pub fn html(content: impl Into<Bytes>) -> Route {
    file("text/html; charset=utf-8", content)
}

/// Serves a style sheet.
pub fn css(content: &'static str) -> Route {
    file("text/css; charset=utf-8", content)
}

/// Serves a script.
pub fn javascript(content: &'static str) -> Route {
    file("text/javascript; charset=utf-8", content)
}

/// Serves an icon.
pub fn svg(content: &'static str) -> Route {
    file("image/svg+xml", content)
}

fn file(kind: &'static str, content: impl Into<Bytes>) -> Route {
    let content = content.into();
    web::get().to(move || {
        let answer = HttpResponse::Ok()
            .content_type(kind)
            .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(content.clone());
        std::future::ready(answer)
    })
}

#[cfg(test)]
mod tests {
    use actix_web::{App, test};

    use super::*;

    #[actix_web::test]
    async fn every_page_forbids_scripts_in_its_markup() {
        let site = |config: &mut ServiceConfig| {
            config.configure(configure).route("/", html("<b>".to_owned()));
        };
        let app = test::init_service(App::new().configure(site)).await;
        for (path, kind) in
            [("/", "text/html"), ("/static/base.css", "text/css"), ("/static/page.js", "text/javascript")]
        {
            let answer = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
            let header = |name| answer.headers().get(name).unwrap().to_str().unwrap();
            assert!(header("content-type").starts_with(kind), "{path}: {}", header("content-type"));
            assert!(header("content-security-policy").contains("script-src 'self';"), "{path}");
            assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        }
    }
}
