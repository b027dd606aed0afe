//! What drives a connection: its transport, its hooks and its end.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
};

use tokio::time::Sleep;

use super::{Consumer, Context, connection::Connection, life};
use crate::{Result, Scope, transport::Input};

/// Starts a connection. `make` builds the consumer; `input` reads what the client sends.
pub(crate) fn start<C: Consumer>(
    make: impl FnOnce(&Scope) -> Result<C> + 'static,
    context: Context,
    input: Box<dyn Input>,
) {
    let connection = Rc::clone(context.connection());
    let hooks = Box::pin(life::live(make, context));
    actix_rt::spawn(Driver { connection, hooks: Some(hooks), input: Some(input), close_timer: None });
}

/// Polls the transport and the hooks of one connection, until both are through.
struct Driver {
    connection: Rc<Connection>,
    hooks: Option<Pin<Box<dyn Future<Output = ()>>>>,
    input: Option<Box<dyn Input>>,
    /// Runs while the client's answer to our close frame is awaited.
    close_timer: Option<Pin<Box<Sleep>>>,
}

impl Driver {
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

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
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
