use greenroom::{Layer, Mount, testing::WebsocketCommunicator};
use serde_json::{Value, json};

use super::*;

async fn join(mount: &Mount, name: &str) -> WebsocketCommunicator {
    let mut member = WebsocketCommunicator::new(mount, &format!("/room/123/?name={name}"));
    member.connect().await.unwrap();
    let members: Value = member.receive_json().await.unwrap();
    assert_eq!(members["type"], "chat.members");
    let joined: Value = member.receive_json().await.unwrap();
    assert_eq!(joined, json!({"type": "chat.joined", "user": name, "change": members["change"]}));
    member
}

#[actix_web::test]
async fn everyone_in_the_room_hears_what_one_says() {
    let mount = Mount::new(application(&[])).unwrap();
    let mut ann = join(&mount, "ann").await;
    let mut bob = join(&mount, "bob").await;
    assert_eq!(
        ann.receive_json::<Value>().await.unwrap(),
        json!({"type": "chat.joined", "user": "bob", "change": 2})
    );
    ann.send_json(&json!({"user": "ann", "text": "hi"}));
    bob.send_text("a plain text is a message too");
    for member in [&mut ann, &mut bob] {
        let said: Value = member.receive_json().await.unwrap();
        assert_eq!(
            (&said["type"], &said["user"], &said["text"]),
            (&json!("chat.message"), &json!("ann"), &json!("hi"))
        );
        let said: Value = member.receive_json().await.unwrap();
        assert_eq!((&said["user"], &said["text"]), (&json!("bob"), &json!("a plain text is a message too")));
    }
    bob.disconnect().await;
    assert_eq!(
        ann.receive_json::<Value>().await.unwrap(),
        json!({"type": "chat.left", "user": "bob", "change": 3})
    );
}

#[actix_web::test]
async fn another_program_sends_to_the_room() {
    let mount = Mount::new(application(&[])).unwrap();
    let mut ann = join(&mount, "ann").await;
    let layer: &Layer = mount.default_layer();
    let event = r#"{"type":"chat.message","user":"django","text":"hi"}"#;
    let room = GroupName::new("chat_123").unwrap();
    layer.group_send(&room, greenroom::Envelope::from_json(event).unwrap()).await.unwrap();
    assert_eq!(ann.receive_text().await.unwrap(), event);
}

#[actix_web::test]
async fn the_text_close_closes_the_connection() {
    let mount = Mount::new(application(&[])).unwrap();
    let mut ann = join(&mount, "ann").await;
    ann.send_text("close");
    assert!(ann.receive().await.is_err());
    assert!(mount.default_layer().backend().groups().group_count() <= 2);
    ann.disconnect().await;
    assert_eq!(mount.default_layer().backend().groups().group_count(), 0);
}
