//! Sessions in signed cookies, which Greenroom reads without Django's database.

use django_tests::{Project, Site, WHO, ask, check_odd, odd_session, serve};
use greenroom::middleware::django::{DjangoAuth, DjangoTables};
use serde_json::{Value, json};

fn auth() -> DjangoAuth {
    DjangoAuth::signed_cookies("a key")
}

#[actix_web::test]
async fn a_login_of_django_is_known_without_its_database() {
    let site = Site::sqlite();
    let mut django = Project::start(&site, "signed_cookies", json!({})).await;
    let id = django.user("ada").await;
    let cookie = django.log_in("ada").await;
    let filled = django.must("put", json!([cookie, {"theme": "dark", "note": "caf\u{e9} \u{1f3ad}"}])).await;
    let server = serve(auth().required());
    let found = ask(&server, WHO, Some(&cookie)).await.unwrap();
    let expected = json!({
        "id": id, "backend": "django.contrib.auth.backends.ModelBackend", "username": null,
        "is_active": false, "is_staff": false, "is_superuser": false,
    });
    assert_eq!((found.user, found.session), (expected, json!({})));
    let found = ask(&server, WHO, filled.as_str()).await.unwrap();
    assert_eq!(found.session, json!({"theme": "dark", "note": "caf\u{e9} \u{1f3ad}"}));

    let visitor = django.must("put", json!([null, {"theme": "light"}])).await;
    assert_eq!(ask(&server, WHO, visitor.as_str()).await, Err(401));
    let server = serve(auth());
    let found = ask(&server, WHO, visitor.as_str()).await.unwrap();
    assert_eq!((found.user, found.session), (Value::Null, json!({"theme": "light"})));
}

#[actix_web::test]
async fn an_old_or_changed_cookie_is_refused_as_by_django() {
    let site = Site::sqlite();
    let mut django = Project::start(&site, "signed_cookies", json!({"SESSION_COOKIE_AGE": 3600})).await;
    let id = django.user("ada").await;
    let server = serve(auth().session_cookie_age(std::time::Duration::from_secs(3600)));
    for (ago, expected) in [(0, Some(id.as_str())), (3000, Some(id.as_str())), (3700, None)] {
        let cookie = django.must("log_in", json!(["ada", "secret", ago])).await;
        let cookie = cookie.as_str().unwrap();
        assert_eq!(ask(&server, WHO, Some(cookie)).await.unwrap().id(), expected, "{ago}");
        assert_eq!(django.who(cookie).await.as_deref(), expected, "{ago}");
    }
    let cookie = django.log_in("ada").await;
    let changed =
        format!("{}{}", if cookie.starts_with('.') { "" } else { "." }, cookie.trim_start_matches('.'));
    let changed = if changed == cookie { cookie.replacen(':', "A:", 1) } else { changed };
    assert_eq!(ask(&server, WHO, Some(&changed)).await.unwrap().session, Value::Null);
    assert_eq!(django.who(&changed).await, None);
}

#[actix_web::test]
async fn a_key_can_be_rotated() {
    let site = Site::sqlite();
    let mut django = Project::start(&site, "signed_cookies", json!({"SECRET_KEY": "old key"})).await;
    let id = django.user("ada").await;
    let cookie = django.log_in("ada").await;
    let server = serve(auth().secret_key_fallbacks(["older key", "old key"]));
    assert_eq!(ask(&server, WHO, Some(&cookie)).await.unwrap().id(), Some(id.as_str()));
    assert_eq!(ask(&serve(auth()), WHO, Some(&cookie)).await.unwrap().session, Value::Null);
}

/// A browser keeps cookies of 4 KiB, so the values are the same as in a database, but compressed.
#[actix_web::test]
async fn one_odd_value_loses_neither_the_session_nor_the_user() {
    let site = Site::sqlite();
    let mut django = Project::start(&site, "signed_cookies", json!({})).await;
    let id = django.user("ada").await;
    let cookie = django.log_in("ada").await;
    let filled = django.must("put_python", json!([cookie, odd_session()])).await;
    let filled = filled.as_str().unwrap();
    assert_eq!(django.must("who_is", json!([filled])).await, json!(id), "Django reads it");
    let server = serve(auth().required());
    check_odd(&ask(&server, WHO, Some(filled)).await.unwrap(), &id);
}

/// A pickle is not read, even if Django signed it.
#[actix_web::test]
async fn only_json_is_read() {
    let site = Site::sqlite();
    let pickles = json!({"SESSION_SERIALIZER": "pickles.PickleSerializer"});
    let mut django = Project::start(&site, "signed_cookies", pickles).await;
    let id = django.user("ada").await;
    let cookie = django.log_in("ada").await;
    assert_eq!(django.who(&cookie).await, Some(id), "Django reads it");
    integration_tests::log::capture();
    let server = serve(auth());
    assert_eq!(ask(&server, WHO, Some(&cookie)).await.unwrap().session, Value::Null);
    integration_tests::log::logged(&["WARN", "is a pickle", "SESSION_SERIALIZER"]).await;
}

/// If the users of the database are looked up too, a changed password ends the session.
#[actix_web::test]
async fn users_can_be_looked_up() {
    let site = Site::sqlite();
    let mut django = Project::start(&site, "signed_cookies", json!({})).await;
    let id = django.user("ada").await;
    let cookie = django.log_in("ada").await;
    let (alone, checked) = (serve(auth()), serve(auth().users(site.store(DjangoTables::new()))));
    let found = ask(&checked, WHO, Some(&cookie)).await.unwrap();
    assert_eq!((found.id(), &found.user["username"]), (Some(id.as_str()), &json!("ada")));
    django.must("change", json!(["ada", "another"])).await;
    assert_eq!(ask(&checked, WHO, Some(&cookie)).await.unwrap().session, Value::Null);
    assert_eq!(django.who(&cookie).await, None);
    assert_eq!(ask(&alone, WHO, Some(&cookie)).await.unwrap().id(), Some(id.as_str()), "there is no lookup");
}
