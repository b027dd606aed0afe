use std::{sync::Mutex, time::UNIX_EPOCH};

use actix_web::{http::header::HeaderValue, test::TestRequest};
use serde_json::json;

use super::*;
use crate::{
    UrlRouter,
    middleware::{Stack, admit, django::StoredUser},
};

/// Signed by Django 5.2 as a session of a database with `test-secret-key`: user 42, whose hash is `abc`.
const STORED: &str = ".eJyrVopPLC3JiC8tTi2Kz0xRslIyMVLSQRZMSkzOTs0DyaRkJeal5-sl5-eVFGUm6YGU6EFli_V881NSc5ygalEMyEgszgDqTkxKVqoFAKgoJ6g:1r31eq:fkOIiW18oLN7aOEE4qEx2h3Ov-sDdJOh_FfUhvFKQ4o";
/// Signed by Django 5.2 as a signed cookie with `test-secret-key` at 1,700,000,000 s: user 42, `theme` dark, and a hash.
const COOKIE: &str = ".eJxVjjsOwjAQRO_iGlmxvQ42JT1niHa9axwCiZRPhbg7sZQC2nkzT_NWHW5r6bZF5q5ndVFg1ek3JEyDjJXwA8f7pNM0rnNPulb0QRd9m1ie16P7Jyi4lH1NjgksWWBxzrZ0jp4lp4Amm4ZC8D612YNNLgKygRyoQe-BYxTXxrhL1yIvqUdwHtTnC4HYPLc:1r31eq:LnduVryqZJLYWAi1l8mu-EVwGBnGRbuOQU30zfpgWiI";
const PASSWORD: &str = "pbkdf2_sha256$1$salt$hash";

type FakeAnswer<T> = Box<dyn Fn() -> Result<Option<T>, StoreError> + Send + Sync>;

struct Fake {
    session: FakeAnswer<StoredSession>,
    user: FakeAnswer<StoredUser>,
    asked: Arc<Mutex<Vec<String>>>,
}

#[async_trait(?Send)]
impl DjangoStore for Fake {
    async fn session(&self, key: &str) -> Result<Option<StoredSession>, StoreError> {
        self.asked.lock().unwrap().push(format!("session {key}"));
        (self.session)()
    }

    async fn user(&self, id: &str) -> Result<Option<StoredUser>, StoreError> {
        self.asked.lock().unwrap().push(format!("user {id}"));
        (self.user)()
    }
}

impl Fake {
    fn new() -> Self {
        Self { session: Box::new(|| Ok(None)), user: Box::new(|| Ok(None)), asked: Arc::default() }
    }

    fn session(
        mut self,
        answer: impl Fn() -> Result<Option<StoredSession>, StoreError> + Send + Sync + 'static,
    ) -> Self {
        self.session = Box::new(answer);
        self
    }

    fn user(
        mut self,
        answer: impl Fn() -> Result<Option<StoredUser>, StoreError> + Send + Sync + 'static,
    ) -> Self {
        self.user = Box::new(answer);
        self
    }
}

/// A session that has the hash of `PASSWORD`, as a store that decodes it gives.
fn session() -> Result<Option<StoredSession>, StoreError> {
    let values = json!({
        "_auth_user_id": "42",
        "_auth_user_backend": "path.Backend",
        "_auth_user_hash": "b3db42b24de3326b795defc8a1f10b8855c6f542c394ad14f8b0a554d99e3699",
        "theme": "dark",
    });
    let serde_json::Value::Object(values) = values else { unreachable!() };
    Ok(Some(StoredSession::values(values)))
}

fn then() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_100)
}

fn cookies() -> DjangoAuth {
    DjangoAuth { clock: then, ..DjangoAuth::signed_cookies("test-secret-key") }
}

fn database(fake: Fake) -> DjangoAuth {
    DjangoAuth { clock: then, ..DjangoAuth::database("test-secret-key", fake) }
}

fn scope(cookie: &str) -> Scope {
    Scope::builder("/").header("cookie", format!("sessionid={cookie}")).build()
}

/// The user's id and the session's theme; the error is the status.
async fn who(auth: &DjangoAuth, scope: &mut Scope) -> Result<(Option<String>, Option<String>), u16> {
    auth.handle(scope).await.map_err(|rejection| rejection.status())?;
    let user = scope.user::<DjangoUser>().map(|user| user.id().to_owned());
    Ok((
        user,
        scope.session::<DjangoSession>().map(|session| session.get("theme").unwrap().unwrap_or_default()),
    ))
}

fn user_42(theme: &str) -> Result<(Option<String>, Option<String>), u16> {
    Ok((Some("42".to_owned()), Some(theme.to_owned())))
}

const NOBODY: Result<(Option<String>, Option<String>), u16> = Ok((None, None));

#[actix_web::test]
async fn a_signed_cookie_needs_no_database() {
    let mut found = scope(COOKIE);
    assert_eq!(who(&cookies().required(), &mut found).await, user_42("dark"));
    let user = found.user::<DjangoUser>().unwrap();
    assert_eq!(user.backend(), "django.contrib.auth.backends.ModelBackend");
    assert!(!user.is_active() && !user.is_staff() && !user.is_superuser() && user.username().is_none());
    assert_eq!(found.session::<DjangoSession>().unwrap().key(), None);
}

#[actix_web::test]
async fn without_a_verified_session_the_client_is_anonymous() {
    let longest = "a".repeat(LONGEST_COOKIE + 1);
    for cookie in ["", "x", STORED, &COOKIE[1..], &longest] {
        assert_eq!(who(&cookies(), &mut scope(cookie)).await, NOBODY, "{cookie}");
        assert_eq!(who(&cookies().required(), &mut scope(cookie)).await, Err(401), "{cookie}");
    }
    assert_eq!(who(&cookies(), &mut Scope::builder("/").build()).await, NOBODY);
    let other = DjangoAuth { clock: then, ..DjangoAuth::signed_cookies("another") };
    assert_eq!(who(&other, &mut scope(COOKIE)).await, NOBODY);
    assert_eq!(
        who(&other.secret_key_fallbacks(["test-secret-key"]), &mut scope(COOKIE)).await,
        user_42("dark")
    );
}

#[actix_web::test]
async fn settings_of_django_are_followed() {
    let age = Duration::from_secs(100);
    assert_eq!(who(&cookies().session_cookie_age(age), &mut scope(COOKIE)).await, user_42("dark"));
    let age = Duration::from_secs(99);
    assert_eq!(who(&cookies().session_cookie_age(age), &mut scope(COOKIE)).await, NOBODY);
    let named = cookies().session_cookie_name("__Host-site");
    assert_eq!(who(&named, &mut scope(COOKIE)).await, NOBODY);
    let mut found = Scope::builder("/").header("cookie", format!("a=1; __Host-site={COOKIE}")).build();
    assert_eq!(who(&named, &mut found).await, user_42("dark"));
}

#[actix_web::test]
async fn users_of_signed_cookies_can_be_looked_up() {
    let auth = |fake| cookies().users(fake);
    let active = || StoredUser::new(PASSWORD).username("ada").staff(true).superuser(true);
    let mut found = scope(COOKIE);
    assert_eq!(who(&auth(Fake::new().user(move || Ok(Some(active())))), &mut found).await, user_42("dark"));
    let user = found.user::<DjangoUser>().unwrap();
    assert!(user.is_active() && user.is_staff() && user.is_superuser() && user.username() == Some("ada"));
    let changed = Fake::new().user(|| Ok(Some(StoredUser::new("changed"))));
    assert_eq!(who(&auth(changed), &mut scope(COOKIE)).await, NOBODY);
}

#[actix_web::test]
async fn a_session_of_a_store_is_verified_too() {
    let signed = || Ok(Some(StoredSession::signed(STORED)));
    // Its hash is invalid. Django takes the client for not logged in, and so does this middleware.
    let auth = database(Fake::new().session(signed).user(|| Ok(Some(StoredUser::new(PASSWORD)))));
    assert_eq!(who(&auth, &mut scope("12345678")).await, NOBODY);
    let auth = database(Fake::new().session(signed));
    let no_theme = Ok((None, Some(String::new())));
    assert_eq!(who(&auth, &mut scope("12345678")).await, no_theme, "the user was deleted, the session stays");
    for text in [COOKIE.to_owned(), "x".to_owned(), " ".repeat(2 << 20)] {
        let auth = database(Fake::new().session(move || Ok(Some(StoredSession::signed(text.clone())))));
        assert_eq!(who(&auth, &mut scope("12345678")).await, NOBODY);
    }
}

#[actix_web::test]
async fn only_an_active_user_with_the_password_of_the_login_counts() {
    let with =
        |user: Option<StoredUser>| database(Fake::new().session(session).user(move || Ok(user.clone())));
    let mut found = scope("12345678");
    assert_eq!(who(&with(Some(StoredUser::new(PASSWORD))), &mut found).await, user_42("dark"));
    assert_eq!(found.session::<DjangoSession>().unwrap().key(), Some("12345678"));
    let anonymous = Ok((None, Some("dark".to_owned())));
    let inactive = StoredUser::new(PASSWORD).active(false);
    assert_eq!(who(&with(Some(inactive)), &mut scope("12345678")).await, anonymous);
    assert_eq!(who(&with(None), &mut scope("12345678")).await, anonymous);
    assert_eq!(who(&with(Some(StoredUser::new("changed"))), &mut scope("12345678")).await, NOBODY);
}

#[actix_web::test]
async fn only_a_cookie_that_can_be_a_key_is_looked_up() {
    let fake = Fake::new();
    let asked = Arc::clone(&fake.asked);
    let auth = database(fake);
    for cookie in ["", "1234567", &"a".repeat(129), "caf\u{e9}1234", "1234 5678"] {
        assert_eq!(who(&auth, &mut scope(cookie)).await, NOBODY, "{cookie}");
    }
    assert!(asked.lock().unwrap().is_empty());
    assert_eq!(who(&auth, &mut scope("12345678")).await, NOBODY);
    assert_eq!(*asked.lock().unwrap(), ["session 12345678"]);
}

#[actix_web::test]
async fn a_store_that_fails_lets_nobody_in() {
    let away = || StoreError::unavailable("gone");
    for (error, status) in [
        (away as fn() -> StoreError, 503),
        (|| StoreError::Busy, 503),
        (|| StoreError::TimedOut, 503),
        (|| StoreError::failed("no such table"), 500),
    ] {
        let sessions = database(Fake::new().session(move || Err(error())));
        assert_eq!(who(&sessions, &mut scope("12345678")).await, Err(status));
        assert_eq!(who(&sessions, &mut Scope::builder("/").build()).await, NOBODY, "nothing is asked");
        let users = database(Fake::new().session(session).user(move || Err(error())));
        let mut found = scope("12345678");
        assert_eq!(who(&users, &mut found).await, Err(status));
        assert!(found.session::<DjangoSession>().is_none());
    }
}

struct Never;

#[async_trait(?Send)]
impl DjangoStore for Never {
    async fn session(&self, _: &str) -> Result<Option<StoredSession>, StoreError> {
        std::future::pending().await
    }

    async fn user(&self, _: &str) -> Result<Option<StoredUser>, StoreError> {
        std::future::pending().await
    }
}

#[actix_web::test]
async fn lookups_have_a_time_limit_and_are_bounded() {
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let auth = DjangoAuth::database("key", Never).lookups(1).lookup_timeout(Duration::from_secs(3));
    let waits = async || (who(&auth, &mut scope("12345678")).await, start.elapsed().as_secs());
    let (first, second) = tokio::join!(waits(), waits());
    assert_eq!(first, (Err(503), 3), "it took too long");
    assert_eq!(second, (Err(503), 0), "one too many");
}

#[actix_web::test]
async fn a_session_and_a_user_that_are_set_already_stay() {
    let mut found = scope(COOKIE);
    found.set_user(DjangoUser::new("7", "own"));
    assert_eq!(who(&cookies().required(), &mut found).await, Ok((Some("7".to_owned()), None)));
    let mut found = scope("x");
    let values = json!({"_auth_user_id": 8, "_auth_user_backend": "b"});
    found.set_session(DjangoSession::new(values.as_object().unwrap().clone()));
    assert_eq!(who(&cookies(), &mut found).await, Ok((Some("8".to_owned()), Some(String::new()))));
}

/// On the fallback transports each request must be of the same user, even if the cookie has changed.
#[test]
fn a_connection_is_bound_to_the_user() {
    let request = |cookie: &str| {
        TestRequest::default().insert_header(("cookie", format!("sessionid={cookie}"))).to_http_request()
    };
    let bound = cookies().binding();
    assert_eq!(bound(&request(COOKIE)).as_deref(), Some("42"));
    assert_eq!(bound(&request(STORED)), None, "signed for something else");
    assert_eq!(bound(&TestRequest::default().to_http_request()), None);
    let bound = database(Fake::new()).binding();
    assert_eq!(bound(&request("12345678")).as_deref(), Some("12345678"));
    let latin = HeaderValue::from_bytes(b"promo=10\xe9; sessionid=12345678").unwrap();
    let request = TestRequest::default().insert_header(("cookie", latin)).to_http_request();
    assert_eq!(bound(&request).as_deref(), Some("12345678"), "another cookie is not text");
}

#[actix_web::test]
async fn pages_of_another_site_are_still_denied() {
    let chain: [Arc<dyn Middleware>; 1] = [Arc::new(Stack::new().with(cookies()))];
    let from = |origin: &str| {
        let scope = Scope::builder("/").header("host", "example.com").header("origin", origin);
        scope.header("cookie", format!("sessionid={COOKIE}")).build()
    };
    assert!(admit(&chain, &mut from("http://example.com")).await.is_ok());
    let denied = admit(&chain, &mut from("http://evil.example")).await.unwrap_err();
    assert_eq!(denied.status(), 403);
}

#[test]
fn wrong_settings_are_found_when_the_router_is_built() {
    let errors = |auth: DjangoAuth| UrlRouter::new().wrap(auth).build().err().map(|error| error.to_string());
    assert_eq!(errors(cookies()), None);
    assert!(errors(DjangoAuth::signed_cookies("")).unwrap().contains("SECRET_KEY"));
    assert!(errors(cookies().secret_key_fallbacks([""])).unwrap().contains("empty"));
    assert!(errors(cookies().session_cookie_name("a b")).unwrap().contains("SESSION_COOKIE_NAME"));
    assert!(errors(cookies().lookups(0)).unwrap().contains("lookups"));
}

#[test]
fn debug_shows_no_secret() {
    let auth = cookies().secret_key_fallbacks(["another-secret-key"]);
    let shown = format!("{auth:?} {:?} {:?}", StoredUser::new("secret"), StoredSession::signed("secret"));
    assert!(shown.contains("2 keys") && !shown.contains("secret"), "{shown}");
}
