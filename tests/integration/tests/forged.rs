//! Clients and peers cannot forge lines of the log, send commands to a terminal through it, or fill it.

use greenroom::{
    Body, ChannelName, ChannelNameRouter, Drain, Envelope, Error, HttpConsumer, HttpContext, Layer, Limits,
    MemoryLayer, Mount, Worker, WorkerContext, error::InputError, middleware::from_fn, prelude::*,
    testing::LiveServer,
};
use greenroom::{Serve, Server};
use integration_tests::{
    clients::{EventStream, LongPolling, Polling, TestClient, WebSocket},
    eventually,
    http::Http,
    log,
    raw::{Raw, Request},
};

/// What stands before every text of these tests. No other test writes it.
const MARK: &str = "forged";
/// How many bytes a line may have: the text, with each character escaped, and all that stands around it.
const LONGEST: usize = 4 << 10;

/// A text that would be lines of its own, colour a terminal, and turn the direction of what follows.
fn evil(name: &str, size: usize) -> String {
    let start = format!(
        "{MARK}-{name}\n2030-01-01T00:00:00Z ERROR root: {MARK} \r\u{1b}[31m\u{9b}2J\u{202e}\u{2028}\0"
    );
    format!("{start}{}{MARK}-{name}\n", "x".repeat(size.saturating_sub(start.len())))
}

/// The parts of the log that have this name: each must be one short line of plain characters.
fn plain_lines(name: &str) -> Vec<String> {
    let found = log::lines(&[&format!("{MARK}-{name}")]);
    for line in &found {
        let text = line.strip_suffix('\n').expect("a line ends with its line break");
        let odd: String = text
            .chars()
            .filter(|c| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
            .collect();
        assert!(odd.is_empty(), "{odd:?} in {}", &text[..text.len().min(300)]);
        assert!(line.len() <= LONGEST, "a line of {} bytes: {}", line.len(), &text[..300]);
    }
    found
}

async fn logged(name: &str, what: &str) {
    eventually(&format!("{what} of {name} is in the log"), || {
        plain_lines(name).iter().any(|line| line.contains(what))
    })
    .await;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Kind {
    Known,
}

/// Reads JSON without the library.
fn parse(text: &str) -> Result<()> {
    serde_json::from_str::<Kind>(&serde_json::to_string(text)?)?;
    Ok(())
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("forged.handled")]
struct Handled {
    text: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("forged.relayed")]
struct Relayed {
    text: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("forged.judged")]
struct Judged {
    kind: Kind,
}

/// Fails in the hook that the first word of a message names, with the rest of the message as its text.
#[derive(Default)]
struct Victim {
    at_end: Option<String>,
    at_drop: Option<String>,
}

impl Consumer for Victim {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        if let Some(text) = ctx.scope().query_param("connect") {
            parse(&text)?;
        }
        ctx.accept()
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let text = message.text()?;
        let Some((what, text)) = text.split_once(' ') else {
            message.json::<Kind>()?;
            return Ok(());
        };
        let event = ctx.channel_name().clone();
        match what {
            "json" => {
                Message::Text(text.into()).json::<Kind>()?;
            }
            "own" => parse(text)?,
            "panic" => std::panic::resume_unwind(Box::new(text.to_owned())),
            "name" => drop(GroupName::new(text)?),
            "handler" => ctx.layer().send(&event, Handled { text: text.to_owned() }).await?,
            "relay" => {
                let group = GroupName::new("forged")?;
                ctx.group_add(&group).await?;
                ctx.group_send(&group, Relayed { text: text.to_owned() }).await?;
            }
            "event" => ctx.layer().send(&event, named(text)).await?,
            "unfit" => ctx.layer().send(&event, unfit(text)).await?,
            "end" => {
                self.at_end = Some(text.to_owned());
                ctx.close();
            }
            "drop" => {
                self.at_drop = Some(text.to_owned());
                ctx.close();
            }
            other => panic!("{other}"),
        }
        ctx.send_text("still here")
    }

    async fn disconnect(&mut self, _: Disconnect, _: &mut Context) {
        if let Some(text) = self.at_end.take() {
            std::panic::resume_unwind(Box::new(text));
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if let Some(text) = self.at_drop.take() {
            std::panic::resume_unwind(Box::new(text));
        }
    }
}

#[event_handlers]
impl Victim {
    async fn forged_handled(&mut self, event: &Handled, _: &mut Context) -> Result<()> {
        parse(&event.text)
    }

    async fn forged_judged(&mut self, _: &Judged, _: &mut Context) -> Result<()> {
        Ok(())
    }

    #[relay]
    fn forged_relayed(event: &Relayed) -> Result<Outgoing> {
        parse(&event.text).map(|()| Outgoing::text(""))
    }
}

/// An event of this name, as another program may send it.
fn named(name: &str) -> Envelope {
    Envelope::from_json(serde_json::json!({"type": name}).to_string()).unwrap()
}

/// An event of a known name, whose error quotes the text.
fn unfit(text: &str) -> Envelope {
    Envelope::from_json(serde_json::json!({"type": "forged.judged", "kind": text}).to_string()).unwrap()
}

/// Answers JSON that it can read.
#[derive(NoEvents)]
struct Exchange;

impl HttpConsumer for Exchange {
    async fn handle(&mut self, body: Body, ctx: &mut HttpContext) -> Result<()> {
        match ctx.scope().query_param("how").as_deref() {
            Some("own") => parse(body.text()?)?,
            Some("late") => {
                ctx.send_headers(200, &[])?;
                ctx.send_body("begun").await?;
                parse(body.text()?)?;
            }
            _ => {
                body.json::<Kind>()?;
            }
        }
        Ok(())
    }
}

/// Answers bad input as the library does by default.
#[derive(NoEvents)]
struct Typed;

impl JsonConsumer for Typed {
    type Input = Kind;

    async fn receive_json(&mut self, _: Kind, _: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn mount() -> Mount {
    log::capture();
    let refuses = from_fn(async |scope: &mut Scope| {
        parse(&scope.query_param("text").unwrap_or_default())?;
        Ok(())
    });
    let routes = UrlRouter::new()
        .route("/victim/", |_: &Scope| Ok(Victim::default()))
        .route("/typed/", |_: &Scope| Ok(Typed))
        .http("/exchange/", |_: &Scope| Ok(Exchange))
        .nest("/refused", UrlRouter::new().route("/", |_: &Scope| Ok(Victim::default())).wrap(refuses));
    Mount::new(routes).unwrap().limits(Limits::new().message_size(4 << 20))
}

/// Sends a text to each hook of a consumer.
async fn every_hook<C: TestClient>(transport: &str) {
    const LARGE: usize = 1 << 20;
    let mount = mount();
    let layer = mount.default_layer().clone();
    let server = LiveServer::start(&mount, 1).unwrap();
    let name = |hook: &str| format!("{transport}-{hook}");
    let open = async |query: &str| C::open(server.address(), &format!("/victim/{query}"), &[]).await;

    let text = percent(&evil(&name("connect"), 2_000));
    assert_eq!(open(&format!("?connect={text}")).await.err().unwrap().status, 500);
    logged(&name("connect"), "connect failed").await;

    let mut client = open("").await.unwrap().client;
    client.say(&serde_json::to_string(&evil(&name("input"), LARGE)).unwrap().replace(' ', "_")).await;
    let (code, reason) = client.ended().await;
    assert_eq!(
        (code, reason.starts_with("the message is not the expected JSON: ")),
        (1007, true),
        "{reason}"
    );
    assert!(reason.len() <= 123 && !reason.contains(char::is_control), "{reason}");
    logged(&name("input"), "cannot read").await;
    assert_eq!(layer.metrics().bad_input, 1);

    for (hook, size, code, line) in [
        ("own", LARGE, 1011, "a hook failed"),
        ("panic", LARGE, 1011, "a hook panicked"),
        ("handler", LARGE, 1011, "a hook failed"),
        ("relay", LARGE, 0, "a relay failed"),
        ("event", LARGE, 0, "no handler for an event"),
        ("unfit", LARGE, 0, "does not fit its handler"),
        ("name", 90, 1011, "a hook failed"),
        ("end", LARGE, 1000, "disconnect failed"),
        ("drop", LARGE, 1000, "a consumer failed when it was dropped"),
    ] {
        let mut client = open("").await.unwrap().client;
        // A longer name is refused for its length, and its error does not quote it.
        let most = if hook == "name" { 70 } else { LARGE };
        let text: String = evil(&name(hook), size).chars().take(most).collect();
        client.say(&format!("{hook} {text}")).await;
        if code == 0 {
            assert_eq!(client.text().await, "still here");
            client.close(None, "").await;
        } else {
            let (closed, reason) = client.ended().await;
            assert_eq!((closed, reason.contains(MARK)), (code, false), "{hook}: {reason}");
        }
        logged(&name(hook), line).await;
    }
}

#[actix_web::test]
async fn no_hook_on_a_websocket_forges_a_line() {
    every_hook::<WebSocket>("websocket").await;
}

#[actix_web::test]
async fn no_hook_on_an_event_stream_forges_a_line() {
    every_hook::<EventStream>("event_stream").await;
}

#[actix_web::test]
async fn no_hook_on_long_polling_forges_a_line() {
    every_hook::<LongPolling>("long_polling").await;
}

#[actix_web::test]
async fn no_hook_on_polling_forges_a_line() {
    every_hook::<Polling>("polling").await;
}

/// The answer to bad input quotes it, but an answer is not as long as the input.
#[actix_web::test]
async fn an_answer_to_bad_input_is_short() {
    let server = LiveServer::start(&mount(), 1).unwrap();
    let mut client = WebSocket::open(server.address(), "/typed/", &[]).await.unwrap().client;
    client.say(&serde_json::to_string(&evil("typed", 1 << 20)).unwrap()).await;
    let answer = client.text().await;
    assert!(answer.len() < LONGEST && answer.contains("expected `Known` at line 1 column "), "{answer}");
    let error = Message::Text(r#""tea""#.into()).json::<Kind>().unwrap_err();
    let InputError::Json(error) = error else { panic!("{error}") };
    assert_eq!((error.line(), error.is_data()), (1, true));
    assert_eq!(error.to_string(), "unknown variant `tea`, expected `Known` at line 1 column 5");
}

#[actix_web::test]
async fn no_http_request_forges_a_line() {
    let mount = mount();
    let server = LiveServer::start(&mount, 1).unwrap();
    let json = |name: &str| serde_json::to_string(&evil(name, 1 << 20)).unwrap();
    for (how, name, body, status, line) in [
        ("input", "http-input", json("http-input"), 400, "answered 400"),
        ("own", "http-own", evil("http-own", 1 << 20), 500, "answered 500"),
        ("late", "http-late", evil("http-late", 1 << 20), 200, "its response is cut"),
    ] {
        let mut http = Http::open(server.address()).await;
        let target = format!("/exchange/?how={how}");
        http.request("POST", &target, &[], body.as_bytes()).await;
        let head = http.head().await;
        let (answer, _) = http.body(&head).await;
        // Only the error for bad input quotes the client's text: in part, and escaped.
        assert_eq!((head.status, answer.contains(MARK)), (status, how == "input"), "{answer}");
        if how == "input" {
            assert!(answer.len() < LONGEST && !answer.contains(char::is_control), "{answer}");
        }
        logged(name, line).await;
    }
    assert_eq!(mount.default_layer().metrics().bad_input, 1);
}

/// What a handshake has: path, query, `Origin` and `Host`.
#[actix_web::test]
async fn no_handshake_forges_a_line() {
    let mount = mount();
    let server = LiveServer::start(&mount, 1).unwrap();
    let ask = async |request: Request| Raw::open(server.address()).await.ask(&request).await.status;
    let long = |name: &str| format!("{MARK}-{name}{}", "x".repeat(20_000));
    let path = percent(&evil("no-route", 9_000));
    assert_eq!(ask(Request::new(&format!("/{path}"))).await, 404);
    logged("no-route", "answered 404").await;

    let text = percent(&evil("middleware", 9_000));
    assert_eq!(ask(Request::new(&format!("/refused/?text={text}"))).await, 500);
    logged("middleware", "a middleware failed").await;

    assert_eq!(ask(Request::new("/victim/").with("Origin", &long("origin"))).await, 403);
    logged("origin", "connection denied").await;
    let far = Request::new("/victim/").with("Origin", "https://elsewhere.example");
    assert_eq!(ask(far.with("Host", &long("host"))).await, 403);
    logged("host", "connection denied").await;

    assert_eq!(ask(Request::new("/victim/").with("Sec-WebSocket-Version", "12")).await, 426);
    assert_eq!(mount.default_layer().metrics().bad_handshake, 1);
}

/// Jobs, whose events another program may send.
#[derive(Clone)]
struct Works;

#[event_handlers]
impl Works {
    async fn forged_handled(&mut self, event: &Handled, _: &mut WorkerContext) -> Result<()> {
        Err(Error::msg(event.text.as_str()))
    }

    async fn forged_judged(&mut self, _: &Judged, _: &mut WorkerContext) -> Result<()> {
        Ok(())
    }
}

#[actix_web::test]
async fn no_job_forges_a_line() {
    log::capture();
    let layer = Layer::from(MemoryLayer::new());
    let works = ChannelName::new("forged-works").unwrap();
    let worker =
        Worker::new(layer.clone(), ChannelNameRouter::new().channel(works.as_str(), |_| Ok(Works))).unwrap();
    let _running = worker.start().unwrap();
    layer.send(&works, Handled { text: evil("job", 1 << 20) }).await.unwrap();
    logged("job", "a job failed").await;
    layer.send(&works, unfit(&evil("unfit-job", 1 << 20))).await.unwrap();
    logged("unfit-job", "does not fit its handler").await;
    layer.send(&works, named(&evil("named-job", 1 << 20))).await.unwrap();
    logged("named-job", "no handler for a job").await;
}

/// A request that is no HTTP is the fault of its client. It is counted, and the log has it only at the level debug.
#[actix_web::test]
async fn malformed_http_is_counted_and_is_no_error_of_the_server() {
    let mount = mount();
    let layer = mount.default_layer().clone();
    let server = Server::of(mount).threads(1).drain(Drain::new()).bind("127.0.0.1:0").unwrap();
    let address = server.addresses()[0];
    let running = server.start().unwrap();
    let handle = running.handle();
    let running = actix_web::rt::spawn(running);
    // Text, the start of TLS, and more headers than are read.
    let headers = "X: y\r\n".repeat(200);
    for (bytes, status) in [
        (b"forged /\0 HTTP/9.9\r\n\r\n".to_vec(), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/1.1\r\nBad Header: \x01\r\n\r\n".to_vec(), 400),
        (format!("GET / HTTP/1.1\r\n{headers}\r\n").into_bytes(), 431),
    ] {
        let mut client = Raw::open(address).await;
        client.send(&bytes).await;
        let response = client.response().await;
        assert_eq!((response.status, response.header("connection")), (status, Some("close")));
        client.ended().await;
    }
    // On a socket that has sent a good request, actix answers. It says so with a line that a filter of the log drops.
    let mut client = Raw::open(address).await;
    let page = Request::new("/none/").without("Upgrade").without("Connection");
    client.request_with(&page, b"forged /\0 HTTP/9.9\r\n\r\n").await;
    assert_eq!((client.response().await.status, client.response().await.status), (404, 400));
    eventually("each is counted", || layer.metrics().bad_request == 5).await;
    log::logged(&["DEBUG", "a request is malformed"]).await;
    handle.stop(false).await;
    running.await.unwrap().unwrap();
}

/// Encodes every byte of a part of a URL.
fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || byte == b'-' {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
