//! What drives a connection: its transport, its hooks and its end.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
};

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
    actix_rt::spawn(Driver { connection, hooks: Some(hooks), input: Some(input) });
}

/// Polls the transport and the hooks of one connection, until both are through.
struct Driver {
    connection: Rc<Connection>,
    hooks: Option<Pin<Box<dyn Future<Output = ()>>>>,
    input: Option<Box<dyn Input>>,
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
        connection.look(this.input.as_ref().map_or(0, |input| input.held()));
        // Whether or not it is through: what the socket did not take at once is written here.
        let _ = this.connection.poll_sink(cx);
        if this.hooks.is_some() || (this.input.is_some() && !this.connection.is_finished()) {
            return Poll::Pending;
        }
        this.connection.finish();
        this.connection.poll_sink(cx)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.connection.hub().detach(&self.connection);
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("connection", &self.connection).finish_non_exhaustive()
    }
}
