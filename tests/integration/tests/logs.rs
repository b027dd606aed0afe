//! What an operator reads in the log: of each connection, of each failure, and once of what would repeat.

use std::{sync::Arc, time::Duration};

use actix_web::{App, HttpServer, rt};
use greenroom::{
    Accept, Body, ChannelName, Envelope, HttpConsumer, HttpContext, Limits, Mount, Serve, Server,
    error::DenyConnection,
    middleware::{Rejection, from_fn},
    prelude::*,
    testing::LiveServer,
};
use integration_tests::{
    clients::{LongPolling, TestClient},
    http::Http,
    log,
    raw::{FIN, Raw, Request, TEXT, header},
};

/// Shares its name with another type, whose field is called otherwise.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("logged.shared")]
struct Sent {
    text: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("logged.shared")]
struct Expected {
    words: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("logged.slow")]
struct Slow {}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("logged.end")]
struct End {}

/// Does as its messages say.
struct Actor;

impl Consumer for Actor {
    fn groups(&self) -> Vec<GroupName> {
        vec![GroupName::new("logged").unwrap()]
    }

    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        match ctx.scope().query_param("how").as_deref() {
            Some("fail") => Err(std::io::Error::other("as asked"))?,
            Some("deny") => Err(DenyConnection)?,
            Some("choose") => return ctx.accept_with(Accept::new().subprotocol("v1")),
            _ => {}
        }
        ctx.accept()?;
        ctx.send_text(ctx.channel_name().as_str())
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        match message.text()? {
            "close" => ctx.close_with(4001, "as asked")?,
            "hold" => std::thread::sleep(Duration::from_millis(1_300)),
            text => Err(std::io::Error::other(text.to_owned()))?,
        }
        ctx.send_text("done")
    }

    async fn disconnect(&mut self, reason: Disconnect, _: &mut Context) {
        assert!(u16::from(reason.code) != 1011, "a hook failed before");
    }
}

#[event_handlers]
impl Actor {
    async fn logged_shared(&mut self, _: &Expected, _: &mut Context) -> Result<()> {
        Ok(())
    }

    async fn logged_slow(&mut self, _: &Slow, ctx: &mut Context) -> Result<()> {
        std::thread::sleep(Duration::from_millis(1_300));
        ctx.send_text("done")
    }

    async fn logged_end(&mut self, _: &End, ctx: &mut Context) -> Result<()> {
        ctx.send_text("the end")
    }
}

#[derive(NoEvents)]
struct Exchange;

impl HttpConsumer for Exchange {
    async fn handle(&mut self, body: Body, ctx: &mut HttpContext) -> Result<()> {
        match body.text()? {
            "fail" => Err(std::io::Error::other("as asked"))?,
            _ => ctx.send_response(201, &[], "done"),
        }
    }
}

/// A server with the consumers on paths of this name, which no other test uses.
fn server(name: &str) -> (LiveServer, greenroom::Layer) {
    log::capture();
    let broken = from_fn(async |_: &mut Scope| -> Result<(), Rejection> {
        Err(std::io::Error::other("the middleware fails as asked"))?
    });
    let routes = UrlRouter::new()
        .route(format!("/{name}/"), |_: &Scope| Ok(Actor))
        .http(format!("/{name}-http/"), |_: &Scope| Ok(Exchange))
        .nest(format!("/{name}-broken"), UrlRouter::new().route("/", |_: &Scope| Ok(Actor)).wrap(broken));
    let mount = Mount::new(routes).unwrap().limits(Limits::new().message_size(1_000));
    let server = LiveServer::start(&mount, 1).unwrap();
    (server, mount.default_layer().clone())
}

/// The field of a path.
fn at(name: &str) -> String {
    format!("path=\"/{name}/\"")
}

const ACTOR: &str = "consumer=\"integration::logs::Actor\"";
const LINE: &str = "DEBUG greenroom::connection: ";

#[actix_web::test]
async fn each_connection_has_a_line_when_it_connects_and_one_when_it_ends() {
    let name = "logged-life";
    let (server, _) = server(name);
    let mut client = Raw::connect(server.address(), &format!("/{name}/?token=secret-of-the-query")).await;
    let channel = client.next_text().await;
    let path = &at(name);
    let known = [LINE, path, ACTOR, "peer=127.0.0.1:", "transport=\"websocket\"", &channel];
    log::logged(&[&known[..], &["connected"]].concat()).await;
    client.text("close").await;
    client.closed().await;
    let end = ["ended", "code=4001", "cause=Consumer", "reason=\"as asked\"", "duration="];
    log::logged(&[&known[..], &end].concat()).await;

    let mut client = LongPolling::open(server.address(), &format!("/{name}/"), &[]).await.unwrap().client;
    client.text().await;
    log::logged(&["connected", path, ACTOR, "transport=\"fallback\""]).await;
    client.close(Some(1000), "").await;
    log::logged(&["ended", path, "transport=\"long-polling\"", "code=1000 (normal)", "cause=Client"]).await;

    let mut http = Http::open(server.address()).await;
    let head = http.ask("POST", &format!("/{name}-http/?token=secret-of-the-query"), &[], b"").await;
    assert_eq!(head.0.status, 201);
    let exchange = at(&format!("{name}-http"));
    log::logged(&["answered", &exchange, "logs::Exchange", "transport=\"http\"", "status=201"]).await;
    log::logged(&["ended", &exchange, "cause=Consumer"]).await;

    for line in ["connected", "ended"] {
        assert_eq!(log::lines(&[LINE, line, path]).len(), 2, "one line for each");
    }
    assert_eq!(log::lines(&["secret-of-the-query"]), [""; 0]);
}

#[actix_web::test]
async fn each_rejection_has_a_line_with_its_status() {
    let name = "logged-rejections";
    let (server, _) = server(name);
    let path = &at(name);
    let refused = async |path: String, headers: &[(&str, &str)]| {
        let request =
            headers.iter().fold(Request::new(&path), |request, (name, value)| request.and(name, value));
        Raw::open(server.address()).await.ask(&request).await.status
    };
    assert_eq!(refused(format!("/{name}/?how=deny"), &[]).await, 403);
    log::logged(&[LINE, "rejected", path, ACTOR, "peer=127.0.0.1:", "transport=\"websocket\"", "status=403"])
        .await;
    assert_eq!(refused(format!("/{name}/"), &[("Origin", "http://evil.example")]).await, 403);
    let rejected = || log::lines(&[LINE, "rejected", path, "status=403"]).len();
    integration_tests::eventually("both have a line", || rejected() == 2).await;
    assert_eq!(refused(format!("/{name}/?how=fail"), &[]).await, 500);
    log::logged(&[LINE, "rejected", path, "status=500"]).await;
    log::logged(&["ERROR", "connect failed", path, ACTOR, "as asked"]).await;
    // A rejected connection has not ended: it never began.
    assert_eq!(log::lines(&["ended", path]), [""; 0]);

    assert_eq!(refused(format!("/{name}-broken/"), &[]).await, 500);
    let broken = at(&format!("{name}-broken"));
    log::logged(&["ERROR", "a middleware failed", &broken, ACTOR, "fails as asked"]).await;
    log::logged(&[LINE, "rejected", &broken, "status=500"]).await;
}

#[actix_web::test]
async fn each_failure_names_consumer_and_path() {
    let name = "logged-failures";
    let (server, _) = server(name);
    let path = &at(name);
    let mut client = Raw::connect(server.address(), &format!("/{name}/")).await;
    client.next_text().await;
    client.text("fail as asked").await;
    assert_eq!(client.closed().await.0, 1011);
    log::logged(&["ERROR", "a hook failed", path, ACTOR, "fail as asked"]).await;
    log::logged(&["ERROR", "disconnect failed", path, ACTOR]).await;

    let mut http = Http::open(server.address()).await;
    assert_eq!(http.ask("POST", &format!("/{name}-http/"), &[], b"fail").await.0.status, 500);
    let exchange = at(&format!("{name}-http"));
    log::logged(&["ERROR", "a hook failed: answered 500", &exchange, "logs::Exchange", "as asked"]).await;

    // The setting that bounds a message is named, to the client and to the operator.
    let mut client = Raw::connect(server.address(), &format!("/{name}/")).await;
    let channel = client.next_text().await;
    client.send(&header(FIN | TEXT, 1_001)).await;
    let reason = "the message has more than 1000 bytes (Limits::message_size)";
    assert_eq!(client.close_frame().await, (1009, reason.to_owned()));
    log::logged(&[LINE, "ended", path, "code=1009", reason, "cause=Protocol", &channel]).await;
}

#[actix_web::test]
async fn a_flood_of_events_without_a_handler_is_one_warning_for_each_name() {
    let name = "logged-flood";
    let (server, layer) = server(name);
    let mut client = Raw::connect(server.address(), &format!("/{name}/")).await;
    client.next_text().await;
    let group = GroupName::new("logged").unwrap();
    for _ in 0..50 {
        for event in ["logged.unknown", "logged.other"] {
            let event = Envelope::from_json(format!(r#"{{"type":"{event}"}}"#)).unwrap();
            layer.group_send(&group, event).await.unwrap();
        }
        layer.group_send(&group, Sent { text: "of another type".to_owned() }).await.unwrap();
    }
    layer.group_send(&group, End {}).await.unwrap();
    assert_eq!(client.next_text().await, "the end");
    for event in ["event=\"logged.unknown\"", "event=\"logged.other\""] {
        assert_eq!(log::lines(&["WARN", "no handler for an event", event, ACTOR]).len(), 1, "{event}");
        assert!(log::lines(&["DEBUG", "no handler for an event", event]).len() >= 49, "{event}");
    }
    let both = ["sent as integration::logs::Sent", "read as integration::logs::Expected"];
    let misfit = ["WARN", "an event does not fit its handler", "missing field `words`", ACTOR];
    assert_eq!(log::lines(&[&misfit[..], &both].concat()).len(), 1);
    // It has a handler, so nothing else is said.
    assert!(log::lines(&["no handler for an event", "event=\"logged.shared\""]).is_empty());
}

/// It takes more than two seconds: two hooks hold the thread for more than one second each.
#[actix_web::test]
async fn a_hook_that_holds_its_thread_is_named() {
    let name = "logged-slow";
    let (server, layer) = server(name);
    let mut client = Raw::connect(server.address(), &format!("/{name}/")).await;
    let channel = ChannelName::new(client.next_text().await).unwrap();
    client.text("hold").await;
    assert_eq!(client.next_text().await, "done");
    log::logged(&["WARN", "a hook held its thread", ACTOR, "hook=\"receive\"", "took=1."]).await;
    layer.send(&channel, Slow {}).await.unwrap();
    assert_eq!(client.next_text().await, "done");
    log::logged(&["WARN", "a hook held its thread", ACTOR, "hook=\"logged.slow\""]).await;
}

#[actix_web::test]
async fn a_consumer_that_chooses_no_subprotocol_is_warned_of_once_for_its_route() {
    let name = "logged-protocols";
    let (server, _) = server(name);
    let route = format!("route=\"/{name}/\"");
    let open = async |query: &str| {
        let request = Request::new(&format!("/{name}/{query}")).and("Sec-WebSocket-Protocol", "v1");
        assert_eq!(Raw::open(server.address()).await.ask(&request).await.status, 101);
    };
    open("?how=choose").await;
    assert_eq!(log::lines(&["offered subprotocols", &route]), [""; 0]);
    for _ in 0..3 {
        open("").await;
    }
    log::logged(&["offered subprotocols", &route]).await;
    let lines = log::lines(&["WARN", "offered subprotocols", &route, ACTOR]);
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].contains("v1"), "a subprotocol may be a secret");
}

#[actix_web::test]
async fn a_server_says_where_it_listens() {
    log::capture();
    let routes = || UrlRouter::new().route("/", |_: &Scope| Ok(Actor));
    let server = Server::new(routes()).unwrap().threads(1);
    let server = server.bind("127.0.0.1:0").unwrap().bind("127.0.0.1:0").unwrap();
    let addresses: Vec<String> =
        server.addresses().iter().map(|address| format!("http://{address}")).collect();
    let running = server.start().unwrap();
    let all = addresses.join(", ");
    log::logged(&["INFO", "listening", &format!("addresses={all:?}")]).await;
    rt::spawn(running.handle().stop(false));
    running.await.unwrap();

    let mount = Arc::new(Mount::new(routes()).unwrap());
    let server = HttpServer::new(move || App::new().configure(mount.configure())).workers(1);
    let server = server.bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", server.addrs()[0]);
    let running = server.start().unwrap();
    log::logged(&["INFO", "listening", &address]).await;
    rt::spawn(running.handle().stop(false));
    running.await.unwrap();
}

#[derive(NoEvents)]
struct Elsewhere;

impl Consumer for Elsewhere {
    const LAYER: &'static str = "nowhere";
}

#[actix_web::test]
async fn a_layer_that_is_missing_is_named_with_its_consumer() {
    log::capture();
    let mount = Mount::new(UrlRouter::new().route("/logged-elsewhere/", |_: &Scope| Ok(Elsewhere))).unwrap();
    let server = LiveServer::start(&mount, 1).unwrap();
    let request = Request::new("/logged-elsewhere/");
    assert_eq!(Raw::open(server.address()).await.ask(&request).await.status, 500);
    log::logged(&["ERROR", "nowhere", "logged-elsewhere", "logs::Elsewhere", "Mount::layer_as"]).await;
}
