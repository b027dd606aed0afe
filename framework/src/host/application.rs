//! Serves a request on every host: runs the middleware, starts the consumer, and awaits its answer.

use std::{
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_web::{
    http::header::{self, HeaderValue},
    web::Payload,
};

use crate::{
    Result, Scope,
    consumer::{
        connection::{
            Accepted, ClientReader, Connection, Head,
            peers::{PeerGuard, Peers},
        },
        http::Exchange,
        start::Start,
    },
    error::MisuseError,
    groups::{
        budget::Budget,
        drain::{ConnectionPlace, Drain, SessionPlace},
    },
    layers::{DEFAULT_LAYER, Layers},
    metrics::{Counter, Counters},
    middleware::{self, Rejection},
    routing::{
        Routes,
        endpoint::{Endpoint, Target},
    },
    transport::fallback::table::{SessionPlaces, SessionTable},
    wire::{
        Wire,
        limits::Limits,
        websocket::{Decoder, Role, deflate},
    },
};

/// How long a client should wait before it tries a full server again.
const FULL_RETRY: Duration = Duration::from_secs(10);

/// The log says at most this often that the server is full.
const TELL_FULL: Duration = Duration::from_secs(10);

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
    pub(crate) told_full: Mutex<Option<Instant>>,
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
        input: impl FnOnce(Decoder) -> Box<dyn ClientReader>,
    ) -> Result<(Rc<Connection>, Accepted), Rejection> {
        let Admitted { place, of_peer } = self.admit(endpoint, &mut scope).await?;
        let limits = self.limits_of(endpoint);
        let agreed = limits.deflate.as_ref().and_then(|wanted| deflate::settle(offers, wanted));
        let inflate = agreed.map(|agreed| agreed.inflate_params(limits.message_size));
        let input = input(Decoder::new(Role::Server, limits.message_size).with_deflate(inflate));
        let wire = Wire::WebSocket(agreed.and_then(|agreed| agreed.compress_params()));
        let start = Start {
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
        input: Box<dyn ClientReader>,
    ) -> Result<(Rc<Connection>, Accepted, SessionPlaces), Rejection> {
        let Admitted { place, of_peer } = self.admit(endpoint, &mut scope).await?;
        let places = SessionPlaces::new(session, self.enter_peer(self.fallback.peers(), &scope)?);
        let limits = Arc::new(self.limits_of(endpoint).for_fallback(self.fallback.settings.expires));
        let start = Start { input: Some(input), ..self.start_of(scope, limits, Wire::Fallback, place) };
        let (connection, accepted) = self.connect(endpoint, start, of_peer).await?;
        Ok((connection, accepted, places))
    }

    /// Runs the middleware and the consumer's `handle`, until it has sent its headers.
    pub(crate) async fn exchange(
        &self,
        endpoint: &Endpoint,
        mut scope: Scope,
        payload: Payload,
    ) -> Result<(Rc<Exchange>, Head), Rejection> {
        let Target::Http(starter) = &endpoint.starter else { return Err(Rejection::internal()) };
        let Admitted { place, of_peer } = self.admit(endpoint, &mut scope).await?;
        let limits = endpoint.limits.clone().unwrap_or_else(|| Arc::clone(&self.http_limits));
        let responding = starter.start(self.start_of(scope, limits, Wire::Body, place), payload);
        let responding = self.started(responding)?;
        if let Some(of_peer) = of_peer {
            responding.exchange().connection().keep_place(of_peer);
        }
        responding.head().await
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
        let starting = self.started(starter.start(start))?;
        if let (Some(connection), Some(of_peer)) = (starting.connection(), of_peer) {
            connection.keep_place(of_peer);
        }
        starting.answer().await
    }

    /// The started consumer, or the rejection if none was started.
    fn started<T>(&self, started: Result<Option<T>, MisuseError>) -> Result<T, Rejection> {
        match started {
            Ok(Some(started)) => Ok(started),
            Ok(None) => Err(Rejection::shutting_down(self.drain.retry_hint())),
            Err(error) => Err(Rejection::from(error)),
        }
    }

    /// Checks whether a client may come in: for room, by the middleware, then by its address.
    ///
    /// The place is taken first. If anything refuses the client, dropping the place gives it back.
    async fn admit(&self, endpoint: &Endpoint, scope: &mut Scope) -> Result<Admitted, Rejection> {
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
        {
            let mut told = self.told_full.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_some_and(|at| at.elapsed() < TELL_FULL) {
                return;
            }
            *told = Some(Instant::now());
        }
        tracing::warn!(limit, "there are too many {kind}: further ones are refused with 503");
    }
}
