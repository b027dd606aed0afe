use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::{Middleware, Rejection, opinion, run};
use crate::{Error, Result, Scope};

/// Several middleware as one, run in the order in which they are written.
///
/// It replaces `AuthMiddlewareStack` and similar functions of Channels.
///
/// `.wrap(Stack::new().with(a).with(b))` runs `a`, then `b`; `.wrap(a).wrap(b)` runs `b` first.
///
/// The [guide](crate::docs::guide#middleware) has an example.
#[derive(Clone, Default)]
#[must_use]
pub struct Stack(Vec<Arc<dyn Middleware>>);

impl Stack {
    /// An empty stack, which lets everyone in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a middleware, which runs after those that were added before.
    pub fn with(mut self, middleware: impl Middleware) -> Self {
        self.0.push(Arc::new(middleware));
        self
    }
}

#[async_trait(?Send)]
impl Middleware for Stack {
    async fn handle(&self, scope: &mut Scope) -> Result<(), Rejection> {
        run(&self.0, scope).await
    }

    fn check(&self) -> Result<()> {
        let errors: Vec<_> = self
            .0
            .iter()
            .filter_map(|middleware| middleware.check().err())
            .map(|error| error.to_string())
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(Error::msg(errors.join("\n"))) }
    }

    fn allows_origin(&self, origin: &str) -> Option<bool> {
        opinion(&self.0, origin)
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stack({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::{
        super::{AllowedHostsOriginValidator, from_fn},
        *,
    };

    #[test]
    fn a_stack_runs_in_order_and_ends_at_the_first_rejection() {
        let add = |add: u32| {
            from_fn(async move |scope: &mut Scope| {
                let sum = scope.remove::<u32>().unwrap_or(1);
                scope.insert(sum * 10 + add);
                Ok(())
            })
        };
        let deny = from_fn(async |_: &mut Scope| Err(Rejection::unauthorized()));
        let stack = Stack::new().with(add(2)).with(Stack::new().with(add(3))).with(deny).with(add(4));
        let mut scope = Scope::builder("/").build();
        let rejection = stack.handle(&mut scope).now_or_never().unwrap().unwrap_err();
        assert_eq!((rejection.status(), scope.get()), (401, Some(&123_u32)));
    }

    #[test]
    fn all_errors_of_a_stack_are_reported() {
        let wrong = || AllowedHostsOriginValidator::new(["*.x"]);
        let text =
            Stack::new().with(wrong()).with(Stack::new().with(wrong())).check().unwrap_err().to_string();
        assert_eq!(text.lines().count(), 2);
    }
}
