//! An `EventSource` whose connection is cut: it comes back with the id of the last event.

use std::time::Duration;

use greenroom::{
    Body, HttpConsumer, HttpContext, Layer, Mount,
    history::{History, Outcome, Since},
    middleware::from_fn,
    prelude::*,
    testing::LiveServer,
};
use integration_tests::http::Http;
use tokio::sync::Notify;

use super::{Asked, Said, layer, numbers, room, say};

/// Says that a handler waits.
static WAITS: Notify = Notify::const_new();
/// Opens for a handler that waits.
static GATE: Notify = Notify::const_new();

/// Streams what is said in one room, or in two.
struct Feed {
    rooms: Vec<GroupName>,
}

impl HttpConsumer for Feed {
    async fn handle(&mut self, _: Body, ctx: &mut HttpContext) -> Result<()> {
        let mut outcomes = Vec::new();
        for room in &self.rooms {
            let since = ctx.last_event_id(room).unwrap_or(Since::Now);
            outcomes.push(match ctx.group_add_since(room, since).await? {
                Outcome::Recovered => "recovered".to_owned(),
                Outcome::Lost(reason) => reason.to_string(),
            });
        }
        ctx.send_headers(200, &[("content-type", "text/event-stream")])?;
        let id = ctx.event_id().expect("the groups keep their events");
        ctx.send_body(format!("id: {id}\ndata: {}\n\n", outcomes.join(" "))).await?;
        ctx.keep_open();
        Ok(())
    }
}

#[event_handlers]
impl Feed {
    async fn said(&mut self, event: &Said, ctx: &mut HttpContext) -> Result<()> {
        let id = ctx.event_id().map(|id| format!("id: {id}\n")).unwrap_or_default();
        ctx.send_body(format!("{id}data: {}\n\n", event.text)).await
    }

    async fn asked(&mut self, event: &Asked, _: &mut HttpContext) -> Result<()> {
        if event.times == usize::MAX {
            WAITS.notify_one();
            GATE.notified().await;
            return Ok(());
        }
        actix_web::rt::time::sleep(Duration::from_millis(event.times as u64)).await;
        Ok(())
    }
}

fn server(layer: &Layer) -> LiveServer {
    let make = |scope: &Scope| {
        let rooms = scope.param::<String>("rooms")?;
        let rooms = rooms.split('+').map(GroupName::new).collect::<std::result::Result<_, _>>()?;
        Ok(Feed { rooms })
    };
    // The user is in the query.
    let routes = UrlRouter::new().http("/{rooms}/", make).wrap(from_fn(async |scope: &mut Scope| {
        if let Some(user) = scope.query_string().strip_prefix("user=").map(str::to_owned) {
            scope.set_user_key(user);
        }
        Ok(())
    }));
    let mount = Mount::new(routes).unwrap().layer(layer.clone());
    LiveServer::start(&mount, 1).unwrap()
}

/// What a browser's `EventSource` does.
struct EventSource {
    http: Http,
    read: String,
    id: Option<String>,
}

impl EventSource {
    async fn open(server: &LiveServer, path: &str, id: Option<&str>) -> Self {
        let mut http = Http::open(server.address()).await;
        let headers: Vec<_> = id.map(|id| ("Last-Event-ID", id)).into_iter().collect();
        http.request("GET", path, &headers, b"").await;
        assert_eq!(http.head().await.status, 200);
        Self { http, read: String::new(), id: id.map(str::to_owned) }
    }

    /// The data of the next event. `None` if the connection is cut.
    async fn try_next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let mut data = None;
                for line in event.lines() {
                    match line.split_once(": ").expect("a field") {
                        ("id", id) => self.id = Some(id.to_owned()),
                        ("data", text) => data = Some(text.to_owned()),
                        other => panic!("{other:?}"),
                    }
                }
                self.read = rest.to_owned();
                return data;
            }
            self.read += &self.http.chunk().await.ok()?;
        }
    }

    async fn next(&mut self) -> String {
        self.try_next().await.expect("an event")
    }

    async fn take(&mut self, count: usize) -> Vec<String> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.push(self.next().await);
        }
        taken
    }

    /// Loses the connection, and keeps the id.
    fn cut(self) -> String {
        self.id.expect("an id came")
    }
}

#[actix_web::test]
async fn an_event_source_that_comes_back_gets_what_it_missed() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    let mut source = EventSource::open(&server, "/chat_1/", None).await;
    assert_eq!(source.next().await, "recovered");
    // It is cut before its first event: it knows where it began.
    let id = source.cut();
    say(&layer, 0..3).await;
    let mut source = EventSource::open(&server, "/chat_1/", Some(&id)).await;
    assert_eq!(source.next().await, "recovered");
    assert_eq!(source.take(3).await, numbers(0..3));
    say(&layer, 3..5).await;
    assert_eq!(source.take(2).await, numbers(3..5));
    let id = source.cut();
    say(&layer, 5..40).await;
    let mut source = EventSource::open(&server, "/chat_1/", Some(&id)).await;
    assert_eq!(source.next().await, "recovered");
    assert_eq!(source.take(35).await, numbers(5..40));
    say(&layer, 40..41).await;
    assert_eq!(source.next().await, "40");
    assert_eq!((layer.metrics().recovered, layer.metrics().lost_forged), (2, 0));
}

#[actix_web::test]
async fn every_event_has_its_own_id() {
    // Many events wait at once, and the client is cut behind each of them.
    let layer = layer(History::last(100));
    let server = server(&layer);
    let mut source = EventSource::open(&server, "/chat_1/", None).await;
    source.next().await;
    let mut ids = vec![source.id.clone().unwrap()];
    layer.group_send(&room(), Asked { times: 50 }).await.unwrap();
    say(&layer, 0..10).await;
    for number in numbers(0..10) {
        assert_eq!(source.next().await, number);
        ids.push(source.id.clone().unwrap());
    }
    for (at, id) in ids.iter().enumerate() {
        let mut again = EventSource::open(&server, "/chat_1/", Some(id)).await;
        assert_eq!(again.next().await, "recovered");
        assert_eq!(again.take(10 - at).await, numbers(at..10), "{at}");
    }
}

#[actix_web::test]
async fn an_id_that_is_not_good_is_told_to_the_consumer() {
    let layer = layer(History::last(5));
    let server = server(&layer);
    let mut source = EventSource::open(&server, "/chat_1/?user=ann", None).await;
    source.next().await;
    let good = source.cut();
    let mut damaged = good.clone();
    damaged.replace_range(60..61, if &good[60..61] == "A" { "B" } else { "A" });
    for (path, id, expected) in [
        ("/chat_1/?user=ann", good.as_str(), "recovered"),
        ("/chat_1/?user=bob", &good, "forged"),
        ("/chat_1/", &good, "forged"),
        ("/chat_2/?user=ann", &good, "forged"),
        ("/chat_1/?user=ann", &damaged, "forged"),
        ("/chat_1/?user=ann", "17", "forged"),
        ("/chat_1/?user=ann", &"x".repeat(5_000), "forged"),
    ] {
        let mut source = EventSource::open(&server, path, Some(id)).await;
        assert_eq!(source.next().await, expected, "{path} {id}");
    }
    say(&layer, 0..9).await;
    // The log keeps what a thread has not handed out: this waits for it.
    layer.group_send_counted(&room(), Asked { times: 0 }).await.unwrap();
    let mut source = EventSource::open(&server, "/chat_1/?user=ann", Some(&good)).await;
    assert_eq!(source.next().await, "trimmed");
    say(&layer, 9..10).await;
    assert_eq!(source.next().await, "9");
    // Another process, or this one after a crash.
    let other = super::layer(History::last(5));
    let mut source = EventSource::open(&self::server(&other), "/chat_1/?user=ann", Some(&good)).await;
    assert_eq!(source.next().await, "epoch");
}

#[actix_web::test]
async fn an_id_names_the_places_in_several_groups() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    let other = GroupName::new("chat_2").unwrap();
    let mut source = EventSource::open(&server, "/chat_1+chat_2/", None).await;
    assert_eq!(source.next().await, "recovered recovered");
    let at_start = source.id.clone().unwrap();
    layer.group_send(&other, Said { text: "there".into() }).await.unwrap();
    assert_eq!(source.next().await, "there");
    say(&layer, 0..1).await;
    assert_eq!(source.next().await, "0");
    let id = source.cut();
    layer.group_send(&other, Said { text: "too".into() }).await.unwrap();
    let mut source = EventSource::open(&server, "/chat_1+chat_2/", Some(&id)).await;
    assert_eq!(source.take(2).await, ["recovered recovered", "too"]);
    let mut source = EventSource::open(&server, "/chat_2/", Some(&at_start)).await;
    assert_eq!(source.take(3).await, ["recovered", "there", "too"]);
}

#[actix_web::test]
async fn a_stream_that_falls_out_of_the_log_is_cut_and_told() {
    let layer = layer(History::last(5));
    let server = server(&layer);
    let mut source = EventSource::open(&server, "/chat_1/", None).await;
    source.next().await;
    // Its handler does not end while far more comes than its inbox and the log hold.
    layer.group_send(&room(), Asked { times: usize::MAX }).await.unwrap();
    WAITS.notified().await;
    say(&layer, 0..300).await;
    // The log keeps what the thread has not handed out. The first one waits for that, and with the next one the log
    // drops it.
    for _ in 0..2 {
        layer.group_send_counted(&room(), Asked { times: 0 }).await.unwrap();
    }
    GATE.notify_one();
    let mut got = Vec::new();
    while let Some(text) = source.try_next().await {
        got.push(text);
    }
    assert!(got == numbers(0..got.len()) && got.len() < 300, "{got:?}");
    // A later id would have hidden the gap. It comes back with the last one before.
    let mut source = EventSource::open(&server, "/chat_1/", Some(&source.cut())).await;
    assert_eq!(source.next().await, "trimmed");
    say(&layer, 300..301).await;
    assert_eq!(source.next().await, "300");
}
