use greenroom::EventHandlers;

#[derive(EventHandlers)]
struct Nothing {
    name: String,
}

#[derive(EventHandlers)]
enum Several {
    One,
}

#[derive(EventHandlers)]
struct NoHandlers {
    #[handlers]
    name: String,
}

fn main() {}
