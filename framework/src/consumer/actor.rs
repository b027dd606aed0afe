//! The actor that a consumer is to other actors: its address, and what it takes.
//!
//! A consumer is run by one future, which takes one thing at a time from the client and the inbox (see
//! [`life`](super::life)). It is not a future of an actix context. Under `ctx.wait` neither the mailbox nor a timer
//! runs while a hook hangs, so no grace period could work. A context and its mailbox also cost 700 bytes, which an idle
//! connection seldom needs. So they are made when the address is first asked for.

use std::{
    cell::OnceCell,
    rc::{Rc, Weak},
};

use actix::{Actor, ActorContext, Addr};

use super::connection::Connection;
use crate::{Envelope, Event, layers::LayerError};

/// The actix actor that a consumer is.
///
/// [`Context::address`](crate::ConnectionContext::address) gives its address. The actor takes one message, [`Deliver`]:
/// an event for the consumer. It stops when the connection has ended.
///
/// [`Deliver`] has an example.
#[derive(Debug)]
pub struct ConsumerActor {
    connection: Weak<Connection>,
}

/// Sends an event to one consumer: `address.do_send(Deliver(event))`.
///
/// The event waits in the consumer's bounded inbox, in sequence with the events of its groups. The result is
/// [`LayerError::ChannelFull`] if the inbox is full, [`LayerError::NoReceiver`] if the connection has ended.
///
/// ```
/// use greenroom::{consumer::Deliver, prelude::*};
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// struct Told { text: String }
///
/// struct Listener;
/// impl Consumer for Listener {
///     async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
///         ctx.accept()?;
///         // Any actor of the program may hold this address.
///         ctx.address().do_send(Deliver(Told { text: "hello".to_owned() }));
///         Ok(())
///     }
/// }
/// #[event_handlers]
/// impl Listener {
///     async fn told(&mut self, event: &Told, ctx: &mut Context) -> Result<()> { ctx.send_text(event.text.clone()) }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Deliver<E>(pub E);

impl<E: Event> actix::Message for Deliver<E> {
    type Result = Result<(), LayerError>;
}

/// Stops the actor with its connection.
struct StopActor;

impl actix::Message for StopActor {
    type Result = ();
}

impl Actor for ConsumerActor {
    type Context = actix::Context<Self>;
}

impl<E: Event> actix::Handler<Deliver<E>> for ConsumerActor {
    type Result = Result<(), LayerError>;

    fn handle(&mut self, message: Deliver<E>, _ctx: &mut Self::Context) -> Self::Result {
        let connection = self.connection.upgrade().ok_or(LayerError::NoReceiver)?;
        connection.hub().send(connection.key(), Envelope::new(message.0))
    }
}

impl actix::Handler<StopActor> for ConsumerActor {
    type Result = ();

    fn handle(&mut self, _: StopActor, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// The address of a consumer, after it was first asked for. It stops the actor when it is dropped with its context.
#[derive(Default)]
pub(super) struct ActorAddress(OnceCell<Box<Addr<ConsumerActor>>>);

impl ActorAddress {
    pub(super) fn of(&self, connection: &Rc<Connection>) -> Addr<ConsumerActor> {
        let start = || Box::new(ConsumerActor { connection: Rc::downgrade(connection) }.start());
        Addr::clone(self.0.get_or_init(start))
    }
}

impl Drop for ActorAddress {
    fn drop(&mut self) {
        if let Some(address) = self.0.get() {
            address.do_send(StopActor);
        }
    }
}
