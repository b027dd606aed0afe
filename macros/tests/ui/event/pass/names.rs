use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct HTTPError;

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("a-B_c.9")]
struct Named {}

#[derive(Clone, Serialize, Deserialize, Event)]
enum Room {
    #[event("room.joined")]
    Joined {
        user: String,
    },
    Said(ChatMessage),
    UserLeft,
}

const _: () = assert!(ChatMessage::NAMES.len() == 1 && Room::NAMES.len() == 3);

#[test]
fn compiles() {}
