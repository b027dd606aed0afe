use greenroom::{MemoryLayer, Mount, testing::WebsocketCommunicator};
use serde_json::{Value, json};

use super::*;

fn chat() -> Mount {
    Mount::new(application(&[])).unwrap().layer(MemoryLayer::with_config(config()))
}

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
    let mount = chat();
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

/// The texts of the messages that a member gets before this one.
async fn heard_text(member: &mut WebsocketCommunicator, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let event: Value = member.receive_json().await.unwrap();
        match event["text"].as_str() {
            Some(text) if text == last => return heard,
            Some(text) => heard.push(text.to_owned()),
            None => {}
        }
    }
}

#[actix_web::test]
async fn who_comes_late_sees_what_was_said_last() {
    let mount = chat();
    let mut ann = join(&mount, "ann").await;
    for number in 0..room::SHOWN + 10 {
        ann.send_text(number.to_string());
    }
    heard_text(&mut ann, "59").await;
    ann.disconnect().await;
    let mut bob = WebsocketCommunicator::new(&mount, "/room/123/?name=bob");
    bob.connect().await.unwrap();
    // The message behind them comes next, and nothing comes twice.
    bob.send_text("hi");
    let said: Vec<_> = heard_text(&mut bob, "hi").await;
    let expected: Vec<_> = (10..room::SHOWN + 10).map(|number| number.to_string()).collect();
    assert_eq!(said, expected);
}

#[actix_web::test]
async fn another_program_sends_to_the_room() {
    let mount = chat();
    let mut ann = join(&mount, "ann").await;
    let layer: &Layer = mount.default_layer();
    let event = r#"{"type":"chat.message","user":"django","text":"hi"}"#;
    let room = GroupName::new("chat_123").unwrap();
    layer.group_send(&room, greenroom::Envelope::from_json(event).unwrap()).await.unwrap();
    assert_eq!(ann.receive_text().await.unwrap(), event);
}

#[actix_web::test]
async fn the_text_close_closes_the_connection() {
    let mount = chat();
    let mut ann = join(&mount, "ann").await;
    ann.send_text("close");
    assert!(ann.receive().await.is_err());
    assert!(mount.default_layer().backend().groups().group_count() <= 2);
    ann.disconnect().await;
    assert_eq!(mount.default_layer().backend().groups().group_count(), 0);
}

/// Joins as one of many, and reads the first message.
async fn come(mount: &Mount) -> (WebsocketCommunicator, Value) {
    let mut member = WebsocketCommunicator::new(mount, "/room/123/?name=many");
    member.connect().await.unwrap();
    let members = member.receive_json().await.unwrap();
    (member, members)
}

/// Counts the messages that a member gets up to a text that it sends itself.
async fn heard(member: &mut WebsocketCommunicator) -> Vec<Value> {
    member.send_text("end");
    let mut heard = Vec::new();
    loop {
        let event: Value = member.receive_json().await.unwrap();
        if event["text"] == "end" {
            return heard;
        }
        heard.push(event);
    }
}

#[actix_web::test]
async fn a_crowded_room_says_how_many_there_are_and_not_who() {
    let mount = chat();
    let mut ann = join(&mount, "ann").await;
    let mut members = Vec::new();
    for count in 2..=400 {
        let (member, first) = come(&mount).await;
        let listed = first["users"].as_array().unwrap().len();
        assert_eq!((&first["count"], listed), (&json!(count), if count > room::LISTED { 0 } else { count }));
        members.push(member);
    }
    let events = heard(&mut ann).await;
    let joined = events.iter().filter(|event| event["type"] == "chat.joined").count();
    assert_eq!(joined, room::LISTED - 1);
    // One of 100 came first, then each, each second and each third change.
    let told: Vec<_> = events[joined..].iter().map(|event| event["count"].as_u64().unwrap()).collect();
    assert!(told[0] == 101 && told.len() <= 100 + 50 + 34 && *told.last().unwrap() >= 397, "{told:?}");
    assert!(events[joined..].iter().all(|event| event["users"] == json!([])));
    // When it is small again, its pages get the list back, and hear of single members.
    while members.len() > room::LISTED - 2 {
        members.pop().unwrap().disconnect().await;
    }
    let events = heard(&mut ann).await;
    let [.., list, left] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&list["count"], list["users"].as_array().unwrap().len()), (&json!(100), 100));
    assert_eq!((&left["type"], &left["user"]), (&json!("chat.left"), &json!("many")));
}
