//! A consumer's life: `connect`, then one hook at a time, then `disconnect`, whatever happens.

use std::{
    any::type_name,
    future::{Future, poll_fn},
    ops::Deref,
    rc::Rc,
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{
    ConnectionContext, Consumer, Context, EventContext, EventHandlers, Handled, Resumed,
    connection::{Connection, Next},
    failure::{fail, fail_connect},
    hook::{HookLimit, HookOutcome, run},
    watch::{measured, watched},
};
use crate::{
    ChannelName, Envelope, Event, EventError, GroupName, Layer, Result, Scope,
    close::{Cause, CloseCode, Disconnect},
    error::{AcceptConnection, Error},
    groups::{history::position::Position, inbox::Mail, pace::jitter},
    guard::{drop_guarded, guard},
    history::Outcome,
    layers::{LayerError, LayerGap},
    middleware::Rejection,
    notices::Notice,
    rooms::RoomEnded,
    shown::Shown,
};

/// Tells a connection that its client has come back on another one.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("greenroom.superseded")]
struct Superseded;

/// How long to wait after each try to end the connection that a client has come back from.
const SUPERSEDING: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_millis(3_200),
];

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
        self.0.log_end();
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
        let made = guard(|| measured(type_name::<C>, "make", || make(ctx.scope())));
        let mut consumer = match made {
            Ok(consumer) => consumer,
            Err(error) => return fail_connect::<C>(&ctx, error),
        };
        match Box::pin(connect(&mut consumer, &mut ctx)).await {
            Ok(()) => {
                ctx.connection().await_places();
                loop {
                    let next = poll_fn(|cx| poll_next(ctx.connection(), cx));
                    let Some(hook) = begin(next.await, &mut consumer, &mut ctx) else { break };
                    let outcome = hook.await;
                    if !go_on::<C>(&ctx, outcome) {
                        break;
                    }
                }
            }
            Err(error) => fail_connect::<C>(&ctx, error),
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
            Next::Mail(Mail::Packet(frame)) => connection.write_mail(frame),
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
            run(&connection, HookLimit::Grace, async {
                watched::<C, _>("receive", consumer.receive(message, ctx)).await
            })
            .await
        }),
        Next::Mail(Mail::Event(envelope)) => Box::pin(async move {
            let hook = handle_event(consumer, envelope, ctx, C::STRICT, Rc::clone(&connection));
            run(&connection, HookLimit::Grace, hook).await
        }),
        Next::Introduce => Box::pin(async move {
            run(&connection, HookLimit::Grace, introduce(consumer, ctx, Rc::clone(&connection))).await
        }),
        Next::Mail(Mail::Logged(envelope, alias, position)) => Box::pin(async move {
            let hook = handle_logged(consumer, envelope, (alias, position), ctx, Rc::clone(&connection));
            run(&connection, HookLimit::Grace, hook).await
        }),
        Next::Mail(Mail::Foreign(envelope, alias, mark)) => Box::pin(async move {
            run(&connection, HookLimit::Grace, async {
                let handled = handle_event(consumer, envelope, ctx, C::STRICT, Rc::clone(&connection)).await;
                connection.tell_foreign(alias, mark);
                handled
            })
            .await
        }),
        Next::Mail(Mail::Lost(group, reason)) => Box::pin(async move {
            let resumed = Resumed::new([(group, Outcome::Lost(reason))]);
            run(&connection, HookLimit::Grace, async {
                watched::<C, _>("resume", consumer.resume(&resumed, ctx)).await
            })
            .await
        }),
        Next::End | Next::Mail(Mail::Packet(_)) => return None,
    })
}

/// Takes the outcome of a hook. Returns false if no other hook may follow.
fn go_on<C>(ctx: &ConnectionContext, outcome: HookOutcome) -> bool {
    match outcome {
        HookOutcome::Done(Ok(())) => true,
        HookOutcome::Done(Err(error)) => {
            fail::<C>(ctx, error);
            true
        }
        HookOutcome::Cancelled => {
            log_cancelled::<C>(ctx);
            false
        }
    }
}

/// Logs that a hook did not end within the grace after its connection's end.
pub(super) fn log_cancelled<C>(ctx: &ConnectionContext) {
    tracing::warn!(
        grace = ?ctx.connection().limits.disconnect_grace,
        path = ?Shown(ctx.scope().path()),
        consumer = type_name::<C>(),
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
    log_end::<C>(&ctx);
    let reason = attached.leave();
    let outcome = run_disconnect::<C>(&connection, disconnect(&mut consumer, reason, &mut ctx)).await;
    log_disconnect::<C>(&ctx, outcome);
    // A context has values of middleware. The tasks are cancelled with it, before the consumer is dropped.
    drop_guarded(ctx, "the context of a consumer");
    drop_guarded(consumer, "a consumer");
}

/// Runs `disconnect`, up to its limit.
async fn run_disconnect<C>(connection: &Connection, hook: impl Future<Output = ()>) -> HookOutcome {
    let hook = async {
        watched::<C, _>("disconnect", hook).await;
        Ok(())
    };
    run(connection, HookLimit::Whole(connection.limits.disconnect_grace), hook).await
}

/// Logs a `disconnect` that did not end well.
fn log_disconnect<C>(ctx: &ConnectionContext, outcome: HookOutcome) {
    let (path, consumer) = (Shown(ctx.scope().path()), type_name::<C>());
    match outcome {
        HookOutcome::Done(Ok(())) => {}
        HookOutcome::Done(Err(error)) => {
            tracing::error!(?path, consumer, error = %Shown(&error), "disconnect failed");
            drop_guarded(error, "an error");
        }
        HookOutcome::Cancelled => {
            let limit = ctx.connection().limits.disconnect_grace;
            tracing::warn!(?limit, ?path, consumer, "disconnect took too long and was cancelled");
        }
    }
}

/// Joins the consumer's own groups and runs `connect`, up to its limit.
async fn connect<C: Consumer>(consumer: &mut C, ctx: &mut Context) -> Result<()> {
    let connection = Rc::clone(ctx.connection());
    let limit = connection.limits.connect_timeout;
    let hook = async {
        join(ctx, consumer.groups()).await?;
        watched::<C, _>("connect", consumer.connect(ctx)).await
    };
    let hook = connection.greeted_during(hook);
    match run(&connection, HookLimit::Connecting(limit), hook).await {
        HookOutcome::Done(Ok(())) => {
            if connection.is_connecting() {
                let path = Shown(ctx.scope().path());
                tracing::info!(
                    ?path,
                    consumer = type_name::<C>(),
                    "connect returned without accept: rejected with 403"
                );
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
                    path = ?Shown(ctx.scope().path()),
                    consumer = type_name::<C>(),
                    "connect took too long and was cancelled"
                );
                let rejection =
                    Rejection::busy("the server is busy, try again later", connection.retry_hint());
                ctx.reject(rejection)?;
            }
            Ok(())
        }
    }
}

/// Logs an end for which neither a hook nor the client asked.
fn log_end<C>(ctx: &ConnectionContext) {
    let connection = ctx.connection();
    let Some(Disconnect { cause, reason, .. }) = connection.ending() else { return };
    if !matches!(cause, Cause::TooSlow | Cause::Timeout) {
        return;
    }
    let (channel, path, consumer) = (connection.channel_name(), Shown(ctx.scope().path()), type_name::<C>());
    if cause == Cause::TooSlow {
        let limit = connection.limits.outbox_size;
        tracing::warn!(%channel, ?path, consumer, limit, %reason, "the client read too slowly: closed with 1013");
    } else {
        tracing::info!(%channel, ?path, consumer, %reason, "a timeout ended the connection");
    }
}

/// Tells the client its places, and the consumer what became of them. Then the members go on.
async fn introduce<C: Consumer>(
    consumer: &mut C,
    ctx: &mut Context,
    connection: Rc<Connection>,
) -> Result<()> {
    let introduced = connection.introduce_client().await;
    for was in introduced.was {
        supersede(ctx.layer().clone(), was);
    }
    let resumed = match introduced.outcomes.map(Resumed::new).filter(|resumed| !resumed.is_empty()) {
        Some(resumed) => watched::<C, _>("resume", consumer.resume(&resumed, ctx)).await,
        None => Ok(()),
    };
    connection.go_on(&introduced.logs);
    resumed
}

/// Ends the connection that a client has come back from, if it still lives.
///
/// When many come back at once, the old connection's process may have no room for the message, or be away for a moment.
fn supersede(layer: Layer, was: ChannelName) {
    actix_rt::spawn(async move {
        for pause in SUPERSEDING {
            // Other errors say that the connection has ended, as most have.
            let Err(LayerError::ChannelFull(_) | LayerError::Unavailable(_)) =
                layer.send(&was, Superseded).await
            else {
                return;
            };
            sleep(pause + jitter(pause)).await;
        }
    });
}

/// Hands an event of a log to its handler. What the handler sends is marked with the event's place.
async fn handle_logged<C: Consumer>(
    consumer: &mut C,
    envelope: Envelope,
    at: (u32, Position),
    ctx: &mut Context,
    connection: Rc<Connection>,
) -> Result<()> {
    connection.begin_logged(at.0, at.1);
    let handled = handle_event(consumer, envelope, ctx, C::STRICT, Rc::clone(&connection)).await;
    connection.end_logged();
    handled
}

/// Hands one event to its handler, or to the client if it has a relay and did not come from a group.
pub(super) async fn handle_event<C: EventHandlers<X>, X: EventContext>(
    consumer: &mut C,
    envelope: Envelope,
    ctx: &mut X,
    strict: bool,
    connection: Rc<Connection>,
) -> Result<()> {
    if connection.is_past(&envelope) {
        return Ok(());
    }
    let dispatched = dispatch(consumer, &envelope, ctx, strict).await?;
    if dispatched == Dispatched::Handled || LayerGap::is(envelope.name()) {
        return Ok(());
    }
    if RoomEnded::is(envelope.name()) {
        // It waits for events of a state that is gone.
        connection.end(Cause::Error, CloseCode::INTERNAL, "the room has ended");
        return Ok(());
    }
    connection.hub().directory().counters.unhandled.one();
    if dispatched == Dispatched::Misfit {
        return Ok(());
    }
    if strict {
        return Err(Error::msg(format!("no handler for message type {:?}", envelope.name())));
    }
    let (event, consumer) = (Shown(envelope.name()), type_name::<C>());
    if Notice::Unhandled.is_new(consumer, envelope.name()) {
        tracing::warn!(?event, consumer, "no handler for an event; further ones are logged at debug");
    } else {
        tracing::debug!(?event, consumer, "no handler for an event");
    }
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
    match watched::<C, _>(envelope.name(), consumer.handle_event(envelope, ctx)).await {
        Ok(Handled::Yes) => Ok(Dispatched::Handled),
        Ok(Handled::Unknown) => Ok(Dispatched::Unknown),
        Err(error) => match error.downcast_ref::<EventError>() {
            // Another program's event of a known name with other fields must not end the connection.
            Some(unfit @ EventError::Fields { name, .. }) if !strict && name == envelope.name() => {
                let (event, consumer) = (Shown(envelope.name()), type_name::<C>());
                if Notice::Misfit.is_new(consumer, envelope.name()) {
                    tracing::warn!(?event, consumer, error = %Shown(unfit), "an event does not fit its handler; further ones are logged at debug");
                } else {
                    tracing::debug!(?event, consumer, error = %Shown(unfit), "an event does not fit its handler");
                }
                Ok(Dispatched::Misfit)
            }
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests;
