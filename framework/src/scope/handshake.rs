//! What a scope has only until its connection is answered: actix's request, the route, and headers for the answer.

use std::{
    any::type_name,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    body::MessageBody as _,
    http::header::{HeaderName, HeaderValue},
    web,
};

use super::{Scope, ScopeError, error::Refusal};

/// What is dropped with the answer. An idle connection keeps one null pointer of it.
#[derive(Default)]
pub(super) struct Handshake {
    /// Headers for the accept or the rejection.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// It keeps the read buffer of its socket alive, so no idle connection may have it.
    request: Option<HttpRequest>,
    route: Option<Arc<MatchedRoute>>,
}

/// The route of a scope, as errors and the log name it.
#[derive(Debug)]
pub(crate) struct MatchedRoute {
    /// The whole pattern, prefixes of outer routers included.
    pub(crate) pattern: String,
    /// Whether the log has said that a consumer of this route asks for a parameter that the pattern does not have.
    told: AtomicBool,
}

impl MatchedRoute {
    pub(crate) fn new(pattern: String) -> Arc<Self> {
        Arc::new(Self { pattern, told: AtomicBool::new(false) })
    }
}

impl Scope {
    /// The [`web::Data<T>`](actix_web::web::Data) of the App: what a handler of actix-web gets as an argument.
    ///
    /// It is found as actix-web finds it: in the innermost scope of the App that has one, or in the App itself, also in
    /// the App of [`Server::app`](crate::Server::app). Take it in the route's function, in a middleware or in `connect`,
    /// and keep it in the consumer. After the answer it cannot be asked for, because no connection keeps actix's request.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use actix_web::{App, web};
    /// use greenroom::{Server, prelude::*};
    ///
    /// struct DbPool;
    ///
    /// #[derive(NoEvents)]
    /// struct Chat { pool: Arc<DbPool> }
    /// impl Consumer for Chat {}
    ///
    /// let routes = UrlRouter::new().route("/chat/", |scope: &Scope| Ok(Chat { pool: scope.data()? }));
    /// let pool = web::Data::new(DbPool);
    /// let server = Server::new(routes)?
    ///     .app(move |mount| App::new().app_data(pool.clone()).configure(mount.configure()));
    /// # Ok::<(), greenroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ScopeError::NoData`] if the App has no such data, [`ScopeError::Answered`] after the answer.
    pub fn data<T: ?Sized + 'static>(&self) -> Result<Arc<T>, ScopeError> {
        let wanted = type_name::<T>();
        let request = self.request(wanted)?;
        let data = request.app_data::<web::Data<T>>().ok_or(ScopeError::NoData { wanted })?;
        Ok(data.clone().into_inner())
    }

    /// A clone of what a middleware of the App has put into the extensions of the request, as `web::ReqData<T>`.
    ///
    /// For example the user that a validator of `actix-web-httpauth` has found. A middleware of Greenroom uses
    /// [`insert`](Self::insert) and [`get`](Self::get) instead.
    ///
    /// ```
    /// use greenroom::{prelude::*, middleware::AuthMiddleware};
    ///
    /// #[derive(Clone)]
    /// struct User { name: String }
    ///
    /// // The consumer finds it by `ctx.scope().user::<User>()`.
    /// let users = AuthMiddleware::new(async |scope: &Scope| Ok(scope.req_data::<User>().ok()));
    /// let router = UrlRouter::new().wrap(users.required());
    /// ```
    ///
    /// # Errors
    /// [`ScopeError::NoReqData`] if the request has no such value, [`ScopeError::Answered`] after the answer.
    pub fn req_data<T: Clone + 'static>(&self) -> Result<T, ScopeError> {
        let wanted = type_name::<T>();
        let request = self.request(wanted)?;
        let extensions = request.extensions();
        extensions.get::<T>().cloned().ok_or(ScopeError::NoReqData { wanted })
    }

    /// Whatever a handler of actix-web can take as an argument, except the body: any extractor.
    ///
    /// For example the `Session` of actix-session, the `Identity` of actix-identity, or the `BearerAuth` of
    /// `actix-web-httpauth`. Call it in a middleware or in `connect`, and keep what you need of it. What a consumer
    /// changes in a session after the answer is not saved. Do not keep an [`HttpRequest`]: it holds the buffer that it
    /// was read into.
    ///
    /// ```
    /// use greenroom::{prelude::*, middleware::AuthMiddleware};
    /// # mod actix_session {
    /// #     pub struct Session;
    /// #     impl Session {
    /// #         pub fn get<T>(&self, _: &str) -> Result<Option<T>, std::io::Error> { Ok(None) }
    /// #     }
    /// #     impl actix_web::FromRequest for Session {
    /// #         type Error = actix_web::Error;
    /// #         type Future = std::future::Ready<Result<Self, Self::Error>>;
    /// #         fn from_request(_: &actix_web::HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
    /// #             std::future::ready(Ok(Self))
    /// #         }
    /// #     }
    /// # }
    /// use actix_session::Session;
    ///
    /// let users = AuthMiddleware::new(async |scope: &Scope| {
    ///     let session = scope.extract::<Session>().await?;
    ///     Ok(session.get::<String>("user")?)
    /// });
    /// let router = UrlRouter::new().wrap(users.required());
    /// ```
    ///
    /// # Errors
    /// [`ScopeError::Refused`] if the extractor fails. The client gets the extractor's answer if that has a status from
    /// 400 to 499, as from a handler, and 500 otherwise. [`ScopeError::Answered`] after the answer.
    pub async fn extract<T: FromRequest>(&self) -> Result<T, ScopeError> {
        let wanted = type_name::<T>();
        let request = self.request(wanted)?;
        T::extract(&request).await.map_err(|error| refused(wanted, &error.into()))
    }

    fn request(&self, wanted: &'static str) -> Result<HttpRequest, ScopeError> {
        self.read_handshake(|handshake| handshake.request.clone()).ok_or(ScopeError::Answered { wanted })
    }

    /// Lets the scope reach what the App knows, up to the answer.
    pub(crate) fn set_request(&self, request: &HttpRequest) {
        self.with_handshake(|handshake| handshake.request = Some(request.clone()));
    }

    pub(crate) fn set_route(&self, route: &Arc<MatchedRoute>) {
        self.with_handshake(|handshake| handshake.route = Some(Arc::clone(route)));
    }

    /// The pattern of the route, up to the answer.
    pub(super) fn pattern(&self) -> Option<String> {
        self.read_handshake(|handshake| handshake.route.as_ref().map(|route| route.pattern.clone()))
    }

    /// Whether the log has said before that a consumer of this route asks for a parameter that the route does not have.
    pub(crate) fn has_told_missing_param(&self) -> bool {
        let route = self.read_handshake(|handshake| handshake.route.clone());
        route.is_some_and(|route| route.told.swap(true, Relaxed))
    }

    /// Takes the headers for the answer, in the order in which they were added, and drops what the scope has only until
    /// the answer.
    pub(crate) fn take_response_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        self.handshake.take().map(|handshake| handshake.headers).unwrap_or_default()
    }

    /// Reads what is there until the answer. After it there is nothing, and nothing is made.
    fn read_handshake<T>(&self, read: impl FnOnce(&Handshake) -> Option<T>) -> Option<T> {
        let handshake = self.handshake.take()?;
        let result = read(&handshake);
        self.handshake.set(Some(handshake));
        result
    }

    /// No code of a user may run in `with`.
    pub(super) fn with_handshake<T>(&self, with: impl FnOnce(&mut Handshake) -> T) -> T {
        let mut handshake = self.handshake.take().unwrap_or_default();
        let result = with(&mut handshake);
        self.handshake.set(Some(handshake));
        result
    }
}

/// The error of an extractor, with the answer that a handler would have given.
fn refused(wanted: &'static str, error: &actix_web::Error) -> ScopeError {
    let reason = error.to_string();
    let response = error.error_response();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.into_body().try_into_bytes().unwrap_or_default();
    ScopeError::Refused(Refusal {
        wanted,
        reason,
        status,
        headers: headers.into_iter().collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("route", &self.route).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    trait Store {
        fn name(&self) -> &'static str;
    }

    impl Store for u8 {
        fn name(&self) -> &'static str {
            "a byte"
        }
    }

    #[test]
    fn data_is_there_until_the_answer() {
        let store: Arc<dyn Store> = Arc::new(1_u8);
        let scope = Scope::builder("/a/?n=3").data(Arc::new(7_u32)).data(store).req_data("ada").build();
        assert_eq!(scope.data::<u32>().as_deref(), Ok(&7));
        assert_eq!(scope.data::<dyn Store>().map(|store| store.name()), Ok("a byte"));
        assert_eq!(scope.req_data::<&str>(), Ok("ada"));
        let query = scope.extract::<web::Query<Vec<(String, u8)>>>().now_or_never().unwrap().unwrap();
        assert_eq!(query.into_inner(), [("n".to_owned(), 3)]);

        assert_eq!(scope.data::<u8>(), Err(ScopeError::NoData { wanted: "u8" }));
        assert_eq!(scope.req_data::<u8>(), Err(ScopeError::NoReqData { wanted: "u8" }));
        scope.take_response_headers();
        assert_eq!(scope.data::<u32>(), Err(ScopeError::Answered { wanted: "u32" }));
        assert_eq!(scope.req_data::<&str>(), Err(ScopeError::Answered { wanted: "&str" }));
    }

    #[test]
    fn an_extractor_that_refuses_keeps_its_answer() {
        let scope = Scope::builder("/a/?n=x").data(Arc::new(7_u32)).build();
        let error = scope.extract::<web::Query<Vec<(String, u8)>>>().now_or_never().unwrap().unwrap_err();
        let ScopeError::Refused(refusal) = &error else { panic!("{error}") };
        assert_eq!(refusal.status, 400);
        assert!(error.to_string().contains("refused the request with 400"), "{error}");
    }
}
