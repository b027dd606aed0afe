use greenroom::Event;

#[derive(Clone, Event)]
struct ChatMessage {
    text: String,
}

fn main() {}
