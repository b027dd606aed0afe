//! Answers the requests of clients without a WebSocket, and checks whether they are allowed.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    guard::GuardContext,
    http::{
        Method,
        header::{self, HeaderValue},
    },
    web,
};
use bytes::BytesMut;
use futures_util::StreamExt as _;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{application::Application, server::connection::HttpConnection};
use crate::{
    Fallback, Scope,
    close::CloseCode,
    consumer::connection::places::Introduction,
    middleware,
    shown::Shown,
    time,
    transport::fallback::{
        body::{self, BodyError, SMALL_BODY},
        bound::Bound,
        events::EventsBody,
        intake::{Intake, PostedReader},
        kept::WINDOW,
        refusal::Refusal,
        session::{Command, MOST_COMMANDS, Session, SessionAnswer},
        table::{Bringing, Door, Id},
    },
    wire::{
        history::resume::{self, ResumeRequest},
        websocket::handshake,
    },
};

/// The query parameter that says what a request asks for.
const PARAMETER: &str = "greenroom";
/// A header that a page of another site cannot send.
const OWN_HEADER: &str = "greenroom-client";
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long messages of a client wait for room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client should wait before it sends again, if there was no room.
const ROOM_RETRY: Duration = Duration::from_secs(1);
/// How long a client should wait before it tries a full server again.
const FULL_RETRY: Duration = Duration::from_secs(10);
/// How long a browser may keep the answer to a preflight, in seconds. Browsers allow no longer time.
const PREFLIGHT_AGE: &str = "7200";

/// Whether a request belongs to the fallback protocol. A handshake with the parameter asks for the marked form.
pub(super) fn is_asked_for(ctx: &GuardContext<'_>) -> bool {
    !handshake::is_asked_for(ctx.head().headers())
        && ctx.head().uri.query().is_some_and(|query| pairs(query).any(|(name, _)| name == PARAMETER))
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// How the client of a WebSocket is introduced, by the query of its handshake. `None` if it does not ask for it.
pub(super) fn introduction(query: &str) -> Option<Introduction> {
    let has = |wanted: &str, value: &str| pairs(query).any(|(name, given)| name == wanted && given == value);
    // A client of a later version is introduced as one of this version.
    if !has(PARAMETER, "socket") {
        return None;
    }
    Some(if has("resume", "1") { Introduction::Awaited } else { Introduction::New })
}

/// The client's own part of the query of such a handshake: without what asks for the introduction.
pub(super) fn own_query(query: &str) -> String {
    let mut asks = false;
    let is_own = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        asks |= name == PARAMETER;
        !(name == PARAMETER || (asks && matches!(name, "resume" | "v")))
    };
    query.split('&').filter(is_own).collect::<Vec<_>>().join("&")
}

/// Answers one request.
pub(super) async fn serve(
    application: &Application,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let allowed = allowed_origin(&request, application);
    if let Some(connection) = HttpConnection::of(&request) {
        // If the client has ended its side before, it may still read. A held request ends in time anyway.
        connection.end_with_client();
    }
    let answer = if *request.method() == Method::OPTIONS {
        preflight(&request, allowed.is_some())
    } else {
        answer(application, request, payload).await
    };
    let mut response = answer.unwrap_or_else(HttpResponse::from);
    let headers = response.headers_mut();
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    }
    response
}

/// The request's origin, if it is another one whose pages may send requests (CORS). The route's validators say so.
fn allowed_origin(request: &HttpRequest, application: &Application) -> Option<HeaderValue> {
    let mut origins = request.headers().get_all(header::ORIGIN);
    let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
    let text = origin.to_str().ok()?;
    // A page of the own origin needs no permission to read. Most requests are of such pages, and cost no route here.
    let is_own = text.split_once("://").is_some_and(|(_, host)| host == host_of(request));
    (!is_own && application.routes.allows_origin(Scope::path_of(request), text)).then(|| origin.clone())
}

/// The request's `Host`.
fn host_of(request: &HttpRequest) -> &str {
    request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

/// Answers a browser that asks whether a page of another origin may send a request.
fn preflight(request: &HttpRequest, allowed: bool) -> Result<HttpResponse, Refusal> {
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        return Err(Refusal::method("GET, POST"));
    };
    if !allowed {
        // The browser sends no other request, so this is all that the log can tell.
        let origin = String::from_utf8_lossy(origin.as_bytes());
        middleware::note_denied(&origin, host_of(request), request.path());
        return Err(Refusal::origin());
    }
    Ok(HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"))
        .insert_header((
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, greenroom-client, last-event-id",
        ))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE))
        .finish())
}

async fn answer(
    application: &Application,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let asked = pairs(&query).find(|(name, _)| *name == PARAMETER).map_or("", |(_, value)| value);
    let needed = match asked {
        "poll" | "events" => Method::GET,
        "open" | "send" | "ack" | "close" => Method::POST,
        _ => {
            let known = "the parameter greenroom must be open, poll, events, send, ack or close";
            return Err(Refusal::bad_request(known));
        }
    };
    if *request.method() != needed {
        return Err(Refusal::method(if needed == Method::GET { "GET" } else { "POST" }));
    }
    // A form on a page of another site cannot send the first header. If an origin is sent, it is compared below.
    let headers = request.headers();
    if needed == Method::POST && !headers.contains_key(OWN_HEADER) && !headers.contains_key(header::ORIGIN) {
        return Err(Refusal::forged());
    }
    if asked == "open" {
        // Boxed, as below: a poll that waits for long must not be as large as the largest of these futures.
        return Box::pin(open(application, request, &query, payload)).await;
    }
    let door = find(application, &request, &query)?;
    match asked {
        "poll" => poll(&door, &application.fallback.settings, &query).await,
        "events" => events(&door, &request, &query).await,
        "send" => Box::pin(send(&door, &request, &query, payload)).await,
        "ack" => acknowledge(&door, &query).await,
        _ => Box::pin(close(&door, payload)).await,
    }
}

/// A number in the query.
fn number(query: &str, name: &'static str) -> Result<Option<u64>, Refusal> {
    match pairs(query).find(|(known, _)| *known == name) {
        None => Ok(None),
        Some((_, value)) => match value.parse() {
            Ok(number) if value.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(number)),
            _ => Err(Refusal::bad_request(format!("{name} is not a number"))),
        },
    }
}

fn ack(query: &str) -> Result<u64, Refusal> {
    Ok(number(query, "ack")?.unwrap_or(0))
}

/// The session that a request names, if it belongs to the client.
fn find(application: &Application, request: &HttpRequest, query: &str) -> Result<Arc<Door>, Refusal> {
    let table = &application.fallback;
    let Some((_, id)) = pairs(query).find(|(name, _)| *name == "id") else {
        return Err(Refusal::bad_request("the parameter id is missing"));
    };
    let door = match Id::parse(id) {
        Id::Ours(id) => table.find(id).ok_or_else(Refusal::unknown)?,
        Id::Others => return Err(Refusal::other_server()),
        Id::Malformed => return Err(Refusal::unknown()),
    };
    if !door.bound.admits(request, &table.settings) {
        tracing::info!(
            path = ?Shown(request.path()),
            "a request was refused: its connection belongs to another origin, user or path"
        );
        return Err(Refusal::foreign());
    }
    Ok(door)
}

/// Hands a command to its session, without waiting for the answer.
fn tell(door: &Door, command: Command) -> Result<(), Refusal> {
    door.commands.try_send(Box::new(command)).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => Refusal::too_many(),
        mpsc::error::TrySendError::Closed(_) => Refusal::unknown(),
    })
}

/// The HTTP response for the answer of a session.
fn respond(answer: Option<SessionAnswer>) -> Result<HttpResponse, Refusal> {
    match answer {
        Some(SessionAnswer::Batch(json)) => {
            Ok(HttpResponse::Ok().content_type("application/json").body(json))
        }
        Some(SessionAnswer::Nothing | SessionAnswer::Done) => Ok(HttpResponse::NoContent().finish()),
        Some(SessionAnswer::Superseded) => Err(Refusal::superseded()),
        Some(SessionAnswer::Bad(message)) => Err(Refusal::bad_request(message)),
        None => Err(Refusal::unknown()),
    }
}

/// Reads a body; `None` if it has more bytes than `most`.
async fn read(mut payload: web::Payload, most: usize) -> Result<Option<BytesMut>, Refusal> {
    let reading = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Refusal::bad_request("the body broke off"))?;
            if body.len() + chunk.len() > most {
                return Ok(None);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body))
    };
    time::timeout(BODY_TIMEOUT, reading).await.unwrap_or_else(|| Err(Refusal::slow()))
}

fn shape(error: BodyError) -> Refusal {
    match error {
        BodyError::Shape(text) => Refusal::bad_request(text),
        BodyError::TooLarge => Refusal::too_large(SMALL_BODY),
    }
}

async fn open(
    application: &Application,
    request: HttpRequest,
    query: &str,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal> {
    application.see_app(&request);
    let table = &application.fallback;
    let mut scope = Scope::from_request(&request);
    let own: Vec<_> = query.split('&').filter(|pair| pair.split('=').next() != Some(PARAMETER)).collect();
    scope.set_query(&own.join("&"));
    let Some(endpoint) = application.routes.route(&mut scope) else {
        tracing::info!(
            path = ?Shown(request.path()),
            "there is no route for this client without a WebSocket: answered 404"
        );
        return Err(Refusal::no_route());
    };
    let bound = Bound::of(&request, &table.settings);
    let most = SMALL_BODY + resume::LARGEST;
    let body = read(payload, most).await?.ok_or_else(|| Refusal::too_large(most))?;
    scope.set_subprotocols(&body::protocols(&body).map_err(shape)?);
    let (introduction, introduced) = body::resume(&body).map_err(shape)?.map(introduction_of).unzip();
    // Sessions that have ended, and whose client has yet to be told, count too.
    let Some(place) = application.reserve_session() else {
        return Err(Refusal::busy("the server is full, try again later", FULL_RETRY));
    };
    let message_size = application.limits_of(&endpoint).message_size;
    let intake = Rc::new(Intake::default());
    let input = Box::new(PostedReader::new(&intake));
    let opened = application.open_fallback(&endpoint, scope, place, introduction, input).await;
    let (connection, accepted, places) = match opened {
        Ok(opened) => opened,
        Err(rejection) => return Ok(rejection.into()),
    };
    let (commands, receiver) = mpsc::channel(MOST_COMMANDS);
    let Some(listed) = table.enter(Door::new(commands, bound, message_size), places) else {
        tracing::error!("the system gave no random bytes for the id of a session");
        connection.gone();
        return Err(Refusal::busy("the server cannot make an id", FULL_RETRY));
    };
    let mut answer = serde_json::json!({
        "id": listed.id(),
        "protocol": accepted.subprotocol,
        "wait": table.settings.wait.as_secs(),
        "expires": table.settings.expires.as_secs_f64(),
        "limit": message_size,
    });
    Session::start(listed, receiver, intake, connection);
    if let Some(introduced) = introduced
        // It fails if the connection has ended meanwhile. The next poll then says so.
        && let Ok(control) = introduced.await
    {
        answer["control"] = serde_json::from_str(&control).unwrap_or_default();
    }
    let mut response = HttpResponse::Ok();
    for header in accepted.headers {
        response.append_header(header);
    }
    Ok(response.json(answer))
}

/// How a client is introduced that has asked for it: in the answer to its `open`.
fn introduction_of(request: ResumeRequest) -> (Introduction, oneshot::Receiver<String>) {
    let (answer, introduced) = oneshot::channel();
    // Who names nothing has been nowhere before.
    let request = Some(request).filter(|request| !request.was.is_empty() || !request.logs.is_empty());
    (Introduction::Answer(request, answer), introduced)
}

async fn poll(door: &Door, settings: &Fallback, query: &str) -> Result<HttpResponse, Refusal> {
    let most = settings.wait;
    let wait = number(query, "wait")?.map_or(most, |seconds| Duration::from_secs(seconds).min(most));
    let (reply, answer) = oneshot::channel();
    tell(door, Command::Poll { ack: ack(query)?, hold: !wait.is_zero(), reply })?;
    if wait.is_zero() {
        return respond(answer.await.ok());
    }
    match timeout(wait, answer).await {
        Ok(answer) => respond(answer.ok()),
        // If a batch was made at this very moment, it is sent again with the next poll.
        Err(_) => respond(Some(SessionAnswer::Nothing)),
    }
}

async fn events(door: &Door, request: &HttpRequest, query: &str) -> Result<HttpResponse, Refusal> {
    let last = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
    let ack = ack(query)?.max(last.and_then(|last| last.parse().ok()).unwrap_or(0));
    let (reply, answer) = oneshot::channel();
    // As many batches as a client may leave unacknowledged. A stream that takes no more has ended.
    let (out, batches) = mpsc::channel(WINDOW);
    let (life, alive) = oneshot::channel();
    tell(door, Command::Events { ack, out, life, reply })?;
    match answer.await {
        Ok(SessionAnswer::Done) => Ok(HttpResponse::Ok()
            .content_type("text/event-stream")
            .insert_header((header::CACHE_CONTROL, "no-store, no-transform"))
            // Otherwise nginx would hold the events back.
            .insert_header(("x-accel-buffering", "no"))
            .body(EventsBody::new(batches, alive))),
        answer => respond(answer.ok()),
    }
}

/// A place for a body that is being read. A session has only a few of them.
fn bring(door: &Arc<Door>) -> Result<Bringing, Refusal> {
    door.bring().ok_or_else(Refusal::too_many)
}

async fn send(
    door: &Arc<Door>,
    request: &HttpRequest,
    query: &str,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal> {
    let is_json = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(Refusal::media_type());
    }
    let ack = ack(query)?;
    let Some(seq) = number(query, "seq")? else {
        return Err(Refusal::bad_request("the parameter seq is missing"));
    };
    let _bringing = bring(door)?;
    let size = door.message_size;
    let messages = match read(payload, body::largest(size)).await? {
        Some(body) => body::messages(&body, size),
        None => Err(BodyError::TooLarge),
    };
    let messages = match messages {
        Ok(messages) => messages,
        Err(BodyError::Shape(text)) => {
            tell(
                door,
                Command::Fail { code: CloseCode::INVALID_DATA, reason: "not the protocol's JSON".into() },
            )?;
            return Err(Refusal::bad_request(text));
        }
        Err(BodyError::TooLarge) => {
            let too_big = format!("the message has more than {size} bytes (Limits::message_size)");
            tell(door, Command::Fail { code: CloseCode::TOO_BIG, reason: too_big.into() })?;
            return Err(Refusal::too_large(size));
        }
    };
    let (reply, answer) = oneshot::channel();
    tell(door, Command::Send { seq, ack, messages, reply })?;
    match timeout(ROOM_TIMEOUT, answer).await {
        Ok(answer) => respond(answer.ok()),
        // The receiver of the answer is dropped. So the session takes none of these messages.
        Err(_) => Err(Refusal::busy("the consumer takes no more now", ROOM_RETRY)),
    }
}

async fn acknowledge(door: &Door, query: &str) -> Result<HttpResponse, Refusal> {
    let Some(ack) = number(query, "ack")? else {
        return Err(Refusal::bad_request("the parameter ack is missing"));
    };
    let (reply, answer) = oneshot::channel();
    tell(door, Command::Ack { ack, reply })?;
    respond(answer.await.ok())
}

async fn close(door: &Arc<Door>, payload: web::Payload) -> Result<HttpResponse, Refusal> {
    let _bringing = bring(door)?;
    let body = read(payload, SMALL_BODY).await?.ok_or_else(|| Refusal::too_large(SMALL_BODY))?;
    let (code, reason) = body::close(&body).map_err(shape)?;
    let (reply, answer) = oneshot::channel();
    tell(door, Command::Close { code, reason, reply })?;
    respond(answer.await.ok())
}
