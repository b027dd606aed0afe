//! Starts a consumer, and waits for its answer.

use std::{any::type_name, rc::Rc, sync::Arc};

use actix_web::web::Payload;
use tokio::sync::oneshot;

use super::{
    ConnectionContext, Consumer, Context, EventContext, EventHandlers, HttpConsumer, HttpContext,
    connection::{
        Accepted, ClientReader, Connection, Head, Record, RequestAnswer,
        places::{Introduction, Places},
    },
    http::Exchange,
    task,
};
use crate::{
    Result, Scope,
    error::MisuseError,
    groups::{budget::Budget, drain::ConnectionPlace, fan_out::Class, history::token::UserHash, thread},
    layers::Layers,
    middleware::Rejection,
    shown::Shown,
    wire::{Wire, limits::Limits, websocket::deflate::Packer},
};

/// The class of a consumer's connections on a wire.
pub(crate) fn class_of<C: EventHandlers<X>, X: EventContext>(wire: Wire) -> Class {
    Class::new::<C>(wire, C::relay)
}

/// Everything that a consumer is started with.
pub(crate) struct Start {
    pub(crate) scope: Box<Scope>,
    pub(crate) layers: Layers,
    pub(crate) limits: Arc<Limits>,
    pub(crate) budget: Arc<Budget>,
    /// The connection's place among all connections.
    pub(crate) place: ConnectionPlace,
    /// Reads from the client. An HTTP exchange has no reader.
    pub(crate) input: Option<Box<dyn ClientReader>>,
    pub(crate) wire: Wire,
    pub(crate) packer: Option<Packer>,
    /// How the client is told its places in logs, if it asked for that.
    pub(crate) introduction: Option<Introduction>,
}

/// A consumer that was started and has not answered yet. If it is dropped, the client is gone.
pub(crate) struct Starting {
    connection: Option<Rc<Connection>>,
    answer: oneshot::Receiver<RequestAnswer>,
}

impl Start {
    /// Starts a consumer. Returns `None` while the server drains.
    ///
    /// # Errors
    /// [`MisuseError::NoLayer`] if the consumer's layer is not configured.
    pub(crate) fn start<C: Consumer>(
        self,
        make: impl FnOnce(&Scope) -> Result<C> + 'static,
    ) -> Result<Option<Starting>, MisuseError> {
        let Some(Begun { context, input, starting }) = self.begin::<C, Context>(C::LAYER)? else {
            return Ok(None);
        };
        task::start(make, context, input);
        Ok(Some(starting))
    }

    /// Starts an HTTP consumer. Returns `None` while the server drains.
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
        let exchange = task::start_http(make, context, payload);
        Ok(Some(Responding { exchange, starting }))
    }

    /// Makes the connection. Returns `None` while the server drains.
    fn begin<C: EventHandlers<X>, X: EventContext>(self, layer: &str) -> Result<Option<Begun>, MisuseError> {
        let record = Record::of(&self.scope, type_name::<C>());
        let layer = match self.layers.get(layer) {
            Some(layer) => layer.clone(),
            None => {
                let error = MisuseError::NoLayer(layer.to_owned());
                let path = Shown(self.scope.path());
                tracing::error!(%error, ?path, consumer = type_name::<C>(), "no consumer can be started");
                return Err(error);
            }
        };
        let hub = thread::of_thread(layer.backend().groups().directory());
        let Some(guard) = self.place.enter(hub.queue()) else {
            if let Some(record) = record {
                record.rejected(self.wire.transport_name(), 503);
            }
            return Ok(None);
        };
        let (sender, answer) = oneshot::channel();
        let class = class_of::<C, X>(self.wire);
        let connection = Connection::new(&hub, class, self.limits, &self.budget, guard, sender, self.packer);
        if let Some(record) = record {
            connection.keep_record(record);
        }
        if let Some(introduction) = self.introduction {
            connection.keep_places(Places::new(UserHash::of(self.scope.user_key()), introduction));
        }
        let context = ConnectionContext::new(Rc::clone(&connection), self.scope, self.layers, layer);
        let starting = Starting { connection: Some(connection), answer };
        Ok(Some(Begun { context, input: self.input, starting }))
    }
}

/// A connection before its consumer is started.
struct Begun {
    context: ConnectionContext,
    input: Option<Box<dyn ClientReader>>,
    starting: Starting,
}

/// An exchange that was started and has no headers yet.
pub(crate) struct Responding {
    exchange: Rc<Exchange>,
    starting: Starting,
}

impl Responding {
    pub(crate) fn exchange(&self) -> &Rc<Exchange> {
        &self.exchange
    }

    /// Waits for the headers of the response.
    pub(crate) async fn head(self) -> Result<(Rc<Exchange>, Head), Rejection> {
        match self.starting.answered().await? {
            (_, RequestAnswer::Respond(head)) => Ok((self.exchange, head)),
            (_, RequestAnswer::Accept(_) | RequestAnswer::Reject(_)) => Err(Rejection::internal()),
        }
    }
}

impl Starting {
    /// The connection, until it has answered.
    pub(crate) fn connection(&self) -> Option<&Rc<Connection>> {
        self.connection.as_ref()
    }

    /// Waits for `connect` to accept or reject.
    pub(crate) async fn answer(self) -> Result<(Rc<Connection>, Accepted), Rejection> {
        match self.answered().await? {
            (connection, RequestAnswer::Accept(accepted)) => Ok((connection, accepted)),
            (_, RequestAnswer::Respond(_) | RequestAnswer::Reject(_)) => Err(Rejection::internal()),
        }
    }

    /// Waits for the answer. A rejection is the error.
    async fn answered(mut self) -> Result<(Rc<Connection>, RequestAnswer), Rejection> {
        let answer = (&mut self.answer).await;
        // After the answer, the transport says when the client is gone.
        let connection = self.connection.take();
        match (answer, connection) {
            (Ok(RequestAnswer::Reject(rejection)), _) => Err(rejection),
            (Ok(answer), Some(connection)) => Ok((connection, answer)),
            // The consumer ended without an answer, because the thread is shutting down.
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
