use std::{fmt, sync::Arc};

use actix_web::web::ServiceConfig;

use super::UrlRouter;

/// HTTP routes of actix-web.
pub(crate) type HttpRoutes = Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>;

/// One application for WebSockets and HTTP: Channels' `ProtocolTypeRouter`.
///
/// Both have one port, and may even have the same paths. A WebSocket handshake goes to the [`UrlRouter`], every
/// other request to the HTTP routes. If one of the two is not set, its requests are answered 404. Channels raises
/// an error for them.
///
/// ```
/// # fn chat_routes() -> greenroom::UrlRouter { greenroom::UrlRouter::new() }
/// use actix_web::{HttpResponse, web};
/// use greenroom::routing::ProtocolTypeRouter;
///
/// let application = ProtocolTypeRouter::new().websocket(chat_routes()).http(|config| {
///     config.route("/", web::get().to(|| async { HttpResponse::Ok().body("the page") }));
/// });
/// ```
#[derive(Default)]
#[must_use]
pub struct ProtocolTypeRouter {
    pub(crate) http: Option<HttpRoutes>,
    pub(crate) websocket: Option<UrlRouter>,
}

impl ProtocolTypeRouter {
    /// An application without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the HTTP routes, as [`actix_web::App::configure`] takes them.
    ///
    /// `routes` is called once on each thread of the server.
    pub fn http(mut self, routes: impl Fn(&mut ServiceConfig) + Send + Sync + 'static) -> Self {
        self.http = Some(Arc::new(routes));
        self
    }

    /// Sets the WebSocket routes.
    pub fn websocket(mut self, routes: UrlRouter) -> Self {
        self.websocket = Some(routes);
        self
    }
}

/// An application for WebSockets only.
impl From<UrlRouter> for ProtocolTypeRouter {
    fn from(routes: UrlRouter) -> Self {
        Self::new().websocket(routes)
    }
}

impl fmt::Debug for ProtocolTypeRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtocolTypeRouter")
            .field("http", &self.http.is_some())
            .field("websocket", &self.websocket)
            .finish()
    }
}
