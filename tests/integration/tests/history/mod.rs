//! History: nothing is missed across a lost connection, or the client is told so.

mod back;
mod event_source;
mod file;
mod greeting;
mod reader;
mod storm;

use std::time::Duration;

use greenroom::{
    Layer, LayerConfig, MemoryLayer, Mount,
    consumer::Resumed,
    history::{History, Since},
    prelude::*,
    testing::LiveServer,
};
use integration_tests::{
    Client, PATIENCE,
    history::{Frame, Known, Memory, Reader, resume_frame},
};
use tokio::time::timeout;

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Asked {
    times: usize,
}

/// Relays what is said, and answers what is asked with as many messages.
struct Chat {
    room: GroupName,
    last: Option<usize>,
}

impl Consumer for Chat {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        match self.last {
            Some(count) => drop(ctx.group_add_since(&self.room, Since::Last(count)).await?),
            None => ctx.group_add(&self.room).await?,
        }
        Ok(())
    }

    async fn resume(&mut self, resumed: &Resumed, ctx: &mut Context) -> Result<()> {
        let lost: Vec<_> = resumed.lost().map(|(group, reason)| format!("{}:{reason}", &**group)).collect();
        ctx.send_text(format!("resumed {} {lost:?}", resumed.recovered()))
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let text = message.text()?.to_owned();
        match text.strip_prefix("others:") {
            Some(text) => ctx.group_send_others(&self.room, Said { text: text.to_owned() }).await,
            None => ctx.group_send(&self.room, Said { text }).await,
        }
    }
}

#[event_handlers]
impl Chat {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }

    async fn asked(&mut self, event: &Asked, ctx: &mut Context) -> Result<()> {
        (0..event.times).try_for_each(|number| ctx.send_text(format!("answer {number}")))
    }
}

fn layer(history: History) -> Layer {
    MemoryLayer::with_config(LayerConfig::new().history("chat_*", history)).into()
}

/// A server whose rooms are at `/chat/<name>/`. With `?last=n` a client gets the last ones first.
fn server(layer: &Layer) -> LiveServer {
    let make = |scope: &Scope| {
        let room = GroupName::new(scope.param::<String>("room")?)?;
        let last = scope.query_string().strip_prefix("last=").and_then(|count| count.parse().ok());
        Ok(Chat { room, last })
    };
    let mount = Mount::new(UrlRouter::new().route("/{room}/", make)).unwrap().layer(layer.clone());
    LiveServer::start(&mount, 2).unwrap()
}

async fn say(layer: &Layer, texts: impl IntoIterator<Item = usize>) {
    for text in texts {
        layer.group_send(&room(), Said { text: text.to_string() }).await.unwrap();
    }
}

fn room() -> GroupName {
    GroupName::new("chat_1").unwrap()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Waits until the server has noticed that a client is gone.
async fn gone(layer: &Layer) {
    let noticed = async {
        while layer.group_send_counted(&room(), Asked { times: 0 }).await.unwrap().delivered > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, noticed).await.expect("it notices");
}

#[actix_web::test]
async fn a_client_that_comes_back_gets_what_it_missed_once_and_in_order() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    let mut reader = Reader::new(&server, "/chat_1/").await;
    say(&layer, 0..3).await;
    assert_eq!(reader.texts(3).await, numbers(0..3));
    let memory = reader.cut();
    say(&layer, 3..50).await;
    let mut reader = Reader::again(&server, "/chat_1/", memory).await;
    assert_eq!(reader.outcome(), "recovered");
    say(&layer, 50..60).await;
    let mut expected = vec!["resumed true []".to_owned()];
    expected.extend(numbers(3..60));
    assert_eq!(reader.texts(58).await, expected);
    assert_eq!(layer.metrics().recovered, 1);
}

#[actix_web::test]
async fn a_client_that_misses_nothing_is_recovered_without_a_message() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    let memory = Reader::new(&server, "/chat_1/").await.cut();
    let mut reader = Reader::again(&server, "/chat_1/", memory).await;
    assert_eq!(reader.outcome(), "recovered");
    say(&layer, 0..1).await;
    assert_eq!(reader.texts(2).await, ["resumed true []", "0"]);
}

#[actix_web::test]
async fn a_plain_websocket_sees_what_it_always_saw() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    say(&layer, 0..3).await;
    let mut plain = Client::connect(&server, "/chat_1/").await;
    plain.send("hello").await;
    assert_eq!(plain.text().await, "hello");
    layer.group_send(&room(), Asked { times: 1 }).await.unwrap();
    assert_eq!(plain.text().await, "answer 0");
}

#[actix_web::test]
async fn a_late_joiner_gets_the_last_events_first() {
    let layer = layer(History::last(5));
    let server = server(&layer);
    say(&layer, 0..10).await;
    let mut plain = Client::connect(&server, "/chat_1/?last=3").await;
    let mut reader = Reader::new(&server, "/chat_1/?last=100").await;
    assert_eq!(reader.texts(5).await, numbers(5..10));
    say(&layer, 10..12).await;
    for expected in 7..12 {
        assert_eq!(plain.text().await, expected.to_string());
    }
    assert_eq!(reader.texts(2).await, numbers(10..12));
    // It comes back to where it was, not to the last ones.
    let memory = reader.cut();
    say(&layer, 12..14).await;
    let mut reader = Reader::again(&server, "/chat_1/?last=100", memory).await;
    assert_eq!(reader.texts(3).await, ["resumed true []", "12", "13"]);
}

#[actix_web::test]
async fn what_the_log_no_longer_has_is_said() {
    let layer = layer(History::last(5));
    let server = server(&layer);
    let mut reader = Reader::new(&server, "/chat_1/").await;
    say(&layer, 0..1).await;
    assert_eq!(reader.text().await, "0");
    let memory = reader.cut();
    // As long as a member is there, the log keeps what its thread has not handed out.
    gone(&layer).await;
    say(&layer, 1..7).await;
    let mut reader = Reader::again(&server, "/chat_1/", memory).await;
    assert_eq!(reader.outcome(), "trimmed");
    say(&layer, 7..8).await;
    assert_eq!(reader.texts(2).await, [r#"resumed false ["chat_1:trimmed"]"#, "7"]);
    assert_eq!((layer.metrics().lost_trimmed, layer.metrics().recovered), (1, 0));
}

#[actix_web::test]
async fn a_handlers_messages_are_parts_of_one_event() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    let mut reader = Reader::new(&server, "/chat_1/").await;
    layer.group_send(&room(), Asked { times: 2 }).await.unwrap();
    layer.group_send(&room(), Asked { times: 0 }).await.unwrap();
    say(&layer, 7..8).await;
    let expected = [
        Frame::Text("answer 0".into(), Some((1, 1))),
        Frame::Text("answer 1".into(), Some((1, 2))),
        Frame::Mark(1),
        Frame::Mark(2),
        Frame::Text("7".into(), Some((3, 0))),
    ];
    for expected in expected {
        assert_eq!(reader.frame().await, expected);
    }
}

#[actix_web::test]
async fn forged_foreign_and_impossible_places_are_refused_by_name() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    let mut reader = Reader::new(&server, "/chat_1/").await;
    say(&layer, 0..5).await;
    reader.texts(5).await;
    let memory = reader.cut();
    let gid = memory.logs.keys().next().unwrap().clone();
    let with = |change: &dyn Fn(&mut Known)| {
        let mut memory = memory.clone();
        change(memory.logs.get_mut(&gid).unwrap());
        memory
    };
    for (memory, reason) in [
        (with(&|log| log.offset = 99), "ahead"),
        (with(&|log| log.tag = "abcdef".into()), "rollback"),
        (with(&|log| log.offset = 3), "rollback"),
    ] {
        let reader = Reader::again(&server, "/chat_1/", memory).await;
        assert_eq!(reader.outcome(), reason);
        reader.cut();
    }
    // The floor: whoever joined later may not read what was before.
    let late = Reader::new(&server, "/chat_1/").await.cut();
    let mut stolen = late.clone();
    let old = stolen.logs.get_mut(&gid).unwrap();
    (old.offset, old.tag) = (memory.logs[&gid].offset - 2, memory.logs[&gid].tag.clone());
    assert_eq!(Reader::again(&server, "/chat_1/", stolen).await.outcome(), "forged");
    // A damaged token names no group: the client begins anew.
    let damaged = with(&|log| log.token.replace_range(10..11, "_"));
    let mut reader = Reader::again(&server, "/chat_1/", damaged).await;
    assert!(reader.resumed.as_object().unwrap().is_empty(), "{:?}", reader.resumed);
    say(&layer, 9..10).await;
    assert_eq!(reader.text().await, "9");
    // A token of another group says nothing of this one.
    let mut other = Reader::again(&server, "/chat_2/", memory.clone()).await;
    assert!(other.resumed.as_object().unwrap().is_empty(), "{:?}", other.resumed);
    other.say("there").await;
    assert_eq!(other.text().await, "there");
}

#[actix_web::test]
async fn a_client_that_does_not_name_its_places_in_time_is_told() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    let mut late = Reader::handshake(&server, "/chat_1/", true).await;
    say(&layer, 0..1).await;
    // Two seconds: the patience of the server.
    let hello = late.text().await;
    assert!(hello.contains(r#":"late"},"recovered":false"#), "{hello}");
    assert_eq!(late.text().await, r#"mresumed false ["chat_1:late"]"#);
    assert!(late.text().await.ends_with("\n0"));
    // What it names now is too late, and changes nothing.
    late.send(&resume_frame(&Memory::default())).await;
    late.send("mstill there").await;
    assert!(late.text().await.ends_with("\nstill there"));
}

#[actix_web::test]
async fn a_client_that_breaks_the_form_is_closed_with_a_code() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    for (bad, code) in [
        ("x".to_owned(), 1002),
        ("c{".to_owned(), 1007),
        (format!("c{{\"resume\":{{\"was\":[\"{}\"]}}}}", "x".repeat(70_000)), 1009),
    ] {
        let mut client = Reader::handshake(&server, "/chat_1/", true).await;
        client.send(&bad).await;
        assert_eq!(client.closed().await.0, code, "{:?}", &bad[..1]);
    }
}

#[actix_web::test]
async fn the_old_connection_of_a_client_is_ended() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    let mut old = Reader::new(&server, "/chat_1/").await;
    let mut new = Reader::again(&server, "/chat_1/", old.memory.clone()).await;
    assert_eq!(old.closed().await, (1000, "superseded".to_owned()));
    say(&layer, 0..1).await;
    assert_eq!(new.texts(2).await, ["resumed true []", "0"]);
}

#[actix_web::test]
async fn what_a_client_sent_to_others_does_not_come_back_after_a_loss() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    let mut reader = Reader::new(&server, "/chat_1/").await;
    let mut other = Reader::new(&server, "/chat_1/").await;
    reader.say("others:mine").await;
    assert_eq!(other.text().await, "mine");
    let memory = reader.cut();
    say(&layer, 1..2).await;
    let mut reader = Reader::again(&server, "/chat_1/", memory).await;
    assert_eq!(reader.texts(2).await, ["resumed true []", "1"]);
    // Its own message stays away after a second loss too.
    let memory = reader.cut();
    say(&layer, 2..3).await;
    let mut reader = Reader::again(&server, "/chat_1/", memory).await;
    assert_eq!(reader.texts(2).await, ["resumed true []", "2"]);
    assert_eq!(other.texts(2).await, ["1", "2"]);
}

#[actix_web::test]
async fn a_client_that_reads_too_slowly_misses_events_only_when_the_log_forgets_them() {
    let layer = layer(History::last(20));
    let server = server(&layer);
    let mut reader = Reader::new(&server, "/chat_1/").await;
    let large = "x".repeat(1 << 20);
    // Far more than its outbox and its socket hold, and more events than the log keeps.
    for number in 0..60 {
        let text = format!("{number} {large}");
        layer.group_send(&room(), Said { text }).await.unwrap();
    }
    let mut got = Vec::new();
    let mut lost = 0;
    while got.last() != Some(&59) {
        match reader.frame().await {
            Frame::Text(text, Some(_)) => got.push(text.split(' ').next().unwrap().parse::<usize>().unwrap()),
            Frame::Text(text, None) => assert_eq!(text, r#"resumed false ["chat_1:trimmed"]"#),
            Frame::Control(control) => {
                assert_eq!(control["lost"].as_object().unwrap().values().next().unwrap(), "trimmed");
                lost += 1;
            }
            Frame::Mark(_) => {}
        }
    }
    let gaps = got.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert!(got.is_sorted() && gaps > 0 && gaps <= lost, "{got:?}: {lost} times told");
}

#[actix_web::test]
async fn a_group_that_nobody_is_in_keeps_its_events() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    let mut reader = Reader::new(&server, "/chat_1/").await;
    say(&layer, 0..1).await;
    assert_eq!(reader.text().await, "0");
    let memory = reader.cut();
    gone(&layer).await;
    say(&layer, 1..4).await;
    let mut reader = Reader::again(&server, "/chat_1/", memory).await;
    assert_eq!(reader.texts(4).await, ["resumed true []", "1", "2", "3"]);
}

/// Accepts, sends, and goes on for long, or closes at once.
struct Long {
    closes: bool,
}

impl Consumer for Long {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        ctx.send_text("early")?;
        if self.closes {
            ctx.close();
            return Ok(());
        }
        std::future::pending().await
    }
}

#[event_handlers]
impl Long {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

#[actix_web::test]
async fn what_connect_sends_arrives_behind_the_greeting_also_if_it_never_returns() {
    let routes = UrlRouter::new()
        .route("/long/", |_: &Scope| Ok(Long { closes: false }))
        .route("/short/", |_: &Scope| Ok(Long { closes: true }));
    let mount = Mount::new(routes).unwrap().layer(layer(History::last(100)));
    let server = LiveServer::start(&mount, 1).unwrap();
    for path in ["/long/", "/short/"] {
        let mut reader = Reader::new(&server, path).await;
        assert_eq!(reader.text().await, "early");
        if path == "/short/" {
            assert_eq!(reader.closed().await.0, 1000);
        }
    }
}
