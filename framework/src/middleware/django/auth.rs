//! The middleware that finds the session by its cookie, and the user by the session.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use actix_web::{HttpRequest, http::header};
use async_trait::async_trait;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    DjangoSession, DjangoStore, DjangoUser, StoreError, StoredSession, cookie,
    health::Health,
    signing::{SignedTextError, SigningKeys},
    store::SessionData,
};
use crate::{
    Error, Result, Scope,
    middleware::{Middleware, Rejection},
    wire::token::is_token,
};

/// `django.contrib.sessions.backends.db`, `cached_db` and `file`.
const STORE_SALT: &str = "django.contrib.sessions.SessionStoresigner";
const COOKIE_SALT: &str = "django.contrib.sessions.backends.signed_cookiessigner";
const HASH_SALT: &str = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";
/// How many bytes a signed cookie may have. No browser keeps a cookie of more than 4 KiB.
const LONGEST_COOKIE: usize = 8 << 10;
/// How long a client that got 503 is asked to wait.
const RETRY: Duration = Duration::from_secs(2);

/// Finds Django's session and user by the cookie of Django's login.
///
/// It does what Channels' `AuthMiddlewareStack` does, for a Django project that runs in another process. It puts a
/// [`DjangoSession`] into [`Scope::session`] and, if somebody has logged in, a [`DjangoUser`] into [`Scope::user`].
/// If no session can be verified, the scope gets neither, as with Channels' `AnonymousUser`, and the client is let
/// in. After [`required`](Self::required) a client without a user is answered 401. A session or a user that another
/// middleware has set stays.
///
/// ```
/// use greenroom::{Scope, UrlRouter, middleware::django::{DjangoAuth, DjangoSession, DjangoUser}};
///
/// # fn main() -> greenroom::Result<()> {
/// # fn secret_key() -> greenroom::Result<String> { Ok("of the documentation".to_owned()) }
/// // Read it from where Django reads it, for example the environment or a file.
/// let router = UrlRouter::new().wrap(DjangoAuth::signed_cookies(secret_key()?));
/// router.build()?;
///
/// // In a consumer, with `ctx.scope()`:
/// fn who(scope: &Scope) -> String {
///     let theme = scope.session::<DjangoSession>().and_then(|session| session.get("theme").ok()?);
///     let theme: String = theme.unwrap_or_else(|| "light".to_owned());
///     match scope.user::<DjangoUser>() {
///         Some(user) => format!("user {}, {theme}", user.id()),
///         None => format!("nobody, {theme}"),
///     }
/// }
/// # assert_eq!(who(&Scope::builder("/").build()), "nobody, light");
/// # Ok(())
/// # }
/// ```
///
/// # Settings
///
/// | Django's setting | Greenroom | Default |
/// |---|---|---|
/// | `SESSION_ENGINE` | [`signed_cookies`](Self::signed_cookies), or [`database`](Self::database) for `db` and `cached_db` | |
/// | `SECRET_KEY`, `SECRET_KEY_FALLBACKS` | the argument, [`secret_key_fallbacks`](Self::secret_key_fallbacks) | no fallbacks |
/// | `SESSION_COOKIE_NAME` | [`session_cookie_name`](Self::session_cookie_name) | `sessionid` |
/// | `SESSION_COOKIE_AGE`, of signed cookies | [`session_cookie_age`](Self::session_cookie_age) | two weeks |
/// | `AUTH_USER_MODEL` | `DjangoTables`, of the stores | `auth.User` |
/// | | [`lookup_timeout`](Self::lookup_timeout) | 5 s |
/// | | [`lookups`](Self::lookups) | 1,024 |
///
/// # What is verified
/// - The signature of the session: HMAC-SHA256, compared in constant time, with `SECRET_KEY` and each fallback.
/// - The age of a signed cookie. Unlike in Django, a cookie whose time is more than five minutes in the future is
///   refused too.
/// - If users are looked up: that the user exists and is active, and that the password is still that of the login
///   (`_auth_user_hash`, also with a fallback key). After a change of the password Django ends the other sessions
///   of the user. This middleware ignores such a session. It writes nothing: no session is ended, renewed or saved.
///
/// With [`signed_cookies`](Self::signed_cookies) alone no database is asked. So a session is valid until its cookie
/// expires, even if the user has changed the password, been made inactive or been deleted. [`users`](Self::users)
/// looks that up. A signed cookie that was copied before its owner logged out stays valid in either case, as in
/// Django.
///
/// A user who is not active counts as not logged in, whichever of Django's backends is in use.
///
/// # Failures
/// A cookie that is damaged, forged, too old or unknown is not an error: the client has no session. If a store
/// cannot answer, the client is not let in without a user. It is answered 503 with `Retry-After` if the database is
/// away, too slow or too busy, otherwise 500. The log says so at the first failure and when lookups succeed again,
/// not for every client.
///
/// This library reads only sessions of Django's `JSONSerializer`. If a session is signed but is something else, for
/// example a pickle, the client has no session, and a warning that says so is logged once. A value that Python reads
/// and JSON does not have, such as `NaN`, loses neither the session nor the user: see [`DjangoSession`].
///
/// # Order
/// The default origin check runs after all middleware, so pages of another site are denied only after their
/// lookups. An [`AllowedHostsOriginValidator`](crate::middleware::AllowedHostsOriginValidator) before this
/// middleware in a [`Stack`](crate::middleware::Stack) saves the database these lookups.
///
/// # Secrets
/// Anyone who has `SECRET_KEY` can act as any user. Read it from where Django reads it, not from the source. This
/// middleware does not keep it, only keys that are derived from it. No key, no cookie and no password field is
/// written to a log or a `Debug` text.
pub struct DjangoAuth {
    store: Option<Arc<dyn DjangoStore>>,
    /// Whether the session is in the cookie itself.
    signed_cookies: bool,
    keys: SigningKeys,
    hashes: SigningKeys,
    cookie_name: String,
    cookie_age: Duration,
    required: bool,
    lookup_timeout: Duration,
    lookups: Semaphore,
    clock: fn() -> SystemTime,
    errors: Vec<&'static str>,
    sessions_health: Health,
    users_health: Health,
    warned: AtomicBool,
}

/// What a session says about its user.
enum SessionUser {
    /// The user's password has changed since the login, so the session is ignored.
    Ended,
    Nobody,
    User(DjangoUser),
}

impl DjangoAuth {
    /// Reads sessions of Django's engine `signed_cookies`, without a database.
    ///
    /// The [fallback transports](crate::Fallback) then need [`binding`](Self::binding).
    #[must_use]
    pub fn signed_cookies(secret_key: impl AsRef<[u8]>) -> Self {
        Self::new(secret_key.as_ref(), COOKIE_SALT, None)
    }

    /// Reads sessions of Django's engines `db` and `cached_db`, and the users of their database.
    ///
    /// The stores that come with this library do not read sessions of the engines `cache` and `file`. Your own
    /// [`DjangoStore`] can.
    #[must_use]
    pub fn database(secret_key: impl AsRef<[u8]>, store: impl DjangoStore) -> Self {
        Self::new(secret_key.as_ref(), STORE_SALT, Some(Arc::new(store)))
    }

    fn new(secret_key: &[u8], salt: &'static str, store: Option<Arc<dyn DjangoStore>>) -> Self {
        let auth = Self {
            signed_cookies: store.is_none(),
            store,
            keys: SigningKeys::new(salt),
            hashes: SigningKeys::new(HASH_SALT),
            cookie_name: "sessionid".to_owned(),
            cookie_age: Duration::from_secs(14 * 86_400),
            required: false,
            lookup_timeout: Duration::from_secs(5),
            lookups: Semaphore::new(1024),
            clock: SystemTime::now,
            errors: Vec::new(),
            sessions_health: Health::new("sessions"),
            users_health: Health::new("users"),
            warned: AtomicBool::new(false),
        };
        auth.with_key(secret_key)
    }

    fn with_key(mut self, secret: &[u8]) -> Self {
        if secret.is_empty() {
            self.errors.push("a secret key is empty: give Django's SECRET_KEY");
        }
        self.keys.add(secret);
        self.hashes.add(secret);
        self
    }

    /// Also accepts what was signed with these keys: Django's `SECRET_KEY_FALLBACKS`.
    #[must_use]
    pub fn secret_key_fallbacks<K: AsRef<[u8]>>(self, keys: impl IntoIterator<Item = K>) -> Self {
        keys.into_iter().fold(self, |auth, key| auth.with_key(key.as_ref()))
    }

    /// The name of the cookie: Django's `SESSION_COOKIE_NAME`. Default `sessionid`.
    ///
    /// A connection on a fallback transport is bound to the same cookie: give its name to
    /// [`Fallback::user_cookies`](crate::Fallback::user_cookies) too.
    #[must_use]
    pub fn session_cookie_name(mut self, name: impl Into<String>) -> Self {
        self.cookie_name = name.into();
        if !is_token(&self.cookie_name) {
            self.errors.push("the name of the session cookie is invalid: give Django's SESSION_COOKIE_NAME");
        }
        self
    }

    /// How old a signed cookie may be: Django's `SESSION_COOKIE_AGE`. Default two weeks.
    ///
    /// A session in a database has its own expiry date.
    #[must_use]
    pub fn session_cookie_age(mut self, age: Duration) -> Self {
        self.cookie_age = age;
        self
    }

    /// Also looks up the users of signed cookies.
    ///
    /// Each must exist, be active, and still have the password of the login.
    #[must_use]
    pub fn users(mut self, store: impl DjangoStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Answers 401 to clients without a user.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// How long one lookup in the store may take. Default 5 s.
    ///
    /// If it takes longer, the client is answered 503.
    #[must_use]
    pub fn lookup_timeout(mut self, timeout: Duration) -> Self {
        self.lookup_timeout = timeout;
        self
    }

    /// How many lookups may run at once, on all threads together. Default 1,024.
    ///
    /// A further client is answered 503.
    #[must_use]
    pub fn lookups(mut self, most: usize) -> Self {
        self.lookups = Semaphore::new(most.min(Semaphore::MAX_PERMITS));
        if most == 0 {
            self.errors.push("the limit of lookups is 0: allow at least one");
        }
        self
    }

    /// Finds the user of a request, for [`Fallback::bound_to`](crate::Fallback::bound_to).
    ///
    /// By default a connection on a fallback transport is bound to its cookie. A signed cookie changes whenever
    /// Django saves its session, so such a connection must be bound to the user in the cookie instead. With a
    /// database it is bound to the session's key. No database is asked.
    ///
    /// ```
    /// use greenroom::{Fallback, Mount, UrlRouter, middleware::django::DjangoAuth};
    ///
    /// let auth = DjangoAuth::signed_cookies("the secret key");
    /// let fallback = Fallback::new().bound_to(auth.binding());
    /// let mount = Mount::new(UrlRouter::new().wrap(auth))?.fallback(fallback);
    /// # Ok::<(), greenroom::Error>(())
    /// ```
    pub fn binding(&self) -> impl Fn(&HttpRequest) -> Option<String> + Send + Sync + 'static + use<> {
        let (name, age, clock) = (self.cookie_name.clone(), self.cookie_age, self.clock);
        let keys = self.signed_cookies.then(|| self.keys.clone());
        move |request| {
            let lines = request.headers().get_all(header::COOKIE).map(|line| line.as_bytes());
            let cookie = cookie::last(lines, &name).filter(|cookie| cookie.len() <= LONGEST_COOKIE)?;
            let Some(keys) = &keys else { return Some(cookie.to_owned()) };
            let values = keys.loads(cookie, Some(age), clock()).ok()?;
            DjangoUser::of(&DjangoSession::with_key(None, values)).map(|user| user.id().to_owned())
        }
    }

    async fn identify(&self, scope: &mut Scope) -> Result<(), Rejection> {
        let loaded = match scope.session::<DjangoSession>() {
            Some(_) => None,
            None => self.session(scope).await?,
        };
        let Some(session) = loaded.as_ref().or_else(|| scope.session()) else { return Ok(()) };
        match self.user(session).await? {
            SessionUser::Ended => return Ok(()),
            SessionUser::Nobody => {}
            SessionUser::User(user) => drop(scope.set_user(user)),
        }
        if let Some(session) = loaded {
            scope.set_session(session);
        }
        Ok(())
    }

    /// The session of the client's cookie.
    async fn session(&self, scope: &Scope) -> Result<Option<DjangoSession>, Rejection> {
        let Some(cookie) = cookie::last(scope.header_values("cookie"), &self.cookie_name) else {
            return Ok(None);
        };
        if self.signed_cookies {
            if cookie.len() > LONGEST_COOKIE {
                return Ok(None);
            }
            return Ok(self.loads(None, cookie));
        }
        // Django's own keys have 32 characters. Django refuses keys with fewer than 8.
        if !(8..=128).contains(&cookie.len()) || !cookie.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(None);
        }
        let Some(store) = &self.store else { return Ok(None) };
        let key = || Some(cookie.to_owned());
        Ok(match self.lookup(&self.sessions_health, store.session(cookie)).await? {
            None => None,
            Some(StoredSession(SessionData::Signed(text))) => self.loads(key(), &text),
            Some(StoredSession(SessionData::Values(values))) => {
                Some(DjangoSession::with_key(key(), values.into()))
            }
        })
    }

    /// Verifies and reads a session. `key` is its key in the store, `None` if the cookie itself holds the session.
    fn loads(&self, key: Option<String>, text: &str) -> Option<DjangoSession> {
        let stored = key.is_some();
        let max_age = (!stored).then_some(self.cookie_age);
        match self.keys.loads(text, max_age, (self.clock)()) {
            Ok(values) => Some(DjangoSession::with_key(key, values)),
            Err(reason) => {
                // No client can cause this, because Django wrote the session.
                let own = stored || matches!(reason, SignedTextError::Unreadable(_));
                if own && !self.warned.swap(true, Relaxed) {
                    tracing::warn!(%reason, "a session of Django is refused; further ones are logged at debug");
                } else {
                    tracing::debug!(%reason, "a session of Django is refused");
                }
                None
            }
        }
    }

    async fn user(&self, session: &DjangoSession) -> Result<SessionUser, Rejection> {
        let Some(user) = DjangoUser::of(session) else { return Ok(SessionUser::Nobody) };
        let Some(store) = &self.store else { return Ok(SessionUser::User(user)) };
        let stored = self.lookup(&self.users_health, store.user(user.id())).await?;
        let Some(stored) = stored.filter(|stored| stored.is_active) else { return Ok(SessionUser::Nobody) };
        let hash = session.value("_auth_user_hash").and_then(|hash| hash.as_str());
        if !hash.is_some_and(|hash| self.hashes.verify_hex(&stored.password, hash)) {
            return Ok(SessionUser::Ended);
        }
        Ok(SessionUser::User(user.with(stored)))
    }

    async fn lookup<T>(
        &self,
        health: &Health,
        lookup: impl Future<Output = Result<Option<T>, StoreError>>,
    ) -> Result<Option<T>, Rejection> {
        let answer = match self.lookups.try_acquire() {
            Ok(_permit) => timeout(self.lookup_timeout, lookup).await.unwrap_or(Err(StoreError::TimedOut)),
            Err(_) => Err(StoreError::Busy),
        };
        match answer {
            Ok(found) => {
                health.succeeded();
                Ok(found)
            }
            Err(error) => {
                let temporary = error.is_temporary();
                health.failed(error);
                Err(if temporary {
                    Rejection::busy("the user cannot be looked up now", RETRY)
                } else {
                    Rejection::internal()
                })
            }
        }
    }
}

#[async_trait(?Send)]
impl Middleware for DjangoAuth {
    async fn handle(&self, scope: &mut Scope) -> Result<(), Rejection> {
        if scope.user::<DjangoUser>().is_none() {
            self.identify(scope).await?;
        }
        if self.required && scope.user::<DjangoUser>().is_none() {
            return Err(Rejection::unauthorized());
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.errors.is_empty() { Ok(()) } else { Err(Error::msg(self.errors.join("\n"))) }
    }
}

/// Leaves the keys out.
impl fmt::Debug for DjangoAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DjangoAuth")
            .field("signed_cookies", &self.signed_cookies)
            .field("keys", &self.keys)
            .field("session_cookie_name", &self.cookie_name)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
