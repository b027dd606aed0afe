//! What a failed hook means for its client: the answer before the accept, and the close code after it.

use std::any::type_name;

use super::{ConnectionContext, Context, connection::Connection};
use crate::{
    Scope,
    close::{Cause, CloseCode},
    error::{Closed, DenyConnection, Error, InputError, StopConsumer},
    guard::drop_guarded,
    middleware::Rejection,
    rooms::RoomError,
    scope::ScopeError,
    shown::Shown,
};

/// Ends a connection whose `connect` failed.
pub(super) fn fail_connect<C>(ctx: &Context, error: Error) {
    if !ctx.connection().is_connecting() {
        return fail::<C>(ctx, error);
    }
    let error = ctx.scope().blame(error);
    ctx.refuse(refusal::<C>(ctx, &error, "connect", "rejected with"));
    drop_guarded(error, "an error");
}

/// The answer to a client whose hook failed before the answer. The log has the failure, as `{hook} failed: {answered} 500`.
pub(super) fn refusal<C>(ctx: &ConnectionContext, error: &Error, hook: &str, answered: &str) -> Rejection {
    let connection = ctx.connection();
    if error.is::<DenyConnection>() || error.is::<StopConsumer>() {
        return Rejection::forbidden();
    }
    if let Some(rejection) = Rejection::inside(error).or_else(|| fault_of_client(connection, error)) {
        return rejection;
    }
    let (channel, path, consumer) = (connection.channel_name(), Shown(ctx.scope().path()), type_name::<C>());
    if let Some(full @ RoomError::TooMany { .. }) = error.downcast_ref() {
        // The rooms have warned of it, once for a storm of clients.
        tracing::debug!(%channel, ?path, consumer, error = %full, "{hook} failed: {answered} 503");
        return Rejection::busy("there are too many rooms", connection.retry_hint());
    }
    if is_told(ctx.scope(), error) {
        tracing::debug!(%channel, ?path, consumer, error = %Shown(error), "{hook} failed again: {answered} 500");
    } else {
        tracing::error!(%channel, ?path, consumer, error = %Shown(error), "{hook} failed: {answered} 500");
    }
    Rejection::internal()
}

/// The answer to an error for which the client's path, query string or credentials are at fault. It is counted.
fn fault_of_client(connection: &Connection, error: &Error) -> Option<Rejection> {
    let rejection = Rejection::of_client(error)?;
    connection.hub().directory().counters.bad_input.one();
    let (channel, status) = (connection.channel_name(), rejection.status());
    tracing::debug!(%channel, error = %Shown(error), status, "the client sent what the consumer cannot read: rejected");
    Some(rejection)
}

/// Whether the log has said this before: a route without a parameter that its consumer asks for fails each time.
fn is_told(scope: &Scope, error: &Error) -> bool {
    let missing = matches!(error.downcast_ref(), Some(ScopeError::NoParam { .. }));
    missing && scope.has_told_missing_param()
}

/// Ends a connection after a failed hook. The close code says whether the client or the server is at fault.
pub(super) fn fail<C>(ctx: &ConnectionContext, error: Error) {
    let connection = ctx.connection();
    if ended_quietly(connection, &error) {
        return;
    }
    let (channel, path, consumer) = (connection.channel_name(), Shown(ctx.scope().path()), type_name::<C>());
    if error.is::<InputError>() {
        connection.hub().directory().counters.bad_input.one();
        tracing::debug!(%channel, ?path, consumer, error = %Shown(&error), "the client sent what the consumer cannot read");
        connection.end(Cause::Error, CloseCode::INVALID_DATA, &Shown(&error).to_string());
    } else if fault_of_client(connection, &error).is_some() {
        connection.end(Cause::Error, CloseCode::INVALID_DATA, "");
    } else if let Some(full @ RoomError::TooMany { .. }) = error.downcast_ref() {
        tracing::debug!(%channel, ?path, consumer, error = %full, "a hook failed, its connection ends");
        connection.end(Cause::Error, CloseCode::TRY_AGAIN, "there are too many rooms");
    } else {
        tracing::error!(%channel, ?path, consumer, error = %Shown(&error), "a hook failed, its connection ends");
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
