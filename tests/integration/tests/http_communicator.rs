//! Promises of the communicator for HTTP consumers.

use std::{cell::RefCell, time::Duration};

use greenroom::{
    Body, HttpConsumer, HttpContext, Limits, Mount,
    prelude::*,
    testing::{CommunicatorError, HttpCommunicator, pause},
};
use integration_tests::Log;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
struct News {
    text: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Finish {}

/// Does what its path says.
struct Subject(Log);

impl HttpConsumer for Subject {
    fn groups(&self) -> Vec<GroupName> {
        vec![news()]
    }

    async fn handle(&mut self, body: Body, ctx: &mut HttpContext) -> Result<()> {
        match ctx.scope().path() {
            "/poll" => ctx.keep_open(),
            "/stream" => {
                ctx.send_headers(200, &[("content-type", "text/event-stream"), ("x-it", "1")])?;
                ctx.send_body(": hello\n\n").await?;
                ctx.keep_open();
            }
            "/post" => ctx.send_json(201, &body.json::<News>()?)?,
            "/slow" => {
                tokio::time::sleep(Duration::from_secs(5)).await;
                ctx.send_response(200, &[], "late")?;
            }
            "/error" => Err(std::io::Error::other("as asked"))?,
            "/cut" => {
                ctx.send_headers(200, &[])?;
                ctx.send_body("a part").await?;
                Err(std::io::Error::other("as asked"))?;
            }
            "/peer" => ctx.send_response(200, &[], format!("{:?}", ctx.scope().peer()))?,
            path => ctx.send_response(200, &[("x-path", path)], "whole")?,
        }
        Ok(())
    }

    async fn disconnect(&mut self, reason: Disconnect, _: &mut HttpContext) {
        self.0.note(format!("{} {:?}", u16::from(reason.code), reason.cause));
    }
}

#[event_handlers]
impl Subject {
    async fn news(&mut self, event: &News, ctx: &mut HttpContext) -> Result<()> {
        if ctx.scope().path() == "/poll" {
            return ctx.send_json(200, event);
        }
        ctx.send_body(format!("data: {}\n\n", event.text)).await
    }

    async fn finish(&mut self, _: &Finish, ctx: &mut HttpContext) -> Result<()> {
        ctx.finish()
    }
}

fn news() -> GroupName {
    GroupName::new("news").unwrap()
}

fn told(text: &str) -> News {
    News { text: text.to_owned() }
}

fn mount(log: &Log) -> Mount {
    let log = log.clone();
    let routes = UrlRouter::new().http("/{path}", move |_: &Scope| Ok(Subject(log.clone())));
    Mount::new(routes).unwrap().limits(Limits::new().message_size(64))
}

#[actix_web::test]
async fn a_whole_answer_has_status_headers_and_body() {
    let log = Log::default();
    let mount = mount(&log);
    let mut client = HttpCommunicator::new(&mount, "GET", "/page?x=1");
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "whole"));
    assert_eq!((answer.header("X-Path"), answer.header("content-length")), (Some("/page"), Some("5")));
    client.leave().await;
    assert_eq!(log.lines(), ["1000 Consumer"]);

    let mut head = HttpCommunicator::new(&mount, "HEAD", "/page");
    let answer = head.response().await.unwrap();
    assert_eq!((answer.header("content-length"), &answer.body[..]), (Some("5"), &b""[..]));
}

#[actix_web::test]
async fn a_body_is_sent_and_read_as_json() {
    let mount = mount(&Log::default());
    let mut client = HttpCommunicator::new(&mount, "POST", "/post").json(&told("hi"));
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status, answer.json::<News>().unwrap()), (201, told("hi")));
    for (body, status) in [("{", 400), (&*"x".repeat(65), 413)] {
        let mut client = HttpCommunicator::new(&mount, "POST", "/post").body(body.to_owned());
        assert_eq!(client.head().await.unwrap().status, status);
    }
}

#[actix_web::test]
async fn refusals_and_failures_are_answers() {
    let mount = mount(&Log::default());
    for (path, status) in [("/error", 500), ("/no/where", 404)] {
        let answer = HttpCommunicator::new(&mount, "GET", path).response().await.unwrap();
        assert_eq!(answer.status, status, "{path}");
    }
    let peer = "192.0.2.7:1".parse().unwrap();
    let mut client = HttpCommunicator::new(&mount, "GET", "/peer").with_scope(|scope| scope.peer(peer));
    assert_eq!(client.response().await.unwrap().text(), "Some(192.0.2.7:1)");
}

#[actix_web::test]
async fn a_long_poll_waits_for_its_event() {
    let mount = mount(&Log::default());
    let mut client = HttpCommunicator::new(&mount, "GET", "/poll");
    client.send().await.unwrap();
    client.send().await.unwrap();
    mount.default_layer().group_send(&news(), told("first")).await.unwrap();
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status, answer.json::<News>().unwrap()), (200, told("first")));
}

#[actix_web::test]
async fn a_stream_comes_part_by_part_until_its_end() {
    let log = Log::default();
    let mount = mount(&log);
    let mut client = HttpCommunicator::new(&mount, "GET", "/stream");
    let head = client.head().await.unwrap();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(client.receive_part().await.unwrap().unwrap(), ": hello\n\n");
    client.send().await.unwrap();
    mount.default_layer().send(&client.channel_name().unwrap(), told("one")).await.unwrap();
    assert_eq!(client.receive_part().await.unwrap().unwrap(), "data: one\n\n");
    mount.default_layer().group_send(&news(), told("two")).await.unwrap();
    mount.default_layer().group_send(&news(), Finish {}).await.unwrap();
    assert_eq!(client.response().await.unwrap().text(), "data: two\n\n", "what was left of it");
    assert_eq!(client.receive_part().await.unwrap(), None);
    client.leave().await;
    assert_eq!(log.lines(), ["1000 Consumer"]);
}

#[actix_web::test]
async fn a_client_may_leave_before_the_headers_and_in_the_body() {
    let log = Log::default();
    let mount = mount(&log);
    for path in ["/poll", "/stream"] {
        let mut client = HttpCommunicator::new(&mount, "GET", path);
        client.send().await.unwrap();
        client.leave().await;
    }
    assert_eq!(log.lines(), ["1006 Gone", "1006 Gone"]);
}

#[actix_web::test]
async fn a_cut_response_and_a_silent_one_are_errors() {
    let mount = mount(&Log::default());
    let mut cut = HttpCommunicator::new(&mount, "GET", "/cut");
    assert_eq!(cut.response().await.unwrap_err(), CommunicatorError::Cut);
    pause();
    let silence = CommunicatorError::Timeout(Duration::from_secs(10));
    let mut stream = HttpCommunicator::new(&mount, "GET", "/stream");
    assert_eq!(stream.response().await.unwrap_err(), silence, "a stream has no end");
    let mut poll = HttpCommunicator::new(&mount, "GET", "/poll");
    assert_eq!(poll.head().await.unwrap_err(), silence);
    // A clock that stands still moves on if `send` waits for a hook.
    let mut slow = HttpCommunicator::new(&mount, "GET", "/slow");
    slow.send().await.unwrap();
    assert_eq!(slow.response().await.unwrap().text(), "late");
}

#[actix_web::test]
async fn a_server_that_shuts_down_ends_the_exchange() {
    let log = Log::default();
    let mut client = HttpCommunicator::new(&mount(&log), "GET", "/poll");
    client.send().await.unwrap();
    assert_eq!(client.shut_down(Duration::from_secs(5)).await, 0);
    assert_eq!(client.head().await.unwrap().status, 503);
    assert_eq!(log.lines(), ["1006 Rejected"]);
}

#[actix_web::test]
async fn one_consumer_needs_no_routes() {
    thread_local!(static MADE: RefCell<u32> = RefCell::default());
    let mut client = HttpCommunicator::of("GET", |_: &Scope| {
        MADE.with(|made| *made.borrow_mut() += 1);
        Ok(Subject(Log::default()))
    });
    assert_eq!(client.response().await.unwrap().header("x-path"), Some("/"));
    assert_eq!(MADE.with(|made| *made.borrow()), 1);
}
