//! A consumer's life: `connect`, then one hook at a time, then `disconnect`, whatever happens.

use std::{
    future::{Future, poll_fn},
    ops::Deref,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::time::{Instant, Sleep};

use super::{
    ConnectionContext, Consumer, Context, EventContext, EventHandlers, Handled,
    connection::{Connection, Next},
    guard::{drop_guarded, guard, panicked},
};
use crate::{
    Envelope, EventError, GroupName, Result, Scope,
    close::{Cause, CloseCode, Disconnect},
    error::{AcceptConnection, Closed, DenyConnection, Error, InputError, StopConsumer},
    groups::inbox::Mail,
    layers::LayerGap,
    middleware::Rejection,
    shown::Shown,
    time::{GRACE, grace},
};

/// Leaves the hub when it is dropped, even with an unfinished future.
pub(super) struct Attached(Rc<Connection>);

impl Attached {
    pub(super) fn new(connection: &Rc<Connection>) -> Self {
        Self(Rc::clone(connection))
    }

    /// Leaves the hub, for `disconnect` to run, and says how the connection ended.
    pub(super) fn leave(self) -> Disconnect {
        let connection = Rc::clone(&self.0);
        let reason = connection.ending().unwrap_or(Disconnect::new(CloseCode::ABNORMAL, "", Cause::Gone));
        drop(self);
        connection.set_busy(true);
        reason
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Events are values of users. One after the other, because a panic while others are dropped would abort.
        for mail in self.0.leave_all() {
            drop_guarded(mail, "an event that waited");
        }
        if !self.0.has_ended() {
            // The thread's runtime is ending: nothing can be sent any more.
            self.0.gone();
        }
    }
}

/// A consumer's whole life: one hook at a time, and `disconnect` exactly once at the end.
///
/// Each hook is boxed while it runs, and so is what runs only once: an idle connection holds neither.
#[expect(clippy::manual_async_fn, reason = "an async fn would keep its arguments twice")]
pub(super) fn live<C: Consumer>(
    make: impl FnOnce(&Scope) -> Result<C>,
    mut ctx: Context,
) -> impl Future<Output = ()> {
    async move {
        let attached = Attached::new(ctx.connection());
        let made = guard(|| make(ctx.scope()));
        let mut consumer = match made {
            Ok(consumer) => consumer,
            Err(error) => return fail_connect(&ctx, error),
        };
        match Box::pin(connect(&mut consumer, &mut ctx)).await {
            Ok(()) => loop {
                let next = poll_fn(|cx| poll_next(ctx.connection(), cx));
                let Some(hook) = begin(next.await, &mut consumer, &mut ctx) else { break };
                let outcome = hook.await;
                if !go_on::<C>(ctx.connection(), outcome) {
                    break;
                }
            },
            Err(error) => fail_connect(&ctx, error),
        }
        let disconnect =
            async |consumer: &mut C, reason, ctx: &mut Context| consumer.disconnect(reason, ctx).await;
        Box::pin(end(consumer, ctx, attached, disconnect)).await;
    }
}

/// Returns the next thing that needs a hook. Frames that waited in the inbox are sent on the way.
pub(super) fn poll_next(connection: &Rc<Connection>, cx: &TaskContext<'_>) -> Poll<Next> {
    loop {
        connection.set_busy(false);
        let next = ready!(connection.poll_next(cx));
        connection.set_busy(true);
        match next {
            // It fails if the connection has ended meanwhile: then the frame cannot be sent.
            Next::Mail(Mail::Packet(frame)) => drop(connection.write(frame)),
            next => return Poll::Ready(next),
        }
    }
}

/// Makes the next hook, boxed; `None` at the end.
///
/// This is a function of its own because the `async` block would keep room for the hook's arguments.
fn begin<'a, C: Consumer>(
    next: Next,
    consumer: &'a mut C,
    ctx: &'a mut Context,
) -> Option<LocalBoxFuture<'a, HookOutcome>> {
    let connection = Rc::clone(ctx.connection());
    Some(match next {
        Next::Message(message) => Box::pin(async move {
            run(&connection, HookLimit::Grace, async { consumer.receive(message, ctx).await }).await
        }),
        Next::Mail(Mail::Event(envelope)) => Box::pin(async move {
            let hook = handle_event(consumer, envelope, ctx, C::STRICT, Rc::clone(&connection));
            run(&connection, HookLimit::Grace, hook).await
        }),
        Next::End | Next::Mail(Mail::Packet(_)) => return None,
    })
}

/// Takes the outcome of a hook. Returns false if no other hook may follow.
fn go_on<C>(connection: &Connection, outcome: HookOutcome) -> bool {
    match outcome {
        HookOutcome::Done(Ok(())) => true,
        HookOutcome::Done(Err(error)) => {
            fail(connection, error);
            true
        }
        HookOutcome::Cancelled => {
            log_cancelled::<C>(connection);
            false
        }
    }
}

/// Logs that a hook did not end within the grace after its connection's end.
pub(super) fn log_cancelled<C>(connection: &Connection) {
    tracing::warn!(
        grace = ?connection.limits.disconnect_grace,
        consumer = std::any::type_name::<C>(),
        "a hook still ran after its connection had ended, and was cancelled"
    );
}

/// Joins the consumer's own groups, before its first hook and within the time of that hook.
pub(super) async fn join(ctx: &ConnectionContext, groups: Vec<GroupName>) -> Result<()> {
    for group in groups {
        ctx.group_add(&group).await?;
    }
    Ok(())
}

/// Answers the client's close, leaves the groups, runs `disconnect`, and drops the consumer.
pub(super) async fn end<C, X: Deref<Target = ConnectionContext>>(
    mut consumer: C,
    mut ctx: X,
    attached: Attached,
    disconnect: impl AsyncFnOnce(&mut C, Disconnect, &mut X),
) {
    let connection = Rc::clone(ctx.connection());
    connection.answer_close();
    log_end(&connection);
    let reason = attached.leave();
    run_disconnect::<C>(&connection, disconnect(&mut consumer, reason, &mut ctx)).await;
    // A context has values of middleware. The tasks are cancelled with it, before the consumer is dropped.
    drop_guarded(ctx, "the context of a consumer");
    drop_guarded(consumer, "a consumer");
}

/// Runs `disconnect`, up to its limit.
async fn run_disconnect<C>(connection: &Connection, hook: impl Future<Output = ()>) {
    let hook = async {
        hook.await;
        Ok(())
    };
    let limit = connection.limits.disconnect_grace;
    match run(connection, HookLimit::Whole(limit), hook).await {
        HookOutcome::Done(Ok(())) => {}
        HookOutcome::Done(Err(error)) => {
            tracing::error!(error = %Shown(&error), "disconnect failed");
            drop_guarded(error, "an error");
        }
        HookOutcome::Cancelled => {
            tracing::warn!(
                ?limit,
                consumer = std::any::type_name::<C>(),
                "disconnect took too long and was cancelled"
            );
        }
    }
}

/// Joins the consumer's own groups and runs `connect`, up to its limit.
async fn connect<C: Consumer>(consumer: &mut C, ctx: &mut Context) -> Result<()> {
    let connection = Rc::clone(ctx.connection());
    let limit = connection.limits.connect_timeout;
    let hook = async {
        join(ctx, consumer.groups()).await?;
        consumer.connect(ctx).await
    };
    match run(&connection, HookLimit::Connecting(limit), hook).await {
        HookOutcome::Done(Ok(())) => {
            if connection.is_connecting() {
                tracing::info!("connect returned without accept: rejected with 403");
                ctx.reject(Rejection::forbidden())?;
            }
            Ok(())
        }
        HookOutcome::Done(Err(error)) if error.is::<AcceptConnection>() && connection.is_connecting() => {
            ctx.accept()
        }
        HookOutcome::Done(Err(error)) => Err(error),
        HookOutcome::Cancelled => {
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
fn fail_connect(ctx: &Context, error: Error) {
    let connection = ctx.connection();
    if !connection.is_connecting() {
        return fail(connection, error);
    }
    let rejection = if denies(&error) {
        Rejection::forbidden()
    } else {
        tracing::error!(error = %Shown(&error), "connect failed: rejected with 500");
        Rejection::internal()
    };
    ctx.refuse(rejection);
    drop_guarded(error, "an error");
}

/// Ends a connection after a failed hook. The close code says whether the client or the server is at fault.
fn fail(connection: &Connection, error: Error) {
    let channel = connection.channel_name();
    if ended_quietly(connection, &error) {
        return;
    }
    if let Some(input) = error.downcast_ref::<InputError>() {
        connection.hub().directory().counters.bad_input.one();
        tracing::debug!(%channel, error = %Shown(&error), "the client sent what the consumer cannot read");
        connection.end(Cause::Error, CloseCode::INVALID_DATA, &input.to_string());
    } else {
        tracing::error!(%channel, error = %Shown(&error), "a hook failed, its connection ends");
        connection.end(Cause::Error, CloseCode::INTERNAL, "");
    }
    drop_guarded(error, "an error");
}

/// Returns true if an error after the answer is not a failure. A [`StopConsumer`] ends the connection.
pub(super) fn ended_quietly(connection: &Connection, error: &Error) -> bool {
    if error.is::<StopConsumer>() {
        connection.end(Cause::Consumer, CloseCode::NORMAL, "");
        return true;
    }
    let late = error.is::<Closed>() && connection.has_ended();
    if late {
        let channel = connection.channel_name();
        tracing::debug!(%channel, "a hook sent to a connection that had ended");
    }
    late
}

/// Whether an error before the answer is answered 403.
pub(super) fn denies(error: &Error) -> bool {
    error.is::<DenyConnection>() || error.is::<StopConsumer>()
}

/// Logs an end for which neither a hook nor the client asked.
fn log_end(connection: &Connection) {
    let Some(Disconnect { cause, reason, .. }) = connection.ending() else { return };
    let channel = connection.channel_name();
    match cause {
        Cause::TooSlow => {
            let limit = connection.limits.outbox_size;
            tracing::warn!(%channel, limit, %reason, "the client read too slowly: closed with 1013");
        }
        Cause::Timeout => tracing::info!(%channel, %reason, "a timeout ended the connection"),
        _ => {}
    }
}

/// Hands one event to its handler, or to the client if it has a relay and did not come from a group.
pub(super) async fn handle_event<C: EventHandlers<X>, X: EventContext>(
    consumer: &mut C,
    envelope: Envelope,
    ctx: &mut X,
    strict: bool,
    connection: Rc<Connection>,
) -> Result<()> {
    let dispatched = dispatch(consumer, &envelope, ctx, strict).await?;
    if dispatched == Dispatched::Handled || LayerGap::is(envelope.name()) {
        return Ok(());
    }
    connection.hub().directory().counters.unhandled.one();
    if strict {
        return Err(Error::msg(format!("no handler for message type {:?}", envelope.name())));
    }
    tracing::debug!(
        event = ?Shown(envelope.name()),
        consumer = std::any::type_name::<C>(),
        "no handler for an event"
    );
    Ok(())
}

/// What became of an event whose handler did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dispatched {
    Handled,
    /// Its fields do not fit its handler. This has been logged.
    Misfit,
    /// It has no handler.
    Unknown,
}

/// Hands one event to its handler.
pub(crate) async fn dispatch<C: EventHandlers<X>, X: EventContext>(
    consumer: &mut C,
    envelope: &Envelope,
    ctx: &mut X,
    strict: bool,
) -> Result<Dispatched> {
    match consumer.handle_event(envelope, ctx).await {
        Ok(Handled::Yes) => Ok(Dispatched::Handled),
        Ok(Handled::Unknown) => Ok(Dispatched::Unknown),
        Err(error) => match error.downcast_ref::<EventError>() {
            // Another program's event of a known name with other fields must not end the connection.
            Some(unfit @ EventError::Fields { name, .. }) if !strict && name == envelope.name() => {
                tracing::warn!(event = ?Shown(envelope.name()), error = %Shown(unfit), "an event does not fit its handler");
                Ok(Dispatched::Misfit)
            }
            _ => Err(error),
        },
    }
}

/// How a hook ended.
pub(super) enum HookOutcome {
    /// It took longer than its limit, or than the grace after the connection's end.
    Cancelled,
    Done(Result<()>),
}

/// When a hook is cancelled.
#[derive(Clone, Copy)]
pub(super) enum HookLimit {
    /// After this time, whatever the connection does.
    Whole(Duration),
    /// If it has not answered the handshake within this time. After the answer, as [`Grace`](Self::Grace).
    Connecting(Duration),
    /// If it still runs at the end of the grace, which begins with the connection's end.
    Grace,
    /// If an HTTP exchange has no headers by this time, or its client is gone. Otherwise as [`Grace`](Self::Grace).
    Responding(Option<Instant>),
}

impl HookLimit {
    /// The time after which a suspended hook is cancelled, and whether that time is the grace.
    fn current(self, connection: &Connection) -> Option<(Duration, bool)> {
        match self {
            Self::Whole(limit) => Some((limit, false)),
            Self::Connecting(limit) if connection.is_connecting() => Some((limit, false)),
            Self::Responding(overdue) if connection.is_connecting() => {
                overdue.map(|overdue| (overdue.saturating_duration_since(Instant::now()), false))
            }
            Self::Responding(_) if connection.is_gone() => Some((Duration::ZERO, true)),
            Self::Connecting(_) | Self::Grace | Self::Responding(_) => {
                connection.grace_left().map(|grace| (grace, true))
            }
        }
    }
}

/// Runs a hook until it ends or is cancelled.
///
/// The hook borrows the consumer, so a cancelled hook gives the consumer back. What the hook held is dropped, and if that
/// panics, the consumer's life goes on to `disconnect`. Callers wrap the hook in an `async` block, because a hook that is
/// a plain function may panic before it returns its future.
pub(super) async fn run(
    connection: &Connection,
    limit: HookLimit,
    hook: impl Future<Output = Result<()>>,
) -> HookOutcome {
    let mut hook = pin!(Some(AssertUnwindSafe(hook).catch_unwind()));
    // The flag says whether the timer measures the grace after the end.
    let mut timer: Option<(bool, Pin<Box<Sleep>>)> = None;
    let mut put_off = false;
    let outcome = poll_fn(|cx| {
        if let Some(hook) = hook.as_mut().as_pin_mut()
            && let Poll::Ready(done) = hook.poll(cx)
        {
            return Poll::Ready(HookOutcome::Done(done.unwrap_or_else(|panic| Err(panicked(panic)))));
        }
        let Some((limit, ended)) = limit.current(connection) else {
            timer = None;
            return Poll::Pending;
        };
        // The limit changes when the client leaves or is answered. Then the timer starts again.
        timer = timer.take().filter(|(measures, _)| *measures == ended);
        let (_, timer) = timer.get_or_insert_with(|| (ended, Box::pin(tokio::time::sleep(limit))));
        while timer.as_mut().poll(cx).is_ready() {
            let due = timer.deadline();
            if limit.is_zero() || put_off || due.elapsed() < GRACE {
                return Poll::Ready(HookOutcome::Cancelled);
            }
            // The thread was blocked. What the hook waits for may have come in time, so it is read first.
            put_off = true;
            timer.as_mut().reset(Instant::now() + grace(due));
        }
        Poll::Pending
    })
    .await;
    // A hook that has ended holds nothing any more.
    if matches!(outcome, HookOutcome::Cancelled)
        && let Err(error) = guard(|| {
            hook.set(None);
            Ok(())
        })
    {
        tracing::error!(channel = %connection.channel_name(), error = %Shown(error), "a hook panicked when it was cancelled");
    }
    outcome
}

#[cfg(test)]
mod tests;
