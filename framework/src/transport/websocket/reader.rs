//! From arriving bytes to the connection's messages, pongs and end.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::Stream;

use super::{Decoder, Input, Item};
use crate::{
    Message,
    close::{Cause, CloseCode},
    consumer::connection::Connection,
    transport,
};

/// How much is read from a socket at once.
const CHUNK_SIZE: usize = 64 << 10;

thread_local! {
    /// What the sockets of a worker are read into, one after the other.
    static CHUNK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads frames from the chunks of a stream: actix's payload, or a test's.
#[derive(Debug)]
pub(crate) struct Reader<S> {
    chunks: S,
    decoder: Decoder,
    /// What is left of the last chunk, where the read-ahead bound stopped the decoder in it.
    rest: Option<Input<'static>>,
}

impl<S> Reader<S> {
    pub(crate) fn new(chunks: S, decoder: Decoder) -> Self {
        Self { chunks, decoder, rest: None }
    }
}

impl<S, E> transport::Input for Reader<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    fn poll_read(&mut self, cx: &mut Context<'_>, connection: &Rc<Connection>) -> Poll<()> {
        while connection.wants_input() {
            connection.note_reading();
            let rest = match &mut self.rest {
                Some(rest) => rest,
                None => match ready!(Pin::new(&mut self.chunks).poll_next(cx)) {
                    Some(Ok(chunk)) => {
                        connection.note_read();
                        self.rest.insert(Input::from(chunk))
                    }
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
            match take(&mut self.decoder, rest, connection) {
                Taken::All => self.rest = None,
                Taken::Item => {}
                Taken::End => return Poll::Ready(()),
            }
        }
        connection.note_stopped();
        Poll::Pending
    }

    fn held(&self) -> usize {
        self.decoder.held()
    }
}

/// Reads frames from the connection's own socket, through one buffer a thread.
///
/// Between messages it holds nothing on the heap.
#[derive(Debug)]
pub(crate) struct SocketReader {
    decoder: Decoder,
    /// What is left of the last chunk, where the read-ahead bound stopped the decoder in it.
    rest: Bytes,
}

impl SocketReader {
    pub(crate) fn new(decoder: Decoder) -> Self {
        Self { decoder, rest: Bytes::new() }
    }

    /// Decodes a chunk as far as the connection takes it; false at the end.
    fn feed(&mut self, mut input: Input<'_>, connection: &Rc<Connection>) -> bool {
        while connection.wants_input() {
            match take(&mut self.decoder, &mut input, connection) {
                Taken::All => return true,
                Taken::Item => {}
                Taken::End => return false,
            }
        }
        self.rest = input.take_rest();
        true
    }
}

impl transport::Input for SocketReader {
    fn poll_read(&mut self, cx: &mut Context<'_>, connection: &Rc<Connection>) -> Poll<()> {
        while connection.wants_input() {
            connection.note_reading();
            let going_on = if self.rest.is_empty() {
                let fed = CHUNK.with_borrow_mut(|chunk| {
                    chunk.resize(CHUNK_SIZE, 0);
                    match connection.poll_socket(cx, chunk) {
                        Poll::Pending => None,
                        Poll::Ready(Ok(count @ 1..)) => {
                            connection.note_read();
                            Some(self.feed(Input::from(&chunk[..count]), connection))
                        }
                        // How it broke makes no difference to anyone: the client is gone.
                        Poll::Ready(Ok(_) | Err(_)) => {
                            connection.gone();
                            Some(false)
                        }
                    }
                });
                let Some(going_on) = fed else { return Poll::Pending };
                going_on
            } else {
                let rest = std::mem::take(&mut self.rest);
                self.feed(Input::from(rest), connection)
            };
            if !going_on {
                return Poll::Ready(());
            }
        }
        connection.note_stopped();
        Poll::Pending
    }

    fn held(&self) -> usize {
        self.decoder.held()
    }
}

/// What became of a chunk.
enum Taken {
    /// The decoder has all of it.
    All,
    /// An item was taken from it.
    Item,
    /// Nothing more is to be read.
    End,
}

/// Takes one item out of a chunk, and hands it to the connection.
fn take(decoder: &mut Decoder, input: &mut Input<'_>, connection: &Rc<Connection>) -> Taken {
    let item = decoder.decode(input);
    if matches!(item, Ok(Some(_))) && !decoder.is_in_message() {
        connection.note_finished();
    }
    match item {
        Ok(Some(Item::Text(_) | Item::Binary(_) | Item::Ping(_))) if !connection.may_send_one() => {
            connection.refuse_flood();
            return Taken::End;
        }
        Ok(Some(Item::Text(text))) => connection.push_input(Message::Text(text)),
        Ok(Some(Item::Binary(bytes))) => connection.push_input(Message::Binary(bytes)),
        Ok(Some(Item::Ping(payload))) => connection.pong(&payload),
        Ok(Some(Item::Pong(_))) => {}
        Ok(Some(Item::Close(frame))) => {
            connection.note_client_closed();
            if connection.is_closing() {
                // The answer to our close frame: the handshake is through.
                connection.finish();
            } else {
                let (code, reason) = frame.unwrap_or((CloseCode::NO_STATUS, "".into()));
                connection.client_ended(Cause::Client, code, reason);
            }
            return Taken::End;
        }
        Ok(None) => {
            if decoder.is_unfinished() {
                connection.note_unfinished();
            }
            return Taken::All;
        }
        Err(error) => {
            tracing::info!(
                channel = %connection.channel_name(),
                code = %error.close_code(),
                %error,
                "the client broke the protocol"
            );
            let reason = error.to_string().into();
            connection.client_ended(Cause::Protocol, error.close_code(), reason);
            return Taken::End;
        }
    }
    Taken::Item
}
