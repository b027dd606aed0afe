//! From arriving bytes to the connection's messages, pongs and end.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::Stream;

use super::{Decoder, Input, Item, Role};
use crate::{
    Message,
    close::{Cause, CloseCode},
    consumer::connection::Connection,
    transport,
};

/// Reads frames from the chunks of a stream: actix's payload, or a test's.
#[derive(Debug)]
pub(crate) struct Reader<S> {
    chunks: S,
    decoder: Decoder,
    /// What is left of the last chunk, where the read-ahead bound stopped the decoder in it.
    rest: Option<Input<'static>>,
}

impl<S> Reader<S> {
    pub(crate) fn new(chunks: S, max_message: usize) -> Self {
        Self { chunks, decoder: Decoder::new(Role::Server, max_message), rest: None }
    }
}

impl<S, E> transport::Input for Reader<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    fn poll_read(&mut self, cx: &mut Context<'_>, connection: &Rc<Connection>) -> Poll<()> {
        while connection.wants_input() {
            let rest = match &mut self.rest {
                Some(rest) => rest,
                None => match ready!(Pin::new(&mut self.chunks).poll_next(cx)) {
                    Some(Ok(chunk)) => self.rest.insert(Input::from(chunk)),
                    // How it broke makes no difference to anyone: the client is gone.
                    Some(Err(_)) | None => {
                        // Before the answer it is the host that knows whether someone still waits for it: a request
                        // without a socket, as of actix's own test kit, has no input at all.
                        if !connection.is_connecting() {
                            connection.gone();
                        }
                        return Poll::Ready(());
                    }
                },
            };
            match self.decoder.decode(rest) {
                Ok(Some(Item::Text(text))) => connection.push_input(Message::Text(text)),
                Ok(Some(Item::Binary(bytes))) => connection.push_input(Message::Binary(bytes)),
                Ok(Some(Item::Ping(payload))) => connection.pong(&payload),
                Ok(Some(Item::Pong(_))) => {}
                Ok(Some(Item::Close(frame))) => {
                    if connection.is_closing() {
                        // The answer to our close frame: the handshake is through.
                        connection.finish();
                    } else {
                        let (code, reason) = frame.unwrap_or((CloseCode::NO_STATUS, "".into()));
                        connection.client_ended(Cause::Client, code, reason);
                    }
                    return Poll::Ready(());
                }
                Ok(None) => self.rest = None,
                Err(error) => {
                    tracing::info!(
                        channel = %connection.channel_name(),
                        code = %error.close_code(),
                        %error,
                        "the client broke the protocol"
                    );
                    let reason = error.to_string().into();
                    connection.client_ended(Cause::Protocol, error.close_code(), reason);
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }
}
