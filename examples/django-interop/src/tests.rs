use greenroom::{Envelope, MemoryLayer, Mount, testing::WebsocketCommunicator};
use serde_json::{Value, json};

use super::*;

fn mount() -> Mount {
    let layer = Layer::from(MemoryLayer::new());
    Mount::new(application(layer.clone(), &[])).unwrap().layer(layer)
}

async fn join(mount: &Mount, room: &str) -> WebsocketCommunicator {
    let mut person = WebsocketCommunicator::new(mount, &format!("/ws/chat/{room}/"));
    person.connect().await.unwrap();
    person
}

/// Sends an event to a group as another program does, for example Django.
async fn from_outside(mount: &Mount, group: &str, event: Value) {
    let envelope = Envelope::from_json(event.to_string()).unwrap();
    mount.default_layer().group_send(&GroupName::new(group).unwrap(), envelope).await.unwrap();
}

#[actix_web::test]
async fn everyone_in_the_room_hears_what_one_says_and_what_django_sends() {
    let mount = mount();
    let (mut ann, mut bob) = (join(&mount, "lobby").await, join(&mount, "lobby").await);
    let mut other = join(&mount, "garden").await;
    let said = json!({"type": "chat.message", "user": "Ann", "text": "hi"});
    let sent = json!({"type": "chat.message", "user": "django", "text": "hello"});
    ann.send_json(&json!({"user": "Ann", "text": "hi"}));
    for person in [&mut ann, &mut bob] {
        assert_eq!(person.receive_json::<Value>().await.unwrap(), said);
    }
    from_outside(&mount, "chat_lobby", sent.clone()).await;
    for person in [&mut ann, &mut bob] {
        assert_eq!(person.receive_json::<Value>().await.unwrap(), sent);
    }
    assert!(other.receive_nothing().await, "another room gets nothing of it");
}

/// A member of only the room's group, like a Django consumer, gets no event that would end it.
#[actix_web::test]
async fn typing_notices_reach_no_member_on_djangos_side() {
    let mount = mount();
    let layer = mount.default_layer().clone();
    let django = layer.new_channel().await.unwrap();
    layer.group_add(&GroupName::new("chat_lobby").unwrap(), &django).await.unwrap();
    let (mut ann, mut bob) = (join(&mount, "lobby").await, join(&mount, "lobby").await);
    ann.send_json(&json!({"user": "Ann"}));
    let typing = json!({"type": "rust.typing", "user": "Ann"});
    assert_eq!(bob.receive_json::<Value>().await.unwrap(), typing);
    ann.send_json(&json!({"user": "Ann", "text": "hi"}));
    let first = layer.receive(&django).await.unwrap();
    assert_eq!(first.name(), "chat.message");
    let own = ann.receive_json::<Value>().await.unwrap();
    assert_eq!(own["text"], "hi", "and nothing of her own typing before it");
}

#[actix_web::test]
async fn unknown_events_are_counted_and_end_no_connection() {
    let mount = mount();
    let mut ann = join(&mount, "lobby").await;
    for foreign in [json!({"type": "django.only"}), json!({"type": "chat.message", "user": "Ann", "text": 5})]
    {
        from_outside(&mount, "chat_lobby", foreign).await;
    }
    let sent = json!({"type": "chat.message", "user": "django", "text": "still there?"});
    from_outside(&mount, "chat_lobby", sent.clone()).await;
    assert_eq!(ann.receive_json::<Value>().await.unwrap(), sent);
    let metrics = mount.default_layer().metrics();
    assert_eq!((metrics.unhandled, metrics.relay_failed), (1, 1));
}

/// A page that sends invalid JSON loses only its own connection.
#[actix_web::test]
async fn a_page_that_sends_invalid_json_is_closed_with_1007() {
    let mount = mount();
    let mut ann = join(&mount, "lobby").await;
    ann.send_text("no JSON");
    let closed = ann.receive().await.unwrap_err();
    assert!(
        matches!(closed, greenroom::testing::CommunicatorError::Closed { code, .. } if u16::from(code) == 1007)
    );
}
