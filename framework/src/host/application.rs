//! What every host does with a handshake: route it, run the middleware, start the consumer, await its answer.

use std::{rc::Rc, sync::Arc};

use tokio::sync::oneshot;

use super::shutdown::{Drain, Live};
use crate::{
    Consumer, Result, Scope,
    consumer::{
        Context, actor,
        connection::{Accepted, Answer, Connection, Rejected},
    },
    error::MisuseError,
    groups::{fan_out::Class, hub},
    layers::Layers,
    transport::{Input, Wire, limits::Limits},
};

/// All that a consumer is started with.
pub(crate) struct Start {
    pub(crate) scope: Box<Scope>,
    pub(crate) layers: Layers,
    pub(crate) limits: Arc<Limits>,
    pub(crate) drain: Drain,
    pub(crate) input: Box<dyn Input>,
    pub(crate) wire: Wire,
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
        let layer = self.layers.get(C::LAYER).ok_or_else(|| MisuseError::NoLayer(C::LAYER.to_owned()))?.clone();
        let hub = hub::of_thread(layer.backend().groups().directory());
        let Some(live): Option<Live> = self.drain.enter(&hub) else { return Ok(None) };
        let (sender, answer) = oneshot::channel();
        let connection = Connection::new(&hub, Class::of::<C>(self.wire), self.limits, live, sender);
        let context = Context::new(Rc::clone(&connection), self.scope, self.layers, layer);
        actor::start(make, context, self.input);
        Ok(Some(Starting { connection: Some(connection), answer }))
    }
}

impl Starting {
    /// Waits for `connect` to accept or reject.
    pub(crate) async fn answer(mut self) -> Result<(Rc<Connection>, Accepted), Rejected> {
        let answer = (&mut self.answer).await;
        // Answered: from here on the transport says when the client is gone.
        let connection = self.connection.take();
        match (answer, connection) {
            (Ok(Answer::Accept(accepted)), Some(connection)) => Ok((connection, accepted)),
            (Ok(Answer::Reject(rejected)), _) => Err(rejected),
            // The actor ended without an answer: the worker is shutting down.
            _ => Err(Rejected::new(503, "the server is shutting down")),
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
