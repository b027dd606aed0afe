//! A client of one HTTP consumer, without a socket.

use std::{
    cell::OnceCell,
    fmt,
    future::{Future, poll_fn},
    ops::Deref,
    pin::Pin,
    rc::{Rc, Weak},
    time::Duration,
};

use actix_web::{
    FromRequest as _, HttpResponse,
    body::{BodySize, BoxBody, MessageBody as _},
    http::{Method, header},
    test::TestRequest,
    web,
};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{CommunicatorError, communicator::RECEIVE_TIMEOUT};
use crate::{
    ChannelName, Drain, HttpConsumer, Mount, Result, Scope, UrlRouter,
    consumer::connection::Connection,
    host::{application::Application, http},
    runtime,
    scope::ScopeBuilder,
    time::{FOREVER, from_now},
};

/// How often the request is looked at before the thread is left alone for [`PAUSE`].
const LOOKS: usize = 16;
/// How long the thread is left alone between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// An HTTP client of a [`Mount`], on the same thread and without a socket. In Channels this is `HttpCommunicator`.
///
/// It reaches the routes of [`UrlRouter::http`], with their middleware and limits. Routes of an App are not among them: ask
/// them through a [`LiveServer`](super::LiveServer). Waits follow the clock that [`pause`](super::pause) stops.
///
/// ```
/// use greenroom::{Body, HttpConsumer, HttpContext, Mount, prelude::*, testing::HttpCommunicator};
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// struct News {
///     text: String,
/// }
///
/// /// A long poll: the answer is the next piece of news.
/// struct NextNews;
///
/// impl HttpConsumer for NextNews {
///     async fn handle(&mut self, _body: Body, ctx: &mut HttpContext) -> Result<()> {
///         ctx.group_add(&GroupName::new("news")?).await?;
///         ctx.keep_open();
///         Ok(())
///     }
/// }
///
/// #[event_handlers]
/// impl NextNews {
///     async fn news(&mut self, event: &News, ctx: &mut HttpContext) -> Result<()> {
///         ctx.send_json(200, event)
///     }
/// }
///
/// # #[actix_web::main]
/// # async fn main() -> Result<()> {
/// let mount = Mount::new(UrlRouter::new().http("/news/next", |_: &Scope| Ok(NextNews)))?;
/// let mut client = HttpCommunicator::new(&mount, "GET", "/news/next");
/// client.send().await?; // returns when the consumer has answered, or waits for events
/// mount.default_layer().group_send(&GroupName::new("news")?, News { text: "hello".to_owned() }).await?;
/// let answer = client.response().await?;
/// assert_eq!((answer.status, answer.json::<News>()?.text.as_str()), (200, "hello"));
/// client.leave().await;
/// # Ok(())
/// # }
/// ```
///
/// A stream is read part by part: [`head`](Self::head), then [`receive_part`](Self::receive_part).
pub struct HttpCommunicator {
    application: Rc<Application>,
    method: Method,
    scope: Option<ScopeBuilder>,
    body: Bytes,
    drain: Drain,
    timeout: Duration,
    exchange: State,
    /// The connection, when the consumer has started.
    connection: Rc<OnceCell<Weak<Connection>>>,
}

/// How far the exchange has come.
enum State {
    NotSent,
    /// The headers have not come yet.
    Waiting(Pin<Box<dyn Future<Output = HttpResponse>>>),
    Answered(HttpHead, BoxBody),
}

/// The status and the headers of a response.
///
/// [`HttpCommunicator`] has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpHead {
    /// The status.
    pub status: u16,
    /// The headers, including cookies. The names are in lower case.
    pub headers: Vec<(String, String)>,
}

impl HttpHead {
    /// The value of a header, the first if there are several.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }

    fn of(response: &HttpResponse) -> Self {
        let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
        let mut headers: Vec<_> = headers.collect();
        if let BodySize::Sized(length) = response.body().size() {
            // The host writes it, and not the consumer.
            headers.push((header::CONTENT_LENGTH.as_str().to_owned(), length.to_string()));
        }
        Self { status: response.status().as_u16(), headers }
    }
}

/// A whole response. It derefs to its [`HttpHead`]: `answer.status`.
///
/// [`HttpCommunicator`] has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpAnswer {
    /// The status and the headers.
    pub head: HttpHead,
    /// The body, or what was left of it.
    pub body: Bytes,
}

impl HttpAnswer {
    /// The body as text. Bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// [`CommunicatorError::Json`] if it does not fit `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, CommunicatorError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| CommunicatorError::Json { text: self.text(), reason: error.to_string() })
    }
}

impl Deref for HttpAnswer {
    type Target = HttpHead;

    fn deref(&self) -> &HttpHead {
        &self.head
    }
}

impl HttpCommunicator {
    /// A client that will request `target` from `mount`: a path with or without a query.
    ///
    /// # Panics
    /// If `method` is not a method of HTTP.
    #[must_use]
    pub fn new(mount: &Mount, method: &str, target: &str) -> Self {
        let drain = mount.drain_of().sibling();
        let application = Rc::new(mount.clone().drain(drain.clone()).application());
        let method =
            Method::from_bytes(method.as_bytes()).unwrap_or_else(|_| panic!("{method:?} is no method"));
        Self {
            application,
            method,
            scope: Some(Scope::builder(target)),
            body: Bytes::new(),
            drain,
            timeout: RECEIVE_TIMEOUT,
            exchange: State::NotSent,
            connection: Rc::default(),
        }
    }

    /// A client of one consumer, without routes. The path is `/`.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn of<C: HttpConsumer>(
        method: &str,
        make: impl Fn(&Scope) -> Result<C> + Send + Sync + 'static,
    ) -> Self {
        let mount = Mount::new(UrlRouter::new().http("/", make)).expect("one valid route");
        Self::new(&mount, method, "/")
    }

    /// Adds a header to the request.
    ///
    /// # Panics
    /// If a request cannot have such a name or value.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with_scope(|scope| scope.header(name, value))
    }

    /// Sets the body of the request, and its `Content-Length`. Default: an empty body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets `value` as JSON as the body of the request, with its `Content-Type`.
    ///
    /// # Panics
    /// If the value cannot be written as JSON.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        let body = serde_json::to_vec(value).expect("the value can be written as JSON");
        self.header("content-type", "application/json").body(body)
    }

    /// How long the client waits for each thing that it waits for. Default 10 s.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time.min(FOREVER);
        self
    }

    /// Changes the scope of the request, for example the client's address or the scheme.
    #[must_use]
    pub fn with_scope(mut self, change: impl FnOnce(ScopeBuilder) -> ScopeBuilder) -> Self {
        self.scope = self.scope.map(change);
        self
    }

    /// Sends the request, and waits until the consumer has answered, or has kept the exchange open and waits for events.
    ///
    /// So a test can send an event to the groups that `handle` joins. [`response`](Self::response), [`head`](Self::head) and
    /// [`receive_part`](Self::receive_part) send the request themselves if this was not called. A second call does nothing.
    ///
    /// # Errors
    /// [`CommunicatorError::Timeout`] if `handle` still runs after the [`timeout`](Self::timeout).
    ///
    /// # Panics
    /// Outside of actix's runtime: call it in an `#[actix_web::test]`.
    pub async fn send(&mut self) -> Result<(), CommunicatorError> {
        self.begin();
        let deadline = from_now(self.timeout);
        loop {
            for _ in 0..LOOKS {
                if let State::Waiting(response) = &mut self.exchange
                    && let Some(response) = response.now_or_never()
                {
                    self.exchange = answered(response);
                }
                let is_waiting = matches!(self.exchange, State::Waiting(_));
                if !is_waiting || self.started().is_some_and(|connection| !connection.is_busy()) {
                    return Ok(());
                }
                tokio::task::yield_now().await;
            }
            if Instant::now() >= deadline {
                return Err(CommunicatorError::Timeout(self.timeout));
            }
            // Not only yields: a clock that stands still moves when the thread has nothing to do.
            sleep(PAUSE).await;
        }
    }

    /// Waits for the status and the headers. The body may still come.
    ///
    /// A rejection, and a path without a consumer, are answers like any other: 403, 404.
    ///
    /// # Errors
    /// [`CommunicatorError::Timeout`] after the [`timeout`](Self::timeout).
    pub async fn head(&mut self) -> Result<HttpHead, CommunicatorError> {
        let limit = self.timeout;
        let (head, _) =
            timeout(limit, self.answered()).await.map_err(|_| CommunicatorError::Timeout(limit))?;
        Ok(head.clone())
    }

    /// Waits for the next part of the body, as the consumer has sent it; `None` at the end of the body.
    ///
    /// # Errors
    /// [`CommunicatorError::Cut`] if the response ended before it was whole, [`CommunicatorError::Timeout`] after the
    /// [`timeout`](Self::timeout).
    pub async fn receive_part(&mut self) -> Result<Option<Bytes>, CommunicatorError> {
        let limit = self.timeout;
        let part = async {
            let (_, body) = self.answered().await;
            next_part(body).await
        };
        timeout(limit, part).await.map_err(|_| CommunicatorError::Timeout(limit))?
    }

    /// Waits for the whole response. After [`receive_part`](Self::receive_part) the body is what was left of it.
    ///
    /// # Errors
    /// As [`receive_part`](Self::receive_part). All of the response has to come within the [`timeout`](Self::timeout), so a
    /// stream without an end is an error.
    pub async fn response(&mut self) -> Result<HttpAnswer, CommunicatorError> {
        let (limit, deadline) = (self.timeout, from_now(self.timeout));
        let whole = async {
            let (head, body) = self.answered().await;
            let mut whole = BytesMut::new();
            while let Some(part) = next_part(body).await? {
                whole.extend_from_slice(&part);
            }
            Ok(HttpAnswer { head: head.clone(), body: whole.freeze() })
        };
        timeout_at(deadline, whole).await.map_err(|_| CommunicatorError::Timeout(limit))?
    }

    /// Leaves: the connection ends, whether the response is whole or not. Waits until the consumer's `disconnect` has run.
    pub async fn leave(mut self) {
        self.exchange = State::NotSent;
        self.drain.empty().await;
    }

    /// The channel name of this client's consumer, for [`Layer::send`](crate::Layer::send). `None` before it has started, and
    /// after it has ended.
    #[must_use]
    pub fn channel_name(&self) -> Option<ChannelName> {
        self.started().map(|connection| connection.channel_name())
    }

    /// The connection of the consumer, after it has started and before it has ended.
    fn started(&self) -> Option<Rc<Connection>> {
        self.connection.get()?.upgrade()
    }

    /// Ends this exchange as a server does when it shuts down.
    ///
    /// Returns how many exchanges were left at the deadline: 0 or 1. A body that the test has not read is left.
    pub async fn shut_down(&mut self, deadline: Duration) -> usize {
        let drain = self.drain.clone();
        // The host of a server goes on with the request meanwhile.
        let host = async {
            self.answered().await;
            std::future::pending().await
        };
        tokio::select! {
            left = drain.drain(deadline) => left,
            left = host => left,
        }
    }

    /// Makes the request, if that was not done yet.
    fn begin(&mut self) {
        let Some(mut scope) = self.scope.take() else { return };
        runtime::require_actix();
        let body = std::mem::take(&mut self.body);
        if !body.is_empty() {
            scope = scope.header("content-length", body.len().to_string());
        }
        let mut scope = scope.build();
        scope.set_method(self.method.clone());
        let (application, connection) = (Rc::clone(&self.application), Rc::clone(&self.connection));
        let is_head = self.method == Method::HEAD;
        self.exchange = State::Waiting(Box::pin(async move {
            let Some(endpoint) = application.routes.route_http(&mut scope) else {
                return HttpResponse::NotFound()
                    .content_type("text/plain; charset=utf-8")
                    .body("no such page");
            };
            let (request, mut payload) = TestRequest::default().set_payload(body).to_http_parts();
            let payload = match web::Payload::from_request(&request, &mut payload).await {
                Ok(payload) => payload,
                Err(error) => return error.error_response(),
            };
            match application.exchange(&endpoint, scope, payload).await {
                Ok(responding) => {
                    // A request is made only once.
                    let _ = connection.set(Rc::downgrade(responding.exchange().connection()));
                    http::response(responding, is_head).await
                }
                Err(rejection) => rejection.into(),
            }
        }));
    }

    /// Waits for the headers.
    async fn answered(&mut self) -> (&HttpHead, &mut BoxBody) {
        self.begin();
        if let State::Waiting(response) = &mut self.exchange {
            let response = response.await;
            self.exchange = answered(response);
        }
        match &mut self.exchange {
            State::Answered(head, body) => (head, body),
            // `begin` has left `NotSent`, and nothing goes back to it but `leave`.
            State::NotSent | State::Waiting(_) => unreachable!("the request was sent and answered"),
        }
    }
}

fn answered(response: HttpResponse) -> State {
    State::Answered(HttpHead::of(&response), response.into_body())
}

async fn next_part(body: &mut BoxBody) -> Result<Option<Bytes>, CommunicatorError> {
    let part = poll_fn(|cx| Pin::new(&mut *body).poll_next(cx)).await;
    part.transpose().map_err(|_| CommunicatorError::Cut)
}

impl fmt::Debug for HttpCommunicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCommunicator").field("method", &self.method).finish_non_exhaustive()
    }
}
