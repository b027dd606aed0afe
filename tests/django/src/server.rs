//! A server that tells each client its user and session.

use greenroom::{
    Mount,
    middleware::{
        Middleware,
        django::{DjangoSession, DjangoUser},
    },
    prelude::*,
    testing::LiveServer,
};
use integration_tests::Client;
use serde_json::{Map, Value, json};

/// The path of a consumer that tells the client its user. `/open/` has the same consumer without the middleware.
pub const WHO: &str = "/who/";

#[derive(NoEvents)]
struct Mirror;

impl Consumer for Mirror {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        let user = ctx.scope().user::<DjangoUser>().map(|user| {
            json!({
                "id": user.id(), "backend": user.backend(), "username": user.username(),
                "is_active": user.is_active(), "is_staff": user.is_staff(), "is_superuser": user.is_superuser(),
            })
        });
        let own = ctx.scope().session::<DjangoSession>().map(|session| {
            let own = session.values().filter(|(name, _)| !name.starts_with('_'));
            own.map(|(name, value)| (name.to_owned(), value.clone())).collect::<Map<_, _>>()
        });
        ctx.send_text(json!({"user": user, "session": own}).to_string())
    }
}

/// The user and the session that the server finds for a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Who {
    /// The user, with all known fields. Null if there is no user.
    pub user: Value,
    /// The session without Django's own values. Null if there is no session.
    pub session: Value,
}

impl Who {
    /// The primary key of the user, if there is one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.user["id"].as_str()
    }
}

/// Starts a server with this middleware.
///
/// # Panics
/// If the server does not start.
#[must_use]
pub fn serve(auth: impl Middleware) -> LiveServer {
    let inner = UrlRouter::new().route("/", |_: &Scope| Ok(Mirror)).wrap(auth);
    let routes = UrlRouter::new().nest("/who", inner).route("/open/", |_: &Scope| Ok(Mirror));
    let mount = Mount::new(routes).expect("the settings are right");
    LiveServer::start(&mount, 2).expect("a port")
}

/// Connects with a session cookie over a real socket, and returns what the server tells.
///
/// # Errors
/// The HTTP status, if the server refuses the connection.
///
/// # Panics
/// If the server tells nothing in time.
pub async fn ask(server: &LiveServer, path: &str, cookie: Option<&str>) -> Result<Who, u16> {
    let cookie = cookie.map(|value| format!("theme=dark; sessionid={value}"));
    let headers: Vec<(&str, &str)> = cookie.iter().map(|cookie| ("cookie", cookie.as_str())).collect();
    let mut client = Client::try_connect(server, path, &headers).await?;
    let mut said: Value = serde_json::from_str(&client.text().await).expect("JSON");
    client.close().await;
    Ok(Who { user: said["user"].take(), session: said["session"].take() })
}
