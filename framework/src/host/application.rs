//! What every host does with a handshake: route it, run the middleware, start the consumer, await its answer.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_web::{
    http::header::{self, HeaderValue},
    web::Payload,
};
use tokio::sync::oneshot;

use super::{
    peers::{Peers, Place},
    shutdown::{Drain, Live},
};
use crate::{
    Consumer, HttpConsumer, Result, Scope,
    consumer::{
        Context, EventContext, EventHandlers, HttpContext,
        connection::{Accepted, Answer, Connection},
        driver,
        http::{Exchange, Head},
    },
    error::MisuseError,
    groups::{budget::Budget, fan_out::Class, worker},
    layers::Layers,
    middleware::{self, Rejection},
    routing::{
        Routes,
        endpoint::{Endpoint, Target},
    },
    transport::{
        Input, Wire,
        fallback::table::Table,
        limits::Limits,
        websocket::{
            Decoder, Role,
            deflate::{self, Packer},
        },
    },
};

/// When a client that found the server full may ask again.
const FULL_RETRY: Duration = Duration::from_secs(10);

/// What the handshakes of one mount are answered with.
pub(crate) struct Application {
    pub(crate) routes: Routes,
    pub(crate) layers: Layers,
    pub(crate) limits: Arc<Limits>,
    /// Those of HTTP exchanges.
    pub(crate) http_limits: Arc<Limits>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) peers: Option<Arc<Peers>>,
    pub(crate) drain: Drain,
    pub(crate) max_connections: usize,
    /// The clients without a WebSocket.
    pub(crate) fallback: Arc<Table>,
}

impl std::fmt::Debug for Application {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Application").field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl Application {
    /// Runs the middleware and the consumer's `connect`. `input` makes what reads from the client.
    ///
    /// Of `offers`, those of compression, the first that suits the route is accepted: the answer's headers say so.
    pub(crate) async fn open(
        &self,
        endpoint: &Endpoint,
        mut scope: Scope,
        offers: &[deflate::Offer],
        input: impl FnOnce(Decoder) -> Box<dyn Input>,
    ) -> Result<(Rc<Connection>, Accepted), Rejection> {
        let place = self.admit(endpoint, &mut scope).await?;
        let limits = self.limits_of(endpoint);
        let agreed = limits.deflate.as_ref().and_then(|wanted| deflate::settle(offers, wanted));
        let incoming = agreed.map(|agreed| agreed.incoming(limits.message_size));
        let input = input(Decoder::new(Role::Server, limits.message_size).with_deflate(incoming));
        let start = Start {
            scope: Box::new(scope),
            layers: self.layers.clone(),
            limits,
            budget: Arc::clone(&self.budget),
            drain: self.drain.clone(),
            input: Some(input),
            wire: Wire::WebSocket(agreed.and_then(|agreed| agreed.outgoing())),
            packer: agreed.and_then(|agreed| agreed.packer()),
        };
        let (connection, mut accepted) = self.start(endpoint, start, place).await?;
        if let Some(value) = agreed.and_then(|agreed| HeaderValue::try_from(agreed.header()).ok()) {
            accepted.headers.push((header::SEC_WEBSOCKET_EXTENSIONS, value));
        }
        Ok((connection, accepted))
    }

    /// As [`open`](Self::open), for a client without a WebSocket, whose connection lives for `expires` without a request.
    pub(crate) async fn open_fallback(
        &self,
        endpoint: &Endpoint,
        mut scope: Scope,
        expires: Duration,
        input: Box<dyn Input>,
    ) -> Result<(Rc<Connection>, Accepted), Rejection> {
        let place = self.admit(endpoint, &mut scope).await?;
        let start = Start {
            scope: Box::new(scope),
            layers: self.layers.clone(),
            limits: Arc::new(self.limits_of(endpoint).for_fallback(expires)),
            budget: Arc::clone(&self.budget),
            drain: self.drain.clone(),
            input: Some(input),
            wire: Wire::Fallback,
            packer: None,
        };
        self.start(endpoint, start, place).await
    }

    pub(crate) fn limits_of(&self, endpoint: &Endpoint) -> Arc<Limits> {
        endpoint.limits.clone().unwrap_or_else(|| Arc::clone(&self.limits))
    }

    /// Starts the consumer, and waits for its answer.
    async fn start(
        &self,
        endpoint: &Endpoint,
        start: Start,
        place: Option<Place>,
    ) -> Result<(Rc<Connection>, Accepted), Rejection> {
        let Target::WebSocket(starter) = &endpoint.starter else { return Err(Rejection::internal()) };
        match starter.start(start) {
            Ok(Some(starting)) => {
                if let (Some(connection), Some(place)) = (&starting.connection, place) {
                    connection.keep_place(place);
                }
                starting.answer().await
            }
            Ok(None) => Err(Rejection::shutting_down(self.drain.retry_hint())),
            Err(error) => Err(Rejection::from(error)),
        }
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
        let start = Start {
            scope: Box::new(scope),
            layers: self.layers.clone(),
            limits: endpoint.limits.clone().unwrap_or_else(|| Arc::clone(&self.http_limits)),
            budget: Arc::clone(&self.budget),
            drain: self.drain.clone(),
            input: None,
            wire: Wire::Body,
            packer: None,
        };
        match starter.start(start, payload) {
            Ok(Some(responding)) => {
                if let Some(place) = place {
                    responding.exchange.connection().keep_place(place);
                }
                responding.head().await
            }
            Ok(None) => Err(Rejection::shutting_down(self.drain.retry_hint())),
            Err(error) => Err(Rejection::from(error)),
        }
    }

    /// Lets a client in: where there is room, past the middleware, with its place among those of its address.
    async fn admit(&self, endpoint: &Endpoint, scope: &mut Scope) -> Result<Option<Place>, Rejection> {
        if self.drain.connections() >= self.max_connections {
            tracing::warn!(limit = self.max_connections, "a connection over the limit was refused");
            return Err(Rejection::busy("the server is full, try again later", FULL_RETRY));
        }
        if let Err(rejection) = middleware::admit(&endpoint.middleware, scope).await {
            return Err(rejection.with_headers_of(scope));
        }
        // Without an address, as on a Unix socket, there is nothing to count by.
        let (Some(peers), Some(peer)) = (&self.peers, scope.peer()) else { return Ok(None) };
        match peers.enter(peer.ip()) {
            None => Err(self.too_many(scope, peers).with_headers_of(scope)),
            place => Ok(place),
        }
    }

    fn too_many(&self, scope: &Scope, peers: &Peers) -> Rejection {
        tracing::info!(
            peer = ?scope.peer(),
            limit = peers.limit(),
            "a client has too many connections: refused with 429"
        );
        if let Some(layer) = self.layers.get("default") {
            layer.backend().groups().directory().counters.too_many_of_peer.one();
        }
        Rejection::too_many_connections(FULL_RETRY)
    }
}

/// All that a consumer is started with.
pub(crate) struct Start {
    pub(crate) scope: Box<Scope>,
    pub(crate) layers: Layers,
    pub(crate) limits: Arc<Limits>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) drain: Drain,
    /// What reads from the client; an exchange has none.
    pub(crate) input: Option<Box<dyn Input>>,
    pub(crate) wire: Wire,
    pub(crate) packer: Option<Packer>,
}

/// A consumer that was started and has not answered yet. Dropped, its client is gone.
pub(crate) struct Starting {
    connection: Option<Rc<Connection>>,
    answer: oneshot::Receiver<Answer>,
}

impl Start {
    /// Starts the actor of a consumer.
    ///
    /// # Errors
    /// [`MisuseError::NoLayer`] where the consumer's layer is not configured.
    pub(crate) fn start<C: Consumer>(
        self,
        make: impl FnOnce(&Scope) -> Result<C> + 'static,
    ) -> Result<Option<Starting>, MisuseError> {
        let Some(Begun { context, input, starting }) = self.begin::<C, Context>(C::LAYER)? else {
            return Ok(None);
        };
        driver::start(make, context, input);
        Ok(Some(starting))
    }

    /// Starts an HTTP consumer.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn start_http<C: HttpConsumer>(
        self,
        make: impl FnOnce(&Scope) -> Result<C> + 'static,
        payload: Payload,
    ) -> Result<Option<Responding>, MisuseError> {
        let Some(Begun { context, starting, .. }) = self.begin::<C, HttpContext>(C::LAYER)? else {
            return Ok(None);
        };
        let exchange = driver::start_http(make, context, payload);
        Ok(Some(Responding { exchange, starting }))
    }

    /// Makes the connection; `None` while the server drains.
    fn begin<C: EventHandlers<X>, X: EventContext>(self, layer: &str) -> Result<Option<Begun>, MisuseError> {
        let layer = self.layers.get(layer).ok_or_else(|| MisuseError::NoLayer(layer.to_owned()))?.clone();
        let hub = worker::of_thread(layer.backend().groups().directory());
        let Some(live): Option<Live> = self.drain.enter(&hub) else { return Ok(None) };
        let (sender, answer) = oneshot::channel();
        let class = Class::of::<C, X>(self.wire);
        let connection = Connection::new(&hub, class, self.limits, &self.budget, live, sender, self.packer);
        let context = Context::new(Rc::clone(&connection), self.scope, self.layers, layer);
        let starting = Starting { connection: Some(connection), answer };
        Ok(Some(Begun { context, input: self.input, starting }))
    }
}

/// A connection whose consumer is still to be started.
struct Begun {
    context: Context,
    input: Option<Box<dyn Input>>,
    starting: Starting,
}

/// An exchange that was started and has no headers yet.
pub(crate) struct Responding {
    exchange: Rc<Exchange>,
    starting: Starting,
}

impl Responding {
    /// Waits for the headers of the response.
    async fn head(self) -> Result<(Rc<Exchange>, Head), Rejection> {
        match self.starting.answered().await? {
            (_, Answer::Respond(head)) => Ok((self.exchange, head)),
            (_, Answer::Accept(_) | Answer::Reject(_)) => Err(Rejection::internal()),
        }
    }
}

impl Starting {
    /// Waits for `connect` to accept or reject.
    pub(crate) async fn answer(self) -> Result<(Rc<Connection>, Accepted), Rejection> {
        match self.answered().await? {
            (connection, Answer::Accept(accepted)) => Ok((connection, accepted)),
            (_, Answer::Respond(_) | Answer::Reject(_)) => Err(Rejection::internal()),
        }
    }

    /// Waits for any answer but a rejection.
    async fn answered(mut self) -> Result<(Rc<Connection>, Answer), Rejection> {
        let answer = (&mut self.answer).await;
        // Answered: from here on the transport says when the client is gone.
        let connection = self.connection.take();
        match (answer, connection) {
            (Ok(Answer::Reject(rejection)), _) => Err(rejection),
            (Ok(answer), Some(connection)) => Ok((connection, answer)),
            // The actor ended without an answer: the worker is shutting down.
            (_, connection) => Err(match connection {
                Some(connection) => Rejection::shutting_down(connection.retry_hint()),
                None => Rejection::unavailable("the server is shutting down"),
            }),
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.gone();
        }
    }
}
