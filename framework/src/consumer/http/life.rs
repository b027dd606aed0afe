//! An HTTP consumer's life: the body, `handle`, then one event at a time, then `disconnect`, whatever happens.

use std::{
    any::type_name,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use super::{Body, HttpConsumer, HttpContext};
use crate::{
    Result, Scope,
    close::{Cause, CloseCode},
    consumer::{
        connection::{Connection, Next},
        failure::{ended_quietly, refusal},
        hook::{HookLimit, HookOutcome, run},
        life::{Attached, end, handle_event, join, log_cancelled, poll_next},
        watch::{measured, watched},
    },
    error::{Error, InputError},
    groups::inbox::Mail,
    guard::{drop_guarded, guard},
    middleware::Rejection,
    shown::Shown,
    time::{after, from_now, grace},
};

/// How many bytes of a body must arrive each second after [`Limits::frame_timeout`](crate::Limits::frame_timeout).
const FAIR_RATE: usize = 4 << 10;

/// An HTTP consumer's whole life: one hook at a time, and `disconnect` exactly once at the end.
pub(in crate::consumer) async fn live<C: HttpConsumer>(
    make: impl FnOnce(&Scope) -> Result<C>,
    mut ctx: HttpContext,
    payload: Payload,
) {
    let attached = Attached::new(ctx.connection());
    let Some(body) = read_all(&ctx, payload).await else { return };
    let mut consumer = match guard(|| measured(type_name::<C>, "make", || make(ctx.scope()))) {
        Ok(consumer) => consumer,
        Err(error) => return fail::<C>(&ctx, error),
    };
    let overdue = ctx.connection().limits.response_timeout.map(from_now);
    Box::pin(handle(&mut consumer, body, &mut ctx, overdue)).await;
    if ctx.exchange().is_kept_open() {
        go_on(&mut consumer, &mut ctx, overdue).await;
    } else {
        complete::<C>(&ctx);
    }
    let disconnect =
        async |consumer: &mut C, reason, ctx: &mut HttpContext| consumer.disconnect(reason, ctx).await;
    Box::pin(end(consumer, ctx, attached, disconnect)).await;
}

/// Reads the whole body. Returns `None` if the exchange has ended before that.
async fn read_all(ctx: &HttpContext, payload: Payload) -> Option<Body> {
    let connection = ctx.connection();
    let mut reading = pin!(read(ctx.scope(), connection, payload));
    // The end of the connection wakes its task, which polls this future.
    let read =
        poll_fn(
            |cx| {
                if connection.has_ended() { Poll::Ready(None) } else { reading.as_mut().poll(cx).map(Some) }
            },
        );
    match read.await? {
        Ok(bytes) => Some(Body::new(bytes)),
        Err(rejection) => {
            tracing::debug!(
                status = rejection.status(),
                path = ?Shown(ctx.scope().path()),
                "the body of a request is refused"
            );
            ctx.refuse(rejection);
            None
        }
    }
}

async fn read(scope: &Scope, connection: &Connection, mut payload: Payload) -> Result<Bytes, Rejection> {
    let limit = connection.limits.message_size;
    let announced = scope.header("content-length").and_then(|length| length.parse().ok());
    if announced.is_some_and(|length: u64| length > limit as u64) {
        return Err(Rejection::too_large());
    }
    let start = Instant::now();
    // The end of the time in which what has arrived is still read. It is set once, so nobody can prolong it.
    let mut graced = None;
    let mut body = BytesMut::new();
    loop {
        let next = payload.next();
        let next = match connection.limits.body_timeout() {
            None => next.await,
            Some(timeout) => {
                let fair = Duration::from_secs((body.len() / FAIR_RATE) as u64);
                let due = after(start, timeout.saturating_add(fair));
                match timeout_at(graced.map_or(due, |until| due.max(until)), next).await {
                    Ok(next) => next,
                    Err(_) if graced.is_none() => {
                        graced = Some(Instant::now() + grace(due));
                        continue;
                    }
                    Err(_) => return Err(Rejection::timed_out()),
                }
            }
        };
        match next {
            None => return Ok(body.freeze()),
            Some(Ok(bytes)) if body.len() + bytes.len() > limit => return Err(Rejection::too_large()),
            Some(Ok(bytes)) => body.extend_from_slice(&bytes),
            Some(Err(error)) => {
                tracing::debug!(error = %Shown(&error), "the body of a request cannot be read");
                return Err(Rejection::bad_request());
            }
        }
    }
}

/// Joins the consumer's own groups and runs `handle`.
async fn handle<C: HttpConsumer>(
    consumer: &mut C,
    body: Body,
    ctx: &mut HttpContext,
    overdue: Option<Instant>,
) {
    let connection = Rc::clone(ctx.connection());
    let hook = async {
        join(ctx, consumer.groups()).await?;
        watched::<C, _>("handle", consumer.handle(body, ctx)).await
    };
    let outcome = run(&connection, HookLimit::Responding(overdue), hook).await;
    settle::<C>(ctx, outcome);
}

/// Handles events until the exchange ends.
async fn go_on<C: HttpConsumer>(consumer: &mut C, ctx: &mut HttpContext, overdue: Option<Instant>) {
    loop {
        let connection = Rc::clone(ctx.connection());
        let next = poll_fn(|cx| poll_next(&connection, cx));
        let next = match overdue.filter(|_| connection.is_connecting()) {
            None => next.await,
            Some(overdue) => match timeout_at(overdue, next).await {
                Ok(next) => next,
                Err(_) => {
                    connection.set_busy(true);
                    return no_response::<C>(ctx);
                }
            },
        };
        let envelope = match next {
            Next::Mail(Mail::Foreign(envelope, alias, mark)) => {
                ctx.exchange().note_foreign(alias, mark);
                envelope
            }
            Next::Mail(Mail::Event(envelope) | Mail::Logged(envelope, ..)) => envelope,
            Next::Mail(Mail::Lost(..)) => {
                ctx.exchange().note_lost();
                continue;
            }
            Next::End | Next::Introduce | Next::Mail(Mail::Packet(_)) | Next::Message(_) => return,
        };
        let hook = handle_event(consumer, envelope, ctx, C::STRICT, Rc::clone(&connection));
        let outcome = Box::pin(run(&connection, HookLimit::Responding(overdue), hook)).await;
        if !settle::<C>(ctx, outcome) {
            return;
        }
    }
}

/// Takes the outcome of a hook. Returns false if no other hook may follow.
fn settle<C>(ctx: &HttpContext, outcome: HookOutcome) -> bool {
    let connection = ctx.connection();
    match outcome {
        HookOutcome::Done(Ok(())) => return true,
        HookOutcome::Done(Err(error)) => {
            fail::<C>(ctx, error);
            return true;
        }
        HookOutcome::Cancelled if connection.is_connecting() => no_response::<C>(ctx),
        HookOutcome::Cancelled if connection.is_gone() => {}
        HookOutcome::Cancelled => log_cancelled::<C>(ctx),
    }
    false
}

fn no_response<C>(ctx: &HttpContext) {
    let limit = ctx.connection().limits.response_timeout;
    let (path, consumer) = (Shown(ctx.scope().path()), type_name::<C>());
    tracing::warn!(?limit, ?path, consumer, "a response took too long: answered 503");
    let hint = ctx.connection().retry_hint();
    ctx.refuse(Rejection::busy("the server is busy, try again later", hint));
}

/// Ends the response after `handle` has returned without `keep_open`.
fn complete<C>(ctx: &HttpContext) {
    if ctx.connection().is_connecting() {
        tracing::error!(
            path = ?Shown(ctx.scope().path()),
            consumer = type_name::<C>(),
            "handle returned without a response, answered 500: send one, or keep_open for a later one"
        );
        ctx.refuse(Rejection::internal());
        return;
    }
    // It fails only without headers, and there are headers.
    let _ = ctx.exchange().finish();
}

/// Ends an exchange after a failed hook: with a status before the headers, and by a cut after them.
fn fail<C>(ctx: &HttpContext, error: Error) {
    let connection = ctx.connection();
    let (channel, path, consumer) = (connection.channel_name(), Shown(ctx.scope().path()), type_name::<C>());
    if !connection.is_connecting() {
        if !ended_quietly(connection, &error) {
            tracing::error!(%channel, ?path, consumer, error = %Shown(&error), "a hook failed, its response is cut");
            connection.end(Cause::Error, CloseCode::INTERNAL, "");
        }
        return drop_guarded(error, "an error");
    }
    let error = ctx.scope().blame(error);
    let rejection = if let Some(input) = error.downcast_ref::<InputError>() {
        connection.hub().directory().counters.bad_input.one();
        tracing::debug!(%channel, ?path, consumer, error = %Shown(&error), "the client sent what the consumer cannot read: answered 400");
        Rejection::bad_input(input)
    } else {
        refusal::<C>(ctx, &error, "a hook", "answered")
    };
    ctx.refuse(rejection);
    drop_guarded(error, "an error");
}
