//! The JavaScript client, which every server serves, and every mount that is told to.

use actix_web::{
    HttpRequest, HttpResponse, Resource,
    http::{
        StatusCode,
        header::{self, EntityTag, Header as _, IfNoneMatch},
    },
    web,
};

/// The source of the client. The npm package in `framework/js` has the same file.
const SCRIPT: &str = include_str!("../../js/greenroom.js");

const HASH: u64 = hash(SCRIPT.as_bytes());

/// The path of the script in a server, by default.
pub(super) const PATH: &str = "/greenroom.js";

/// The route of the script.
pub(super) fn resource(path: &str) -> Resource {
    web::resource(path).route(web::get().to(script)).route(web::head().to(script))
}

async fn script(request: HttpRequest) -> HttpResponse {
    let tag = EntityTag::new_strong(format!("{HASH:016x}"));
    let known = match IfNoneMatch::parse(&request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|one| one.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut answer = HttpResponse::build(if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    // A browser may keep the script, but must ask each time: the script must fit the server that the page talks to.
    answer.insert_header((header::CACHE_CONTROL, "no-cache")).insert_header(header::ETag(tag));
    // It holds nothing but code, so a page of any origin may import it.
    answer.insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    if known {
        return answer.finish();
    }
    answer
        .content_type("text/javascript; charset=utf-8")
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(SCRIPT)
}

/// FNV-1a. The hash is the same in every process of a release, so all servers of a site give one tag.
const fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use actix_web::{
        App,
        http::{StatusCode, header},
        test::{TestRequest, call_service, init_service, read_body},
    };

    use crate::{Mount, UrlRouter};

    #[actix_web::test]
    async fn a_mount_serves_the_script_once_to_a_browser_that_keeps_it() {
        let mount = Mount::new(UrlRouter::new()).unwrap().script("/greenroom.js");
        let app = init_service(App::new().configure(mount.configure())).await;

        let first = call_service(&app, TestRequest::with_uri("/greenroom.js").to_request()).await;
        assert_eq!(first.status(), StatusCode::OK);
        let value = |name| first.headers().get(name).unwrap().clone();
        assert_eq!(value(header::CONTENT_TYPE), "text/javascript; charset=utf-8");
        assert_eq!(value(header::CACHE_CONTROL), "no-cache");
        assert_eq!(value(header::ACCESS_CONTROL_ALLOW_ORIGIN), "*", "a page of another origin may import it");
        let tag = value(header::ETAG);
        assert_eq!(read_body(first).await, super::SCRIPT);

        let again = TestRequest::with_uri("/greenroom.js").insert_header((header::IF_NONE_MATCH, tag));
        let again = call_service(&app, again.to_request()).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(read_body(again).await, "");

        let old = TestRequest::with_uri("/greenroom.js").insert_header((header::IF_NONE_MATCH, "\"old\""));
        assert_eq!(call_service(&app, old.to_request()).await.status(), StatusCode::OK);
    }

    #[actix_web::test]
    async fn a_mount_serves_the_script_if_it_is_told_to() {
        let mount = Mount::new(UrlRouter::new()).unwrap();
        for (mount, at, elsewhere) in [
            (mount.clone().script("/static/socket.js"), StatusCode::OK, StatusCode::NOT_FOUND),
            (mount.clone().script(None), StatusCode::NOT_FOUND, StatusCode::NOT_FOUND),
            (mount.clone().complete(), StatusCode::NOT_FOUND, StatusCode::OK),
            (mount, StatusCode::NOT_FOUND, StatusCode::NOT_FOUND),
        ] {
            let app = init_service(App::new().configure(mount.configure())).await;
            for (path, status) in [("/static/socket.js", at), ("/greenroom.js", elsewhere)] {
                let answer = call_service(&app, TestRequest::with_uri(path).to_request()).await;
                assert_eq!(answer.status(), status, "{path}");
            }
        }
    }
}
