//! Turns arriving bytes into the connection's messages, pongs and end.

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
    shown::Shown,
    wire::websocket::{Chunk, Decoder, DecoderSettings, Item},
};

/// How many bytes are read from a socket at once.
const CHUNK_SIZE: usize = 64 << 10;

thread_local! {
    /// The buffer into which all sockets of a thread are read, one after the other.
    static CHUNK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// An idle decoder, which is lent to the connection that is being read.
    static SPARE: Cell<Option<Box<Decoder>>> = const { Cell::new(None) };
}

/// Reads frames from the chunks of a stream: actix's payload, or a test's.
#[derive(Debug)]
pub(crate) struct StreamReader<S> {
    chunks: S,
    decoder: Decoder,
    /// The rest of the last chunk, if the read-ahead bound stopped the decoder in it.
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
                    end => {
                        // A stream that breaks off has lost its client. A request without a socket, for example from
                        // actix's own test kit, has no input at all, and still waits for its answer.
                        if end.is_some() || !connection.is_connecting() {
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

/// Reads frames from the connection's own socket, through the buffer of the thread.
///
/// Between messages it has no decoder of its own. To read, it borrows the thread's decoder.
#[derive(Debug)]
pub(crate) struct SocketReader {
    settings: DecoderSettings,
    /// Holds the part of an unfinished message that has arrived.
    decoder: Option<Box<Decoder>>,
    /// The rest of the last chunk, if the read-ahead bound stopped the decoder in it.
    rest: Option<Box<Bytes>>,
}

impl SocketReader {
    pub(crate) fn new(decoder: &Decoder) -> Self {
        Self { settings: decoder.settings(), decoder: None, rest: None }
    }

    /// Decodes a chunk until the connection takes no more. Returns false if nothing more is to be read.
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

/// Gives the thread's decoder, or a new one if that is in use.
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
                        // The kind of error makes no difference: the client is gone.
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

/// How far a chunk was decoded.
enum ChunkState {
    /// The decoder has taken all of it.
    All,
    /// One item was decoded. There may be more.
    Item,
    /// Nothing more is to be read from this client.
    End,
}

/// Decodes one item of a chunk, and hands it to the connection.
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
                // This is the answer to our close frame: the closing handshake is complete.
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
            connection.hub().directory().counters.protocol_error.one();
            tracing::debug!(
                channel = %connection.channel_name(),
                code = %error.close_code(),
                error = %Shown(&error),
                "the client broke the protocol"
            );
            let reason = error.to_string().into();
            connection.client_ended(Cause::Protocol, error.close_code(), reason);
            return ChunkState::End;
        }
    }
    ChunkState::Item
}
