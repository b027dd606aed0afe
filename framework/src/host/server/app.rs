//! The App of a thread: built once for each listener, called for requests and handshakes.

use std::{fmt, future::poll_fn, io, net::SocketAddr, rc::Rc, time::Duration};

use actix_codec::{Decoder as _, Framed};
use actix_http::{
    HttpService, KeepAlive, Request, Response, ServiceConfig, ServiceConfigBuilder, StatusCode,
    body::{BoxBody, MessageBody},
    error::{DispatchError, ParseError},
    h1::{Codec, Message, MessageType},
};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, apply_fn, fn_factory, fn_service,
    map_config,
};
use actix_web::dev::AppConfig;
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::{
    connection::{HttpConnection, WatchedSocket, connection_of, watch},
    threads::ServeSocket,
};
use crate::{
    Layer, host::takeover, metrics::Counters, routing::Routes, shown::Shown, time, wire::socket::Socket,
};

/// How many bytes of a handshake are read at once. A longer one is read by actix-http, as other requests are.
const HEAD: usize = 4 << 10;

/// How a listener speaks HTTP/1.1.
#[derive(Debug, Clone)]
pub(super) struct Http {
    pub(super) request_timeout: Duration,
    pub(super) keep_alive: Duration,
    /// Whether the listener speaks TLS.
    pub(super) secure: bool,
    pub(super) local: SocketAddr,
    /// The layer that counts what is malformed.
    pub(super) layer: Layer,
    /// The routes of the mount, to notice that the App hides one of them.
    pub(super) routes: Routes,
}

/// Builds the function that serves the sockets of one listener on one thread.
pub(super) async fn build<F, I, S, B>(factory: F, http: Http) -> io::Result<ServeSocket>
where
    F: FnOnce() -> I,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let Http { request_timeout, keep_alive, secure, local, layer, routes } = http;
    let watch_over = Rc::new(takeover::HiddenRoutes::new(routes));
    let keep_alive = KeepAlive::Timeout(keep_alive);
    let config = app_config(secure, local);
    let app = factory().into_factory().map_err(|error| {
        let error: actix_web::Error = error.into();
        Response::<BoxBody>::from(error.error_response())
    });
    let app = map_config(app, move |()| config.clone()).new_service(()).await;
    let app = Rc::new(app.map_err(|error| io::Error::other(format!("the App did not start: {error:?}")))?);

    let upgraded = (Rc::clone(&app), layer.clone(), Rc::clone(&watch_over));
    let upgrades = fn_service(move |(request, framed): (Request, Framed<WatchedSocket, Codec>)| {
        let (app, layer, watch_over) = upgraded.clone();
        async move {
            let parts = framed.into_parts();
            let WatchedSocket { socket, connection } = parts.io;
            let handshake =
                takeover::Handshake { request, socket, codec: parts.codec, ahead: parts.read_buf };
            let refused = connection.has_waited();
            if refused {
                counters(&layer).bad_handshake.one();
            }
            takeover::upgrade_behind(app, handshake, &watch_over, &parts.write_buf, refused).await;
            Ok::<(), actix_http::Error>(())
        }
    });
    let requests = (Rc::clone(&app), Rc::clone(&watch_over));
    let http = HttpService::build()
        .keep_alive(keep_alive)
        .client_request_timeout(request_timeout)
        .client_disconnect_timeout(Duration::from_secs(1))
        .local_addr(local)
        .on_connect_ext(|socket: &WatchedSocket, data| drop(data.insert(socket.connection.clone())))
        .upgrade(upgrades)
        .h1(fn_factory(move || {
            let (app, watch_over) = requests.clone();
            let served = apply_fn(app, move |request: Request, app| {
                takeover::mark_http(&request);
                let (connection, watch_over) = (connection_of(&request), Rc::clone(&watch_over));
                let target = watch_over.wants(&request);
                let call = app.call(request);
                async move {
                    let response = watch(connection.clone(), call).await?;
                    if let (Some(target), Some(connection)) = (target, connection)
                        && !connection.has_reached_mount()
                    {
                        watch_over.look_at_page(&target, &response);
                    }
                    Ok(response)
                }
            });
            std::future::ready(Ok::<_, ()>(served))
        }));
    let http = http.new_service(()).await.map_err(|()| io::Error::other("HTTP did not start"))?;
    let http = Rc::new(http);
    let config = ServiceConfigBuilder::new().keep_alive(keep_alive).build();

    Ok(Rc::new(move |socket, peer| {
        let (app, http, config, layer) = (Rc::clone(&app), Rc::clone(&http), config.clone(), layer.clone());
        let watch_over = Rc::clone(&watch_over);
        Box::pin(async move {
            match first(socket, peer, &config, &layer, request_timeout).await {
                First::Handshake(handshake) => takeover::upgrade(app, handshake, &watch_over).await,
                First::Other(socket) => {
                    let served = match poll_fn(|cx| {
                        Service::<(WatchedSocket, Option<SocketAddr>)>::poll_ready(&*http, cx)
                    })
                    .await
                    {
                        Ok(()) => {
                            let socket = WatchedSocket { socket, connection: HttpConnection::default() };
                            http.call((socket, peer)).await
                        }
                        Err(error) => Err(error),
                    };
                    if let Err(error) = served {
                        if matches!(error, DispatchError::Parse(_)) {
                            counters(&layer).bad_request.one();
                        }
                        tracing::debug!(%error, "an HTTP connection ended");
                    }
                }
                First::Nothing => {}
            }
        })
    }))
}

/// The configuration of an App: what it knows of the listener that it serves.
///
/// actix-web marks this constructor as exempt from semantic versioning, but has no other. `AppConfig::new` is private,
/// and issue 3180 of actix-web asks for a public one. `AppConfig::default` says `http` and `127.0.0.1:8080`. With that,
/// `ConnectionInfo`, `url_for` and the scheme of a [`Scope`](crate::Scope) would be wrong behind TLS. Requests with an
/// absolute URI would get some of these right, but would change `HttpRequest::uri`. A running `HttpServer` makes a
/// right configuration, but only for its own sockets. actix-test, which is published together with actix-web, calls
/// this constructor, so a release without it is unlikely.
fn app_config(secure: bool, local: SocketAddr) -> AppConfig {
    AppConfig::__priv_test_new(secure, local.to_string(), local)
}

/// The counters of what happens before a request reaches a consumer.
fn counters(layer: &Layer) -> &Counters {
    &layer.backend().groups().directory().counters
}

/// What a client sent first.
enum First {
    Handshake(takeover::Handshake),
    /// Anything else. actix-http reads the bytes again from the start.
    Other(Socket),
    Nothing,
}

/// Reads what the client sends first.
///
/// A handshake needs only the parser of actix-http. Its dispatcher, which has buffers and timers, would be dropped
/// right after the handshake.
async fn first(
    mut socket: Socket,
    peer: Option<SocketAddr>,
    config: &ServiceConfig,
    layer: &Layer,
    limit: Duration,
) -> First {
    let mut head = BytesMut::with_capacity(HEAD);
    let mut codec = Codec::new(config.clone());
    match time::timeout(limit, socket.read_buf(&mut head)).await {
        Some(Ok(1..)) => {}
        Some(_) => return First::Nothing,
        None => {
            takeover::refuse(socket, codec, Response::new(StatusCode::REQUEST_TIMEOUT)).await;
            return First::Nothing;
        }
    }
    let read = Bytes::copy_from_slice(&head);
    match codec.decode(&mut head) {
        Ok(Some(Message::Item(mut request))) if codec.message_type() == MessageType::Stream => {
            request.head_mut().peer_addr = peer;
            First::Handshake(takeover::Handshake { request, socket, codec, ahead: head })
        }
        // actix-http would log this as an error of the server.
        Err(error) => {
            counters(layer).bad_request.one();
            tracing::debug!(error = %Shown(&error), "a request is malformed: refused");
            let status = match error {
                ParseError::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                _ => StatusCode::BAD_REQUEST,
            };
            takeover::refuse(socket, codec, Response::new(status)).await;
            First::Nothing
        }
        Ok(_) => First::Other(socket.with_ahead(read)),
    }
}
