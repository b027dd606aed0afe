//! A client of one consumer, without a socket.

mod request;

use std::{collections::VecDeque, future::poll_fn, pin::Pin, rc::Rc, sync::Arc, task, time::Duration};

use actix_web::http::header::{self, HeaderName};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::Stream;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::mpsc, time::timeout};

use super::CommunicatorError;
use crate::{
    ChannelName, Consumer, Drain, Message, Mount, Result, Scope, UrlRouter,
    close::CloseCode,
    consumer::connection::Connection,
    host::application::Application,
    middleware::Rejection,
    runtime,
    scope::ScopeBuilder,
    time::FOREVER,
    transport::reader::StreamReader,
    wire::websocket::{Chunk, Decoder, Item, Opcode, Role, deflate, encode, extensions},
};

/// How long a client waits for a message. Channels waits for 1 s, which is too short on a machine with much else to do.
pub(super) const RECEIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client listens when it expects nothing: as in Channels.
const NOTHING_TIMEOUT: Duration = Duration::from_millis(100);

/// A WebSocket client of a [`Mount`], on the same thread and without a socket.
///
/// All the rest is as in production: the middleware, the route, the consumer's task, the frames on the wire. Waits
/// follow the clock that [`pause`](super::pause) stops.
///
/// The client answers pings while it waits for a message. While it does not wait, it reads nothing, and
/// [`Limits`](crate::Limits) apply to it as to any client that does not read.
///
/// The [guide](crate::docs::guide#testing) has an example, and [part 3 of the tutorial](crate::docs::tutorial::part_3) more.
#[derive(Debug)]
pub struct WebsocketCommunicator {
    application: Application,
    scope: Option<ScopeBuilder>,
    drain: Drain,
    pub(super) timeout: Duration,
    open: Option<OpenConnection>,
    /// How many requests it has sent. The last one has this id.
    requests: u64,
}

#[derive(Debug)]
struct OpenConnection {
    connection: Rc<Connection>,
    chunks: mpsc::UnboundedSender<Bytes>,
    decoder: Decoder,
    items: VecDeque<Item>,
}

/// The consumer's answer to a handshake that it accepted.
///
/// See [`WebsocketCommunicator`](super::WebsocketCommunicator).
///
/// [`WebsocketCommunicator`] has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connected {
    /// The subprotocol that the consumer chose.
    pub subprotocol: Option<String>,
    /// The headers of the answer, including cookies. The names are in lower case.
    pub headers: Vec<(String, String)>,
}

impl WebsocketCommunicator {
    /// A client that will request `target` from `mount`: a path with or without a query.
    #[must_use]
    pub fn new(mount: &Mount, target: &str) -> Self {
        let drain = mount.drain_of().sibling();
        let application = mount.clone().drain(drain.clone()).application();
        let scope = Some(Scope::builder(target));
        Self { application, scope, drain, timeout: RECEIVE_TIMEOUT, open: None, requests: 0 }
    }

    /// A client of one consumer, without routes. The path is `/`.
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

    /// How long the client waits for a message. Default 10 s.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time.min(FOREVER);
        self
    }

    /// Adds data of the App, for [`Scope::data`](crate::Scope::data): a communicator has no App.
    #[must_use]
    pub fn data<T: ?Sized + 'static>(self, data: Arc<T>) -> Self {
        self.with_scope(|scope| scope.data(data))
    }

    /// Changes the scope of the handshake, for example the client's address or the scheme.
    #[must_use]
    pub fn with_scope(mut self, change: impl FnOnce(ScopeBuilder) -> ScopeBuilder) -> Self {
        self.scope = self.scope.map(change);
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// The [`Rejection`] of a middleware or of the consumer. 404 if no route matches.
    ///
    /// # Panics
    /// If it is called a second time, and outside of actix's runtime: call it in an `#[actix_web::test]`.
    pub async fn connect(&mut self) -> Result<Connected, Rejection> {
        runtime::require_actix();
        let mut scope = self.scope.take().expect("connect once").build();
        let Some(endpoint) = self.application.routes.route(&mut scope) else {
            return Err(Rejection::new(404, "no such WebSocket").unwrap_or_else(|_| Rejection::forbidden()));
        };
        let offers = extensions::offers(scope.header_values("sec-websocket-extensions")).unwrap_or_default();
        let (chunks, receiver) = mpsc::unbounded_channel();
        let (connection, accepted) = self
            .application
            .open(&endpoint, scope, &offers, None, |decoder| {
                Box::new(StreamReader::new(Chunks(receiver), decoder))
            })
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
    /// If the value cannot be written as JSON.
    pub fn send_json<T: Serialize>(&mut self, value: &T) {
        self.send_text(serde_json::to_string(value).expect("the value can be written as JSON"));
    }

    /// Sends bytes as they are. They need not be whole frames.
    pub fn send_raw(&mut self, bytes: impl Into<Bytes>) {
        if let Some(open) = &self.open {
            // If the connection has ended, nobody reads the bytes. A socket would take them too.
            let _ = open.chunks.send(bytes.into());
        }
    }

    fn send_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        self.send_raw(encode::masked(true, opcode, [0x37, 0xfa, 0x21, 0x3d], payload));
    }

    /// Waits for the next message, text or binary.
    ///
    /// # Errors
    /// [`CommunicatorError::Timeout`] after the [`timeout`](Self::timeout), [`Closed`](CommunicatorError::Closed) for a close frame.
    pub async fn receive(&mut self) -> Result<Message, CommunicatorError> {
        loop {
            let item = timeout(self.timeout, self.next_item())
                .await
                .map_err(|_| CommunicatorError::Timeout(self.timeout))??;
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
    /// As [`receive_text`](Self::receive_text), and [`CommunicatorError::Json`] if the JSON does not fit `T`.
    pub async fn receive_json<T: DeserializeOwned>(&mut self) -> Result<T, CommunicatorError> {
        let text = self.receive_text().await?;
        serde_json::from_str(&text)
            .map_err(|error| CommunicatorError::Json { reason: error.to_string(), text })
    }

    /// Listens for 100 ms. True if neither a message nor the end came.
    pub async fn receive_nothing(&mut self) -> bool {
        let something = async {
            loop {
                match self.next_item().await {
                    Ok(Item::Ping(payload)) => self.send_frame(Opcode::Pong, &payload),
                    Ok(item) => {
                        // The message is put back, so that it can be received.
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
    /// Returns the code of the server's close frame, or 1006 if none came.
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

    /// Ends the connection without a close frame, as when the network fails.
    ///
    /// Waits until the consumer's `disconnect` has run.
    pub async fn abort(mut self) {
        if let Some(open) = &self.open {
            open.connection.gone();
        }
        self.end().await;
    }

    /// The channel name of this client's consumer, for [`Layer::send`](crate::Layer::send).
    #[must_use]
    pub fn channel_name(&self) -> Option<ChannelName> {
        self.open.as_ref().map(|open| open.connection.channel_name())
    }

    /// Closes this connection as a server does when it shuts down.
    ///
    /// Returns how many connections were left at the deadline: 0 or 1.
    pub async fn shut_down(&self, deadline: Duration) -> usize {
        self.drain.drain(deadline).await
    }

    async fn end(&mut self) {
        self.open = None;
        self.drain.empty().await;
    }

    async fn next_item(&mut self) -> Result<Item, CommunicatorError> {
        let Some(open) = &mut self.open else { return Err(CommunicatorError::NotConnected) };
        loop {
            if let Some(item) = open.items.pop_front() {
                return Ok(item);
            }
            let frame = poll_fn(|cx| open.connection.poll_outbox(cx)).await;
            let Some(frame) = frame else { return Err(CommunicatorError::Gone) };
            let mut input = Chunk::from(frame);
            while let Some(item) =
                open.decoder.decode(&mut input).expect("the frames of the server are valid")
            {
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

/// The bytes that the client sent, as a stream.
struct Chunks(mpsc::UnboundedReceiver<Bytes>);

impl Stream for Chunks {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(Ok))
    }
}
