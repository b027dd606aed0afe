//! The hosting actor: one actix actor a connection, whose one future drives the consumer.
//!
//! The future owns the consumer and takes from its inbox and its client one thing at a time. It is not
//! `ctx.wait`: under that neither the mailbox nor a timer runs while a hook hangs, and no grace period could work.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, fut::ActorFuture};
use futures_util::FutureExt;
use tokio::time::Sleep;

use super::{
    Consumer, Context,
    connection::{Connection, Next},
};
use crate::{
    Envelope, Event, Result, Scope,
    close::{Cause, CloseCode, Disconnect},
    error::{AcceptConnection, Closed, DenyConnection, Error, InputError, StopConsumer},
    groups::inbox::Mail,
    layers::LayerError,
    middleware::Rejection,
    transport::Input,
};

/// The actix actor that hosts one consumer. [`Context::address`] gives its address.
///
/// It takes one message, [`Deliver`]: an event for the consumer.
#[derive(Debug)]
pub struct ConsumerActor {
    connection: Rc<Connection>,
    driver: Option<Driver>,
}

/// Sends an event to one consumer: `address.do_send(Deliver(event))`.
///
/// The event waits in the consumer's bounded inbox, in sequence with the events of its groups. The result
/// is [`LayerError::ChannelFull`] where the inbox is full, [`LayerError::NoReceiver`] where the connection ended.
#[derive(Debug, Clone)]
pub struct Deliver<E>(pub E);

impl<E: Event> actix::Message for Deliver<E> {
    type Result = Result<(), LayerError>;
}

impl Actor for ConsumerActor {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(driver) = self.driver.take() else { return };
        driver.set_address(ctx.address());
        ctx.spawn(driver.map(|(), _, ctx: &mut Self::Context| ctx.stop()));
    }
}

impl<E: Event> actix::Handler<Deliver<E>> for ConsumerActor {
    type Result = Result<(), LayerError>;

    fn handle(&mut self, message: Deliver<E>, _ctx: &mut Self::Context) -> Self::Result {
        self.connection.hub().send(self.connection.key(), Envelope::new(message.0))
    }
}

/// Starts the actor of a connection. `make` builds the consumer; `input` reads what the client sends.
pub(crate) fn start<C: Consumer>(
    make: impl FnOnce(&Scope) -> Result<C> + 'static,
    context: Context,
    input: Box<dyn Input>,
) {
    let connection = Rc::clone(context.connection());
    let address = context.address_slot();
    let hooks = Box::pin(drive(make, context));
    let driver = Driver {
        connection: Rc::clone(&connection),
        hooks: Some(hooks),
        input: Some(input),
        close_timer: None,
        address,
    };
    ConsumerActor { connection, driver: Some(driver) }.start();
}

/// Where the context finds its actor's address.
pub(crate) type AddressSlot = Rc<std::cell::OnceCell<actix::Addr<ConsumerActor>>>;

/// Polls the transport and the hooks of one connection, until both are through.
struct Driver {
    connection: Rc<Connection>,
    hooks: Option<Pin<Box<dyn Future<Output = ()>>>>,
    input: Option<Box<dyn Input>>,
    /// Runs while the client's answer to our close frame is awaited.
    close_timer: Option<Pin<Box<Sleep>>>,
    address: AddressSlot,
}

impl Driver {
    fn set_address(&self, address: actix::Addr<ConsumerActor>) {
        // Set once: the slot is this driver's own.
        let _ = self.address.set(address);
    }

    fn poll_input(&mut self, cx: &mut TaskContext<'_>) {
        if let Some(input) = &mut self.input
            && input.poll_read(cx, &self.connection).is_ready()
        {
            self.input = None;
        }
    }

    fn poll_hooks(&mut self, cx: &mut TaskContext<'_>) {
        let Some(hooks) = &mut self.hooks else { return };
        let connection = &self.connection;
        connection.hub().set_running(Some(connection.key()));
        let polled = hooks.as_mut().poll(cx);
        connection.hub().set_running(None);
        if polled.is_ready() {
            self.hooks = None;
        }
    }

    fn poll_close_timer(&mut self, cx: &mut TaskContext<'_>) {
        let connection = &self.connection;
        if !connection.is_closing() || (connection.is_finished() && !connection.has_socket()) {
            return;
        }
        let timer = self
            .close_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(connection.limits.close_timeout)));
        if timer.as_mut().poll(cx).is_ready() {
            tracing::debug!(channel = %connection.channel_name(), "the client did not answer the close frame");
            connection.cut();
            connection.finish();
        }
    }
}

impl ActorFuture<ConsumerActor> for Driver {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        _actor: &mut ConsumerActor,
        _ctx: &mut actix::Context<ConsumerActor>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let this = &mut *self;
        this.connection.begin_turn(cx);
        loop {
            this.poll_input(cx);
            // Where the bound stopped it, the transport has no waker: reading goes on when hooks made room.
            let stopped = !this.connection.wants_input();
            this.poll_hooks(cx);
            if !stopped || !this.connection.wants_input() || this.input.is_none() {
                break;
            }
        }
        let connection = &this.connection;
        if this.hooks.is_none() || connection.is_busy() || !connection.has_input() {
            connection.answer_close();
        }
        this.poll_close_timer(cx);
        let sink = this.connection.poll_sink(cx);
        if this.hooks.is_some() || (this.input.is_some() && !this.connection.is_finished()) {
            return Poll::Pending;
        }
        if sink.is_ready() {
            this.connection.finish();
            return sink;
        }
        this.connection.finish();
        this.connection.poll_sink(cx)
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// Leaves the hub on every way out, the drop of an unfinished future included.
struct Attached(Rc<Connection>);

impl Drop for Attached {
    fn drop(&mut self) {
        drop(self.0.leave_all());
        if !self.0.has_ended() {
            // The worker's runtime ends under us: nothing can be sent any more.
            self.0.gone();
        }
    }
}

/// A consumer's whole life: one hook at a time, and `disconnect` exactly once at the end.
async fn drive<C: Consumer>(make: impl FnOnce(&Scope) -> Result<C>, mut ctx: Context) {
    let connection = Rc::clone(ctx.connection());
    let attached = Attached(Rc::clone(&connection));
    let made = guard(|| make(ctx.scope()));
    let mut consumer = match made {
        Ok(consumer) => consumer,
        Err(error) => return fail_connect(&ctx, &error),
    };
    match connect(&mut consumer, &mut ctx).await {
        Ok(()) => serve(&mut consumer, &mut ctx).await,
        Err(error) => fail_connect(&ctx, &error),
    }
    connection.answer_close();
    log_end(&connection);
    let reason = connection.ending().unwrap_or(Disconnect::new(CloseCode::ABNORMAL, "", Cause::Gone));
    drop(attached);
    connection.set_busy(true);
    let hook = async {
        consumer.disconnect(reason, &mut ctx).await;
        Ok(())
    };
    let limit = connection.limits.disconnect_grace;
    match Hook::new(&connection, hook).with_limit(limit).await {
        Outcome::Done(Ok(())) => {}
        Outcome::Done(Err(error)) => tracing::error!(%error, "disconnect failed"),
        Outcome::Cancelled => {
            tracing::warn!(
                ?limit,
                consumer = std::any::type_name::<C>(),
                "disconnect took too long and was cancelled"
            );
        }
    }
    // The consumer's own drop may panic; its membership and its tasks are gone by then.
    drop(ctx);
    let dropped = guard(|| {
        drop(consumer);
        Ok(())
    });
    if let Err(error) = dropped {
        tracing::error!(%error, "the consumer failed when it was dropped");
    }
}

/// Joins the consumer's own groups and runs `connect`, up to its limit.
async fn connect<C: Consumer>(consumer: &mut C, ctx: &mut Context) -> Result<()> {
    for group in guard(|| Ok(consumer.groups()))? {
        ctx.group_add(&group).await?;
    }
    let connection = Rc::clone(ctx.connection());
    let limit = connection.limits.connect_timeout;
    let hook = Hook::new(&connection, async { consumer.connect(ctx).await }).while_connecting(limit);
    match hook.await {
        Outcome::Done(Ok(())) => {
            if connection.is_connecting() {
                tracing::info!("connect returned without accept: rejected with 403");
                ctx.reject(Rejection::forbidden())?;
            }
            Ok(())
        }
        Outcome::Done(Err(error)) if error.is::<AcceptConnection>() && connection.is_connecting() => {
            ctx.accept()
        }
        Outcome::Done(Err(error)) => Err(error),
        Outcome::Cancelled => {
            if connection.is_connecting() {
                tracing::warn!(
                    ?limit,
                    consumer = std::any::type_name::<C>(),
                    "connect took too long and was cancelled"
                );
                ctx.reject(Rejection::unavailable("the server is busy, try again later"))?;
            }
            Ok(())
        }
    }
}

/// Ends a connection whose `connect` failed.
fn fail_connect(ctx: &Context, error: &Error) {
    let connection = ctx.connection();
    if !connection.is_connecting() {
        return fail(connection, error);
    }
    let rejection = if error.is::<DenyConnection>() || error.is::<StopConsumer>() {
        Rejection::forbidden()
    } else {
        tracing::error!(%error, "connect failed: rejected with 500");
        Rejection::internal()
    };
    // Answered in between: by the end of the server.
    let _ = ctx.reject(rejection);
}

/// Ends a connection after a failed hook, with the code that says whose fault it was.
fn fail(connection: &Connection, error: &Error) {
    let channel = connection.channel_name();
    if error.is::<StopConsumer>() {
        connection.end(Cause::Consumer, CloseCode::NORMAL, "");
    } else if error.is::<Closed>() && connection.has_ended() {
        tracing::debug!(%channel, "a hook sent to a connection that had ended");
    } else if let Some(input) = error.downcast_ref::<InputError>() {
        tracing::info!(%channel, %error, "the client sent what the consumer cannot read");
        connection.end(Cause::Error, CloseCode::INVALID_DATA, &input.to_string());
    } else {
        tracing::error!(%channel, %error, "a hook failed, its connection ends");
        connection.end(Cause::Error, CloseCode::INTERNAL, "");
    }
}

/// Logs an end that no hook and no client asked for.
fn log_end(connection: &Connection) {
    if connection.ending().is_some_and(|ending| ending.cause == Cause::TooSlow) {
        let (channel, limit) = (connection.channel_name(), connection.limits.outbox_size);
        tracing::warn!(%channel, limit, "the client read too slowly and its outbox was full: closed with 1013");
    }
}

/// Runs hooks until the connection has ended.
async fn serve<C: Consumer>(consumer: &mut C, ctx: &mut Context) {
    let connection = Rc::clone(ctx.connection());
    loop {
        connection.set_busy(false);
        let next = std::future::poll_fn(|cx| connection.poll_next(cx)).await;
        connection.set_busy(true);
        let outcome = match next {
            Next::End => return,
            Next::Mail(Mail::Frame(frame)) => {
                // Ended in between: the frame has nowhere to go.
                let _ = connection.write(frame);
                continue;
            }
            Next::Mail(Mail::Event(envelope)) => {
                Hook::new(&connection, handle_event(consumer, &envelope, ctx)).await
            }
            Next::Message(message) => {
                Hook::new(&connection, async { consumer.receive(message, ctx).await }).await
            }
        };
        match outcome {
            Outcome::Done(Ok(())) => {}
            Outcome::Done(Err(error)) => fail(&connection, &error),
            Outcome::Cancelled => {
                tracing::warn!(
                    grace = ?connection.limits.disconnect_grace,
                    consumer = std::any::type_name::<C>(),
                    "a hook still ran after its connection had ended, and was cancelled"
                );
                return;
            }
        }
    }
}

/// Hands one event to its handler, or relays it where it came past the groups.
async fn handle_event<C: Consumer>(consumer: &mut C, envelope: &Envelope, ctx: &mut Context) -> Result<()> {
    let handled = match consumer.handle_event(envelope, ctx).await {
        Ok(handled) => handled == super::Handled::Yes,
        Err(error) => match error.downcast_ref::<crate::EventError>() {
            // Another program's event of a known name with other fields must not end the connection.
            Some(unfit @ crate::EventError::Fields { name, .. }) if !C::STRICT && name == envelope.name() => {
                tracing::warn!(event = envelope.name(), error = %unfit, "an event does not fit its handler");
                false
            }
            _ => return Err(error),
        },
    };
    if handled {
        return Ok(());
    }
    ctx.connection().hub().directory().counters.unhandled.one();
    if C::STRICT {
        return Err(Error::msg(format!("no handler for message type {:?}", envelope.name())));
    }
    tracing::debug!(
        event = envelope.name(),
        consumer = std::any::type_name::<C>(),
        "no handler for an event"
    );
    Ok(())
}

/// Calls user code that is not a future, and makes a panic an error.
fn guard<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

/// The error of a panic. The panic hook has printed its place already.
fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned());
    Error::msg(format!("a hook panicked: {text}"))
}

/// How a hook ended.
enum Outcome {
    /// It ran over its limit, or over its grace after the connection ended.
    Cancelled,
    Done(Result<()>),
}

/// A running hook, which borrows the consumer: dropped, it gives the consumer back.
///
/// The hook is called in an `async` block: one that is a plain function may panic before it returns its future.
///
/// Its future is boxed, so that the largest hook does not set the size of every idle connection.
struct Hook<'a> {
    future: Pin<Box<dyn Future<Output = std::thread::Result<Result<()>>> + 'a>>,
    connection: &'a Connection,
    /// Runs from the start of the hook.
    limit: Option<(Duration, bool)>,
    /// With whether it measures the grace after the end.
    timer: Option<(bool, Pin<Box<Sleep>>)>,
}

impl<'a> Hook<'a> {
    fn new(connection: &'a Connection, future: impl Future<Output = Result<()>> + 'a) -> Self {
        Self {
            future: Box::pin(AssertUnwindSafe(future).catch_unwind()),
            connection,
            limit: None,
            timer: None,
        }
    }

    /// Cancels the hook when it takes longer, whatever the connection does.
    fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = Some((limit, false));
        self
    }

    /// Cancels the hook when it has not answered the handshake in this time.
    fn while_connecting(mut self, limit: Duration) -> Self {
        self.limit = Some((limit, true));
        self
    }

    /// The time after which the hook, which is suspended, is cancelled, and whether the connection has ended.
    fn current_limit(&self) -> Option<(Duration, bool)> {
        match self.limit {
            Some((limit, false)) => Some((limit, false)),
            Some((limit, true)) if self.connection.is_connecting() => Some((limit, false)),
            _ => self.connection.grace_left().map(|grace| (grace, true)),
        }
    }
}

impl Future for Hook<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Outcome> {
        let this = &mut *self;
        if let Poll::Ready(done) = this.future.as_mut().poll(cx) {
            return Poll::Ready(Outcome::Done(done.unwrap_or_else(|panic| Err(panicked(&*panic)))));
        }
        let Some((limit, ended)) = this.current_limit() else {
            this.timer = None;
            return Poll::Pending;
        };
        // Another limit than the timer was made for: the client left, or was answered.
        this.timer = this.timer.take().filter(|(measures, _)| *measures == ended);
        let (_, timer) = this.timer.get_or_insert_with(|| (ended, Box::pin(tokio::time::sleep(limit))));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Outcome::Cancelled)
    }
}
