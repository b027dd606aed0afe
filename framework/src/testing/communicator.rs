//! A client of one consumer, without a socket between them.

use std::{collections::VecDeque, fmt, future::poll_fn, pin::Pin, rc::Rc, task, time::Duration};

use actix_web::http::header::{self, HeaderName};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::Stream;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    ChannelName, Consumer, Drain, Message, Mount, Result, Scope, UrlRouter,
    close::CloseCode,
    consumer::connection::Connection,
    host::application::Application,
    middleware::Rejection,
    scope::ScopeBuilder,
    transport::reader::StreamReader,
    wire::websocket::{Chunk, Decoder, Item, Opcode, Role, deflate, encode, extensions},
};

/// How long a client waits for a message. As in Channels.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it listens where nothing is expected. As in Channels.
const NOTHING_TIMEOUT: Duration = Duration::from_millis(100);

/// A WebSocket client of a [`Mount`], in the same thread and without a socket.
///
/// Everything else is as in production: the middleware, the route, the actor, the frames on the wire. Waits
/// follow the clock that [`pause`](super::pause) stops.
///
/// It answers pings while it waits for a message, as a browser does while its network works. One that waits for nothing
/// is a client that reads nothing, to which [`Limits`](crate::Limits) apply as to every other.
#[derive(Debug)]
pub struct WebsocketCommunicator {
    application: Application,
    scope: Option<ScopeBuilder>,
    drain: Drain,
    open: Option<OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    connection: Rc<Connection>,
    chunks: mpsc::UnboundedSender<Bytes>,
    decoder: Decoder,
    items: VecDeque<Item>,
}

/// How a consumer accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connected {
    /// The subprotocol that the consumer chose.
    pub subprotocol: Option<String>,
    /// The headers of the accept, cookies included, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// Why a client did not receive what it waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommunicatorError {
    /// The server closed the connection.
    Closed {
        /// The code of the close frame.
        code: CloseCode,
        /// Its reason.
        reason: ByteString,
    },
    /// The connection ended without a close frame, or `connect` was not called.
    Gone,
    /// The text is not the expected JSON.
    Json {
        /// The text.
        text: String,
        /// What serde says.
        reason: String,
    },
    /// Nothing came for a second.
    Timeout,
    /// A message of the other kind came.
    WrongKind(Message),
}

impl fmt::Display for CommunicatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code, reason } => write!(f, "the server closed with {code}, {reason:?}"),
            Self::Gone => f.write_str("there is no connection: call connect first, or it has ended"),
            Self::Json { text, reason } => write!(f, "{text:?} is not the expected JSON: {reason}"),
            Self::Timeout => write!(f, "nothing came for {RECEIVE_TIMEOUT:?}"),
            Self::WrongKind(message) => write!(f, "a message of the other kind came: {message:?}"),
        }
    }
}

impl std::error::Error for CommunicatorError {}

impl WebsocketCommunicator {
    /// A client that will ask `mount` for `target`, a path with or without a query.
    #[must_use]
    pub fn new(mount: &Mount, target: &str) -> Self {
        let drain = mount.drain_of().sibling();
        let application = mount.clone().drain(drain.clone()).application();
        Self { application, scope: Some(Scope::builder(target)), drain, open: None }
    }

    /// A client of one consumer, for which no routes are needed; its path is `/`.
    ///
    /// # Panics
    /// Never: the route is valid.
    pub fn of<C: Consumer>(make: impl Fn(&Scope) -> Result<C> + Send + Sync + 'static) -> Self {
        let mount = Mount::new(UrlRouter::new().route("/", make)).expect("one valid route");
        Self::new(&mount, "/")
    }

    /// Adds a header to the handshake.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with_scope(|scope| scope.header(name, value))
    }

    /// Offers subprotocols.
    #[must_use]
    pub fn subprotocols(self, names: &[&str]) -> Self {
        self.header("sec-websocket-protocol", &names.join(", "))
    }

    /// Changes what the handshake says about the client: its address, its scheme.
    #[must_use]
    pub fn with_scope(mut self, change: impl FnOnce(ScopeBuilder) -> ScopeBuilder) -> Self {
        self.scope = self.scope.map(change);
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// The [`Rejection`] of a middleware or of the consumer; 404 where no route fits.
    ///
    /// # Panics
    /// The second time.
    pub async fn connect(&mut self) -> Result<Connected, Rejection> {
        let mut scope = self.scope.take().expect("connect once").build();
        let Some(endpoint) = self.application.routes.route(&mut scope) else {
            return Err(Rejection::new(404, "no such WebSocket").unwrap_or_else(|_| Rejection::forbidden()));
        };
        let offers = extensions::offers(scope.header_lines("sec-websocket-extensions")).unwrap_or_default();
        let (chunks, receiver) = mpsc::unbounded_channel();
        let (connection, accepted) = self
            .application
            .open(&endpoint, scope, &offers, |decoder| Box::new(StreamReader::new(Chunks(receiver), decoder)))
            .await?;
        let agreed = accepted.headers.iter().find(|(name, _)| *name == header::SEC_WEBSOCKET_EXTENSIONS);
        let inflate = agreed.map(|(_, value)| deflate::InflateParams {
            limit: usize::MAX,
            takeover: !value.to_str().is_ok_and(|value| value.contains("server_no_context_takeover")),
        });
        let decoder = Decoder::new(Role::Client, usize::MAX).with_deflate(inflate);
        self.open = Some(OpenConnection { connection, chunks, decoder, items: VecDeque::new() });
        let text = |(name, value): (HeaderName, actix_web::http::header::HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let headers = accepted.headers.into_iter().map(text).collect();
        Ok(Connected { subprotocol: accepted.subprotocol, headers })
    }

    /// Sends a text message.
    pub fn send_text(&mut self, text: impl AsRef<str>) {
        self.send_frame(Opcode::Text, text.as_ref().as_bytes());
    }

    /// Sends a binary message.
    pub fn send_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        self.send_frame(Opcode::Binary, bytes.as_ref());
    }

    /// Sends a value as JSON in a text message.
    ///
    /// # Panics
    /// Where the value cannot be written as JSON.
    pub fn send_json<T: Serialize>(&mut self, value: &T) {
        self.send_text(serde_json::to_string(value).expect("the value can be written as JSON"));
    }

    /// Sends bytes as they are, whole frames or not.
    pub fn send_raw(&mut self, bytes: impl Into<Bytes>) {
        if let Some(open) = &self.open {
            // Where the connection has ended, so has its reader: a socket would take the bytes too.
            let _ = open.chunks.send(bytes.into());
        }
    }

    fn send_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        self.send_raw(encode::masked(true, opcode, [0x37, 0xfa, 0x21, 0x3d], payload));
    }

    /// Waits for the next message, of either kind.
    ///
    /// # Errors
    /// [`CommunicatorError::Timeout`] after a second, [`Closed`](CommunicatorError::Closed) for a close frame.
    pub async fn receive(&mut self) -> Result<Message, CommunicatorError> {
        loop {
            let item = timeout(RECEIVE_TIMEOUT, self.next_item())
                .await
                .map_err(|_| CommunicatorError::Timeout)??;
            match item {
                Item::Text(text) => return Ok(Message::Text(text)),
                Item::Binary(bytes) => return Ok(Message::Binary(bytes)),
                Item::Close(frame) => {
                    let (code, reason) = frame.unwrap_or((CloseCode::NO_STATUS, ByteString::new()));
                    return Err(CommunicatorError::Closed { code, reason });
                }
                Item::Ping(payload) => self.send_frame(Opcode::Pong, &payload),
                Item::Pong(_) => {}
            }
        }
    }

    /// Waits for a text message.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), and [`CommunicatorError::WrongKind`] for a binary message.
    pub async fn receive_text(&mut self) -> Result<String, CommunicatorError> {
        match self.receive().await? {
            Message::Text(text) => Ok(text.into()),
            other @ Message::Binary(_) => Err(CommunicatorError::WrongKind(other)),
        }
    }

    /// Waits for a binary message.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), and [`CommunicatorError::WrongKind`] for a text message.
    pub async fn receive_bytes(&mut self) -> Result<Bytes, CommunicatorError> {
        match self.receive().await? {
            Message::Binary(bytes) => Ok(bytes),
            other @ Message::Text(_) => Err(CommunicatorError::WrongKind(other)),
        }
    }

    /// Waits for a text message, and reads it as JSON.
    ///
    /// # Errors
    /// As [`receive_text`](Self::receive_text), and [`CommunicatorError::Json`] where it is not a `T`.
    pub async fn receive_json<T: DeserializeOwned>(&mut self) -> Result<T, CommunicatorError> {
        let text = self.receive_text().await?;
        serde_json::from_str(&text)
            .map_err(|error| CommunicatorError::Json { reason: error.to_string(), text })
    }

    /// Listens for 100 ms: true where no message, and no end, came.
    pub async fn receive_nothing(&mut self) -> bool {
        let something = async {
            loop {
                match self.next_item().await {
                    Ok(Item::Ping(payload)) => self.send_frame(Opcode::Pong, &payload),
                    Ok(item) => {
                        // What came is still there to be received.
                        if let Some(open) = &mut self.open {
                            open.items.push_front(item);
                        }
                        return;
                    }
                    Err(_) => return,
                }
            }
        };
        timeout(NOTHING_TIMEOUT, something).await.is_err()
    }

    /// Closes with 1000, and waits until the consumer's `disconnect` has run.
    ///
    /// Returns the code that the server answered with; 1006 where it did not.
    pub async fn disconnect(self) -> CloseCode {
        self.disconnect_with(CloseCode::NORMAL, "").await
    }

    /// As [`disconnect`](Self::disconnect), with another code and reason.
    pub async fn disconnect_with(mut self, code: impl Into<CloseCode>, reason: &str) -> CloseCode {
        self.send_frame(Opcode::Close, &encode::close_payload(code.into(), reason));
        let answer = loop {
            match self.receive().await {
                Ok(_) => {}
                Err(CommunicatorError::Closed { code, .. }) => break code,
                Err(_) => break CloseCode::ABNORMAL,
            }
        };
        self.end().await;
        answer
    }

    /// Ends the connection as a network that fails: without a close frame.
    ///
    /// It waits until the consumer's `disconnect` has run.
    pub async fn abort(mut self) {
        if let Some(open) = &self.open {
            open.connection.gone();
        }
        self.end().await;
    }

    /// The name that [`Layer::send`](crate::Layer::send) reaches this client's consumer by.
    #[must_use]
    pub fn channel_name(&self) -> Option<ChannelName> {
        self.open.as_ref().map(|open| open.connection.channel_name())
    }

    /// Closes this connection as a server that shuts down does.
    pub async fn shut_down(&self, deadline: Duration) -> usize {
        self.drain.drain(deadline).await
    }

    async fn end(&mut self) {
        self.open = None;
        self.drain.empty().await;
    }

    async fn next_item(&mut self) -> Result<Item, CommunicatorError> {
        let Some(open) = &mut self.open else { return Err(CommunicatorError::Gone) };
        loop {
            if let Some(item) = open.items.pop_front() {
                return Ok(item);
            }
            let frame = poll_fn(|cx| open.connection.poll_outbox(cx)).await;
            let Some(frame) = frame else { return Err(CommunicatorError::Gone) };
            let mut input = Chunk::from(frame);
            while let Some(item) = open.decoder.decode(&mut input).expect("our own frames are valid") {
                open.items.push_back(item);
            }
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if !self.connection.is_finished() || !self.connection.is_written() {
            self.connection.gone();
        }
    }
}

/// What the client sent, as a stream.
struct Chunks(mpsc::UnboundedReceiver<Bytes>);

impl Stream for Chunks {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(Ok))
    }
}
