//! From arriving bytes to the connection's messages, pongs and end.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::Stream;

use crate::{
    Message,
    close::{Cause, CloseCode},
    consumer::connection::{ClientReader, Connection},
    wire::websocket::{Chunk, Decoder, DecoderSettings, Item},
};

/// How much is read from a socket at once.
const CHUNK_SIZE: usize = 64 << 10;

thread_local! {
    /// What the sockets of a thread are read into, one after the other.
    static CHUNK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// A decoder at rest, lent to the connection that is being read.
    static SPARE: Cell<Option<Box<Decoder>>> = const { Cell::new(None) };
}

/// Reads frames from the chunks of a stream: actix's payload, or a test's.
#[derive(Debug)]
pub(crate) struct StreamReader<S> {
    chunks: S,
    decoder: Decoder,
    /// What is left of the last chunk, where the read-ahead bound stopped the decoder in it.
    rest: Option<Chunk<'static>>,
}

impl<S> StreamReader<S> {
    pub(crate) fn new(chunks: S, decoder: Decoder) -> Self {
        Self { chunks, decoder, rest: None }
    }
}

impl<S, E> ClientReader for StreamReader<S>
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
                        self.rest.insert(Chunk::from(chunk))
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
                ChunkState::All => self.rest = None,
                ChunkState::Item => {}
                ChunkState::End => return Poll::Ready(()),
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
/// Between messages it has no decoder: the worker's is lent to it.
#[derive(Debug)]
pub(crate) struct SocketReader {
    settings: DecoderSettings,
    /// Holds what has arrived of an unfinished message.
    decoder: Option<Box<Decoder>>,
    /// What is left of the last chunk, where the read-ahead bound stopped the decoder in it.
    rest: Option<Box<Bytes>>,
}

impl SocketReader {
    pub(crate) fn new(decoder: &Decoder) -> Self {
        Self { settings: decoder.settings(), decoder: None, rest: None }
    }

    /// Decodes a chunk as far as the connection takes it; false at the end.
    fn feed(&mut self, mut input: Chunk<'_>, connection: &Rc<Connection>) -> bool {
        let mut decoder = self.decoder.take().unwrap_or_else(|| lend(self.settings));
        let mut taken = ChunkState::Item;
        while matches!(taken, ChunkState::Item) && connection.wants_input() {
            taken = take(&mut decoder, &mut input, connection);
        }
        if decoder.is_at_rest() {
            SPARE.set(Some(decoder));
        } else {
            self.decoder = Some(decoder);
        }
        match taken {
            ChunkState::All => true,
            ChunkState::Item => {
                self.rest = Some(Box::new(input.take_rest()));
                true
            }
            ChunkState::End => false,
        }
    }
}

/// The worker's decoder, or a new one.
fn lend(settings: DecoderSettings) -> Box<Decoder> {
    match SPARE.take() {
        Some(mut spare) => {
            *spare = Decoder::from(settings);
            spare
        }
        None => Box::new(Decoder::from(settings)),
    }
}

impl ClientReader for SocketReader {
    fn poll_read(&mut self, cx: &mut Context<'_>, connection: &Rc<Connection>) -> Poll<()> {
        while connection.wants_input() {
            connection.note_reading();
            let going_on = if let Some(rest) = self.rest.take() {
                self.feed(Chunk::from(*rest), connection)
            } else {
                let fed = CHUNK.with_borrow_mut(|chunk| {
                    chunk.resize(CHUNK_SIZE, 0);
                    match connection.poll_socket(cx, chunk) {
                        Poll::Pending => None,
                        Poll::Ready(Ok(count @ 1..)) => {
                            connection.note_read();
                            Some(self.feed(Chunk::from(&chunk[..count]), connection))
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
            };
            if !going_on {
                return Poll::Ready(());
            }
        }
        connection.note_stopped();
        Poll::Pending
    }

    fn held(&self) -> usize {
        self.decoder.as_ref().map_or(0, |decoder| decoder.held())
    }
}

/// What became of a chunk.
enum ChunkState {
    /// The decoder has all of it.
    All,
    /// An item was taken from it.
    Item,
    /// Nothing more is to be read.
    End,
}

/// Takes one item out of a chunk, and hands it to the connection.
fn take(decoder: &mut Decoder, input: &mut Chunk<'_>, connection: &Rc<Connection>) -> ChunkState {
    let item = decoder.decode(input);
    if matches!(item, Ok(Some(_))) && !decoder.is_in_message() {
        connection.note_finished();
    }
    match item {
        Ok(Some(Item::Text(_) | Item::Binary(_) | Item::Ping(_))) if !connection.may_send_one() => {
            connection.refuse_flood();
            return ChunkState::End;
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
            return ChunkState::End;
        }
        Ok(None) => {
            if decoder.is_unfinished() {
                connection.note_unfinished();
            }
            return ChunkState::All;
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
            return ChunkState::End;
        }
    }
    ChunkState::Item
}
