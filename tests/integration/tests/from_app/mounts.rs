//! What a mount adds to somebody's App, and what the log says if the two do not fit.

use actix_web::{App, HttpResponse, web};
use greenroom::{
    Body, Fallback, HttpConsumer, HttpContext, Layer, MemoryLayer, Mount, UrlRouter, middleware::Rejection,
    prelude::*, testing::Host,
};
use integration_tests::{
    http::Http,
    log,
    raw::{Raw, Request},
};

use super::{HOSTS, Served};

#[derive(NoEvents)]
struct Quiet;

impl Consumer for Quiet {}

#[derive(NoEvents)]
struct Full;

impl Consumer for Full {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.scope().add_response_header("x-by", "greenroom")?;
        ctx.reject(Rejection::json(409, &("full", 3))?)
    }
}

/// Returns the rejection as an error.
#[derive(NoEvents)]
struct Failing;

fn full() -> Result<()> {
    Err(Rejection::json(409, &("full", 3))?)?
}

impl Consumer for Failing {
    async fn connect(&mut self, _ctx: &mut Context) -> Result<()> {
        full()
    }
}

#[derive(NoEvents)]
struct FailingHttp;

impl HttpConsumer for FailingHttp {
    async fn handle(&mut self, _body: Body, _ctx: &mut HttpContext) -> Result<()> {
        full()
    }
}

fn mount(path: &str) -> Mount {
    Mount::new(UrlRouter::new().route(path, |_: &Scope| Ok(Quiet))).unwrap()
}

async fn page(query: web::Query<Vec<(String, String)>>) -> HttpResponse {
    HttpResponse::Ok().body(format!("a page with {}", query.len()))
}

async fn status(served: &Served, method: &str, path: &str) -> u16 {
    let mut http = Http::open(served.address).await;
    http.ask(method, path, &[("greenroom-client", "1")], b"").await.0.status
}

#[actix_web::test]
async fn a_mount_adds_only_what_it_is_told_to_and_a_server_all() {
    for (host, told, on) in [
        (Host::Mounted, None, false),
        (Host::Direct, None, true),
        (Host::Mounted, Some(true), true),
        (Host::Direct, Some(false), false),
    ] {
        let mount = mount("/ws/");
        let mount = match told {
            None => mount,
            Some(true) => mount.script("/greenroom.js").fallback(Fallback::new()),
            Some(false) => mount.script(None).fallback(Fallback::off()),
        };
        let served = Served::start(host, &mount, |mount| {
            App::new().configure(mount.configure()).route("/page", web::get().to(page))
        });
        let of_script = status(&served, "GET", "/greenroom.js").await;
        assert_eq!(of_script, if on { 200 } else { 404 }, "{host:?} {told:?}");
        let of_fallback = status(&served, "POST", "/ws/?greenroom=open").await;
        assert_eq!(of_fallback, if on { 200 } else { 404 }, "{host:?} {told:?}");
        // A page of the App may have a parameter of this name.
        let of_page = status(&served, "GET", "/page?greenroom=1").await;
        assert_eq!(of_page, if on { 400 } else { 200 }, "{host:?} {told:?}");
        served.stop().await;
    }
}

#[actix_web::test]
async fn a_rejection_in_json_has_one_content_type() {
    for host in HOSTS {
        let mount = Mount::new(UrlRouter::new().route("/full/", |_: &Scope| Ok(Full))).unwrap();
        let served = Served::start(host, &mount, |mount| App::new().configure(mount.configure()));
        let answer = Raw::open(served.address).await.ask(&Request::new("/full/")).await;
        assert_eq!((answer.status, answer.body.as_str()), (409, r#"["full",3]"#), "{host:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{host:?}");
        assert_eq!(answer.header("x-by"), Some("greenroom"), "{host:?}");
        served.stop().await;
    }
}

#[actix_web::test]
async fn a_rejection_that_is_returned_as_an_error_is_the_answer() {
    for host in HOSTS {
        let routes = UrlRouter::new()
            .route("/hook/", |_: &Scope| Ok(Failing))
            .route("/made/", |_: &Scope| full().map(|()| Quiet))
            .http("/http/", |_: &Scope| Ok(FailingHttp));
        let served = Served::start(host, &Mount::new(routes).unwrap(), |mount| {
            App::new().configure(mount.configure())
        });
        for request in [Request::new("/hook/"), Request::new("/made/")] {
            let answer = Raw::open(served.address).await.ask(&request).await;
            assert_eq!((answer.status, answer.body.as_str()), (409, r#"["full",3]"#), "{host:?}");
        }
        assert_eq!(status(&served, "POST", "/http/").await, 409, "{host:?}");
        served.stop().await;
    }
}

#[actix_web::test]
async fn a_layer_that_only_the_app_has_is_a_warning() {
    log::capture();
    let text = ["WARN", "the App has a Layer in its app_data that the consumers do not have"];
    let ask = async |host, mount: &Mount, layer: Layer| {
        let served = Served::start(host, mount, move |mount| {
            App::new().app_data(web::Data::new(layer.clone())).configure(mount.configure())
        });
        Raw::open(served.address).await.ask(&Request::new("/layer/")).await;
        served.stop().await;
    };
    for host in HOSTS {
        let layer = Layer::from(MemoryLayer::new());
        let before = log::lines(&text).len();
        ask(host, &mount("/layer/").layer_as("own", layer.clone()), layer.clone()).await;
        assert_eq!(log::lines(&text).len(), before, "{host:?}");
        ask(host, &mount("/layer/"), layer).await;
        assert_eq!(log::lines(&text).len(), before + 1, "{host:?}");
    }
}

#[actix_web::test]
async fn an_app_without_its_consumers_is_a_warning() {
    log::capture();
    let served = Served::start(Host::Direct, &mount("/forgotten/"), |_| App::new());
    log::logged(&["WARN", "the App of the Server never took its consumers"]).await;
    served.stop().await;
}

/// An `HttpServer` cannot know it: such a handshake never reaches the mount.
#[actix_web::test]
async fn a_route_of_the_app_that_hides_a_consumer_is_a_warning() {
    log::capture();
    let served = Served::start(Host::Direct, &mount("/hidden/{room}/"), |mount| {
        App::new()
            .route("/hidden/lobby/", web::get().to(page))
            .route("/refused", web::get().to(HttpResponse::Unauthorized))
            .configure(mount.configure())
    });
    for (path, status) in [("/hidden/open/", 101), ("/refused", 401), ("/none/", 404)] {
        let answer = Raw::open(served.address).await.ask(&Request::new(path)).await;
        assert_eq!(answer.status, status, "{path}");
    }
    let text = ["WARN", "a route of the App took a request", "/hidden/"];
    assert_eq!(log::lines(&text), [""; 0]);
    for _ in 0..2 {
        let answer = Raw::open(served.address).await.ask(&Request::new("/hidden/lobby/")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "a page with 0"));
    }
    assert_eq!(log::lines(&text).len(), 1);
    assert_eq!(log::lines(&["WARN", "/hidden/{room}/", "/hidden/lobby/", "status=200"]).len(), 1);
    served.stop().await;
}

#[derive(NoEvents)]
struct Plain;

impl HttpConsumer for Plain {
    async fn handle(&mut self, _: Body, ctx: &mut HttpContext) -> Result<()> {
        ctx.send_response(200, &[], "plain")
    }
}

#[actix_web::test]
async fn a_route_of_the_app_that_hides_an_http_consumer_is_a_warning() {
    log::capture();
    let routes = UrlRouter::new().http("/covered/{page}", |_: &Scope| Ok(Plain));
    let served = Served::start(Host::Direct, &Mount::new(routes).unwrap(), |mount| {
        App::new().route("/covered/one", web::get().to(page)).configure(mount.configure())
    });
    let text = ["WARN", "a route of the App took a request", "/covered/"];
    for (path, status_of_path) in [("/covered/two", 200), ("/elsewhere", 404)] {
        assert_eq!(status(&served, "GET", path).await, status_of_path, "{path}");
    }
    assert_eq!(log::lines(&text), [""; 0]);
    for _ in 0..2 {
        assert_eq!(status(&served, "GET", "/covered/one").await, 200);
    }
    assert_eq!(log::lines(&text).len(), 1);
    served.stop().await;
}
