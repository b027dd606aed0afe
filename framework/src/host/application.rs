//! Serves a request on every host: runs the middleware, starts the consumer, and awaits its answer.

use std::{rc::Rc, sync::Arc, time::Duration};

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
    groups::{budget::Budget, drain::Drain},
    layers::{DEFAULT_LAYER, Layers},
    metrics::{Counter, Counters},
    middleware::{self, Rejection},
    routing::{
        Routes,
        endpoint::{Endpoint, Target},
    },
    transport::fallback::table::SessionTable,
    wire::{
        Wire,
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
        let place = self.admit(endpoint, &mut scope).await?;
        let limits = self.limits_of(endpoint);
        let agreed = limits.deflate.as_ref().and_then(|wanted| deflate::settle(offers, wanted));
        let inflate = agreed.map(|agreed| agreed.inflate_params(limits.message_size));
        let input = input(Decoder::new(Role::Server, limits.message_size).with_deflate(inflate));
        let wire = Wire::WebSocket(agreed.and_then(|agreed| agreed.compress_params()));
        let start = Start {
            input: Some(input),
            packer: agreed.and_then(|agreed| agreed.packer()),
            ..self.start_of(scope, limits, wire)
        };
        let (connection, mut accepted) = self.connect(endpoint, start, place).await?;
        if let Some(value) = agreed.and_then(|agreed| HeaderValue::try_from(agreed.header()).ok()) {
            accepted.headers.push((header::SEC_WEBSOCKET_EXTENSIONS, value));
        }
        Ok((connection, accepted))
    }

    /// As [`open`](Self::open), for a client without a WebSocket. Its connection lives for `expires` without a request.
    pub(crate) async fn open_fallback(
        &self,
        endpoint: &Endpoint,
        mut scope: Scope,
        expires: Duration,
        input: Box<dyn ClientReader>,
    ) -> Result<(Rc<Connection>, Accepted), Rejection> {
        let place = self.admit(endpoint, &mut scope).await?;
        let limits = Arc::new(self.limits_of(endpoint).for_fallback(expires));
        let start = Start { input: Some(input), ..self.start_of(scope, limits, Wire::Fallback) };
        self.connect(endpoint, start, place).await
    }

    /// Runs the middleware and the consumer's `handle`, until it has sent its headers.
    pub(crate) async fn exchange(
        &self,
        endpoint: &Endpoint,
        mut scope: Scope,
        payload: Payload,
    ) -> Result<(Rc<Exchange>, Head), Rejection> {
        let Target::Http(starter) = &endpoint.starter else { return Err(Rejection::internal()) };
        let place = self.admit(endpoint, &mut scope).await?;
        let limits = endpoint.limits.clone().unwrap_or_else(|| Arc::clone(&self.http_limits));
        let responding = starter.start(self.start_of(scope, limits, Wire::Body), payload);
        let responding = self.started(responding)?;
        if let Some(place) = place {
            responding.exchange().connection().keep_place(place);
        }
        responding.head().await
    }

    /// The limits of a WebSocket's route.
    pub(crate) fn limits_of(&self, endpoint: &Endpoint) -> Arc<Limits> {
        endpoint.limits.clone().unwrap_or_else(|| Arc::clone(&self.limits))
    }

    /// The values that every consumer is started with.
    fn start_of(&self, scope: Scope, limits: Arc<Limits>, wire: Wire) -> Start {
        Start {
            scope: Box::new(scope),
            layers: self.layers.clone(),
            limits,
            budget: Arc::clone(&self.budget),
            drain: self.drain.clone(),
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
        place: Option<PeerGuard>,
    ) -> Result<(Rc<Connection>, Accepted), Rejection> {
        let Target::WebSocket(starter) = &endpoint.starter else { return Err(Rejection::internal()) };
        let starting = self.started(starter.start(start))?;
        if let (Some(connection), Some(place)) = (starting.connection(), place) {
            connection.keep_place(place);
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
    /// Returns the client's place among the connections of its address, if they are counted.
    async fn admit(&self, endpoint: &Endpoint, scope: &mut Scope) -> Result<Option<PeerGuard>, Rejection> {
        if self.drain.connections() >= self.max_connections {
            tracing::warn!(limit = self.max_connections, "a connection over the limit was refused with 503");
            return Err(Rejection::busy("the server is full, try again later", FULL_RETRY));
        }
        if let Err(rejection) = middleware::admit(&endpoint.middleware, scope).await {
            return Err(rejection.with_headers_of(scope));
        }
        // Without an address, for example on a Unix socket, connections cannot be counted by client.
        let (Some(peers), Some(peer)) = (&self.peers, scope.peer()) else { return Ok(None) };
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
            "a client has too many connections: refused with 429"
        );
        self.count(|counters| &counters.too_many_of_peer);
        Rejection::too_many_connections(FULL_RETRY)
    }
}
