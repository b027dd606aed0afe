//! Consumers inside an `actix_web::App`.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use actix_web::{
    HttpRequest, HttpResponse,
    dev::Payload,
    guard,
    web::{self, ServiceConfig},
};

use super::{
    application::Application,
    fallback, http,
    outbox_body::{OutboxBody, SharedPayload},
    script,
    takeover::{self, Carrier},
};
use crate::{
    Fallback, Layer, Limits, MemoryLayer, Scope,
    consumer::connection::{ClientReader, peers::Peers},
    groups::{budget::Budget, drain::Drain},
    layers::{DEFAULT_LAYER, Layers},
    notices::ToldFull,
    routing::{ProtocolTypeRouter, RouteErrors, Routes, protocol::HttpRoutes},
    shown::Shown,
    transport::{
        fallback::table::SessionTable,
        reader::{SocketReader, StreamReader},
    },
    wire::websocket::handshake::{self, HandshakeError},
};

/// Consumers for an `actix_web::App`: the routes, and the settings of the consumers.
///
/// ```no_run
/// use actix_web::{App, HttpServer};
/// use greenroom::{Mount, prelude::*};
///
/// #[derive(NoEvents)]
/// struct Echo;
/// impl Consumer for Echo {
///     async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
///         ctx.send_text(message.text()?.to_owned())
///     }
/// }
///
/// #[actix_web::main]
/// async fn main() -> Result<()> {
///     let mount = Mount::new(UrlRouter::new().route("/echo/", |_: &Scope| Ok(Echo)))?;
///     let server = HttpServer::new(move || App::new().configure(mount.configure())).bind("127.0.0.1:8000")?;
///     Ok(greenroom::run(server).await?)
/// }
/// ```
///
/// The mount's own router takes every request that asks for `Upgrade: websocket`. If it has no route for such a request,
/// the answer is 404. All other requests go to the routes of the App. Configure the mount before routes of the App on the
/// same paths, and before services that take every path, such as `Files::new("/", …)`: actix asks them in this order.
///
/// In an App of yours a mount adds nothing that you did not ask for. [`fallback`](Self::fallback) serves clients without
/// a WebSocket: the mount then also takes every request with the query parameter `greenroom`. [`script`](Self::script)
/// serves the JavaScript client. A [`Server`](crate::Server) does both by default.
#[derive(Clone)]
pub struct Mount {
    routes: Routes,
    http: Option<HttpRoutes>,
    pub(super) layers: HashMap<String, Layer>,
    pub(super) limits: Limits,
    pub(super) budget: Arc<Budget>,
    pub(super) peers: Option<Arc<Peers>>,
    pub(super) drain: Drain,
    pub(super) max_connections: usize,
    /// How clients without a WebSocket are served. `None`: nobody has said.
    pub(super) fallback: Option<Arc<SessionTable>>,
    /// The path at which the JavaScript client is served, or that it is not served. `None`: nobody has said.
    pub(super) script: Option<Option<String>>,
    /// Whether an App has taken the routes.
    configured: Arc<AtomicBool>,
}

/// How many connections there may be at once, by default.
const MAX_CONNECTIONS: usize = 100_000;

impl Mount {
    /// A mount for these routes, with a memory layer and the default limits.
    ///
    /// Routes without an origin validator of their own get [`SameOrigin`](crate::middleware::SameOrigin).
    ///
    /// # Errors
    /// [`RouteErrors`] names every malformed pattern, and every two routes that collide.
    pub fn new(routes: impl Into<ProtocolTypeRouter>) -> Result<Self, RouteErrors> {
        let protocols = routes.into();
        Ok(Self {
            routes: protocols.websocket.unwrap_or_default().build()?,
            http: protocols.http,
            layers: HashMap::from([(DEFAULT_LAYER.to_owned(), Layer::from(MemoryLayer::new()))]),
            limits: Limits::new(),
            budget: Budget::new(Budget::DEFAULT),
            peers: None,
            drain: Drain::process(),
            max_connections: MAX_CONNECTIONS,
            fallback: None,
            script: None,
            configured: Arc::default(),
        })
    }

    /// Serves the script and clients without a WebSocket, unless somebody has said otherwise: what a server does.
    pub(crate) fn complete(mut self) -> Self {
        self.fallback.get_or_insert_with(|| SessionTable::new(Fallback::new()));
        self.script.get_or_insert_with(|| Some(script::PATH.to_owned()));
        self
    }

    /// The same mount, which does not yet know whether an App takes its routes.
    pub(super) fn unconfigured(&self) -> Self {
        Self { configured: Arc::default(), ..self.clone() }
    }

    pub(super) fn is_configured(&self) -> bool {
        self.configured.load(Relaxed)
    }

    pub(crate) fn drain_of(&self) -> &Drain {
        &self.drain
    }

    /// The default layer, for sending from outside of consumers.
    #[must_use]
    pub fn default_layer(&self) -> &Layer {
        &self.layers[DEFAULT_LAYER]
    }

    /// Adds the mount to an App: pass the result to `App::configure`. Call this once for each App.
    pub fn configure(&self) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let application = Arc::new(self.application());
        let routes = self.http.clone();
        let script = self.script.clone().flatten();
        let configured = Arc::clone(&self.configured);
        move |config: &mut ServiceConfig| {
            configured.store(true, Relaxed);
            if application.fallback.settings.on {
                let application = Arc::clone(&application);
                let serve = move |request: HttpRequest, payload: web::Payload| {
                    let application = Arc::clone(&application);
                    async move { fallback::serve(&application, request, payload).await }
                };
                config.service(
                    web::scope("")
                        .guard(guard::fn_guard(fallback::is_asked_for))
                        .default_service(web::to(serve)),
                );
            }
            let for_upgrades = Arc::clone(&application);
            let upgrade = move |request: HttpRequest, payload: web::Payload| {
                let application = Arc::clone(&for_upgrades);
                async move { takeover::answered(upgrade(&application, request, payload).await) }
            };
            config.service(
                web::scope("")
                    .guard(guard::fn_guard(|ctx| handshake::is_asked_for(ctx.head().headers())))
                    .default_service(web::to(upgrade)),
            );
            if let Some(path) = script {
                config.service(script::resource(&path));
            }
            http::configure(&application, config);
            if let Some(routes) = routes {
                routes(config);
            }
        }
    }

    /// The routes, layers and limits, for answering requests.
    pub(crate) fn application(&self) -> Application {
        Application {
            routes: self.routes.clone(),
            layers: Layers::new(self.layers.clone()),
            limits: Arc::new(self.limits.clone()),
            http_limits: Arc::new(self.limits.of_exchanges()),
            budget: Arc::clone(&self.budget),
            peers: self.peers.clone(),
            drain: self.drain.clone(),
            max_connections: self.max_connections,
            fallback: self.fallback.clone().unwrap_or_else(|| SessionTable::new(Fallback::off())),
            told_full: ToldFull::default(),
            app_seen: AtomicBool::new(false),
        }
    }

    /// The routes, for making paths from their names.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount")
            .field("routes", &self.routes)
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

/// Answers a handshake. The connection goes on after this call, and the body of the 101 response takes its frames.
async fn upgrade(application: &Application, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    application.see_app(&request);
    let mut scope = Scope::from_request(&request);
    let introduction = fallback::introduction(request.query_string());
    if introduction.is_some() {
        scope.set_query(&fallback::own_query(request.query_string()));
    }
    let Some(endpoint) = application.routes.route(&mut scope) else {
        tracing::info!(path = ?Shown(request.path()), "there is no route for this WebSocket: answered 404");
        return HttpResponse::NotFound().content_type("text/plain; charset=utf-8").body("no such WebSocket");
    };
    let checked = handshake::check(&request);
    let carrier = takeover::carrier(&request);
    let payload = payload.into_inner();
    let becomes_stream = match carrier {
        Some(carrier) => carrier == Carrier::Socket,
        // A handshake has no body, so what actix reads from it is the rest of the connection.
        None => !matches!(payload, Payload::None),
    };
    let offer = match checked.and_then(|offer| becomes_stream.then_some(offer).ok_or(HandshakeError::Upgrade))
    {
        Ok(offer) => offer,
        Err(error) => {
            application.count(|counters| &counters.bad_handshake);
            tracing::debug!(path = ?Shown(request.path()), error = %Shown(&error), "a handshake was refused");
            return error.response();
        }
    };
    let direct = carrier.is_some();
    let secure = request.app_config().secure();
    // In the direct host the payload is empty.
    let payload = SharedPayload::new(payload);
    let input = |decoder| -> Box<dyn ClientReader> {
        if direct {
            Box::new(SocketReader::new(&decoder))
        } else {
            Box::new(StreamReader::new(payload.clone(), decoder))
        }
    };
    match application.open(&endpoint, scope, &offer.deflate, introduction, input).await {
        Ok((connection, accepted)) => {
            let mut head = offer.accept(accepted.subprotocol.as_deref(), accepted.headers);
            if direct {
                let mut response = head.finish();
                takeover::attach(&mut response, connection);
                response
            } else {
                head.body(OutboxBody::new(connection, payload, secure))
            }
        }
        Err(rejection) => rejection.into(),
    }
}
