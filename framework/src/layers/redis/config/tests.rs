use super::*;

#[cfg(feature = "rustls")]
const ROOTS: &str = "\
-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUVZH1I92qMWgAk8jvOTeZXu61lI4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTE0NDAxNFoYDzIxMjYxMTA1
MTQ0MDE0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQjxFrLcEYurmTBFW6QPSKPSX6+qmdfAA6bak/K+azXSLwGzVbFqR6n
ph/t4iO0NgF6EOLvU0k3U0Io3Xwwv3nko1MwUTAdBgNVHQ4EFgQUSFL/MKL2L44n
u4A5gJTfAWVWONowHwYDVR0jBBgwFoAUSFL/MKL2L44nu4A5gJTfAWVWONowDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEA7GjSpf9CenJ4s/pO+/Mm
/l6GHvQ4qOmtJBrG2aUkGQACIFGjQgQPsoH+0QILFRyQnTMdAMjX6+LafpejgUJS
d/Cw
-----END CERTIFICATE-----
";

#[test]
fn a_wrong_url_is_named_by_its_place_and_not_shown() {
    let config = RedisConfig::new("redis://localhost").and_host(RedisConfig::new("http://s3cret@host"));
    let error = config.clone().checked().unwrap_err().to_string();
    assert!(error.contains("host 1") && !error.contains("s3cret"), "{error}");
    for good in ["redis://127.0.0.1:6379/1", "redis://:password@host", "unix:///run/redis.sock"] {
        drop(RedisConfig::new(good).checked().unwrap());
    }
    assert!(RedisConfig::sentinel("master", [""; 0], None).checked().is_err());
}

/// The client ignores some parts of a URL. Each would have meant something, or is a piece of a password.
#[test]
fn a_url_with_a_part_that_would_be_ignored_is_refused() {
    for bad in [
        "",
        "localhost:6379",
        "redis://",
        "redis://host:port",
        "redis://host/x",
        "redis://s3cret@host",
        "redis://user:@host",
        "redis://host?db=3",
        "redis://host?password=s3cret",
        "redis://host?protocol=s3cret",
        "rediss://host?ssl_cert_reqs=required",
        "rediss://host#insecure",
        "redis://user:12?s3cret@host",
        "redis://user:12#s3cret@host",
        "redis://user:12/s3cret@host",
        "redis://:s3c,ret@host",
        "unix://user:s3cret@localhost/run/redis.sock",
        "unix:///run/redis.sock?user=ann",
        "unix:///run/redis.sock?password=s3cret",
    ] {
        let error = RedisConfig::servers(bad).checked().expect_err(bad);
        assert!(matches!(error, RedisConfigError::Url { .. }), "{bad}: {error}");
        assert!(!format!("{error} {error:?}").contains("s3c"), "{bad}: {error}");
    }
    for (sentinel, server) in [
        ("redis://host/1", None),
        ("redis://host#x", None),
        ("redis://host", Some("unix:///run/redis.sock")),
        ("redis://host", Some("redis://user@host")),
    ] {
        assert!(RedisConfig::sentinel("master", [sentinel], server).checked().is_err(), "{sentinel}");
    }
}

#[test]
fn a_setting_that_would_be_ignored_is_refused() {
    let host = |url: &str| RedisConfig::new(url);
    let stray = [
        host("redis://a").and_host(host("redis://b").encryption_keys(["a-key"])),
        host("redis://a").and_host(host("redis://b").prefix("b")),
        host("redis://a").and_host(host("redis://b").and_host(host("redis://c").serializer(Format::Json))),
        host("redis://a").encryption_keys([""]),
    ];
    for config in stray {
        assert!(matches!(config.checked(), Err(RedisConfigError::Setting(_))));
    }
    let all = |url| host(url).prefix("all").encryption_keys(["a-key"]);
    all("redis://a").and_host(all("redis://b")).and_host(host("redis://c")).checked().map(drop).unwrap();
}

#[cfg(feature = "rustls")]
#[test]
fn root_certificates_need_tls_on_every_host() {
    let roots = ROOTS;
    let with = |config: RedisConfig, roots: &str| config.root_certificates(roots).checked();
    let tls = RedisConfig::new("rediss://a");
    let sentinels = |sentinel, server| RedisConfig::sentinel("master", [sentinel], server);
    for good in [
        tls.clone(),
        sentinels("redis://s", Some("rediss://m")),
        sentinels("rediss://s", Some("redis://m")),
        sentinels("rediss://s", None),
    ] {
        drop(with(good, roots).unwrap());
    }
    for bad in [
        RedisConfig::new("redis://a"),
        RedisConfig::new("unix:///run/redis.sock"),
        tls.clone().and_host(RedisConfig::new("redis://b")),
        sentinels("redis://s", None),
    ] {
        let error = with(bad, roots).unwrap_err().to_string();
        assert!(error.contains("has no TLS"), "{error}");
    }
    for malformed in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    {
        assert!(matches!(with(tls.clone(), malformed), Err(RedisConfigError::Setting(_))), "{malformed}");
    }
}

#[test]
fn no_secret_is_shown() {
    let config = RedisConfig::new("redis://:password@host:1/2").encryption_keys(["a-key"]);
    let shown = format!("{config:?}");
    assert!(shown.contains("host:1") && !shown.contains("password") && !shown.contains("a-key"), "{shown}");
}
