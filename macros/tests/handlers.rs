//! Handlers at run time: which method an event reaches, and in which form.

use std::sync::Arc;

use greenroom::{
    Consumer, Context, Envelope, Event, EventError, EventHandlers, Handled, NoEvents, Outgoing, Result,
    event_handlers,
};
use serde::{Deserialize, Serialize};

use crate::support::{handle, handle_json};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
struct ChatMessage {
    user: String,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event("user.left-at")]
struct UserLeft {
    at: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
struct Tick;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
enum RoomEvent {
    #[event("room.joined")]
    Joined {
        user: String,
    },
    #[event("room.said")]
    Said(ChatMessage),
    Closed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
enum Stage {
    LightsOn,
    LightsOff,
}

fn chat() -> ChatMessage {
    ChatMessage { user: "a".into(), text: "hi".into() }
}

#[derive(Default)]
struct Chat {
    calls: Vec<String>,
}

impl Consumer for Chat {}

#[event_handlers]
impl Chat {
    /// A block may have constants.
    const LIMIT: usize = 10;

    async fn chat_message(&mut self, event: &ChatMessage, ctx: &mut Context) -> Result<()> {
        self.calls.push(format!("{}: {}", event.user, event.text));
        ctx.send_event(event)
    }

    async fn user_left_at(&mut self, event: UserLeft, _ctx: &mut Context) -> Result<()> {
        self.calls.push(format!("left at {}", event.at));
        Ok(())
    }

    /// All events of the enum.
    async fn room_event(&mut self, event: Arc<RoomEvent>, _ctx: &mut Context) -> Result<()> {
        self.calls.push(format!("{event:?}"));
        Ok(())
    }

    /// One event of the enum.
    #[on("lights.off")]
    async fn dark(&mut self, event: &Stage, _: &mut Context) -> Result<()> {
        assert_eq!(*event, Stage::LightsOff);
        self.calls.push("dark".into());
        Ok(())
    }

    #[cfg(any())]
    async fn lights_on(&mut self, _: &NoSuchType, _: &mut Context) -> Result<()> {
        Ok(())
    }

    #[on("tick")]
    async fn r#loop(&mut self, _event: &Tick, _ctx: &mut Context) -> Result<()> {
        Err(greenroom::Error::msg("a tick fails"))
    }
}

#[test]
fn an_event_reaches_the_method_with_its_name() {
    let mut chat_consumer = Chat::default();
    let mut send = |envelope: Envelope| handle(&mut chat_consumer, envelope).unwrap();
    assert_eq!(send(chat().into()), Handled::Yes);
    assert_eq!(send(UserLeft { at: 3 }.into()), Handled::Yes);
    assert_eq!(send(RoomEvent::Joined { user: "b".into() }.into()), Handled::Yes);
    assert_eq!(send(RoomEvent::Said(chat()).into()), Handled::Yes);
    assert_eq!(send(RoomEvent::Closed.into()), Handled::Yes);
    assert_eq!(send(Stage::LightsOff.into()), Handled::Yes);
    assert_eq!(send(Stage::LightsOn.into()), Handled::Unknown);
    assert_eq!(
        chat_consumer.calls,
        [
            "a: hi",
            "left at 3",
            "Joined { user: \"b\" }",
            "Said(ChatMessage { user: \"a\", text: \"hi\" })",
            "Closed",
            "dark"
        ]
    );
    assert_eq!(Chat::LIMIT, 10);
}

#[test]
fn an_event_of_another_program_reaches_the_method_with_its_name() {
    let mut chat = Chat::default();
    let mut send = |text: &str| handle_json(&mut chat, text);
    assert_eq!(send(r#"{"user":"a","text":"hi","type":"chat.message"}"#).unwrap(), Handled::Yes);
    assert_eq!(send(r#"{"type":"user.left-at","at":9}"#).unwrap(), Handled::Yes);
    assert_eq!(send(r#"{"type":"room.said","user":"a","text":"hi"}"#).unwrap(), Handled::Yes);
    assert_eq!(send(r#"{"type":"closed"}"#).unwrap(), Handled::Yes);
    assert_eq!(send(r#"{"type":"nobody.knows"}"#).unwrap(), Handled::Unknown);
    // An event cannot call a method that is not its handler, nor use the names of Channels itself (rule 6:
    // an event calls only a handler).
    for name in ["connect", "handle_event", "room_event", "chat_message", "websocket.receive", "LIMIT"] {
        assert_eq!(send(&format!(r#"{{"type":"{name}"}}"#)).unwrap(), Handled::Unknown, "{name}");
    }
    let error = send(r#"{"type":"user.left-at","at":"noon"}"#).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(EventError::Fields { name, .. }) if name == "user.left-at"));
    assert_eq!(send(r#"{"type":"tick"}"#).unwrap_err().to_string(), "a tick fails");
    assert_eq!(
        chat.calls,
        ["a: hi", "left at 9", "Said(ChatMessage { user: \"a\", text: \"hi\" })", "Closed"]
    );
}

#[test]
fn a_consumer_lists_its_events() {
    assert_eq!(
        Chat::events(),
        ["chat.message", "user.left-at", "room.joined", "room.said", "closed", "lights.off", "tick"]
    );
}

#[test]
fn handlers_are_ordinary_methods() {
    struct Plain;

    #[event_handlers]
    impl Plain {
        #[relay]
        fn chat_message(event: &ChatMessage) -> Outgoing {
            Outgoing::text(event.text.clone())
        }
    }

    assert_eq!(Plain::chat_message(&chat()), Outgoing::text("hi"));
}

/// The event of the example that the library started from.
mod seed {
    use super::*;

    #[derive(Clone, Serialize, Deserialize, Event)]
    struct XxOo {
        message: Said,
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct Said {
        text: String,
    }

    struct Room {
        sent: Vec<String>,
    }

    impl Consumer for Room {}

    #[event_handlers]
    impl Room {
        async fn xx_oo(&mut self, event: &XxOo, ctx: &mut Context) -> Result<()> {
            self.sent.push(event.message.text.clone());
            ctx.send(event.message.text.as_str())
        }
    }

    #[test]
    fn the_first_example_works_unchanged() {
        let mut room = Room { sent: vec![] };
        let event = r#"{"type": "xx.oo", "message": {"text": "来了啊 !!!"}}"#;
        assert_eq!(handle_json(&mut room, event).unwrap(), Handled::Yes);
        assert_eq!(room.sent, ["来了啊 !!!"]);
    }
}

mod relays {
    use super::*;

    struct Board;

    impl Consumer for Board {}

    #[event_handlers]
    impl Board {
        #[relay]
        fn chat_message(event: &ChatMessage) -> Result<Outgoing> {
            if event.text.is_empty() {
                return Err(greenroom::Error::msg("nothing said"));
            }
            Outgoing::event(event)
        }

        #[relay]
        fn stage(event: &Stage) -> Outgoing {
            Outgoing::text(event.name())
        }

        async fn tick(&mut self, _event: &Tick, _ctx: &mut Context) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_relay_makes_the_message_alone_and_as_a_handler() {
        let relayed = |event: Envelope| Board::relay(&event);
        let text = r#"{"type":"chat.message","user":"a","text":"hi"}"#;
        assert_eq!(relayed(chat().into()).unwrap().unwrap(), Outgoing::text(text));
        assert_eq!(relayed(Envelope::from_json(text).unwrap()).unwrap().unwrap(), Outgoing::text(text));
        assert_eq!(relayed(Stage::LightsOff.into()).unwrap().unwrap(), Outgoing::text("lights.off"));
        assert!(relayed(Tick.into()).is_none());
        assert!(relayed(RoomEvent::Closed.into()).is_none());
        let silent = ChatMessage { text: String::new(), ..chat() };
        assert_eq!(relayed(silent.clone().into()).unwrap().unwrap_err().to_string(), "nothing said");
        let wrong = relayed(Envelope::from_json(r#"{"type":"chat.message"}"#).unwrap()).unwrap().unwrap_err();
        assert!(wrong.is::<EventError>());

        assert_eq!(handle(&mut Board, chat()).unwrap(), Handled::Yes);
        // As in a group: the event is lost and counted, and the connection stays.
        assert_eq!(handle(&mut Board, silent).unwrap(), Handled::Yes);
        assert_eq!(Board::events(), ["chat.message", "lights.on", "lights.off", "tick"]);
    }
}

mod generics {
    use super::*;

    trait Store: 'static {
        fn put(&mut self, text: &str);
    }

    impl Store for Vec<String> {
        fn put(&mut self, text: &str) {
            self.push(text.to_owned());
        }
    }

    struct Kept<T, const N: usize>
    where
        T: Store,
    {
        store: T,
    }

    impl<T: Store, const N: usize> Consumer for Kept<T, N> {}

    #[event_handlers]
    impl<T, const N: usize> Kept<T, N>
    where
        T: Store,
    {
        async fn chat_message(&mut self, event: &ChatMessage, _ctx: &mut Context) -> Result<()> {
            self.store.put(&event.text.repeat(N));
            Ok(())
        }
    }

    #[derive(NoEvents)]
    struct Quiet<T>(T);

    impl<T: 'static> Consumer for Quiet<T> {}

    #[test]
    fn a_consumer_may_be_generic() {
        let mut kept = Kept::<Vec<String>, 2> { store: vec![] };
        assert_eq!(handle(&mut kept, chat()).unwrap(), Handled::Yes);
        assert_eq!(kept.store, ["hihi"]);
        assert_eq!(handle(&mut Quiet(1), chat()).unwrap(), Handled::Unknown);
        assert!(<Quiet<u8> as EventHandlers>::relay(&Tick.into()).is_none());
        assert!(<Quiet<u8> as EventHandlers>::events().is_empty());
    }
}

mod empty {
    use super::*;

    struct Chat;

    #[event_handlers]
    impl Chat {}

    #[test]
    fn a_block_may_be_empty() {
        assert_eq!(handle(&mut Chat, Tick).unwrap(), Handled::Unknown);
        assert!(<Chat as EventHandlers>::events().is_empty());
    }
}
