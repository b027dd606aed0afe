//! The App of a worker: built once for each listener, called for requests and for handshakes.

use std::{fmt, net::SocketAddr, rc::Rc, time::Duration};

use actix_codec::Framed;
use actix_http::{
    HttpService, KeepAlive, Request, Response,
    body::{BoxBody, MessageBody},
    error::DispatchError,
    h1::Codec,
};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_factory, fn_service, map_config,
};
use actix_web::dev::AppConfig;
use tokio::sync::OnceCell;

use crate::{host::takeover, transport::socket::Socket};

/// How a listener speaks HTTP/1.1.
#[derive(Debug, Clone)]
pub(super) struct Http {
    pub(super) request_timeout: Duration,
    pub(super) keep_alive: Duration,
    /// Whether it is behind TLS.
    pub(super) secure: bool,
    pub(super) local: SocketAddr,
}

/// What serves the sockets of one listener on one worker.
pub(super) fn service<F, I, S, B>(
    factory: &F,
    http: Http,
) -> impl ServiceFactory<
    (Socket, Option<SocketAddr>),
    Config = (),
    Response = (),
    Error = DispatchError,
    InitError = (),
> + use<F, I, S, B>
where
    F: Fn() -> I,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let Http { request_timeout, keep_alive, secure, local } = http;
    let factory = factory().into_factory().map_err(|error| {
        let error: actix_web::Error = error.into();
        Response::<BoxBody>::from(error.error_response())
    });
    // There is no other way to tell an App that it is behind TLS; actix's own test kit uses it.
    let config = AppConfig::__priv_test_new(secure, local.to_string(), local);
    let factory = map_config(factory, move |()| config.clone());
    // Asked for twice, built once: an App gives its routes to the first service that it makes.
    let shared = Rc::new((factory, OnceCell::new()));
    let app = Rc::new(move || {
        let shared = Rc::clone(&shared);
        async move {
            let (factory, built) = &*shared;
            built.get_or_try_init(|| async { factory.new_service(()).await.map(Rc::new) }).await.cloned()
        }
    });
    let for_upgrades = Rc::clone(&app);
    let upgrades = fn_factory(move || {
        let app = for_upgrades();
        async move {
            let app = app.await?;
            Ok::<_, S::InitError>(fn_service(move |(request, framed): (Request, Framed<Socket, Codec>)| {
                let app = Rc::clone(&app);
                async move {
                    takeover::upgrade(app, request, framed).await;
                    Ok::<(), actix_http::Error>(())
                }
            }))
        }
    });
    HttpService::build()
        .keep_alive(KeepAlive::Timeout(keep_alive))
        .client_request_timeout(request_timeout)
        .client_disconnect_timeout(Duration::from_secs(1))
        // Otherwise a client that leaves a request that waits goes unseen.
        .h1_allow_half_closed(false)
        .local_addr(local)
        .upgrade(upgrades)
        .h1(fn_factory(move || app()))
}
