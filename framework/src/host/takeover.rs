//! How a handshake that passed an App becomes a connection that owns its socket.
//!
//! The server calls this module with every upgrade request and its socket. The request is marked, and goes through the
//! App. If the response carries an [`Opened`], its connection gets the socket. Any other response is written as it is.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_codec::Encoder as _;
use actix_http::{
    ConnectionType, HttpMessage as _, Method, Request, Response, StatusCode, Uri,
    body::{BodySize, BoxBody, MessageBody},
    h1::{Codec, Message},
};
use actix_service::Service;
use actix_web::{HttpResponse, http::header};
use bytes::BytesMut;
use tokio::{
    io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf},
    time::timeout,
};

use crate::{
    consumer::connection::Connection,
    routing::{Match, Routes},
    shown::Shown,
    wire::{socket::Socket, websocket::handshake::HandshakeError},
};

/// How many bytes are read behind a handshake before it is answered.
const AHEAD: usize = 16 << 10;
/// How many bytes of earlier answers are written at once.
const PIECE: usize = 64 << 10;
/// How long a client may take to read the answer to its handshake, or a piece of an earlier answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What the direct host does with the connection of a request that asks for an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// It goes on to read requests, so the request cannot be answered 101.
    Http,
    /// It hands over the socket.
    Socket,
}

/// What the direct host does with a request's connection; `None` if the request did not come through that host.
pub(super) fn carrier(request: &actix_web::HttpRequest) -> Option<Carrier> {
    request.extensions().get::<Carrier>().copied()
}

/// Marks a request whose connection goes on to speak HTTP, if it asks for an upgrade all the same.
pub(super) fn mark_http(request: &Request) {
    if request.headers().contains_key(header::UPGRADE) {
        request.extensions_mut().insert(Carrier::Http);
    }
}

/// An accepted connection on its way to its socket.
///
/// If it is dropped on the way, for example by a middleware, the connection ends as if its client had gone.
struct Opened(Option<Rc<Connection>>);

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.gone();
        }
    }
}

/// Adds a connection to the 101 response that opens it.
pub(super) fn attach(response: &mut HttpResponse, connection: Rc<Connection>) {
    response.extensions_mut().insert(Rc::new(Opened(Some(connection))));
}

/// Says that the mount has answered a handshake itself, if the answer opens no connection.
struct OfMount;

/// Marks the mount's answer to a handshake.
pub(super) fn answered(mut response: HttpResponse) -> HttpResponse {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.extensions_mut().insert(OfMount);
    }
    response
}

/// Notices that another route of the App takes requests for a consumer's path.
pub(super) struct HiddenRoutes {
    routes: Routes,
    has_http: bool,
    /// Each thread says so once.
    told: Cell<bool>,
}

impl HiddenRoutes {
    pub(super) fn new(routes: Routes) -> Self {
        Self { has_http: routes.has_http(), routes, told: Cell::new(false) }
    }

    /// The target of a request without an upgrade, if its answer is to be looked at. Preflights are for middleware.
    pub(super) fn wants(&self, request: &Request) -> Option<Uri> {
        let wants = self.has_http && !self.told.get() && request.method() != Method::OPTIONS;
        wants.then(|| request.uri().clone())
    }

    /// Looks at the answer to a request that did not reach an HTTP consumer.
    pub(super) fn look_at_page<B>(&self, uri: &Uri, response: &Response<B>) {
        self.look(uri, response.status(), self.routes.resolve_http(uri.path()));
    }

    /// Looks at an answer that opens no connection.
    fn look_at_handshake<B>(&self, uri: &Uri, response: &Response<B>) {
        if response.extensions().get::<OfMount>().is_none() {
            self.look(uri, response.status(), self.routes.resolve(uri.path()));
        }
    }

    /// A middleware may refuse a request before it reaches the mount. So only statuses of pages count.
    fn look(&self, uri: &Uri, status: StatusCode, route: Option<Match<'_, '_>>) {
        let is_of_page =
            status.is_success() || matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
        let Some(route) = route.filter(|_| is_of_page && !self.told.replace(true)) else { return };
        tracing::warn!(
            path = ?Shown(uri.path()),
            route = route.pattern(),
            status = status.as_u16(),
            "a route of the App took a request for a consumer's path: configure the mount before other routes, by \
             App::new().configure(mount.configure()).service(…)"
        );
    }
}

/// A request to upgrade, and its socket.
pub(super) struct Handshake {
    pub(super) request: Request,
    pub(super) socket: Socket,
    pub(super) codec: Codec,
    /// The bytes that were read behind the request.
    pub(super) ahead: BytesMut,
}

/// Answers an upgrade request that came behind other requests.
///
/// `earlier` is what was not written yet of their answers. With `refused` the handshake came too early to be served.
pub(super) async fn upgrade_behind<S, B>(
    app: Rc<S>,
    mut handshake: Handshake,
    hidden: &HiddenRoutes,
    earlier: &[u8],
    refused: bool,
) where
    S: Service<Request>,
    S::Error: Into<Response<actix_http::body::BoxBody>>,
    S::Response: Into<Response<B>>,
    B: MessageBody,
{
    for piece in earlier.chunks(PIECE) {
        if let Err(error) = write(&mut handshake.socket, piece).await {
            tracing::debug!(%error, "the answer before a handshake did not reach its client");
            return;
        }
    }
    if refused {
        let error = HandshakeError::Early;
        tracing::debug!(path = ?Shown(handshake.request.path()), %error, "a handshake was refused");
        return refuse(handshake.socket, handshake.codec, error.response().into()).await;
    }
    upgrade(app, handshake, hidden).await;
}

/// Answers one upgrade request.
pub(super) async fn upgrade<S, B>(app: Rc<S>, handshake: Handshake, hidden: &HiddenRoutes)
where
    S: Service<Request>,
    S::Error: Into<Response<actix_http::body::BoxBody>>,
    S::Response: Into<Response<B>>,
    B: MessageBody,
{
    let Handshake { request, mut socket, mut codec, mut ahead } = handshake;
    request.extensions_mut().insert(Carrier::Socket);
    let uri = request.uri().clone();
    let answer = {
        let mut call = pin!(app.call(request));
        poll_fn(|cx| {
            if let Poll::Ready(answer) = call.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            // The client has left. Dropping the call tells the consumer.
            poll_left(&mut socket, cx, &mut ahead).map(|()| None)
        })
        .await
    };
    let mut out = BytesMut::new();
    let result = match answer {
        None => return,
        Some(Ok(response)) => {
            let mut response: Response<B> = response.into();
            let opened = response.extensions_mut().remove::<Rc<Opened>>();
            match opened.and_then(Rc::into_inner).and_then(|mut opened| opened.0.take()) {
                Some(connection) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    return open(connection, socket, &mut codec, response.drop_body(), out, &ahead).await;
                }
                Some(connection) => {
                    // A middleware has replaced the 101.
                    connection.gone();
                    answer_with(&mut socket, &mut codec, response, &mut out).await
                }
                None if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    tracing::error!(
                        "the App answered 101 without greenroom: a Server cannot serve that, a Mount can"
                    );
                    let error = Response::new(StatusCode::NOT_IMPLEMENTED);
                    answer_with(&mut socket, &mut codec, error, &mut out).await
                }
                None => {
                    hidden.look_at_handshake(&uri, &response);
                    answer_with(&mut socket, &mut codec, response, &mut out).await
                }
            }
        }
        Some(Err(error)) => answer_with(&mut socket, &mut codec, error.into(), &mut out).await,
    };
    if let Err(error) = result {
        tracing::debug!(%error, "the answer to a handshake did not reach its client");
    }
}

/// Answers without the App, and closes the socket.
pub(super) async fn refuse(mut socket: Socket, mut codec: Codec, response: Response<BoxBody>) {
    let status = response.status();
    if let Err(error) = answer_with(&mut socket, &mut codec, response, &mut BytesMut::new()).await {
        tracing::debug!(%error, %status, "an answer did not reach its client");
    }
}

/// Reads ahead, to notice when the client leaves. Ready when it has left.
fn poll_left(socket: &mut Socket, cx: &mut Context<'_>, ahead: &mut BytesMut) -> Poll<()> {
    let mut chunk = [0; 512];
    while ahead.len() < AHEAD {
        let mut buffer = ReadBuf::new(&mut chunk);
        let read = ready!(Pin::new(&mut *socket).poll_read(cx, &mut buffer));
        if read.is_err() || buffer.filled().is_empty() {
            return Poll::Ready(());
        }
        ahead.extend_from_slice(buffer.filled());
    }
    Poll::Pending
}

/// Writes the 101, and gives the connection its socket.
async fn open(
    connection: Rc<Connection>,
    mut socket: Socket,
    codec: &mut Codec,
    head: Response<()>,
    mut out: BytesMut,
    ahead: &[u8],
) {
    let mut opened = Opened(Some(connection));
    let written = match codec.encode(Message::Item((head, BodySize::None)), &mut out) {
        Ok(()) => write(&mut socket, &out).await,
        Err(error) => Err(error),
    };
    match (written, opened.0.take()) {
        (Ok(()), Some(connection)) => {
            // Copied: what is left of actix's buffer would keep the whole of it.
            connection.take_over(socket.with_ahead(bytes::Bytes::copy_from_slice(ahead)));
        }
        (_, connection) => opened.0 = connection,
    }
}

/// Writes a response that opens nothing, and closes the socket.
async fn answer_with<B: MessageBody>(
    socket: &mut Socket,
    codec: &mut Codec,
    mut response: Response<B>,
    out: &mut BytesMut,
) -> io::Result<()> {
    response.head_mut().set_connection_type(ConnectionType::Close);
    let (head, body) = response.into_parts();
    let size = body.size();
    codec.encode(Message::Item((head, size)), out)?;
    if !size.is_eof() {
        let mut body = pin!(body);
        while let Some(chunk) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            let chunk = chunk.map_err(|error| io::Error::other(error.into().to_string()))?;
            codec.encode(Message::Chunk(Some(chunk)), out)?;
            write(socket, out).await?;
            out.clear();
        }
        codec.encode(Message::Chunk(None), out)?;
    }
    write(socket, out).await?;
    socket.shutdown().await?;
    // If the socket were closed with unread bytes, TCP would reset the connection, and the answer could get lost.
    let mut rest = [0; 512];
    let drained = async { while socket.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
    let _ = timeout(Duration::from_secs(1), drained).await;
    Ok(())
}

async fn write(socket: &mut Socket, bytes: &[u8]) -> io::Result<()> {
    timeout(ANSWER_TIMEOUT, async {
        socket.write_all(bytes).await?;
        socket.flush().await
    })
    .await?
}
