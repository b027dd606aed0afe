//! A context without a client, for calling one hook.

use std::{
    ops::{Deref, DerefMut},
    rc::Rc,
    sync::Arc,
};

use tokio::sync::oneshot;

use crate::{
    Context, Drain, EventHandlers, Layer, Limits, MemoryLayer, Scope,
    consumer::{ConnectionContext, connection::Connection, start::class_of},
    groups::{budget::Budget, thread},
    layers::{DEFAULT_LAYER, Layers},
    runtime,
    wire::Wire,
};

/// A [`Context`] of an accepted connection without a client.
///
/// It is for calling one hook of a consumer. Messages to the client go nowhere. For a whole conversation use
/// [`WebsocketCommunicator`](super::WebsocketCommunicator).
///
/// ```
/// use greenroom::{prelude::*, testing::DetachedContext};
///
/// #[derive(NoEvents)]
/// struct Counter { count: u32 }
/// impl Consumer for Counter {
///     async fn receive(&mut self, _message: Message, _ctx: &mut Context) -> Result<()> {
///         self.count += 1;
///         Ok(())
///     }
/// }
///
/// # #[actix_web::main]
/// # async fn main() -> Result<()> {
/// // In a test, under `#[actix_web::test]`:
/// let mut ctx = DetachedContext::of::<Counter>();
/// let mut counter = Counter { count: 0 };
/// counter.receive(Message::Text("hello".into()), &mut ctx).await?;
/// assert_eq!(counter.count, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DetachedContext {
    context: Context,
    /// The client's side of the handshake, which stays open.
    _answer: oneshot::Receiver<crate::consumer::connection::RequestAnswer>,
}

impl DetachedContext {
    /// A context for a consumer of type `C`, with a new memory layer.
    ///
    /// # Panics
    /// Outside of actix's runtime. Call it in an `#[actix_web::test]`.
    #[must_use]
    pub fn of<C: EventHandlers>() -> Self {
        runtime::require_actix();
        let layer = Layer::from(MemoryLayer::new());
        let hub = thread::of_thread(layer.backend().groups().directory());
        let guard = Drain::new()
            .reserve(1)
            .and_then(|place| place.enter(hub.queue()))
            .expect("a new drain has not begun");
        let (sender, answer) = oneshot::channel();
        let limits = Arc::new(Limits::new());
        let class = class_of::<C, Context>(Wire::WebSocket(None));
        let budget = Budget::new(Budget::DEFAULT);
        let connection = Connection::new(&hub, class, limits, &budget, guard, sender, None);
        let layers = Layers::new([(DEFAULT_LAYER.to_owned(), layer.clone())].into());
        let scope = Box::new(Scope::builder("/").build());
        let context = Context::new(ConnectionContext::new(connection, scope, layers, layer));
        context.accept().expect("nothing was answered before");
        Self { context, _answer: answer }
    }
}

impl Deref for DetachedContext {
    type Target = Context;
    fn deref(&self) -> &Context {
        &self.context
    }
}

impl DerefMut for DetachedContext {
    fn deref_mut(&mut self) -> &mut Context {
        &mut self.context
    }
}

impl Drop for DetachedContext {
    fn drop(&mut self) {
        let connection = Rc::clone(self.context.connection());
        drop(connection.leave_all());
        connection.gone();
        connection.hub().detach(&*connection);
    }
}
