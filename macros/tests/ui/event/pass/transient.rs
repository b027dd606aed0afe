use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(transient)]
struct Typing;

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(transient, "cursor.moved")]
struct Cursor {
    x: u32,
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(transient)]
enum Signals {
    #[event("signals.up")]
    Up,
    Down {
        by: u32,
    },
}

#[derive(Clone, Serialize, Deserialize, Event)]
enum Board {
    Stroke {
        points: Vec<u32>,
    },
    #[event("board.pointer")]
    #[event(transient)]
    Pointer(Cursor),
    #[event(transient)]
    Left,
    Closed,
}

#[test]
fn the_words_say_what_is_transient() {
    assert!(Typing.is_transient() && Cursor { x: 1 }.is_transient());
    assert_eq!(Cursor::NAMES, ["cursor.moved"]);
    assert!(Signals::Up.is_transient() && Signals::Down { by: 1 }.is_transient());
    assert_eq!(Board::NAMES, ["stroke", "board.pointer", "left", "closed"]);
    assert!(Board::Pointer(Cursor { x: 1 }).is_transient() && Board::Left.is_transient());
    assert!(!Board::Stroke { points: Vec::new() }.is_transient() && !Board::Closed.is_transient());
}
