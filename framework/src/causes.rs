//! Errors as people read them: the error, and what caused it.

use std::{error::Error as StdError, fmt};

/// Shows an error and its causes, joined by `: `.
pub(crate) struct WithCauses<'a>(pub(crate) &'a (dyn StdError + 'static));

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Makes `Debug` show an error and its causes. Rust prints an error in this form if `main` returns it, and if it is
/// unwrapped. So every public error has it.
macro_rules! debug_shows_causes {
    ($($type:ty),+ $(,)?) => {$(
        impl ::std::fmt::Debug for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&$crate::causes::WithCauses(self), f)
            }
        }
    )+};
}
pub(crate) use debug_shows_causes;
