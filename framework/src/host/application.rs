//! Serves a request on every host: runs the middleware, starts the consumer, and awaits its answer.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderValue},
    web::{Data, Payload},
};

use crate::{
    Layer, Result, Scope,
    consumer::{
        connection::{
            Accepted, ClientReader, Connection, Record,
            peers::{PeerGuard, Peers},
            places::Introduction,
        },
        start::{Responding, Start},
    },
    error::MisuseError,
    groups::{
        budget::Budget,
        drain::{ConnectionPlace, Drain, SessionPlace},
    },
    layers::{DEFAULT_LAYER, Layers},
    metrics::{Counter, Counters},
    middleware::{self, Rejection},
    notices::{Notice, ToldFull},
    routing::{
        Routes,
        endpoint::{Endpoint, Target},
    },
    transport::fallback::table::{SessionPlaces, SessionTable},
    wire::{
        Wire,
        history::resume,
        limits::Limits,
        websocket::{Decoder, Role, deflate},
    },
};

/// How long a client should wait before it tries a full server again.
const FULL_RETRY: Duration = Duration::from_secs(10);

/// The routes, layers and limits with which the requests of one mount are answered.
pub(crate) struct Application {
    pub(crate) routes: Routes,
    pub(crate) layers: Layers,
    pub(crate) limits: Arc<Limits>,
    /// The limits of HTTP exchanges.
    pub(crate) http_limits: Arc<Limits>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) peers: Option<Arc<Peers>>,
    pub(crate) drain: Drain,
    pub(crate) max_connections: usize,
    /// The sessions of clients without a WebSocket.
    pub(crate) fallback: Arc<SessionTable>,
    /// When the log last said that the server is full.
    pub(crate) told_full: ToldFull,
    /// Whether a request has shown what the App has.
    pub(crate) app_seen: AtomicBool,
}

/// The places of a client that may come in.
struct Admitted {
    place: ConnectionPlace,
    /// Its place among the connections of its address, if they are counted.
    of_peer: Option<PeerGuard>,
}

impl std::fmt::Debug for Application {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Application").field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl Application {
    /// Runs the middleware and the consumer's `connect`. `input` makes the reader of the client's messages.
    ///
    /// `offers` are the client's offers of compression. The first one that suits the route is accepted, and the headers
    /// of the answer say so.
    pub(crate) async fn open(
        &self,
        endpoint: &Endpoint,
        mut scope: Scope,
        offers: &[deflate::DeflateOffer],
        introduction: Option<Introduction>,
        input: impl FnOnce(Decoder) -> Box<dyn ClientReader>,
    ) -> Result<(Rc<Connection>, Accepted), Rejection> {
        let Admitted { place, of_peer } = self.admit(endpoint, &mut scope, "websocket").await?;
        let limits = self.limits_of(endpoint);
        let agreed = limits.deflate.as_ref().and_then(|wanted| deflate::settle(offers, wanted));
        // The head of a message, and the request to resume, count too. What is for the consumer is checked behind them.
        let largest = match introduction {
            Some(_) => resume::LARGEST.max(limits.message_size).saturating_add(1),
            None => limits.message_size,
        };
        let inflate = agreed.map(|agreed| agreed.inflate_params(largest));
        let input = input(Decoder::new(Role::Server, largest).with_deflate(inflate));
        let params = agreed.and_then(|agreed| agreed.compress_params());
        let wire =
            if introduction.is_some() { Wire::MarkedWebSocket(params) } else { Wire::WebSocket(params) };
        let start = Start {
            introduction,
            input: Some(input),
            packer: agreed.and_then(|agreed| agreed.packer()),
            ..self.start_of(scope, limits, wire, place)
        };
        let (connection, mut accepted) = self.connect(endpoint, start, of_peer).await?;
        if let Some(value) = agreed.and_then(|agreed| HeaderValue::try_from(agreed.header()).ok()) {
            accepted.headers.push((header::SEC_WEBSOCKET_EXTENSIONS, value));
        }
        Ok((connection, accepted))
    }

    /// Takes a place for the session of a client without a WebSocket. Returns `None` if all are taken.
    pub(crate) fn reserve_session(&self) -> Option<SessionPlace> {
        let most = self.fallback.settings.most_connections(self.max_connections);
        let place = self.drain.reserve_session(most);
        if place.is_none() {
            self.note_full(most, "clients without a WebSocket");
        }
        place
    }

    /// As [`open`](Self::open), for a client without a WebSocket.
    pub(crate) async fn open_fallback(
        &self,
        endpoint: &Endpoint,
        mut scope: Scope,
        session: SessionPlace,
        introduction: Option<Introduction>,
        input: Box<dyn ClientReader>,
    ) -> Result<(Rc<Connection>, Accepted, SessionPlaces), Rejection> {
        let transport = Wire::Fallback.transport_name();
        let Admitted { place, of_peer } = self.admit(endpoint, &mut scope, transport).await?;
        let of_session = self
            .enter_peer(self.fallback.peers(), &scope)
            .inspect_err(|rejection| log_rejected(endpoint, &scope, transport, rejection))?;
        let places = SessionPlaces::new(session, of_session);
        let limits = Arc::new(self.limits_of(endpoint).for_fallback(self.fallback.settings.expires));
        let wire = if introduction.is_some() { Wire::MarkedFallback } else { Wire::Fallback };
        let start = Start { input: Some(input), introduction, ..self.start_of(scope, limits, wire, place) };
        let (connection, accepted) = self.connect(endpoint, start, of_peer).await?;
        Ok((connection, accepted, places))
    }

    /// Runs the middleware, and starts the consumer's `handle`.
    pub(crate) async fn exchange(
        &self,
        endpoint: &Endpoint,
        mut scope: Scope,
        payload: Payload,
    ) -> Result<Responding, Rejection> {
        let Target::Http(starter) = &endpoint.starter else { return Err(Rejection::internal()) };
        let transport = Wire::Body.transport_name();
        let Admitted { place, of_peer } = self.admit(endpoint, &mut scope, transport).await?;
        let limits = endpoint.limits.clone().unwrap_or_else(|| Arc::clone(&self.http_limits));
        let responding = starter.start(self.start_of(scope, limits, Wire::Body, place), payload);
        let responding = self.started(responding)?;
        if let Some(of_peer) = of_peer {
            responding.exchange().connection().keep_place(of_peer);
        }
        Ok(responding)
    }

    /// Looks at what the App has, at the first request. Warns if that is a layer that the consumers do not have.
    pub(super) fn see_app(&self, request: &HttpRequest) {
        if self.app_seen.load(Relaxed) || self.app_seen.swap(true, Relaxed) {
            return;
        }
        let layer = request.app_data::<Data<Layer>>().map(Data::get_ref).or_else(|| request.app_data());
        if layer.is_some_and(|layer| !self.layers.contains(layer)) {
            tracing::warn!(
                "the App has a Layer in its app_data that the consumers do not have, so its events reach none of them: \
                 give the same layer to both, by .layer(layer.clone()) on the Server or Mount"
            );
        }
    }

    /// The limits of a WebSocket's route.
    pub(crate) fn limits_of(&self, endpoint: &Endpoint) -> Arc<Limits> {
        endpoint.limits.clone().unwrap_or_else(|| Arc::clone(&self.limits))
    }

    /// The values that every consumer is started with.
    fn start_of(&self, scope: Scope, limits: Arc<Limits>, wire: Wire, place: ConnectionPlace) -> Start {
        Start {
            scope: Box::new(scope),
            layers: self.layers.clone(),
            limits,
            budget: Arc::clone(&self.budget),
            place,
            input: None,
            wire,
            packer: None,
            introduction: None,
        }
    }

    /// Starts the consumer, and waits for its answer.
    async fn connect(
        &self,
        endpoint: &Endpoint,
        start: Start,
        of_peer: Option<PeerGuard>,
    ) -> Result<(Rc<Connection>, Accepted), Rejection> {
        let Target::WebSocket(starter) = &endpoint.starter else { return Err(Rejection::internal()) };
        let is_offered = start.scope.subprotocols().next().is_some();
        let starting = self.started(starter.start(start))?;
        if let (Some(connection), Some(of_peer)) = (starting.connection(), of_peer) {
            connection.keep_place(of_peer);
        }
        let (connection, accepted) = starting.answer().await?;
        if is_offered && accepted.subprotocol.is_none() {
            note_no_subprotocol(endpoint);
        }
        Ok((connection, accepted))
    }

    /// The started consumer, or the rejection if none was started.
    fn started<T>(&self, started: Result<Option<T>, MisuseError>) -> Result<T, Rejection> {
        match started {
            Ok(Some(started)) => Ok(started),
            Ok(None) => Err(Rejection::shutting_down(self.drain.retry_hint())),
            // It has been logged with all that is known.
            Err(_) => Err(Rejection::internal()),
        }
    }

    /// Checks whether a client may come in: for room, by the middleware, then by its address.
    ///
    /// The place is taken first. If anything refuses the client, dropping the place gives it back.
    async fn admit(
        &self,
        endpoint: &Endpoint,
        scope: &mut Scope,
        transport: &'static str,
    ) -> Result<Admitted, Rejection> {
        self.check(endpoint, scope).await.map_err(|mut rejection| {
            rejection.log_failure(scope, Some(endpoint.starter.describe()));
            log_rejected(endpoint, scope, transport, &rejection);
            rejection
        })
    }

    async fn check(&self, endpoint: &Endpoint, scope: &mut Scope) -> Result<Admitted, Rejection> {
        let Some(place) = self.drain.reserve(self.max_connections) else {
            self.note_full(self.max_connections, "connections");
            return Err(Rejection::busy("the server is full, try again later", FULL_RETRY));
        };
        if let Err(rejection) = middleware::admit(&endpoint.middleware, scope).await {
            return Err(rejection.with_headers_of(scope));
        }
        let of_peer = self.enter_peer(self.peers.as_ref(), scope)?;
        Ok(Admitted { place, of_peer })
    }

    /// Takes the client's place among those of its address, if they are counted.
    fn enter_peer(&self, peers: Option<&Arc<Peers>>, scope: &Scope) -> Result<Option<PeerGuard>, Rejection> {
        // Without an address, for example on a Unix socket, connections cannot be counted by client.
        let (Some(peers), Some(peer)) = (peers, scope.peer()) else { return Ok(None) };
        match peers.enter(peer.ip()) {
            None => Err(self.too_many(scope, peers).with_headers_of(scope)),
            place => Ok(place),
        }
    }

    /// Counts what happens before a connection has a layer, in the default layer.
    pub(super) fn count(&self, counter: impl FnOnce(&Counters) -> &Counter) {
        if let Some(layer) = self.layers.get(DEFAULT_LAYER) {
            counter(&layer.backend().groups().directory().counters).one();
        }
    }

    fn too_many(&self, scope: &Scope, peers: &Peers) -> Rejection {
        tracing::info!(
            peer = ?scope.peer(),
            limit = peers.limit(),
            "a client has too many connections: refused with 429. If this is the address of a proxy, use TrustedProxies"
        );
        self.count(|counters| &counters.too_many_of_peer);
        Rejection::too_many_connections(FULL_RETRY)
    }

    /// Counts a refusal because the server is full. Logs it, but a storm must not fill the log.
    fn note_full(&self, limit: usize, kind: &'static str) {
        self.count(|counters| &counters.too_many);
        if self.told_full.is_due() {
            tracing::warn!(limit, "there are too many {kind}: further ones are refused with 503");
        }
    }
}

/// Logs that a client was refused before its consumer was made.
fn log_rejected(endpoint: &Endpoint, scope: &Scope, transport: &'static str, rejection: &Rejection) {
    if let Some(record) = Record::of(scope, endpoint.starter.describe()) {
        record.rejected(transport, rejection.status());
    }
}

/// Warns of a consumer that chooses none of its clients' subprotocols, once for each route.
///
/// The names stay out of the log: clients without another place for a secret put one there.
#[cold]
fn note_no_subprotocol(endpoint: &Endpoint) {
    let consumer = endpoint.starter.describe();
    if Notice::NoSubprotocol.is_new(consumer, endpoint.pattern()) {
        tracing::warn!(
            route = endpoint.pattern(),
            consumer,
            "a client offered subprotocols, and none was chosen: browsers close such a WebSocket at once. Choose one by accept_with"
        );
    }
}
