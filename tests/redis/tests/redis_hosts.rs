//! The places of a Redis server: TLS, a Unix socket, a password, a sentinel, another database.

use std::{fs, net::TcpListener, time::Duration};

use greenroom::{
    Layer,
    layers::redis::{RedisConfig, RedisLayer, RedisPubSubLayer},
};
use redis_tests::{Member, RedisServer, group, note};

/// Shows that two layers of each kind hear each other with this configuration.
async fn works(config: RedisConfig) {
    for _ in 0..2 {
        let core = || async {
            let layer = RedisLayer::new(config.clone()).unwrap();
            layer.ready().await.unwrap();
            Layer::new(layer)
        };
        hears(&core().await, &core().await).await;
        let pubsub = || async {
            let layer = RedisPubSubLayer::new(config.clone()).unwrap();
            layer.ready().await.unwrap();
            Layer::new(layer)
        };
        hears(&pubsub().await, &pubsub().await).await;
    }
}

async fn hears(first: &Layer, second: &Layer) {
    let mut member = Member::of(first, &["room"]).await;
    second.group_send(&group("room"), note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
    member.leave().await;
}

#[actix_web::test]
async fn both_layers_work_over_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("greenroom-redis-{}.sock", std::process::id()));
    let path = path.display().to_string();
    let _server = RedisServer::with(&["--unixsocket", &path]);
    works(RedisConfig::new(format!("unix://{path}"))).await;
    assert!(Layer::open(&format!("unix://{path}")).await.is_ok());
}

#[actix_web::test]
async fn both_layers_work_with_a_user_a_password_and_a_database() {
    let server = RedisServer::with(&["--user", "ann", "on", ">secret", "~*", "&*", "+@all"]);
    works(RedisConfig::new(format!("redis://ann:secret@127.0.0.1:{}/3", server.port()))).await;
}

/// The user may do what the layer does, and nothing else: no administration, and only keys of the prefix.
#[actix_web::test]
async fn both_layers_work_with_a_user_of_few_rights() {
    let rights = "ann on >secret ~asgi* &* -@all +@sortedset +@pubsub +@connection +eval +expire +del +scan";
    let rights: Vec<&str> = ["--user"].into_iter().chain(rights.split(' ')).collect();
    let server = RedisServer::with(&rights);
    works(RedisConfig::new(format!("redis://ann:secret@127.0.0.1:{}", server.port()))).await;
}

#[actix_web::test]
async fn both_layers_work_over_tls() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = std::env::temp_dir().join(format!("greenroom-tls-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    fs::write(&certificate, certified.cert.pem()).unwrap();
    fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = |path: &std::path::Path| path.display().to_string();
    let _server = RedisServer::with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &text(&certificate),
        "--tls-key-file",
        &text(&key),
        "--tls-ca-cert-file",
        &text(&certificate),
        "--tls-auth-clients",
        "no",
    ]);
    let config = RedisConfig::new(format!("rediss://localhost:{port}"));
    works(config.clone().root_certificates(certified.cert.pem())).await;
    // A client that does not trust the certificate gets an error.
    let error = RedisLayer::new(config).unwrap().ready().await.unwrap_err().to_string();
    assert!(error.contains("ertificate"), "{error}");
    let _ = fs::remove_dir_all(folder);
}

#[actix_web::test]
async fn both_layers_work_through_a_sentinel() {
    let master = RedisServer::with(&["--requirepass", "secret"]);
    let sentinel = RedisServer::sentinel(&master);
    let with = |name: &str| RedisConfig::sentinel(name, [sentinel.url()], Some("redis://:secret@any/2"));
    works(with("mymaster")).await;
    let unknown = with("another").timeout(Duration::from_secs(1));
    let error = RedisLayer::new(unknown).unwrap().ready().await.unwrap_err().to_string();
    assert!(error.contains("another"), "{error}");
}
