//! What the socket and the requests of one HTTP connection tell each other.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_http::{
    Request, Response,
    body::{BodySize, MessageBody},
};
use actix_web::HttpRequest;
use bytes::Bytes;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::socket::Socket;

/// An HTTP connection of the direct host. Clones are one connection.
///
/// actix-http serves its requests one after the other, so what stands here is about the present one.
#[derive(Debug, Clone, Default)]
pub(in crate::host) struct HttpConnection(Rc<Present>);

#[derive(Debug, Default)]
struct Present {
    /// Whether a request is served.
    serving: Cell<bool>,
    /// Whether its answer ends when the client ends its sending side.
    ends_with_client: Cell<bool>,
    /// Whether the client has ended its sending side.
    ended: Cell<bool>,
    /// Whether an answer had to wait for something since the last bytes that came between two requests.
    waited: Cell<bool>,
}

impl HttpConnection {
    /// The connection of a request in the direct host.
    pub(in crate::host) fn of(request: &HttpRequest) -> Option<&Self> {
        request.conn_data::<Self>()
    }

    /// Ends the present answer when the client ends its sending side. Returns false if the client has done so before.
    ///
    /// actix-web goes on with an answer then, because some clients still read it. But a consumer that waits for events
    /// would never learn that its client has left.
    pub(in crate::host) fn end_with_client(&self) -> bool {
        self.0.ends_with_client.set(true);
        !self.0.ended.get()
    }

    /// Whether the present request has reached the mount.
    pub(super) fn has_reached_mount(&self) -> bool {
        self.0.ends_with_client.get()
    }

    /// Whether a handshake that comes now has waited behind an answer.
    ///
    /// Meanwhile actix-http has read on. It knows no frames, and drops what came behind the handshake.
    pub(super) fn has_waited(&self) -> bool {
        self.0.waited.get()
    }
}

/// Calls the App for a request, and watches over the answer.
pub(super) async fn watch<S, B>(
    connection: Option<HttpConnection>,
    call: impl Future<Output = Result<S, Response<actix_http::body::BoxBody>>>,
) -> Result<Response<WatchedBody<B>>, Response<actix_http::body::BoxBody>>
where
    S: Into<Response<B>>,
    B: MessageBody,
{
    let served = Served::begin(connection.unwrap_or_default());
    let present = &served.0.0;
    let mut call = pin!(call);
    let answer = poll_fn(|cx| {
        let answer = call.as_mut().poll(cx);
        if answer.is_pending() {
            present.waited.set(true);
        }
        answer
    });
    let response: Response<B> = answer.await?.into();
    Ok(response.map_body(|_, body| WatchedBody { body, served }))
}

/// The connection of a request, as actix-http keeps it.
pub(super) fn connection_of(request: &Request) -> Option<HttpConnection> {
    request.conn_data::<HttpConnection>().cloned()
}

/// A request that is served until this is dropped.
struct Served(HttpConnection);

impl Served {
    fn begin(connection: HttpConnection) -> Self {
        connection.0.serving.set(true);
        Self(connection)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.0.serving.set(false);
        self.0.0.ends_with_client.set(false);
    }
}

pin_project! {
    /// The body of an answer.
    pub(super) struct WatchedBody<B> {
        #[pin]
        body: B,
        served: Served,
    }
}

impl<B: MessageBody> MessageBody for WatchedBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, B::Error>>> {
        let this = self.project();
        let chunk = this.body.poll_next(cx);
        if chunk.is_pending() {
            this.served.0.0.waited.set(true);
        }
        chunk
    }
}

/// The socket of an HTTP connection.
pub(super) struct WatchedSocket {
    pub(super) socket: Socket,
    pub(super) connection: HttpConnection,
}

impl AsyncRead for WatchedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        let present = &self.connection.0;
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            present.ended.set(true);
            if present.ends_with_client.get() {
                // actix-http drops the request and its answer.
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
        } else if !present.serving.get() {
            present.waited.set(false);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WatchedSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        if written.is_pending() {
            self.connection.0.waited.set(true);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
