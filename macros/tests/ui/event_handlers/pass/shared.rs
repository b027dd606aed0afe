//! Handlers that consumers share.
#![deny(warnings)]

use greenroom::{Envelope, EventHandlers, Handled, HttpContext, WorkerContext, prelude::*};

use crate::support::handle;

#[derive(Clone, Serialize, Deserialize, Event)]
struct Kicked {}

#[derive(Clone, Serialize, Deserialize, Event)]
struct News {
    text: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Tick {}

#[derive(Default)]
struct Moderated(usize);

#[event_handlers]
impl Moderated {
    async fn kicked(&mut self, _event: &Kicked, _ctx: &mut Context) -> Result<()> {
        self.0 += 1;
        Ok(())
    }
}

#[derive(Default)]
struct Newsreader;

#[event_handlers]
impl Newsreader {
    #[relay]
    fn news(event: &News) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

/// Two sets side by side.
#[derive(Default, EventHandlers)]
struct Chat(#[handlers] Moderated, #[handlers] Newsreader, usize);

impl Consumer for Chat {}

/// A wrapper of any consumer.
#[derive(EventHandlers)]
struct Log<C> {
    #[handlers]
    inner: C,
}

impl<C: Consumer> Consumer for Log<C> {}

struct Jobs;

#[event_handlers]
impl Jobs {
    async fn tick(&mut self, _event: &Tick, _ctx: &mut WorkerContext) -> Result<()> {
        Ok(())
    }
}

struct Feed;

#[event_handlers]
impl Feed {
    async fn tick(&mut self, _event: &Tick, _ctx: &mut HttpContext) -> Result<()> {
        Ok(())
    }
}

fn handles<X: greenroom::consumer::EventContext, C: EventHandlers<X>>() -> Vec<&'static str> {
    C::events()
}

#[test]
fn a_wrapper_works_with_every_context() {
    assert_eq!(handles::<WorkerContext, Log<Jobs>>(), ["tick"]);
    assert_eq!(handles::<HttpContext, Log<Feed>>(), ["tick"]);
    assert_eq!(handles::<Context, Log<Log<Chat>>>(), ["kicked", "news"]);
    assert_eq!(handles::<HttpContext, Log<Newsreader>>(), ["news"]);
}

#[test]
fn events_reach_the_field_that_handles_them() {
    let mut chat = Log { inner: Chat::default() };
    assert_eq!(handle(&mut chat, Kicked {}).unwrap(), Handled::Yes);
    assert_eq!(handle(&mut chat, Tick {}).unwrap(), Handled::Unknown);
    assert_eq!((chat.inner.0.0, chat.inner.2), (1, 0));
    let news = Envelope::new(News { text: "new".into() });
    let relayed = <Log<Chat> as EventHandlers>::relay(&news).unwrap().unwrap();
    assert_eq!(relayed, Outgoing::text("new"));
    assert!(<Log<Chat> as EventHandlers>::relay(&Kicked {}.into()).is_none());
}
