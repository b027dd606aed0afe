//! The middleware: from the cookie to the session, from the session to the user.

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
/// No browser keeps a cookie of more than 4 KiB.
const LONGEST_COOKIE: usize = 8 << 10;
/// After which a client that got 503 is asked to come back.
const RETRY: Duration = Duration::from_secs(2);

/// Finds Django's session and user by the cookie of Django's login.
///
/// It is Channels' `AuthMiddlewareStack`, for a Django project that is another process. A [`DjangoSession`] comes into
/// [`Scope::session`], and where somebody has logged in a [`DjangoUser`] into [`Scope::user`]. Without a session that
/// can be verified both stay empty, as with Channels' `AnonymousUser`, and the client is let in; after
/// [`required`](Self::required) a client without a user is answered 401. What another middleware has put there stays.
///
/// ```
/// use greenroom::{Scope, UrlRouter, middleware::django::{DjangoAuth, DjangoSession, DjangoUser}};
///
/// # fn main() -> greenroom::Result<()> {
/// # fn secret_key() -> greenroom::Result<String> { Ok("of the documentation".to_owned()) }
/// // Read from where Django reads it, as the environment or a file.
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
/// | Django's setting | Here | Default |
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
/// - The age of a signed cookie. One that was signed more than five minutes from now is refused too, other than in Django.
/// - Where users are looked up: that the user is there and active, and that the password is that of the login
///   (`_auth_user_hash`, also under a fallback). After a change of the password Django ends the other sessions of the
///   user; here such a session counts as none. Nothing is written: no session is ended, renewed or saved.
///
/// With [`signed_cookies`](Self::signed_cookies) alone no database is asked: until its cookie expires, a session of a
/// user who has changed the password, been made inactive or been deleted still counts; [`users`](Self::users) looks that
/// up. A signed cookie that was copied before its owner logged out counts in either case, as in Django.
///
/// A user who is not active counts as nobody, whichever of Django's backends is in use.
///
/// # Failures
/// A cookie that is damaged, forged, too old or unknown is no error: there is no session. Where a store cannot answer the
/// client is never taken for nobody: it gets 503 with `Retry-After` while the database is away, too slow or has
/// too much to do, else 500. That is logged at the first failure and when it has passed, not for every client.
///
/// Where the session is signed but is no JSON, which is a pickle mostly, there is none, and a warning is logged once:
/// this library reads sessions of Django's `JSONSerializer` only. `NaN` and infinite numbers are no JSON either.
///
/// # Order
/// The default origin policy runs behind all middleware, so pages of another site get no further than here; an
/// [`AllowedHostsOriginValidator`](crate::middleware::AllowedHostsOriginValidator) before it in a
/// [`Stack`](crate::middleware::Stack) spares the database their lookups.
///
/// # Secrets
/// Whoever has `SECRET_KEY` can be any user. Take it from where Django takes it, not from the source. It is not
/// kept here, only keys that are derived of it, and none of them, no cookie and no password field comes into a log or a `Debug` text.
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

/// What a session says of its user.
enum SessionUser {
    /// The session was of a user whose password has changed: it is none.
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
    /// Sessions of the engines `cache` and `file` are not read by the stores that come with this library; a
    /// [`DjangoStore`] of one's own can.
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

    /// Also takes what was signed with these keys: Django's `SECRET_KEY_FALLBACKS`.
    #[must_use]
    pub fn secret_key_fallbacks<K: AsRef<[u8]>>(self, keys: impl IntoIterator<Item = K>) -> Self {
        keys.into_iter().fold(self, |auth, key| auth.with_key(key.as_ref()))
    }

    /// The name of the cookie: Django's `SESSION_COOKIE_NAME`. Default `sessionid`.
    ///
    /// On the fallback transports a connection is bound to the same cookie:
    /// [`Fallback::user_cookies`](crate::Fallback::user_cookies).
    #[must_use]
    pub fn session_cookie_name(mut self, name: impl Into<String>) -> Self {
        self.cookie_name = name.into();
        if !is_token(&self.cookie_name) {
            self.errors.push("the name of the session cookie is none: give Django's SESSION_COOKIE_NAME");
        }
        self
    }

    /// How old a signed cookie may be: Django's `SESSION_COOKIE_AGE`. Default two weeks.
    ///
    /// Sessions in a database have a date of their own.
    #[must_use]
    pub fn session_cookie_age(mut self, age: Duration) -> Self {
        self.cookie_age = age;
        self
    }

    /// Looks the users of signed cookies up, too: whether they are there and active, and have the password still.
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

    /// How long one lookup in the store may take; then the client is answered 503. Default 5 s.
    #[must_use]
    pub fn lookup_timeout(mut self, timeout: Duration) -> Self {
        self.lookup_timeout = timeout;
        self
    }

    /// How many lookups may be under way at once, over all workers; a further client is answered 503. Default 1,024.
    #[must_use]
    pub fn lookups(mut self, most: usize) -> Self {
        self.lookups = Semaphore::new(most.min(Semaphore::MAX_PERMITS));
        if most == 0 {
            self.errors.push("no lookups may be under way: let there be one at least");
        }
        self
    }

    /// Says who the user of a request is, for [`Fallback::bound_to`](crate::Fallback::bound_to).
    ///
    /// A signed cookie changes whenever Django saves its session, so a connection on a fallback transport must not be
    /// bound to the cookie, as it is by default; this binds it to the user in it. With a database it is bound to the
    /// session's key. No database is asked.
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
            let lines = request.headers().get_all(header::COOKIE);
            let lines = lines.filter_map(|line| std::str::from_utf8(line.as_bytes()).ok());
            let cookie = cookie::last(lines, &name).filter(|cookie| cookie.len() <= LONGEST_COOKIE)?;
            let Some(keys) = &keys else { return Some(cookie.to_owned()) };
            let values = keys.loads(cookie, Some(age), clock()).ok()?;
            DjangoUser::of(&DjangoSession::new(values)).map(|user| user.id().to_owned())
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
        let Some(cookie) = cookie::last(scope.header_lines("cookie"), &self.cookie_name) else {
            return Ok(None);
        };
        if self.signed_cookies {
            if cookie.len() > LONGEST_COOKIE {
                return Ok(None);
            }
            return Ok(self.loads(None, cookie));
        }
        // Django's own have 32 characters; it takes none with fewer than 8.
        if !(8..=128).contains(&cookie.len()) || !cookie.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(None);
        }
        let Some(store) = &self.store else { return Ok(None) };
        let key = || Some(cookie.to_owned());
        Ok(match self.lookup(&self.sessions_health, store.session(cookie)).await? {
            None => None,
            Some(StoredSession(SessionData::Signed(text))) => self.loads(key(), &text),
            Some(StoredSession(SessionData::Values(values))) => Some(DjangoSession::with_key(key(), values)),
        })
    }

    /// Verifies and reads a session. `key` is where it was kept, unless that was in the cookie.
    fn loads(&self, key: Option<String>, text: &str) -> Option<DjangoSession> {
        let stored = key.is_some();
        let max_age = (!stored).then_some(self.cookie_age);
        match self.keys.loads(text, max_age, (self.clock)()) {
            Ok(values) => Some(DjangoSession::with_key(key, values)),
            Err(reason) => {
                // Not what any client can cause: Django wrote it.
                let own = stored || matches!(reason, SignedTextError::Unreadable(_));
                if own && !self.warned.swap(true, Relaxed) {
                    tracing::warn!(%reason, "a session of Django is refused; further ones are not reported");
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
                    Rejection::busy("who you are cannot be looked up now", RETRY)
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

/// Shows no key.
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
