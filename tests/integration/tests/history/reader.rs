//! Pages of a group's history, and positions for pages that HTTP renders.

use greenroom::{
    Error, Layer, LayerConfig, MemoryLayer, Mount,
    error::MisuseError,
    history::{History, Outcome, Page, Position, Since},
    prelude::*,
    testing::WebsocketCommunicator,
};

use super::{Said, layer, numbers, room, say};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(transient)]
struct Typing;

/// Connects to a consumer.
async fn connect<C: Consumer>(
    layer: &Layer,
    make: impl Fn(&Scope) -> Result<C> + Send + Sync + 'static,
) -> WebsocketCommunicator {
    let mount = Mount::new(UrlRouter::new().route("/", make)).unwrap().layer(layer.clone());
    let mut client = WebsocketCommunicator::new(&mount, "/");
    client.connect().await.unwrap();
    client
}

fn texts(page: &Page) -> Vec<String> {
    let text = |event: &greenroom::history::PageEvent| event.envelope.event::<Said>().unwrap().text.clone();
    page.events.iter().map(text).collect()
}

#[actix_web::test]
async fn pages_are_read_from_the_newest_back_and_from_a_place_on() {
    let layer = layer(History::last(20));
    let history = || layer.history(&room());
    let empty = history().read().await.unwrap();
    assert_eq!((empty.events.len(), empty.complete, empty.first), (0, true, empty.top));
    say(&layer, 0..9).await;

    let newest = history().limit(4).read().await.unwrap();
    assert_eq!((texts(&newest), newest.complete), (numbers(5..9), false));
    assert_eq!(newest.events[3].position, newest.top);
    let older = history().before(newest.first).limit(4).read().await.unwrap();
    assert_eq!((texts(&older), older.complete, older.top), (numbers(1..5), false, newest.top));
    let oldest = history().before(older.first).limit(4).read().await.unwrap();
    assert_eq!((texts(&oldest), oldest.complete, oldest.first.offset()), (numbers(0..1), true, 0));
    let none = history().before(oldest.first).read().await.unwrap();
    assert_eq!((none.events.len(), none.complete), (0, true));

    let from = history().after(older.first).limit(3).read().await.unwrap();
    assert_eq!((texts(&from), from.complete, from.first), (numbers(1..4), false, older.first));
    let rest = history().after(from.events[2].position).read().await.unwrap();
    assert_eq!((texts(&rest), rest.complete), (numbers(4..9), true));
    let between = history().after(older.first).before(newest.first).read().await.unwrap();
    assert_eq!((texts(&between), between.complete), (numbers(1..5), true));
    let end = history().after(newest.top).read().await.unwrap();
    assert_eq!((end.events.len(), end.complete), (0, true));
    // The whole log, and no more than the group keeps.
    let all = history().limit(usize::MAX).read().await.unwrap();
    assert_eq!((texts(&all), all.complete), (numbers(0..9), true));
    assert_eq!(history().limit(0).read().await.unwrap().events.len(), 1);
}

#[actix_web::test]
async fn a_page_says_if_something_is_missing() {
    let layer = layer(History::last(5));
    let history = || layer.history(&room());
    let start = history().position().await.unwrap();
    say(&layer, 0..9).await;
    let newest = history().read().await.unwrap();
    assert_eq!((texts(&newest), newest.complete), (numbers(4..9), false));
    let trimmed = history().after(start).read().await.unwrap();
    assert_eq!((texts(&trimmed), trimmed.complete), (numbers(4..9), false));
    let gone = history().before(start).read().await.unwrap();
    assert_eq!((gone.events.len(), gone.complete), (0, false));
    // A place of another log, and one that was invented.
    let other = super::layer(History::last(5));
    let elsewhere = other.history(&room()).position().await.unwrap();
    let top = newest.top.to_string();
    let invented: Position = format!("{}{}", &top[..top.len() - 6], "0c0ffe").parse().unwrap();
    for place in [elsewhere, invented] {
        let after = history().after(place).read().await.unwrap();
        assert_eq!((texts(&after), after.complete), (numbers(4..9), false));
        let before = history().before(place).read().await.unwrap();
        assert_eq!((before.events.len(), before.complete), (0, false));
        let between = history().after(newest.first).before(place).read().await.unwrap();
        assert!(!between.complete || place == invented, "{between:?}");
    }
}

#[actix_web::test]
async fn a_transient_event_is_delivered_and_not_kept() {
    /// Answers each event with its name.
    struct Names;
    impl Consumer for Names {
        fn groups(&self) -> Vec<GroupName> {
            vec![room()]
        }
    }
    #[event_handlers]
    impl Names {
        #[relay]
        fn typing(_: &Typing) -> Outgoing {
            Outgoing::text("typing")
        }

        #[relay]
        fn said(event: &Said) -> Outgoing {
            Outgoing::text(event.text.clone())
        }
    }
    let layer = layer(History::last(5));
    let mut client = connect(&layer, |_| Ok(Names)).await;
    let before = layer.history(&room()).position().await.unwrap();
    layer.group_send(&room(), Typing).await.unwrap();
    assert_eq!(client.receive_text().await.unwrap(), "typing");
    assert_eq!(layer.history(&room()).position().await.unwrap(), before);
    say(&layer, 1..2).await;
    layer.group_send(&room(), Typing).await.unwrap();
    assert_eq!(texts(&layer.history(&room()).read().await.unwrap()), ["1"]);
    // Who was away misses nothing by it.
    assert!(layer.history(&room()).after(before).read().await.unwrap().complete);
}

#[actix_web::test]
async fn a_page_that_read_its_position_first_misses_nothing() {
    /// Joins from the place that its page has.
    struct Board(Position);
    impl Consumer for Board {
        async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
            ctx.accept()?;
            let outcome = ctx.group_add_since(&room(), Since::Position(self.0)).await?;
            ctx.send_text(format!("{outcome:?}"))
        }
    }
    #[event_handlers]
    impl Board {
        async fn said(&mut self, event: &Said, ctx: &mut Context) -> Result<()> {
            let page = ctx.history(&room()).limit(1).read().await?;
            ctx.send_text(format!("{} of {}", event.text, page.top.offset()))
        }
    }
    let layer = layer(History::last(5));
    say(&layer, 0..2).await;
    let position = layer.history(&room()).position().await.unwrap();
    // It comes while the page is rendered.
    say(&layer, 2..3).await;
    let mut client = connect(&layer, move |_| Ok(Board(position))).await;
    assert_eq!(client.receive_text().await.unwrap(), format!("{:?}", Outcome::Recovered));
    assert_eq!(client.receive_text().await.unwrap(), "2 of 3");
    say(&layer, 3..9).await;
    let mut late = connect(&layer, move |_| Ok(Board(position))).await;
    assert_eq!(late.receive_text().await.unwrap(), "Lost(Trimmed)");
}

#[actix_web::test]
async fn a_group_without_a_policy_has_no_history_and_the_error_names_the_fix() {
    let layer = Layer::from(MemoryLayer::with_config(LayerConfig::new().history("chat_*", History::last(5))));
    let other = GroupName::new("other").unwrap();
    let told = |error: Error| {
        assert!(matches!(error.downcast_ref(), Some(MisuseError::NoHistory(group)) if **group == *other));
        assert!(error.to_string().contains("add LayerConfig::history"), "{error}");
    };
    told(layer.history(&other).read().await.unwrap_err());
    told(layer.history(&other).position().await.unwrap_err());
}
