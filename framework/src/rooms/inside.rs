//! Whether this thread runs a closure of a room.

use std::cell::Cell;

use super::RoomError;
use crate::GroupName;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs a closure or a hook of a room.
pub(super) fn inside<T>(run: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            INSIDE.set(self.0);
        }
    }
    let _before = Before(INSIDE.replace(true));
    run()
}

/// Refuses a call that a closure waits for: the room that it calls may wait for that closure.
pub(super) fn refuse_inside(room: &GroupName) -> Result<(), RoomError> {
    if INSIDE.get() { Err(RoomError::InsideClosure { room: room.clone() }) } else { Ok(()) }
}
