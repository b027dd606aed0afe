//! Calls code of users and drops their values, whatever panics.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{Result, error::Error, shown::Shown};

/// Calls user code that is not a future. A panic becomes an error.
pub(crate) fn guard<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panicked(panic)))
}

/// Makes the error of a panic. The panic hook has already printed where it happened.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned());
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        // The value of a panic may panic when it is dropped, and so may the value of that panic.
        Box::leak(again);
    }
    Error::msg(format!("a hook panicked: {text}"))
}

/// Drops a value of a user, and logs it if the drop panics. What must follow still follows.
pub(crate) fn drop_guarded<T>(value: T, what: &str) {
    let dropped = guard(|| {
        drop(value);
        Ok(())
    });
    if let Err(error) = dropped {
        tracing::error!(error = %Shown(error), "{what} failed when it was dropped");
    }
}
