//! Whose fault it is that a consumer cannot be made: the client's, whose path does not fit, or the program's.

use greenroom::{Body, HttpConsumer, HttpContext, Mount, UrlRouter, prelude::*, testing::LiveServer};
use integration_tests::{
    http::Http,
    log,
    raw::{Raw, Request},
};

use super::HOSTS;

#[derive(NoEvents)]
struct Quiet;

impl Consumer for Quiet {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        if let Some(name) = ctx.scope().param_str("later") {
            ctx.group_add(&GroupName::new(format!("late_{name}"))?).await?;
        }
        ctx.accept()
    }
}

#[derive(NoEvents)]
struct Page;

impl HttpConsumer for Page {
    async fn handle(&mut self, _: Body, ctx: &mut HttpContext) -> Result<()> {
        ctx.scope().param::<u8>("id")?;
        ctx.send_response(200, &[], "page")
    }
}

#[derive(Deserialize)]
struct Asked {
    #[expect(dead_code, reason = "only read from the query")]
    age: u8,
}

fn quiet(scope: &Scope) -> Result<Quiet> {
    if let Some(room) = scope.param_str("room") {
        GroupName::new(format!("room_{room}"))?;
    }
    Ok(Quiet)
}

fn mount() -> Mount {
    let routes = UrlRouter::new()
        .route("/id/{id}/", |scope: &Scope| scope.param::<u8>("id").map(|_| Quiet).map_err(Into::into))
        .route("/room/{room}/", quiet)
        .route("/later/{later}/", quiet)
        .route("/asked/", |scope: &Scope| scope.query::<Asked>().map(|_| Quiet).map_err(Into::into))
        .route("/ours/{ours}/", |_: &Scope| GroupName::new("our own").map(|_| Quiet).map_err(Into::into))
        .http("/page/{id}/", |_: &Scope| Ok(Page));
    Mount::new(routes).unwrap()
}

#[actix_web::test]
async fn a_path_that_does_not_fit_is_answered_404_without_an_error_in_the_log() {
    log::capture();
    for host in HOSTS {
        let mount = mount();
        let server = LiveServer::start_on(host, &mount, 1).unwrap();
        let mut faults = 0;
        for (path, status) in [
            ("/id/7/", 101),
            ("/id/not-a-number-here/", 404),
            ("/room/lobby/", 101),
            ("/room/not%20a%20name/", 404),
            ("/later/lobby/", 101),
            ("/later/caf%C3%A9-is-late/", 404),
            ("/asked/?age=7", 101),
            ("/asked/?age=too-old", 400),
        ] {
            faults += u64::from(status != 101);
            let answer = Raw::open(server.address()).await.ask(&Request::new(path)).await;
            assert_eq!(answer.status, status, "{host:?} {path}");
            let mut http = Http::open(server.address()).await;
            let open = format!("{path}{}greenroom=open", if path.contains('?') { '&' } else { '?' });
            let (head, _) = http.ask("POST", &open, &[("greenroom-client", "1")], b"").await;
            assert_eq!(head.status, if status == 101 { 200 } else { status }, "{host:?} {path}");
        }
        let (head, _) = Http::open(server.address()).await.ask("GET", "/page/not-a-page/", &[], b"").await;
        assert_eq!(head.status, 404, "{host:?}");
        assert_eq!(mount.default_layer().metrics().bad_input, 2 * faults + 1, "{host:?}");
    }
    for text in ["not-a-number-here", "not a name", "is-late", "invalid digit", "not-a-page"] {
        assert!(!log::lines(&["DEBUG", text]).is_empty(), "{text}");
        assert_eq!(log::lines(&["ERROR", text]), [""; 0]);
    }
}

#[actix_web::test]
async fn a_bad_name_of_the_program_stays_its_fault() {
    log::capture();
    for host in HOSTS {
        let server = LiveServer::start_on(host, &mount(), 1).unwrap();
        let answer = Raw::open(server.address()).await.ask(&Request::new("/ours/lobby/")).await;
        assert_eq!(answer.status, 500, "{host:?}");
    }
    log::logged(&["ERROR", "our own"]).await;
}

#[actix_web::test]
async fn a_parameter_that_the_route_does_not_have_is_an_error_once() {
    log::capture();
    for (host, pattern) in HOSTS.into_iter().zip(["/direct/{room}/{id}/", "/mounted/{room}/{id}/"]) {
        let routes = UrlRouter::new()
            .route(pattern, |scope: &Scope| scope.param("romo").map(|_: String| Quiet).map_err(Into::into));
        let server = LiveServer::start_on(host, &Mount::new(routes).unwrap(), 2).unwrap();
        for _ in 0..3 {
            let path = pattern.replace("{room}", "lobby").replace("{id}", "7");
            let answer = Raw::open(server.address()).await.ask(&Request::new(&path)).await;
            assert_eq!(answer.status, 500, "{host:?}");
        }
        let text = format!("the route {pattern:?} has no parameter \"romo\", only room, id");
        assert_eq!(log::lines(&["ERROR", &text]).len(), 1, "{host:?}");
        assert_eq!(log::lines(&["DEBUG", &text]).len(), 2, "{host:?}");
    }
}
