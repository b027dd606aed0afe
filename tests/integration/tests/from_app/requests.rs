//! The data of the App, actix-session and actix-web-httpauth, as a consumer finds them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use actix_session::{Session, SessionMiddleware, storage::CookieSessionStore};
use actix_web::{
    App, Error, HttpMessage as _, HttpResponse,
    body::MessageBody,
    cookie::Key,
    dev::{Service as _, ServiceFactory, ServiceRequest, ServiceResponse},
    web,
};
use actix_web_httpauth::{
    extractors::{AuthenticationError, bearer::BearerAuth},
    headers::www_authenticate::bearer::Bearer,
    middleware::HttpAuthentication,
};
use greenroom::{
    Body, Fallback, HttpConsumer, HttpContext, Mount, UrlRouter, middleware::AuthMiddleware, prelude::*,
};
use integration_tests::{
    eventually,
    http::Http,
    raw::{Raw, Request},
};

use super::{HOSTS, Served};

/// What a database pool would be.
struct Pool(&'static str);

/// Whom a validator of actix-web-httpauth has found.
#[derive(Clone)]
struct Bearing(String);

/// Says which pool it got and who its client is, and for each message what the scope says later.
#[derive(NoEvents)]
struct Who {
    pool: Arc<Pool>,
}

impl Consumer for Who {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        let again: Arc<Pool> = ctx.scope().data()?;
        assert!(Arc::ptr_eq(&self.pool, &again));
        ctx.accept()?;
        ctx.send_text(format!("{} of {}", user(ctx.scope()), self.pool.0))
    }

    async fn receive(&mut self, _: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text(match ctx.scope().data::<Pool>() {
            Ok(_) => "found".to_owned(),
            Err(error) => error.to_string(),
        })
    }
}

#[derive(NoEvents)]
struct Page {
    pool: Arc<Pool>,
}

impl HttpConsumer for Page {
    async fn handle(&mut self, _: Body, ctx: &mut HttpContext) -> Result<()> {
        let again: Arc<Pool> = ctx.scope().data()?;
        ctx.send_response(200, &[], format!("{} of {}", user(ctx.scope()), again.0))?;
        assert!(Arc::ptr_eq(&self.pool, &again));
        Ok(())
    }
}

fn user(scope: &Scope) -> String {
    scope.user::<String>().cloned().unwrap_or_else(|| "nobody".to_owned())
}

fn routes() -> UrlRouter {
    let by_session = AuthMiddleware::new(async |scope: &Scope| {
        let session = scope.extract::<Session>().await?;
        if scope.query_param("note").is_some() {
            session.insert("noted", true)?;
        }
        Ok(session.get::<String>("user")?)
    });
    let by_validator =
        AuthMiddleware::new(async |scope: &Scope| Ok(scope.req_data::<Bearing>().ok().map(|user| user.0)));
    let by_extractor = AuthMiddleware::new(async |scope: &Scope| {
        Ok(Some(scope.extract::<BearerAuth>().await?.token().to_owned()))
    });
    let both = || {
        UrlRouter::new()
            .route("/ws/", |scope: &Scope| Ok(Who { pool: scope.data()? }))
            .http("/page", |scope: &Scope| Ok(Page { pool: scope.data()? }))
    };
    UrlRouter::new()
        .nest("/session", both().wrap(by_session))
        .nest("/validated", both().wrap(by_validator))
        .nest("/bearer", both().wrap(by_extractor))
}

fn mount() -> Mount {
    Mount::new(routes()).unwrap().fallback(Fallback::new())
}

async fn validate(
    request: ServiceRequest,
    given: BearerAuth,
) -> Result<ServiceRequest, (Error, ServiceRequest)> {
    match given.token().strip_suffix("-token") {
        Some(name) => {
            request.extensions_mut().insert(Bearing(name.to_owned()));
            Ok(request)
        }
        None => Err((AuthenticationError::new(Bearer::default()).into(), request)),
    }
}

/// An App with a session, and with a scope of its own data for which a token is needed.
fn app(
    mount: &Mount,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<>>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    let sessions = SessionMiddleware::builder(CookieSessionStore::default(), Key::from(&[7; 64]));
    let tokens = web::scope("/tokens")
        .app_data(web::Data::new(Pool("the scope")))
        .wrap(HttpAuthentication::bearer(validate))
        .configure(mount.configure());
    let login = async |session: Session, name: String| -> Result<HttpResponse, Error> {
        session.insert("user", name)?;
        Ok(HttpResponse::NoContent().finish())
    };
    App::new()
        .app_data(web::Data::new(Pool("the App")))
        .wrap(sessions.cookie_secure(false).build())
        .service(tokens)
        .route("/login", web::post().to(login))
        .configure(mount.configure())
}

/// What the first message says, over a WebSocket, a fallback transport and an HTTP consumer.
async fn heard(served: &Served, at: &str, headers: &[(&str, &str)]) -> [String; 3] {
    let request = Request::new(&format!("{at}/ws/"));
    let request = headers.iter().fold(request, |request, (name, value)| request.and(name, value));
    let mut socket = Raw::open(served.address).await;
    assert_eq!(socket.ask(&request).await.status, 101, "{at}");
    let first = socket.next_text().await;

    let mut http = Http::open(served.address).await;
    let own = [&[("greenroom-client", "1")], headers].concat();
    let (head, body) = http.ask("POST", &format!("{at}/ws/?greenroom=open"), &own, b"").await;
    assert_eq!(head.status, 200, "{at} {body}");
    let opened: serde_json::Value = serde_json::from_str(&body).unwrap();
    let poll = format!("{at}/ws/?greenroom=poll&id={}", opened["id"].as_str().unwrap());
    let (_, batch) = http.ask("GET", &poll, headers, b"").await;
    let batch: serde_json::Value = serde_json::from_str(&batch).unwrap();
    let second = batch["messages"][0].as_str().unwrap().to_owned();

    let (head, third) = http.ask("GET", &format!("{at}/page"), headers, b"").await;
    assert_eq!(head.status, 200, "{at} {third}");
    [first, second, third]
}

async fn log_in(served: &Served, name: &str) -> String {
    let mut http = Http::open(served.address).await;
    let (head, _) = http.ask("POST", "/login", &[], name.as_bytes()).await;
    head.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

#[actix_web::test]
async fn a_consumer_reads_who_is_logged_in_with_actix_session() {
    for host in HOSTS {
        let served = Served::start(host, &mount(), app);
        assert_eq!(heard(&served, "/session", &[]).await, ["nobody of the App"; 3], "{host:?}");
        let cookie = log_in(&served, "ada").await;
        assert_eq!(
            heard(&served, "/session", &[("cookie", &cookie)]).await,
            ["ada of the App"; 3],
            "{host:?}"
        );

        // What a middleware changes in the session is saved with the answer.
        let noting = Request::new("/session/ws/?note=1").and("cookie", &cookie);
        let answer = Raw::open(served.address).await.ask(&noting).await;
        assert_eq!(answer.status, 101, "{host:?}");
        assert!(answer.header("set-cookie").is_some_and(|set| !set.contains(&cookie)), "{host:?} {answer:?}");
        served.stop().await;
    }
}

#[actix_web::test]
async fn a_consumer_reads_whom_actix_web_httpauth_has_let_in() {
    for host in HOSTS {
        let served = Served::start(host, &mount(), app);
        let token = [("authorization", "Bearer ada-token")];
        // The data of the innermost scope wins, as in a handler.
        assert_eq!(heard(&served, "/tokens/validated", &token).await, ["ada of the scope"; 3], "{host:?}");
        assert_eq!(heard(&served, "/validated", &token).await, ["nobody of the App"; 3], "{host:?}");
        assert_eq!(heard(&served, "/bearer", &token).await, ["ada-token of the App"; 3], "{host:?}");
        // An extractor that refuses gives its own answer, as to a handler.
        for path in ["/tokens/bearer/ws/", "/bearer/ws/"] {
            let refused = Raw::open(served.address).await.ask(&Request::new(path)).await;
            assert_eq!(refused.status, 401, "{host:?} {path}");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"), "{host:?} {path}");
        }
        served.stop().await;
    }
}

#[actix_web::test]
async fn after_the_answer_the_scope_says_where_to_take_data() {
    for host in HOSTS {
        let served = Served::start(host, &mount(), app);
        let mut socket = Raw::connect(served.address, "/session/ws/").await;
        socket.next_text().await;
        socket.text("later").await;
        let text = socket.next_text().await;
        assert!(text.contains("Pool cannot be taken from the App after the answer"), "{host:?} {text}");
        served.stop().await;
    }
}

/// A value in a request. They are counted.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[actix_web::test]
async fn no_connection_keeps_actixs_request() {
    for host in HOSTS {
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        let served = Served::start(host, &mount(), move |mount| {
            let count = Arc::clone(&count);
            App::new()
                .app_data(web::Data::new(Pool("the App")))
                .wrap_fn(move |request, next| {
                    request.extensions_mut().insert(Counted::new(&count));
                    next.call(request)
                })
                .configure(mount.configure())
        });
        let mut sockets = Vec::new();
        for _ in 0..3 {
            let mut socket = Raw::connect(served.address, "/validated/ws/").await;
            socket.next_text().await;
            sockets.push(socket);
        }
        let mut http = Http::open(served.address).await;
        let (head, _) =
            http.ask("POST", "/validated/ws/?greenroom=open", &[("greenroom-client", "1")], b"").await;
        assert_eq!(head.status, 200, "{host:?}");
        eventually("no request is left", || requests.load(SeqCst) == 0).await;
        // The connections are there all the same.
        for socket in &mut sockets {
            socket.text("still there").await;
            socket.next_text().await;
        }
        served.stop().await;
    }
}
