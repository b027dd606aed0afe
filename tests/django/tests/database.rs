//! Sessions in Django's database, on SQLite and on PostgreSQL: Greenroom finds the same user as Django.

use django_tests::{Project, Site, WHO, ask, check_odd, odd_session, serve};
use greenroom::middleware::django::DjangoAuth;
use greenroom::middleware::django::DjangoTables;
use serde_json::{Value, json};

/// Makes two tests of each case: one on SQLite, one on PostgreSQL.
macro_rules! on_each_database {
    ($($case:ident,)*) => {
        mod sqlite {
            $(#[actix_web::test]
            async fn $case() {
                super::$case(super::Site::sqlite()).await;
            })*
        }

        mod postgres {
            $(#[actix_web::test]
            async fn $case() {
                super::$case(super::Site::postgres()).await;
            })*
        }
    };
}

on_each_database! {
    a_login_of_django_is_known,
    a_client_that_has_not_logged_in_has_no_user,
    a_session_that_was_ended_is_unknown,
    a_changed_password_ends_other_sessions,
    an_inactive_user_counts_as_no_user,
    a_session_expires,
    a_key_can_be_rotated,
    a_custom_user_model_is_read,
    one_odd_value_loses_neither_the_session_nor_the_user,
}

async fn a_login_of_django_is_known(site: Site) {
    let mut django = Project::start(&site, "db", json!({})).await;
    let id = django.user("ada").await;
    let other = django.user("bob").await;
    django.must_with("change", json!(["ada"]), json!({"is_staff": true})).await;
    let (ada, bob) = (django.log_in("ada").await, django.log_in("bob").await);
    django
        .must(
            "put",
            json!([ada, {"basket": [1, 2], "note": "caf\u{e9} \u{1f3ad}", "long": "x".repeat(5000)}]),
        )
        .await;

    let server = serve(site.auth(&["a key"]).required());
    let found = ask(&server, WHO, Some(&ada)).await.unwrap();
    let expected = json!({
        "id": id, "backend": "django.contrib.auth.backends.ModelBackend", "username": "ada",
        "is_active": true, "is_staff": true, "is_superuser": false,
    });
    assert_eq!(found.user, expected);
    assert_eq!(found.session, django.must("who", json!([ada])).await["session"]);
    assert_eq!(found.session["note"], "caf\u{e9} \u{1f3ad}");
    let found = ask(&server, WHO, Some(&bob)).await.unwrap();
    assert_eq!((found.id(), &found.session), (Some(other.as_str()), &json!({})));
}

async fn one_odd_value_loses_neither_the_session_nor_the_user(site: Site) {
    let mut django = Project::start(&site, "db", json!({})).await;
    let id = django.user("ada").await;
    let cookie = django.log_in("ada").await;
    django.must("put_python", json!([cookie, odd_session()])).await;
    assert_eq!(django.must("who_is", json!([cookie])).await, json!(id), "Django reads it");
    let server = serve(site.auth(&["a key"]).required());
    check_odd(&ask(&server, WHO, Some(&cookie)).await.unwrap(), &id);
}

async fn a_client_that_has_not_logged_in_has_no_user(site: Site) {
    let mut django = Project::start(&site, "db", json!({})).await;
    let visitor = django.must("put", json!([null, {"basket": [7]}])).await;
    let visitor = visitor.as_str().unwrap();
    let server = serve(site.auth(&["a key"]));
    let found = ask(&server, WHO, Some(visitor)).await.unwrap();
    assert_eq!((found.user, found.session), (Value::Null, json!({"basket": [7]})));
    for unknown in [
        None,
        Some(""),
        Some("short"),
        Some("0123456789abcdefghijklmnopqrstuv"),
        Some("'; DROP TABLE auth_user; --"),
    ] {
        let found = ask(&server, WHO, unknown).await.unwrap();
        assert_eq!((found.user, found.session), (Value::Null, Value::Null), "{unknown:?}");
    }
    let strict = serve(site.auth(&["a key"]).required());
    assert_eq!(ask(&strict, WHO, Some(visitor)).await, Err(401));
    assert_eq!(ask(&strict, WHO, None).await, Err(401));
}

async fn a_session_that_was_ended_is_unknown(site: Site) {
    let mut django = Project::start(&site, "db", json!({})).await;
    let id = django.user("ada").await;
    let (here, there) = (django.log_in("ada").await, django.log_in("ada").await);
    let server = serve(site.auth(&["a key"]));
    assert_eq!(ask(&server, WHO, Some(&here)).await.unwrap().id(), Some(id.as_str()));
    django.must("log_out", json!([here])).await;
    let found = ask(&server, WHO, Some(&here)).await.unwrap();
    assert_eq!((found.user, found.session), (Value::Null, Value::Null));
    assert_eq!(
        ask(&server, WHO, Some(&there)).await.unwrap().id(),
        Some(id.as_str()),
        "the other session stays"
    );
}

async fn a_changed_password_ends_other_sessions(site: Site) {
    let mut django = Project::start(&site, "db", json!({})).await;
    let id = django.user("ada").await;
    let before = django.log_in("ada").await;
    django.must("put", json!([before, {"basket": [1]}])).await;
    let server = serve(site.auth(&["a key"]));
    assert_eq!(ask(&server, WHO, Some(&before)).await.unwrap().id(), Some(id.as_str()));
    django.must("change", json!(["ada", "another"])).await;
    let found = ask(&server, WHO, Some(&before)).await.unwrap();
    assert_eq!((found.user, found.session), (Value::Null, Value::Null));
    // Greenroom has written nothing. The row stays until Django sees it and deletes it.
    let after = django.must("log_in", json!(["ada", "another"])).await;
    assert_eq!(ask(&server, WHO, after.as_str()).await.unwrap().id(), Some(id.as_str()));
    assert_eq!(django.who(&before).await, None);
}

async fn an_inactive_user_counts_as_no_user(site: Site) {
    let mut django = Project::start(&site, "db", json!({})).await;
    let id = django.user("ada").await;
    let cookie = django.log_in("ada").await;
    let server = serve(site.auth(&["a key"]));
    for (active, expected) in [(false, None), (true, Some(id.as_str()))] {
        django.must_with("change", json!(["ada"]), json!({"is_active": active})).await;
        assert_eq!(ask(&server, WHO, Some(&cookie)).await.unwrap().id(), expected);
        assert_eq!(django.who(&cookie).await.as_deref(), expected);
    }
    django.must("delete", json!(["ada"])).await;
    assert_eq!(ask(&server, WHO, Some(&cookie)).await.unwrap().id(), None);
    assert_eq!(django.who(&cookie).await, None);
}

async fn a_session_expires(site: Site) {
    let mut django = Project::start(&site, "db", json!({"SESSION_COOKIE_AGE": 60})).await;
    let id = django.user("ada").await;
    // The session was signed long ago. In a database the row's expiry date counts, not the date of the signature.
    let cookie = django.must("log_in", json!(["ada", "secret", 10_000_000])).await;
    let cookie = cookie.as_str().unwrap();
    let server = serve(site.auth(&["a key"]));
    assert_eq!(ask(&server, WHO, Some(cookie)).await.unwrap().id(), Some(id.as_str()));
    django.must("expire", json!([cookie])).await;
    let found = ask(&server, WHO, Some(cookie)).await.unwrap();
    assert_eq!((found.user, found.session), (Value::Null, Value::Null));
    assert_eq!(django.who(cookie).await, None);
}

async fn a_key_can_be_rotated(site: Site) {
    let mut before = Project::start(&site, "db", json!({"SECRET_KEY": "old key"})).await;
    let id = before.user("ada").await;
    let cookie = before.log_in("ada").await;
    let with_fallback = serve(site.auth(&["new key", "older key", "old key"]));
    assert_eq!(ask(&with_fallback, WHO, Some(&cookie)).await.unwrap().id(), Some(id.as_str()));
    let without = serve(site.auth(&["new key"]));
    assert_eq!(ask(&without, WHO, Some(&cookie)).await.unwrap().user, Value::Null);

    let rotated = json!({"SECRET_KEY": "new key", "SECRET_KEY_FALLBACKS": ["old key"]});
    let mut after = Project::start_beside(&site, "db", rotated).await;
    let fresh = after.log_in("ada").await;
    assert_eq!(ask(&without, WHO, Some(&fresh)).await.unwrap().id(), Some(id.as_str()));
    assert_eq!(after.who(&cookie).await.as_deref(), Some(id.as_str()), "Django accepts the old cookie too");
}

/// The model has an email as its username, a UUID as its key, and neither `is_active` nor `is_staff`.
async fn a_custom_user_model_is_read(site: Site) {
    let mut django = Project::start(&site, "db", json!({"custom_user": true})).await;
    let id = django.user("ada@example.com").await;
    assert_eq!(id.len(), 36, "a UUID");
    let cookie = django.log_in("ada@example.com").await;
    let tables = DjangoTables::new().auth_user_model("accounts.User").username_column("email");
    let server = serve(DjangoAuth::database("a key", site.store(tables)));
    let user = ask(&server, WHO, Some(&cookie)).await.unwrap().user;
    let expected = json!({
        "id": id, "backend": "django.contrib.auth.backends.ModelBackend", "username": "ada@example.com",
        "is_active": true, "is_staff": false, "is_superuser": false,
    });
    assert_eq!(user, expected);
}

/// In this mode of SQLite, readers and a writer do not wait for each other.
#[actix_web::test]
async fn a_file_with_a_write_ahead_log_is_read() {
    let site = Site::sqlite();
    let mut django = Project::start(&site, "db", json!({})).await;
    django.must("sql", json!(["PRAGMA journal_mode=WAL"])).await;
    let id = django.user("ada").await;
    let cookie = django.log_in("ada").await;
    let server = serve(site.auth(&["a key"]));
    assert_eq!(ask(&server, WHO, Some(&cookie)).await.unwrap().id(), Some(id.as_str()));
    django.must("log_out", json!([cookie])).await;
    assert_eq!(ask(&server, WHO, Some(&cookie)).await.unwrap().session, Value::Null);
}
