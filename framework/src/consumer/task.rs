//! The task of a connection: it runs the transport, the hooks, and the end.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
};

use pin_project_lite::pin_project;

use actix_web::web::Payload;

use super::{
    ConnectionContext, Consumer, Context,
    connection::{ClientReader, Connection},
    http::{self, Exchange, HttpConsumer, HttpContext},
    life,
};
use crate::{Result, Scope};

/// Starts a connection. `make` builds the consumer; `input` reads what the client sends.
pub(crate) fn start<C: Consumer>(
    make: impl FnOnce(&Scope) -> Result<C> + 'static,
    context: ConnectionContext,
    input: Option<Box<dyn ClientReader>>,
) {
    let connection = Rc::clone(context.connection());
    actix_rt::spawn(ConnectionTask {
        connection,
        hooks: Some(life::live(make, Context::new(context))),
        input,
    });
}

/// Starts an HTTP exchange.
///
/// It has no input to watch: the body of its response says when the client is gone.
pub(crate) fn start_http<C: HttpConsumer>(
    make: impl FnOnce(&Scope) -> Result<C> + 'static,
    context: ConnectionContext,
    payload: Payload,
) -> Rc<Exchange> {
    let connection = Rc::clone(context.connection());
    let exchange = Exchange::new(&connection);
    let hooks = http::live(make, HttpContext::new(context, Rc::clone(&exchange)), payload);
    actix_rt::spawn(ConnectionTask { connection, hooks: Some(hooks), input: None });
    exchange
}

pin_project! {
    /// Polls the transport and the hooks of one connection, until both have ended.
    ///
    /// The future of the hooks is part of the task, so both are one allocation.
    struct ConnectionTask<F> {
        connection: Rc<Connection>,
        #[pin]
        hooks: Option<F>,
        input: Option<Box<dyn ClientReader>>,
    }

    impl<F> PinnedDrop for ConnectionTask<F> {
        fn drop(this: Pin<&mut Self>) {
            this.connection.hub().detach(this.connection.as_ref());
        }
    }
}

fn poll_input(
    input: &mut Option<Box<dyn ClientReader>>,
    cx: &mut TaskContext<'_>,
    connection: &Rc<Connection>,
) {
    if let Some(reader) = input
        && reader.poll_read(cx, connection).is_ready()
    {
        *input = None;
    }
}

fn poll_hooks<F: Future<Output = ()>>(
    mut hooks: Pin<&mut Option<F>>,
    cx: &mut TaskContext<'_>,
    connection: &Rc<Connection>,
) {
    let Some(running) = hooks.as_mut().as_pin_mut() else { return };
    connection.hub().set_running(Some(connection.key()));
    let polled = running.poll(cx);
    connection.hub().set_running(None);
    if polled.is_ready() {
        hooks.set(None);
    }
}

impl<F: Future<Output = ()>> Future for ConnectionTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let mut this = self.project();
        this.connection.begin_turn(cx);
        loop {
            poll_input(this.input, cx, this.connection);
            // A transport that stopped at the bound has no waker. It reads on when hooks have made room.
            let stopped = !this.connection.wants_input();
            poll_hooks(this.hooks.as_mut(), cx, this.connection);
            if !stopped || !this.connection.wants_input() || this.input.is_none() {
                break;
            }
        }
        let connection = &*this.connection;
        if this.hooks.is_none() || connection.is_busy() || !connection.has_input() {
            connection.answer_close();
        }
        connection.look(this.input.as_ref().map_or(0, |input| input.held()));
        // This writes what the socket did not take at once, also after the end of the hooks.
        let _ = this.connection.poll_sink(cx);
        if this.hooks.is_some() || (this.input.is_some() && !this.connection.is_finished()) {
            return Poll::Pending;
        }
        this.connection.finish();
        this.connection.poll_sink(cx)
    }
}
