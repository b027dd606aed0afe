//! How an HTTP request of an App becomes the exchange of a consumer.

use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    HttpRequest, HttpResponse,
    body::{BodySize, MessageBody},
    http::Method,
    web::{self, Bytes, ServiceConfig},
};

use super::{application::Application, server::connection::HttpConnection};
use crate::{
    Scope,
    consumer::{connection::Head, http::Exchange, start::Responding},
};

/// The name that actix-web's router has for a consumer's path.
const PATH: &str = "greenroom";

/// Adds the routes of the HTTP consumers to an App.
pub(super) fn configure(application: &Arc<Application>, config: &mut ServiceConfig) {
    let patterns = application.routes.http_patterns(PATH);
    if patterns.is_empty() {
        return;
    }
    let application = Arc::clone(application);
    let handler = move |request: HttpRequest, payload: web::Payload| {
        let application = Arc::clone(&application);
        async move { exchange(&application, request, payload).await }
    };
    config.service(web::resource(patterns).to(handler));
}

/// Answers one request. The consumer goes on after this call, and the body of the response takes its output.
async fn exchange(application: &Application, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    application.see_app(&request);
    let mut scope = Scope::from_matched(&request, request.match_info().get(PATH).unwrap_or_default());
    scope.set_method(request.method().clone());
    let Some(endpoint) = application.routes.route_http(&mut scope) else {
        return HttpResponse::NotFound().content_type("text/plain; charset=utf-8").body("no such page");
    };
    if !HttpConnection::of(&request).is_none_or(HttpConnection::end_with_client) {
        let text = "end the sending side of the connection after the answer, not before it";
        return HttpResponse::BadRequest().force_close().content_type("text/plain; charset=utf-8").body(text);
    }
    let is_head = request.method() == Method::HEAD;
    match application.exchange(&endpoint, scope, payload).await {
        Ok(responding) => response(responding, is_head).await,
        Err(rejection) => rejection.into(),
    }
}

/// Waits for the headers of an exchange. The body of the response takes what the consumer sends.
pub(crate) async fn response(responding: Responding, is_head: bool) -> HttpResponse {
    let (exchange, Head { status, headers, length }) = match responding.head().await {
        Ok(answered) => answered,
        Err(rejection) => return rejection.into(),
    };
    let mut response = HttpResponse::build(status);
    for header in headers {
        response.append_header(header);
    }
    let size = match length {
        Some(length) => BodySize::Sized(length),
        // Otherwise the head would announce chunks.
        None if exchange.is_bodyless() && !is_head => BodySize::None,
        None => BodySize::Stream,
    };
    response.body(ExchangeBody { exchange, size, given: 0, end: BodyEnd::NotReached })
}

/// The body of a response: drains the outbox. At the end it says whether the response is whole.
struct ExchangeBody {
    exchange: Rc<Exchange>,
    size: BodySize,
    /// How many bytes were given to actix.
    given: u64,
    end: BodyEnd,
}

/// Whether the end of a body was given to actix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyEnd {
    /// The body goes on.
    NotReached,
    /// The response is not whole, and the error will come next.
    ///
    /// First actix has to flush the body up to here, because with an error it drops the bytes that it holds.
    Flushing,
    /// The end was given to actix.
    Given,
}

/// The response is not whole: actix cuts the connection.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the response of a consumer ended early")
    }
}

impl std::error::Error for Cut {}

impl ExchangeBody {
    fn is_whole(&self) -> bool {
        let promised = if let BodySize::Sized(length) = self.size { length } else { 0 };
        self.exchange.is_whole() && (self.given >= promised || self.exchange.is_bodyless())
    }
}

impl MessageBody for ExchangeBody {
    type Error = Cut;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let exchange = Rc::clone(&self.exchange);
        let connection = exchange.connection();
        loop {
            match connection.poll_outbox(cx) {
                // An empty chunk would end the body.
                Poll::Ready(Some(part)) if part.is_empty() => {}
                Poll::Ready(Some(part)) => {
                    self.given += part.len() as u64;
                    return Poll::Ready(Some(Ok(part)));
                }
                Poll::Pending if !connection.has_ended() => return Poll::Pending,
                // This does not wait for `disconnect`, because nothing more can be sent.
                Poll::Pending | Poll::Ready(None) => {
                    let whole = self.is_whole();
                    if !whole && self.end == BodyEnd::NotReached {
                        self.end = BodyEnd::Flushing;
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    self.end = BodyEnd::Given;
                    return Poll::Ready((!whole).then_some(Err(Cut)));
                }
            }
        }
    }
}

impl Drop for ExchangeBody {
    fn drop(&mut self) {
        if self.end != BodyEnd::Given {
            // The client left. Or the response has no body: then the connection has ended already, and nothing changes.
            self.exchange.connection().gone();
        }
    }
}
