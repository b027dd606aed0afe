//! Finds events that cannot be written, on a layer that never writes them.

use std::{
    any::TypeId,
    collections::HashSet,
    sync::{LazyLock, Mutex, PoisonError},
};

use super::{Event, EventError, Format, wire};

/// The types that were written, with the name of the event. It has as many entries as the program has names of events.
static WRITTEN: LazyLock<Mutex<HashSet<(TypeId, &'static str)>>> = LazyLock::new(Mutex::default);

/// Writes an event in both forms, the first time that an event of its type and name comes.
///
/// # Errors
/// [`EventError::Unwritable`] with the type, and the field if one is at fault.
pub(super) fn check<E: Event>(event: &E) -> Result<(), EventError> {
    let key = (TypeId::of::<E>(), event.name());
    if written().contains(&key) {
        return Ok(());
    }
    // Nothing is locked meanwhile, because `Serialize` is user code.
    for format in [Format::Json, Format::MsgPack] {
        wire::write(event, format)?;
    }
    written().insert(key);
    Ok(())
}

fn written() -> std::sync::MutexGuard<'static, HashSet<(TypeId, &'static str)>> {
    WRITTEN.lock().unwrap_or_else(PoisonError::into_inner)
}
