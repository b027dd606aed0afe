//! TLS on each way to Redis: no byte of a password goes in clear text, and a certificate is checked.

use std::time::Duration;

use greenroom::layers::redis::{RedisConfig, RedisLayer};
use redis_tests::{Certificate, Recorder, RedisServer, free_port};

use crate::redis_hosts::works_once;

const MASTER: &str = "pass-of-the-master";
const SENTINEL: &str = "pass-of-the-sentinel";

/// A master and a sentinel that listen with TLS too, behind recorders.
struct Guarded {
    certificate: Certificate,
    /// Before the master's port with TLS. The sentinel names this port.
    master: Recorder,
    /// Before the sentinel's port with TLS.
    sentinel: Recorder,
    /// Before the sentinel's port without TLS.
    plain: Recorder,
    _servers: [RedisServer; 2],
}

impl Guarded {
    fn start(passwords: bool) -> Self {
        let certificate = Certificate::new();
        let (master_port, sentinel_port) = (free_port(), free_port());
        let server = |port: u16, password: &str, start: &dyn Fn(&[&str]) -> RedisServer| {
            let mut options = certificate.options(port);
            if passwords {
                options.extend(["--requirepass".to_owned(), password.to_owned()]);
            }
            start(&options.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let redis = server(master_port, MASTER, &|options| RedisServer::with(options));
        let master = Recorder::start(master_port);
        let watcher =
            server(sentinel_port, SENTINEL, &|options| RedisServer::sentinel_of(master.port(), options));
        let sentinel = Recorder::start(sentinel_port);
        let plain = Recorder::start(watcher.port());
        Self { certificate, master, sentinel, plain, _servers: [redis, watcher] }
    }

    fn roots(&self) -> &[u8] {
        self.certificate.pem.as_bytes()
    }
}

/// The sentinels and the master behind them are reached as their URLs say, with the private root certificates.
#[actix_web::test]
async fn a_master_behind_sentinels_is_reached_with_tls() {
    let guarded = Guarded::start(true);
    let server = format!("rediss://:{MASTER}@any/2");
    let away = format!("rediss://127.0.0.1:{}", free_port());
    let tls = format!("rediss://:{SENTINEL}@localhost:{}", guarded.sentinel.port());
    // The first sentinel does not answer.
    let config = RedisConfig::sentinel("mymaster", [away.clone(), tls.clone()], Some(&server))
        .root_certificates(guarded.roots());
    works_once(config).await;
    for recorder in [&guarded.master, &guarded.sentinel] {
        assert!(recorder.bytes() > 0, "the layer came this way");
        for secret in [MASTER, SENTINEL, "room", "asgi"] {
            assert!(!recorder.has_heard(secret), "{secret} went in clear text");
        }
    }
    // A sentinel without TLS gets its own password in clear text, as its URL says, and the master's not.
    let plain = format!("redis://:{SENTINEL}@localhost:{}", guarded.plain.port());
    let config = RedisConfig::sentinel("mymaster", [plain], Some(&server)).root_certificates(guarded.roots());
    works_once(config).await;
    assert!(guarded.plain.has_heard(SENTINEL) && !guarded.plain.has_heard(MASTER));
    assert!(!guarded.master.has_heard(MASTER));

    // A client that does not trust the certificate sends no password.
    let config = RedisConfig::sentinel("mymaster", [tls], Some(&server)).timeout(Duration::from_secs(2));
    let layer = RedisLayer::new(config.clone()).unwrap();
    let error = layer.ready().await.unwrap_err().to_string();
    assert!(error.contains("ertificate"), "{error}");
    let shown = format!("{layer:?} {config:?} {error}");
    assert!(!shown.contains(MASTER) && !shown.contains(SENTINEL), "{shown}");
    let other = Certificate::new();
    let config = config.root_certificates(other.pem.as_bytes());
    let error = RedisLayer::new(config).unwrap().ready().await.unwrap_err().to_string();
    assert!(error.contains("ertificate"), "{error}");
    assert!(!guarded.master.has_heard(MASTER) && !guarded.sentinel.has_heard(SENTINEL));
}

/// Without a URL for the master, it is reached as the sentinels are.
#[actix_web::test]
async fn a_master_without_a_url_has_tls_if_its_sentinels_have() {
    let guarded = Guarded::start(false);
    let tls = format!("rediss://localhost:{}", guarded.sentinel.port());
    works_once(RedisConfig::sentinel("mymaster", [tls], None).root_certificates(guarded.roots())).await;
    assert!(guarded.master.bytes() > 0 && !guarded.master.has_heard("asgi"));
}

/// The scheme says whether there is TLS, however it is written, and for each of several servers.
#[actix_web::test]
async fn root_certificates_hold_for_every_scheme_with_tls() {
    let certificate = Certificate::new();
    let start = |port: u16| {
        let options = certificate.options(port);
        let options: Vec<&str> =
            options.iter().map(String::as_str).chain(["--requirepass", MASTER]).collect();
        RedisServer::with(&options)
    };
    let (first_port, second_port) = (free_port(), free_port());
    let _servers = [start(first_port), start(second_port)];
    let recorder = Recorder::start(first_port);
    let url = |scheme: &str, port: u16| format!("{scheme}://:{MASTER}@localhost:{port}");
    for (first, second) in [("rediss", None), ("REDISS", Some("rediss")), ("valkeys", None)] {
        let mut config = RedisConfig::new(url(first, recorder.port()));
        if let Some(second) = second {
            config = config.and_host(RedisConfig::new(url(second, second_port)));
        }
        works_once(config.root_certificates(certificate.pem.as_bytes())).await;
        assert!(recorder.bytes() > 0 && !recorder.has_heard(MASTER), "{first}");
    }
}
