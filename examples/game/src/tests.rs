use greenroom::{
    Mount,
    testing::{CommunicatorError, WebsocketCommunicator, advance, pause},
};
use serde_json::{Value, json};

use super::*;

/// Enters arena 1. A person without a name only watches.
async fn enter(mount: &Mount, name: Option<&str>) -> (WebsocketCommunicator, Value) {
    let query = name.map(|name| format!("?name={name}")).unwrap_or_default();
    let mut person = WebsocketCommunicator::new(mount, &format!("/game/1/{query}"));
    person.connect().await.unwrap();
    let you = next(&mut person, "you").await;
    (person, you["id"].clone())
}

/// The next message of this type. Others are left out.
async fn next(person: &mut WebsocketCommunicator, kind: &str) -> Value {
    loop {
        let event: Value = person.receive_json().await.unwrap();
        if event["type"] == kind {
            return event;
        }
    }
}

/// Where a player is, by the next snapshot.
async fn place(person: &mut WebsocketCommunicator, id: &Value) -> (i64, i64) {
    let moved = next(person, "moved").await;
    let player = moved["players"].as_array().unwrap().iter().find(|player| player[0] == *id).unwrap();
    (player[1][0].as_i64().unwrap(), player[1][1].as_i64().unwrap())
}

#[actix_web::test]
async fn everyone_sees_a_player_move_20_times_a_second() {
    let mount = Mount::new(application(&[])).unwrap();
    let (mut ann, id) = enter(&mount, Some("ann")).await;
    let (mut watching, nobody) = enter(&mount, None).await;
    assert_eq!(nobody, Value::Null);
    // More than the longest way, and more than the server's numbers hold.
    ann.send_json(&json!({"type": "steer", "x": 1e300, "y": -1e300}));
    ann.send_json(&json!({"type": "steer", "x": -1, "y": 0}));
    while place(&mut watching, &id).await.0 > 0 {}
    ann.send_json(&json!({"type": "steer", "x": 1, "y": 0}));
    while place(&mut watching, &id).await.0 == 0 {}

    pause();
    let before = place(&mut watching, &id).await.0;
    advance(std::time::Duration::from_millis(500)).await;
    while place(&mut watching, &id).await.0 < before + 50 {}
}

#[actix_web::test]
async fn a_whisper_reaches_one_player_and_the_host_removes_another() {
    let mount = Mount::new(application(&[])).unwrap();
    let (mut ann, ann_id) = enter(&mount, Some("ann")).await;
    let (mut bob, bob_id) = enter(&mount, Some("bob")).await;
    let (mut cid, cid_id) = enter(&mount, Some("cid")).await;
    ann.send_json(&json!({"type": "whisper", "to": bob_id, "text": "psst"}));
    let whisper = next(&mut bob, "whispered").await;
    assert_eq!(whisper, json!({"type": "whispered", "from": "ann", "text": "psst"}));
    // Bob is not the host, so nothing happens. What is said afterwards comes, and no whisper before it.
    bob.send_json(&json!({"type": "kick", "id": cid_id}));
    bob.send_json(&json!({"type": "say", "text": "hi"}));
    loop {
        let event: Value = cid.receive_json().await.unwrap();
        assert_ne!(event["type"], "whispered");
        if event["type"] == "said" {
            break;
        }
    }
    ann.send_json(&json!({"type": "kick", "id": cid_id}));
    let closed = loop {
        if let Err(error) = cid.receive().await {
            break error;
        }
    };
    assert!(matches!(closed, CommunicatorError::Closed { code, .. } if u16::from(code) == 4001), "{closed}");
    cid.abort().await;
    let people = loop {
        let people = next(&mut ann, "people").await;
        if people["players"].as_array().unwrap().len() == 2 {
            break people;
        }
    };
    assert_eq!(people["players"][0], json!([ann_id, "ann"]));
}

#[actix_web::test]
async fn the_61st_player_watches() {
    let mount = Mount::new(application(&[])).unwrap();
    let mut players = Vec::new();
    for number in 0..arena::PLAYERS {
        let (player, id) = enter(&mount, Some(&format!("p{number}"))).await;
        assert_ne!(id, Value::Null);
        players.push(player);
    }
    assert_eq!(enter(&mount, Some("late")).await.1, Value::Null);
    players.pop().unwrap().disconnect().await;
    assert_ne!(enter(&mount, Some("later")).await.1, Value::Null, "a place is free again");
}

#[actix_web::test]
async fn a_bad_wish_is_answered_and_the_game_goes_on() {
    let mount = Mount::new(application(&[])).unwrap();
    let (mut ann, id) = enter(&mount, Some("ann")).await;
    ann.send_text(r#"{"type":"fly"}"#);
    assert!(next(&mut ann, "error").await["reason"].as_str().unwrap().contains("fly"));
    ann.send_json(&json!({"type": "whisper", "to": 999, "text": "nobody"}));
    place(&mut ann, &id).await;
}
