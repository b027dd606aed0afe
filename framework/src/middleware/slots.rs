//! Middleware that puts the client's session and its user into the scope.

use std::{any::type_name, fmt, marker::PhantomData};

use async_trait::async_trait;

use super::{Middleware, Rejection};
use crate::{Result, Scope};

/// Loads the client's session into [`Scope::session`].
///
/// The loader finds the session, for example by a cookie. If it returns `None`, the scope has no session. A session
/// that is already set stays, as in Channels. The middleware saves nothing, as for WebSockets in Channels: a
/// consumer that changes its session must save it.
///
/// ```
/// use greenroom::{Scope, UrlRouter, middleware::SessionMiddleware};
///
/// struct Session { basket: Vec<u64> }
///
/// async fn load(key: &str) -> std::io::Result<Option<Session>> { Ok(None) }
///
/// let router = UrlRouter::new().wrap(SessionMiddleware::new(async |scope: &Scope| {
///     let Some(cookie) = scope.cookie("sessionid") else { return Ok(None) };
///     Ok(load(cookie.value()).await?)
/// }));
/// ```
pub struct SessionMiddleware<S, F> {
    loader: F,
    session: PhantomData<fn() -> S>,
}

impl<S, F> SessionMiddleware<S, F>
where
    S: 'static,
    F: AsyncFn(&Scope) -> Result<Option<S>> + Send + Sync + 'static,
{
    /// Loads sessions with `loader`. If it fails, the error is logged and the client is answered 500.
    pub fn new(loader: F) -> Self {
        Self { loader, session: PhantomData }
    }
}

#[async_trait(?Send)]
impl<S, F> Middleware for SessionMiddleware<S, F>
where
    S: 'static,
    F: AsyncFn(&Scope) -> Result<Option<S>> + Send + Sync + 'static,
{
    async fn handle(&self, scope: &mut Scope) -> Result<(), Rejection> {
        if scope.session::<S>().is_none()
            && let Some(session) = (self.loader)(scope).await?
        {
            scope.set_session(session);
        }
        Ok(())
    }
}

impl<S, F> fmt::Debug for SessionMiddleware<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionMiddleware<{}>", type_name::<S>())
    }
}

/// Finds out who the client is, and puts the user into [`Scope::user`].
///
/// The function may read a cookie, a header, a query parameter, a subprotocol, or what an earlier middleware put
/// into the scope. If it returns `None`, the client is let in without a user, as with Channels' `AnonymousUser`.
/// After [`required`](Self::required) such a client is answered 401. A user that is already set stays.
///
/// ```
/// use greenroom::{Scope, UrlRouter, middleware::{AuthMiddleware, SessionMiddleware, Stack}};
///
/// #[derive(Clone)]
/// struct User { name: String }
/// struct Session { user: Option<User> }
///
/// let sessions = SessionMiddleware::new(async |_: &Scope| Ok(Some(Session { user: None })));
/// let users = AuthMiddleware::new(async |scope: &Scope| {
///     Ok(scope.session::<Session>().and_then(|session| session.user.clone()))
/// });
/// let router = UrlRouter::new().wrap(Stack::new().with(sessions).with(users.required()));
/// ```
pub struct AuthMiddleware<U, F> {
    find: F,
    required: bool,
    user: PhantomData<fn() -> U>,
}

impl<U, F> AuthMiddleware<U, F>
where
    U: 'static,
    F: AsyncFn(&Scope) -> Result<Option<U>> + Send + Sync + 'static,
{
    /// Finds users with `find`. If it fails, the error is logged and the client is answered 500.
    pub fn new(find: F) -> Self {
        Self { find, required: false, user: PhantomData }
    }

    /// Answers 401 to clients without a user.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

#[async_trait(?Send)]
impl<U, F> Middleware for AuthMiddleware<U, F>
where
    U: 'static,
    F: AsyncFn(&Scope) -> Result<Option<U>> + Send + Sync + 'static,
{
    async fn handle(&self, scope: &mut Scope) -> Result<(), Rejection> {
        if scope.user::<U>().is_some() {
            return Ok(());
        }
        match (self.find)(scope).await? {
            Some(user) => {
                scope.set_user(user);
                Ok(())
            }
            None if self.required => Err(Rejection::unauthorized()),
            None => Ok(()),
        }
    }
}

impl<U, F> fmt::Debug for AuthMiddleware<U, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthMiddleware<{}>", type_name::<U>())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::{super::Stack, *};

    fn stack(required: bool) -> Stack {
        let sessions = SessionMiddleware::new(async |scope: &Scope| {
            let Some(cookie) = scope.cookie("sessionid") else { return Ok(None) };
            Ok(Some(cookie.value().parse::<u32>()?))
        });
        let users = AuthMiddleware::new(async |scope: &Scope| {
            Ok(scope.session::<u32>().map(|id| format!("user {id}")))
        });
        Stack::new().with(sessions).with(if required { users.required() } else { users })
    }

    fn run(stack: &Stack, scope: &mut Scope) -> Result<(), u16> {
        stack.handle(scope).now_or_never().unwrap().map_err(|rejection| rejection.status())
    }

    fn scope(cookie: &str) -> Scope {
        Scope::builder("/").header("cookie", cookie).build()
    }

    #[test]
    fn the_session_gives_the_user() {
        let mut scope = scope("sessionid=7");
        assert_eq!(run(&stack(true), &mut scope), Ok(()));
        assert_eq!((scope.session::<u32>(), scope.user::<String>()), (Some(&7), Some(&"user 7".to_owned())));
    }

    #[test]
    fn without_a_session_there_is_no_user() {
        let mut anonymous = scope("other=1");
        assert_eq!(run(&stack(false), &mut anonymous), Ok(()));
        assert_eq!((anonymous.session::<u32>(), anonymous.user::<String>()), (None, None));
        assert_eq!(run(&stack(true), &mut anonymous), Err(401));
        assert_eq!(run(&stack(false), &mut scope("sessionid=x")), Err(500));
    }

    #[test]
    fn a_session_and_a_user_that_are_set_already_stay() {
        let mut scope = scope("sessionid=7");
        scope.set_session(8_u32);
        assert_eq!(run(&stack(true), &mut scope), Ok(()));
        assert_eq!(scope.user::<String>().unwrap(), "user 8");
        scope.set_user("ada".to_owned());
        assert_eq!(run(&stack(true), &mut scope), Ok(()));
        assert_eq!(scope.user::<String>().unwrap(), "ada");
    }
}
