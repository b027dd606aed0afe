//! The places of a NATS server: TLS, a password, a token, an access list, a cluster.

use std::time::Duration;

use greenroom::{
    ChannelName, Layer, LayerError,
    layers::nats::{NatsConfig, NatsLayer},
};
use nats_tests::NatsServer;
use redis_tests::{Certificate, Member, Recorder, eventually, free_port, group, note};

/// Shows that two layers hear each other and answer each other with this configuration.
async fn works(config: NatsConfig) {
    let (first, second) = (ready(config.clone()).await, ready(config).await);
    let mut member = Member::of(&first, &["room"]).await;
    second.group_send(&group("room"), note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
    second.send(&member.channel(), note(2)).await.unwrap();
    assert_eq!(member.hears().await, "2");
    member.leave().await;
}

async fn ready(config: NatsConfig) -> Layer {
    let layer = NatsLayer::new(config).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

#[actix_web::test]
async fn the_layer_works_with_a_user_and_a_password() {
    let server = NatsServer::with(&["--user", "ann", "--pass", "p@ss:w/rd"]);
    let place = format!("127.0.0.1:{}", server.port());
    works(NatsConfig::new(format!("nats://ann:p%40ss%3Aw%2Frd@{place}"))).await;
    works(NatsConfig::new(format!("nats://{place}")).user_and_password("ann", "p@ss:w/rd")).await;
}

#[actix_web::test]
async fn the_layer_works_with_a_token() {
    let server = NatsServer::with(&["--auth", "secret"]);
    let place = format!("127.0.0.1:{}", server.port());
    works(NatsConfig::new(format!("nats://secret@{place}"))).await;
    works(NatsConfig::new(format!("nats://{place}")).token("secret")).await;
}

/// The user may use the subjects of the layer's prefix, and nothing else.
#[actix_web::test]
async fn the_layer_works_with_a_user_of_few_rights() {
    let server = NatsServer::configured(
        r#"authorization: { users: [ {
            user: ann, password: secret, permissions: { publish: "apps.chat.>", subscribe: "apps.chat.>" }
        } ] }"#,
    );
    works(NatsConfig::new(format!("nats://ann:secret@127.0.0.1:{}", server.port())).prefix("apps.chat"))
        .await;
}

/// Two prefixes on one server are like two servers.
#[actix_web::test]
async fn layers_with_different_prefixes_hear_nothing_of_each_other() {
    let server = NatsServer::start();
    let one = ready(NatsConfig::new(server.url()).prefix("one")).await;
    let two = ready(NatsConfig::new(server.url()).prefix("two")).await;
    let mut member = Member::of(&one, &["room"]).await;
    two.group_send_counted(&group("room"), note(1)).await.unwrap();
    one.group_send(&group("room"), note(2)).await.unwrap();
    assert_eq!(member.hears().await, "2");
    assert!(two.send(&member.channel(), note(3)).await.is_err());
}

#[actix_web::test]
async fn the_layer_works_over_tls() {
    let certificate = Certificate::new();
    let server =
        NatsServer::with(&["--tls", "--tlscert", &certificate.file(), "--tlskey", &certificate.key()]);
    for scheme in ["tls", "nats"] {
        let config = NatsConfig::new(format!("{scheme}://localhost:{}", server.port()));
        works(config.clone().root_certificates(certificate.file())).await;
        // A client that does not trust the certificate gets an error.
        let error = NatsLayer::new(config).unwrap().ready().await.unwrap_err().to_string();
        assert!(error.contains("ertificate"), "{error}");
    }
    // A client that asks for TLS does not connect without it.
    let plain = NatsServer::start();
    let config = NatsConfig::new(format!("tls://localhost:{}", plain.port())).timeout(Duration::from_secs(1));
    assert!(NatsLayer::new(config).unwrap().ready().await.is_err());
}

/// As soon as one setting asks for TLS, no server gets the password without it: neither one whose URL leaves TLS to the
/// server, nor one that another server names.
#[actix_web::test]
async fn no_password_goes_to_a_server_without_tls() {
    let certificate = Certificate::new();
    let (tls_port, plain_port) = (free_port(), free_port());
    let recorder = Recorder::start(plain_port);
    let advertised = format!("127.0.0.1:{}", recorder.port());
    let routes: Vec<String> =
        [free_port(), free_port()].iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let cluster = |port: u16, own: usize, other: usize, more: &[&str]| {
        let port = port.to_string();
        let options = ["--port", &port, "--user", "ann", "--pass", "s3cret", "--cluster_name", "tests"];
        let routes = ["--cluster", routes[own].as_str(), "--routes", routes[other].as_str()];
        NatsServer::with(&[&options[..], &routes, more].concat())
    };
    let mut first =
        cluster(tls_port, 0, 1, &["--tls", "--tlscert", &certificate.file(), "--tlskey", &certificate.key()]);
    let _second = cluster(plain_port, 1, 0, &["--client_advertise", &advertised]);

    let by_tls = || {
        NatsConfig::new(format!("tls://ann:s3cret@127.0.0.1:{tls_port}"))
            .root_certificates(certificate.file())
            .timeout(Duration::from_secs(1))
    };
    // The layer learns the other address when it connects, so the first server must know it before.
    let knows = || async {
        let options = async_nats::ConnectOptions::with_user_and_password("ann".into(), "s3cret".into())
            .add_root_certificates(certificate.file().into());
        let client = options.connect(format!("tls://127.0.0.1:{tls_port}")).await.unwrap();
        client.server_info().connect_urls.contains(&advertised)
    };
    while !knows().await {}
    let layer = ready(by_tls()).await;
    first.kill();
    let before = recorder.bytes();
    eventually("the layer has tried the other server", || recorder.bytes() > before).await;
    assert!(!recorder.has_heard("s3cret"));
    layer.close().await;

    let plain = format!("nats://ann:s3cret@{advertised}");
    for config in [
        NatsConfig::new(format!("tls://127.0.0.1:{}", free_port())).and_server(&plain),
        NatsConfig::new(&plain).root_certificates(certificate.file()),
        NatsConfig::new(&plain).client_certificate(certificate.file(), certificate.key()),
    ] {
        let before = recorder.bytes();
        let layer = NatsLayer::new(config.timeout(Duration::from_secs(1))).unwrap();
        layer.ready().await.unwrap_err();
        assert!(recorder.bytes() > before && !recorder.has_heard("s3cret"));
    }
    // The recorder would have heard it.
    works(NatsConfig::new(&plain)).await;
    assert!(recorder.has_heard("s3cret"));
}

/// Processes on different servers of a cluster hear each other. If a server ends, its process connects to the other one,
/// whose address it has learned from the first.
#[actix_web::test]
async fn a_process_moves_to_another_server_of_its_cluster() {
    let (mut first, second) = NatsServer::cluster().await;
    let config = |server: &NatsServer| NatsConfig::new(server.url()).timeout(Duration::from_secs(1));
    let (here, there) = (ready(config(&first)).await, ready(config(&second)).await);
    let mut member = Member::of(&here, &["room"]).await;
    // It takes a server some time to tell the others of its subscriptions.
    let mut number = 0;
    let heard = loop {
        number += 1;
        there.group_send(&group("room"), note(number)).await.unwrap();
        if let Ok(heard) = tokio::time::timeout(Duration::from_millis(50), member.hears()).await {
            break heard;
        }
    };
    assert!(heard.parse::<u64>().unwrap() <= number);
    first.kill();
    while member.hears().await != "gap in room" {}
    eventually("the layer is back", || here.metrics().reconnected == 1).await;
    there.group_send(&group("room"), note(1_000)).await.unwrap();
    assert_eq!(member.hears().await, "1000");
    assert_eq!(there.metrics().reconnected, 0);
}

/// A client that listens to all subjects does not slow a join. To NATS it is a receiver, so a send to nobody has no answer.
#[actix_web::test]
async fn a_client_that_listens_to_everything_slows_no_join() {
    let server = NatsServer::start();
    let _everything = server.hear(">").await;
    let config = NatsConfig::new(server.url()).timeout(Duration::from_secs(1));
    works(config.clone()).await;
    let layer = ready(config).await;
    let sent = layer.send(&ChannelName::new("jobs").unwrap(), note(1)).await;
    assert!(
        matches!(&sent, Err(LayerError::Unavailable(why)) if why.contains("no answer in 1s")),
        "{sent:?}"
    );
    assert_eq!(layer.metrics().reconnected, 0);
}

#[actix_web::test]
async fn a_layer_is_opened_by_its_url() {
    let server = NatsServer::start();
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let layer = Layer::open(&format!("nats://{away},{}", server.url())).await.unwrap();
    let mut member = Member::of(&layer, &["room"]).await;
    let other = Layer::open(&server.url()).await.unwrap();
    other.group_send(&group("room"), note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
    for wrong in ["nats://", "nats://secret@:x", "nats://:sec,secret@host", &format!("nats://{away}")] {
        let error = Layer::open(wrong).await.unwrap_err();
        let source = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(
            !source.contains("secret") && (source.contains("URL") || source.contains("refused")),
            "{source}"
        );
    }
}
