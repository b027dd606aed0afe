//! A database that goes away, comes back, or does not answer: no logged-in client is mistaken for an unknown one.

use std::{fs, sync::Arc, time::Duration};

use django_tests::{Folder, Postgres, Project, Site, WHO, ask, serve};
use greenroom::{
    middleware::django::{DjangoAuth, DjangoTables, PostgresStore, SqliteStore, StoreError},
    testing::LiveServer,
};
use integration_tests::{
    PATIENCE,
    log::{capture, logged},
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Asks until the user is known again. Until then each answer is 503.
async fn comes_back(server: &LiveServer, cookie: &str, id: &str) {
    let wait = async {
        loop {
            match ask(server, WHO, Some(cookie)).await {
                Ok(who) => break assert_eq!(who.id(), Some(id)),
                Err(status) => assert_eq!(status, 503),
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("the database serves again");
}

/// Shows that clients with a cookie are refused, and that clients which need no lookup are accepted.
async fn is_away(server: &LiveServer, cookie: &str, status: u16) {
    for _ in 0..3 {
        assert_eq!(ask(server, WHO, Some(cookie)).await, Err(status));
    }
    assert_eq!(
        ask(server, WHO, None).await.unwrap().user,
        Value::Null,
        "without a cookie there is no lookup"
    );
    assert_eq!(ask(server, "/open/", Some(cookie)).await.unwrap().user, Value::Null, "other routes work");
}

#[actix_web::test]
async fn a_database_server_may_go_away_and_come_back() {
    capture();
    let postgres = Arc::new(Postgres::start());
    let site = Site::of(Arc::clone(&postgres));
    let Site::Postgres(_, database) = &site else { unreachable!() };
    let mut django = Project::start(&site, "db", json!({})).await;
    let id = django.user("ada").await;
    let cookie = django.log_in("ada").await;
    django.must("disconnect", json!([])).await;
    for address in [postgres.url(database), postgres.socket_address(database)] {
        let store = PostgresStore::new(&address).unwrap();
        let server = serve(DjangoAuth::database("a key", store));
        assert_eq!(ask(&server, WHO, Some(&cookie)).await.unwrap().id(), Some(id.as_str()));
        postgres.stop();
        is_away(&server, &cookie, 503).await;
        logged(&["WARN", "Django's database is not available"]).await;
        postgres.restart();
        comes_back(&server, &cookie, &id).await;
        logged(&["INFO", "Django's database is available again"]).await;
    }
    // Greenroom starts although the database server is away.
    postgres.stop();
    let server = serve(DjangoAuth::database("a key", PostgresStore::new(&postgres.url(database)).unwrap()));
    is_away(&server, &cookie, 503).await;
    postgres.restart();
    comes_back(&server, &cookie, &id).await;
}

#[actix_web::test]
async fn a_database_that_does_not_answer_is_waited_for_briefly() {
    let site = Site::postgres();
    let mut django = Project::start(&site, "db", json!({})).await;
    let id = django.user("ada").await;
    let cookie = django.log_in("ada").await;
    let auth = site.auth(&["a key"]).lookup_timeout(Duration::from_millis(200));
    let server = serve(auth);
    comes_back(&server, &cookie, &id).await;
    django.must("lock", json!(["LOCK TABLE auth_user"])).await;
    is_away(&server, &cookie, 503).await;
    django.must("unlock", json!([])).await;
    comes_back(&server, &cookie, &id).await;
}

#[actix_web::test]
async fn a_database_file_that_is_locked_is_waited_for_briefly() {
    let site = Site::sqlite();
    let mut django = Project::start(&site, "db", json!({})).await;
    let id = django.user("ada").await;
    let cookie = django.log_in("ada").await;
    let server = serve(site.auth(&["a key"]).lookup_timeout(Duration::from_millis(200)));
    comes_back(&server, &cookie, &id).await;
    django.must("lock", json!([])).await;
    is_away(&server, &cookie, 503).await;
    django.must("unlock", json!([])).await;
    comes_back(&server, &cookie, &id).await;
}

#[actix_web::test]
async fn a_database_file_may_vanish_come_back_and_be_replaced() {
    let site = Site::sqlite();
    let mut django = Project::start(&site, "db", json!({})).await;
    let id = django.user("ada").await;
    let cookie = django.log_in("ada").await;
    django.must("disconnect", json!([])).await;
    let server = serve(site.auth(&["a key"]));
    assert_eq!(ask(&server, WHO, Some(&cookie)).await.unwrap().id(), Some(id.as_str()));

    let (file, aside) = (site.file(), site.file().with_extension("aside"));
    fs::rename(&file, &aside).unwrap();
    is_away(&server, &cookie, 503).await;
    fs::rename(&aside, &file).unwrap();
    assert_eq!(ask(&server, WHO, Some(&cookie)).await.unwrap().id(), Some(id.as_str()));

    // A new database of the same project knows no user of the old one.
    fs::rename(&file, &aside).unwrap();
    let mut fresh = Project::start(&site, "db", json!({})).await;
    let _ = fresh.user("someone").await;
    let bob = fresh.user("bob").await;
    let at_bobs = fresh.log_in("bob").await;
    assert_eq!(ask(&server, WHO, Some(&cookie)).await.unwrap().session, Value::Null);
    assert_eq!(ask(&server, WHO, Some(&at_bobs)).await.unwrap().id(), Some(bob.as_str()));

    // The file is not a database.
    fs::write(&file, "no database, but a text that is long enough to be read as the head of one: ".repeat(9))
        .unwrap();
    assert_eq!(ask(&server, WHO, Some(&cookie)).await, Err(500));
}

#[actix_web::test]
async fn a_refused_login_or_read_is_logged() {
    capture();
    let site = Site::postgres();
    let Site::Postgres(postgres, database) = &site else { unreachable!() };
    let mut django = Project::start(&site, "db", json!({})).await;
    let _ = django.user("ada").await;
    let cookie = django.log_in("ada").await;

    let wrong = postgres.url(database).replace("greenroom:", "greenroom:wrong");
    let server = serve(DjangoAuth::database("a key", PostgresStore::new(&wrong).unwrap()));
    is_away(&server, &cookie, 500).await;
    logged(&["ERROR", "password authentication failed"]).await;

    let tables = DjangoTables::new().user_table("nobodys_table");
    let server = serve(DjangoAuth::database("a key", site.store(tables)));
    is_away(&server, &cookie, 500).await;
    logged(&["ERROR", "nobodys_table"]).await;

    django.must("sql", json!(["REVOKE SELECT ON django_session FROM greenroom"])).await;
    django.must("sql", json!(["REVOKE SELECT (session_data) ON django_session FROM greenroom"])).await;
    let server = serve(site.auth(&["a key"]));
    is_away(&server, &cookie, 500).await;
    logged(&["ERROR", "permission denied"]).await;
}

/// Trusts these certificates, and no others.
fn trusting(certificates: &[&rcgen::Certificate]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    certificates.iter().for_each(|certificate| roots.add(certificate.der().clone()).unwrap());
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    config.unwrap().with_root_certificates(roots).with_no_client_auth()
}

/// TLS connects only to a server whose certificate is trusted and names the host.
#[actix_web::test]
async fn a_database_is_reached_by_tls() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let postgres =
        Arc::new(Postgres::with_certificate(&signed.cert.pem(), &signed.signing_key.serialize_pem()));
    let site = Site::of(Arc::clone(&postgres));
    let Site::Postgres(_, database) = &site else { unreachable!() };
    let mut django = Project::start(&site, "db", json!({})).await;
    let id = django.user("ada").await;
    let cookie = django.log_in("ada").await;
    let server = |address: &str, config| {
        let store = PostgresStore::rustls_0_23(address, DjangoTables::new(), config).unwrap();
        serve(DjangoAuth::database("a key", store))
    };
    let by_address = postgres.url(database);
    let by_name = by_address.replace("127.0.0.1", "localhost");
    let trusted = server(&by_name, trusting(&[&signed.cert]));
    assert_eq!(ask(&trusted, WHO, Some(&cookie)).await.unwrap().id(), Some(id.as_str()));
    let encrypted = "DO $$ BEGIN ASSERT (SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'greenroom'); END $$";
    django.must("sql", json!([encrypted])).await;
    is_away(&server(&by_name, trusting(&[])), &cookie, 500).await;
    is_away(&server(&by_address, trusting(&[&signed.cert])), &cookie, 500).await;
}

#[actix_web::test]
async fn a_database_that_cannot_be_opened_is_an_error_at_once() {
    let folder = Folder::new();
    let file = folder.path().join("db.sqlite3");
    assert!(matches!(SqliteStore::open(&file), Err(StoreError::Unavailable(_))), "the file is missing");
    assert!(!file.exists(), "the file is not made");
    fs::write(&file, "").unwrap();
    assert!(matches!(SqliteStore::open(&file), Err(StoreError::Failed(_))), "the file has no tables");
    let injected = DjangoTables::new().user_table("auth_user; DROP TABLE auth_user");
    assert!(matches!(SqliteStore::open_with(&file, injected.clone()), Err(StoreError::BadName(_))));
    let address = "host=/nowhere dbname=site";
    assert!(matches!(PostgresStore::with_tables(address, injected), Err(StoreError::BadName(_))));
    for wrong in [
        "http://127.0.0.1/",
        "host=/nowhere sslmode=require",
        "host=/nowhere sslnegotiation=direct",
        "host=/nowhere channel_binding=require",
        "host=/nowhere port=many",
        "dbname=site",
        "nonsense",
        "postgres://ann:pass@host/site?s3cret=x",
        "host=here password=my s3cret=x",
        "host=here password=my s3cret",
    ] {
        let error = PostgresStore::new(wrong).unwrap_err();
        assert!(matches!(error, StoreError::BadUrl(_)), "{wrong}: {error}");
        let shown = format!("{error} {error:?} {}", std::error::Error::source(&error).expect("a cause"));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    // With TLS, the certificate must be for a name, and a Unix socket would have no TLS.
    for wrong in [
        "host=/nowhere dbname=site",
        "host=here,/nowhere",
        "hostaddr=127.0.0.1",
        "host=here channel_binding=require",
    ] {
        let error = PostgresStore::rustls_0_23(wrong, DjangoTables::new(), trusting(&[])).unwrap_err();
        assert!(matches!(error, StoreError::BadUrl(_)), "{wrong}: {error}");
    }
}
