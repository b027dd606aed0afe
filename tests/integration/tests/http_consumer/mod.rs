//! HTTP consumers over real sockets: what clients get, and what consumers see.

mod ends;
mod routes;

use std::time::Duration;

use greenroom::{
    Body, HttpConsumer, HttpContext, Limits, Mount,
    error::{DenyConnection, StopConsumer},
    prelude::*,
    testing::LiveServer,
};
use integration_tests::{
    Gate, Log, PATIENCE, eventually,
    http::{End, Http},
};
use tokio::time::timeout;

#[derive(Clone, Serialize, Deserialize, Event)]
struct Told {
    what: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Relayed {
    text: String,
}

/// A value that panics when it is dropped.
struct Brittle;

impl Drop for Brittle {
    fn drop(&mut self) {
        panic!("dropped, as asked");
    }
}

/// Does what the query says, then what its events say, and notes how the exchange ended.
#[derive(Clone, Default)]
struct Subject {
    log: Log,
    gate: Gate,
}

impl Subject {
    async fn act(&self, what: &str, ctx: &HttpContext) -> Result<()> {
        match what {
            "headers" => ctx.send_headers(200, &[("content-type", "text/plain"), ("x-it", "1")])?,
            "keep" => ctx.keep_open(),
            "finish" => ctx.finish()?,
            "respond" => ctx.send_response(201, &[], "whole")?,
            "error" => Err(std::io::Error::other("as asked"))?,
            "stop" => Err(StopConsumer)?,
            "deny" => Err(DenyConnection)?,
            "panic" => panic!("as asked"),
            "hang" => self.gate.pass().await,
            "hang with a brittle value" => {
                let _brittle = Brittle;
                self.gate.pass().await;
            }
            "empty" => ctx.send_body("").await?,
            "short" => ctx.send_headers(200, &[("Content-Length", "100")])?,
            "no content" => ctx.send_headers(204, &[])?,
            "continue" => ctx.send_headers(100, &[])?,
            "chunked" => ctx.send_headers(200, &[("transfer-encoding", "chunked")])?,
            "others" => ctx.group_send_others(&subjects(), Relayed { text: "for others".to_owned() }).await?,
            "much" => {
                for _ in 0..64 {
                    ctx.send_body(vec![b'x'; 1 << 20]).await?;
                    self.log.note("sent");
                }
            }
            "" => {}
            part => ctx.send_body(part.to_owned()).await?,
        }
        Ok(())
    }
}

impl HttpConsumer for Subject {
    fn groups(&self) -> Vec<GroupName> {
        vec![subjects()]
    }

    async fn handle(&mut self, body: Body, ctx: &mut HttpContext) -> Result<()> {
        self.log.note(format!("{} {} {}", ctx.scope().method(), ctx.scope().path(), body.bytes().len()));
        let todo = ctx.scope().query_param("do").unwrap_or_default().into_owned();
        for what in todo.split(',') {
            self.act(what, ctx).await?;
        }
        Ok(())
    }

    async fn disconnect(&mut self, reason: Disconnect, _: &mut HttpContext) {
        self.log.note(format!("{} {:?}", u16::from(reason.code), reason.cause));
    }
}

#[event_handlers]
impl Subject {
    async fn told(&mut self, event: &Told, ctx: &mut HttpContext) -> Result<()> {
        self.act(&event.what, ctx).await
    }

    #[relay]
    fn relayed(event: &Relayed) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

fn subjects() -> GroupName {
    GroupName::new("subjects").unwrap()
}

async fn tell(mount: &Mount, what: &str) {
    mount.default_layer().group_send(&subjects(), Told { what: what.to_owned() }).await.unwrap();
}

/// Sends parts until the server has no connection. In an App it sees only by these that a client has left.
async fn tell_until_left(mount: &Mount, server: &LiveServer) {
    let telling = async {
        while server.connections() > 0 {
            tell(mount, "a part").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, telling).await.expect("the server sees that its client has left");
}

struct Fixture {
    mount: Mount,
    server: LiveServer,
    log: Log,
    gate: Gate,
}

impl Fixture {
    fn new(limits: Limits) -> Self {
        let subject = Subject::default();
        let (log, gate) = (subject.log.clone(), subject.gate.clone());
        let routes = UrlRouter::new().http("/s/{rest:path}", move |_: &Scope| Ok(subject.clone()));
        let mount = Mount::new(routes).unwrap().limits(limits);
        let server = LiveServer::start(&mount, 1).unwrap();
        Self { mount, server, log, gate }
    }

    async fn open(&self) -> Http {
        Http::open(self.server.address()).await
    }

    async fn tell(&self, what: &str) {
        tell(&self.mount, what).await;
    }

    /// Waits until no exchange is left, and returns the last note: how the exchange ended.
    async fn ended(&self) -> String {
        timeout(PATIENCE, self.server.wait_until_empty()).await.expect("an end in time");
        let groups = self.mount.default_layer().backend().groups().group_count();
        assert_eq!(groups, 0, "the exchange has left its groups");
        self.log.lines().last().cloned().unwrap_or_default()
    }
}

#[actix_web::test]
async fn the_whole_body_comes_in_and_one_response_goes_out() {
    let it = Fixture::new(Limits::new());
    let mut http = it.open().await;
    let body = vec![b'b'; 300_000];
    let (head, text) = http.ask("POST", "/s/a?do=respond", &[], &body).await;
    assert_eq!((head.status, text.as_str(), head.header("content-length")), (201, "whole", Some("5")));
    let (head, _) = http.ask("GET", "/s/b?do=respond", &[], b"").await;
    assert_eq!(head.status, 201, "the next request on the same socket is answered");
    let chunks = b"PUT /s/c?do=respond HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    http.send(chunks).await;
    assert_eq!(http.head().await.status, 201);
    assert_eq!(it.ended().await, "1000 Consumer");
    let lines = it.log.lines();
    assert_eq!(lines[0], "POST /s/a 300000");
    assert!(
        lines.contains(&"GET /s/b 0".to_owned()) && lines.contains(&"PUT /s/c 5".to_owned()),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 6, "each exchange ends once: {lines:?}");
}

#[actix_web::test]
async fn a_body_over_the_limit_is_413_and_reaches_no_consumer() {
    let it = Fixture::new(Limits::new().message_size(1000));
    let exactly = vec![0; 1000];
    let (head, _) = it.open().await.ask("POST", "/s/x?do=respond", &[], &exactly).await;
    assert_eq!(head.status, 201);
    assert_eq!(it.ended().await, "1000 Consumer");
    let mut announced = it.open().await;
    announced.send(b"POST /s/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1001\r\n\r\n").await;
    assert_eq!(announced.head().await.status, 413, "the server refuses the body before it comes");
    let mut chunked = it.open().await;
    chunked.send(b"POST /s/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..2 {
        chunked.send(format!("1f4\r\n{}\r\n", "x".repeat(500)).as_bytes()).await;
    }
    assert!(chunked.is_silent().await, "1,000 bytes are within the limit");
    chunked.send(b"1\r\nx\r\n").await;
    assert_eq!(chunked.head().await.status, 413);
    it.ended().await;
    assert_eq!(it.log.lines().len(), 2, "{:?}", it.log.lines());
}

#[actix_web::test]
async fn a_body_that_never_ends_is_408_and_one_that_breaks_off_is_dropped() {
    let it = Fixture::new(Limits::new().frame_timeout(Duration::from_millis(250)));
    let mut slow = it.open().await;
    slow.send(b"POST /s/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc").await;
    assert_eq!(slow.head().await.status, 408);
    let mut gone = it.open().await;
    gone.send(b"POST /s/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc").await;
    drop(gone);
    it.ended().await;
    assert_eq!(it.log.lines(), [""; 0], "no consumer was made");
}

#[actix_web::test]
async fn headers_go_out_before_any_body_and_events_are_handled_while_it_streams() {
    let it = Fixture::new(Limits::new());
    let mut http = it.open().await;
    let head = http.get("/s/x?do=headers,one,empty,keep").await;
    assert_eq!((head.status, head.header("x-it")), (200, Some("1")));
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(http.chunk().await.unwrap(), "one");
    for round in 0..5 {
        it.tell(&format!("event {round};")).await;
        let relayed = Relayed { text: format!("relay {round};") };
        it.mount.default_layer().group_send(&subjects(), &relayed).await.unwrap();
    }
    let mut text = String::new();
    while text.len() < 5 * (8 + 8) {
        text += &http.chunk().await.unwrap();
    }
    let expected: String = (0..5).map(|round| format!("event {round};relay {round};")).collect();
    assert_eq!(text, expected, "in the order in which they were sent");
    it.tell("finish").await;
    assert_eq!(http.chunk().await, Err(End::Whole));
    assert_eq!(it.ended().await, "1000 Consumer");
    let (head, _) = http.ask("GET", "/s/y?do=respond", &[], b"").await;
    assert_eq!(head.status, 201, "the socket serves the next request");
}

#[actix_web::test]
async fn headers_arrive_while_handle_still_runs() {
    let it = Fixture::new(Limits::new());
    let mut http = it.open().await;
    assert_eq!(http.get("/s/x?do=headers,hang,late").await.status, 200);
    it.gate.visited().await;
    assert!(http.is_silent().await);
    it.gate.open();
    assert_eq!(http.chunk().await.unwrap(), "late");
    assert_eq!(http.chunk().await, Err(End::Whole), "handle returned without keep_open");
    assert_eq!(it.ended().await, "1000 Consumer");
}

/// The example of a long poll in Channels hangs (its issue 1249), because the consumer ends with `handle`.
#[actix_web::test]
async fn a_long_poll_is_answered_by_an_event() {
    let it = Fixture::new(Limits::new());
    let mut http = it.open().await;
    http.request("GET", "/s/x?do=keep", &[], b"").await;
    eventually("the request waits", || !it.log.lines().is_empty()).await;
    assert!(http.is_silent().await);
    let early = Relayed { text: "a relay has no headers to go behind".to_owned() };
    it.mount.default_layer().group_send(&subjects(), &early).await.unwrap();
    it.tell("respond").await;
    let head = http.head().await;
    assert_eq!(http.body(&head).await, ("whole".to_owned(), End::Whole));
    assert_eq!(it.ended().await, "1000 Consumer");
}

#[actix_web::test]
async fn failures_before_the_headers_have_a_status() {
    let it = Fixture::new(Limits::new());
    let cases = [
        ("error", 500),
        ("panic", 500),
        ("deny", 403),
        ("stop", 403),
        ("", 500),
        ("a part", 500),
        ("finish", 500),
        ("continue", 500),
        ("chunked", 500),
        ("empty", 500),
    ];
    for (todo, status) in cases {
        let path = format!("/s/x?do={}", todo.replace(' ', "+"));
        let (head, body) = it.open().await.ask("GET", &path, &[], b"").await;
        assert_eq!(head.status, status, "{todo}");
        assert!(!body.contains("as asked"), "only the log has the error: {body}");
        assert_eq!(it.ended().await, "1006 Rejected", "{todo}");
    }
}

#[actix_web::test]
async fn failures_after_the_headers_cut_the_connection() {
    let it = Fixture::new(Limits::new());
    for (todo, expected) in [("error", "1011 Error"), ("panic", "1011 Error"), ("headers", "1011 Error")] {
        for by_event in [false, true] {
            let mut http = it.open().await;
            let now = if by_event { "keep" } else { todo };
            let head = http.get(&format!("/s/x?do=headers,part,{now}")).await;
            if by_event {
                assert_eq!(http.chunk().await.unwrap(), "part");
                it.tell(todo).await;
                assert_eq!(http.body(&head).await, (String::new(), End::Cut), "{todo}");
            } else {
                assert_eq!(http.body(&head).await, ("part".to_owned(), End::Cut), "{todo}");
            }
            assert_eq!(it.ended().await, expected, "{todo}");
        }
    }
    let mut http = it.open().await;
    let head = http.get("/s/x?do=headers,part,stop").await;
    assert_eq!(http.body(&head).await, ("part".to_owned(), End::Whole), "StopConsumer is not a failure");
    let mut http = it.open().await;
    let head = http.get("/s/x?do=short,part").await;
    assert_eq!(http.body(&head).await, ("part".to_owned(), End::Cut), "100 bytes were promised");
}

#[actix_web::test]
async fn nothing_is_sent_after_the_end_of_a_response() {
    let it = Fixture::new(Limits::new());
    for todo in ["respond,more", "respond,finish,headers", "headers,part,finish,more"] {
        let mut http = it.open().await;
        let head = http.get(&format!("/s/x?do={todo}")).await;
        let (body, end) = http.body(&head).await;
        assert!(end == End::Whole && !body.contains("more"), "{todo}: {body}");
        assert_eq!(it.ended().await, "1000 Consumer", "{todo}");
    }
}

#[actix_web::test]
async fn responses_to_head_and_204_responses_have_no_body() {
    let it = Fixture::new(Limits::new());
    let mut http = it.open().await;
    for (method, todo, status, length) in [
        ("HEAD", "respond", 201, Some("5")),
        ("HEAD", "headers,part,keep", 200, None),
        ("GET", "no content,part", 204, None),
    ] {
        let path = format!("/s/x?do={}", todo.replace(' ', "+"));
        let (head, body) = http.ask(method, &path, &[], b"").await;
        assert_eq!(
            (head.status, head.header("content-length"), body.as_str()),
            (status, length, ""),
            "{todo}"
        );
        assert_eq!(it.ended().await, "1000 Consumer", "{todo}");
        assert!(http.is_silent().await, "{todo}");
    }
}

#[actix_web::test]
async fn what_an_exchange_sends_to_others_is_not_in_its_body() {
    let it = Fixture::new(Limits::new());
    let mut open = it.open().await;
    open.send(b"GET /s/a?do=headers,keep HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let head = open.head().await;
    let (_, own) = it.open().await.ask("GET", "/s/b?do=headers,others,part,others", &[], b"").await;
    assert_eq!(own, "part");
    it.tell("finish").await;
    let (body, _) = open.body(&head).await;
    assert_eq!(body, "for othersfor others");
}

#[actix_web::test]
async fn tasks_and_timers_go_on_with_a_response() {
    #[derive(Clone, Serialize, Deserialize, Event)]
    struct Tick;
    struct Clock(u32);
    impl HttpConsumer for Clock {
        async fn handle(&mut self, _: Body, ctx: &mut HttpContext) -> Result<()> {
            ctx.send_headers(200, &[])?;
            ctx.keep_open();
            ctx.notify_every(Tick, Duration::from_millis(5))?;
            let handle = ctx.handle();
            ctx.spawn(async move {
                handle.send_body("task;").await.unwrap();
            })?;
            Ok(())
        }
    }
    #[event_handlers]
    impl Clock {
        async fn tick(&mut self, _: &Tick, ctx: &mut HttpContext) -> Result<()> {
            self.0 += 1;
            ctx.send_body(format!("tick {};", self.0)).await?;
            if self.0 == 3 { ctx.finish() } else { Ok(()) }
        }
    }
    let mount = Mount::new(UrlRouter::new().http("/", |_: &Scope| Ok(Clock(0)))).unwrap();
    let server = LiveServer::start(&mount, 1).unwrap();
    let (_, body) = Http::open(server.address()).await.ask("GET", "/", &[], b"").await;
    assert_eq!(body, "task;tick 1;tick 2;tick 3;");
}
