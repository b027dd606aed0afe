//! What a program and its operator are told if something is wrong: the reason and the address, without a flood of lines.

use greenroom::{ChannelName, Envelope, LayerError};
use integration_tests::{
    PATIENCE,
    log::{capture, lines},
};
use tokio::{net::TcpListener, time::timeout};

use crate::faulty::{
    FaultyServer, Member, Proxy, Settings, eventually, free_port, group, is_away, layer, note, on,
};

/// The lines of the log about a port, from now on. Before, another test may have used the port.
struct Log {
    port: String,
    before: usize,
}

impl Log {
    fn of(port: u16) -> Self {
        capture();
        let port = port.to_string();
        Self { before: lines(&[&port]).len(), port }
    }

    fn all(&self) -> Vec<String> {
        lines(&[&self.port]).split_off(self.before)
    }

    /// The lines that are not for debugging.
    fn loud(&self) -> Vec<String> {
        self.all().into_iter().filter(|line| !line.contains("DEBUG") && !line.contains("TRACE")).collect()
    }
}

/// The first attempt to connect reports a wrong address or password. The layer tries again, and its consumers work.
pub async fn a_wrong_address_or_password_is_reported_at_once<S: FaultyServer>() {
    let mut server = S::guarded();
    let settings = on(&mut server);
    for login in S::LOGINS.strangers {
        let (_layer, ready) = S::open(Settings { login, ..settings }).await;
        let error = ready.unwrap_err().to_string();
        assert!(error.contains(&settings.port.to_string()), "{error}");
        assert!(S::LOGINS.denied.iter().any(|denied| error.contains(denied)), "{error}");
        assert!(!error.contains("wrong"), "no password is shown: {error}");
    }
    layer::<S>(Settings { login: S::LOGINS.guest, ..settings }).await;
    let free = free_port();
    let (layer, ready) = S::open(Settings::new(free)).await;
    let error = ready.unwrap_err().to_string();
    assert!(error.contains("refused") && error.contains(&free.to_string()), "{error}");
    assert!(is_away(&layer));
    let mut member = Member::of(&layer, &["room"]).await;
    layer.group_send(&group("room"), &note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
}

/// Takes connections, and ends each at once.
struct Deaf(TcpListener);

impl Deaf {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    async fn one_more(&self) {
        drop(timeout(PATIENCE, self.0.accept()).await.expect("the layer tries again").unwrap());
    }
}

/// If a server ends every connection, each reason is logged in one line with the address, however often the layer tries.
pub async fn an_unreachable_server_is_logged_once_for_each_reason<S: FaultyServer>() {
    let deaf = Deaf::start().await;
    let log = Log::of(deaf.port());
    let opening = S::open(Settings { login: S::LOGINS.strangers[1], ..Settings::new(deaf.port()) });
    let ((layer, ready), ()) = tokio::join!(opening, deaf.one_more());
    let error = ready.unwrap_err().to_string();
    assert!(error.contains(&deaf.port().to_string()), "{error}");
    // The layer waits twice as long before each attempt, up to 2 s.
    for _ in 0..5 {
        deaf.one_more().await;
    }
    let said = log.loud();
    assert!(!said.is_empty() && said.len() <= 2, "one line for each reason: {said:#?}");
    assert!(said[0].contains("WARN") && said[0].contains(&format!("{} is away", S::NAME)), "{said:#?}");
    assert!(!log.all().iter().any(|line| line.contains("wrong")), "no password is shown");
    drop(layer);
}

/// A wrong password is logged once, in the server's own words.
pub async fn a_wrong_password_is_logged_once<S: FaultyServer>() {
    let mut server = S::guarded();
    let proxy = Proxy::start(server.process().port()).await;
    let log = Log::of(proxy.port());
    let settings = Settings { login: S::LOGINS.strangers[1], ..Settings::new(proxy.port()) };
    let (_layer, ready) = S::open(settings).await;
    let error = ready.unwrap_err().to_string();
    assert!(error.contains(&proxy.port().to_string()) && !error.contains("wrong"), "{error}");
    let before = proxy.accepted();
    eventually("the layer tries again and again", || proxy.accepted() >= before + 3).await;
    let said = log.loud();
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(S::LOGINS.denied.iter().any(|denied| said[0].contains(denied)), "{said:#?}");
}

/// If a connection breaks again and again, not every break is logged, but the members are told of each one.
pub async fn a_flapping_connection_does_not_flood_the_log<S: FaultyServer>() {
    let mut server = S::start();
    let proxy = Proxy::start(server.process().port()).await;
    let log = Log::of(proxy.port());
    let layer = layer::<S>(Settings::new(proxy.port())).await;
    let mut member = Member::of(&layer, &["room"]).await;
    for flap in 1..=6 {
        server.cut(&proxy);
        eventually("the connection is back", || layer.metrics().reconnected == flap).await;
        assert_eq!(member.hears().await, "gap in room");
    }
    let said = log.loud();
    assert!((1..=4).contains(&said.len()), "after 6 breaks: {said:#?}");
}

/// If a message is too large, its sender is told its size and the limit. Nobody gets it, and nothing is logged.
pub async fn only_the_sender_is_told_that_a_message_is_too_large<S: FaultyServer>() {
    let mut server = S::start();
    let log = Log::of(server.process().port());
    let layer = layer::<S>(Settings { queue_bytes: 100_000, ..on(&mut server) }).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let text = format!(r#"{{"type":"note","number":1,"more":"{}"}}"#, "x".repeat(200_000));
    let large = Envelope::from_json(text).unwrap();
    let jobs = ChannelName::new("jobs").unwrap();
    for sent in [layer.group_send(&group("room"), large.clone()).await, layer.send(&jobs, large).await] {
        let error = sent.unwrap_err();
        assert!(matches!(error, LayerError::MessageTooLarge { limit: 100_000, .. }), "{error:?}");
        assert!(error.to_string().contains("100000"), "{error}");
    }
    layer.group_send(&group("room"), &note(2)).await.unwrap();
    assert_eq!(member.hears().await, "2", "and not 1");
    assert!(log.loud().is_empty());
    assert_eq!(layer.metrics().reconnected, 0);
}
