use greenroom::event_handlers;

#[event_handlers]
struct Chat;

fn main() {
    let _ = Chat;
}
