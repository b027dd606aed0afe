//! Parts that the cases with failing servers share: servers as processes, proxies that cut connections, and members
//! that tell their clients which events they get.

mod members;
mod process;
mod proxy;

use std::time::Duration;

use futures_util::FutureExt;
use greenroom::{ChannelName, Layer, LayerError};
use integration_tests::PATIENCE;
use tokio::time::{sleep, timeout};

pub use integration_tests::free_port;

pub use self::{
    members::{Member, Note, group, note},
    process::ServerProcess,
    proxy::{Proxy, Slow},
};

/// A server that a case ends, freezes, or cuts off, and the layers on it.
#[expect(async_fn_in_trait, reason = "a case runs on one thread")]
pub trait FaultyServer: Sized {
    /// The name of the server in the log.
    const NAME: &'static str;
    /// Whether a member gets an event of its own process only when the server has sent it back.
    const ECHOES: bool = false;
    /// Whether members are told that messages were dropped because too many waited.
    const TELLS_DROPS: bool = true;
    /// Who may connect to a guarded server.
    const LOGINS: Logins;

    /// Starts a server with nothing on it.
    fn start() -> Self;

    /// Starts a server that lets only the guest of [`LOGINS`](Self::LOGINS) connect.
    fn guarded() -> Self;

    /// The process of the server.
    fn process(&mut self) -> &mut ServerProcess;

    /// Makes the layer of one more process, and returns the result of its first attempt to connect.
    async fn open(settings: Settings) -> (Layer, Result<(), LayerError>);

    /// Cuts the connections of the server's clients, which come through this proxy.
    fn cut(&mut self, proxy: &Proxy) {
        proxy.cut();
    }

    /// Checks that closed layers have left nothing on the server.
    fn assert_left(&mut self) {}
}

/// Logins for a server that asks for a password. Each is written as in a URL, before the host.
#[derive(Debug)]
pub struct Logins {
    /// The login that the server accepts.
    pub guest: &'static str,
    /// Logins that the server refuses: an empty one first, then some with the password `wrong`.
    pub strangers: &'static [&'static str],
    /// The server's answer to a refused login contains one of these.
    pub denied: &'static [&'static str],
}

/// The settings of a layer that matter to the cases.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The port of the server, or of a proxy to it, on 127.0.0.1.
    pub port: u16,
    /// The login, written as in a URL, before the host.
    pub login: &'static str,
    /// Whether a `group_send` fails while the server is away.
    pub must: bool,
    /// How long the server may take to answer.
    pub timeout: Duration,
    /// How many bytes of messages may wait in each direction.
    pub queue_bytes: usize,
}

impl Settings {
    /// Settings for a server on this port. It may take 2 s to answer, which is enough on a busy machine.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self { port, login: "", must: false, timeout: Duration::from_secs(2), queue_bytes: 16 << 20 }
    }

    /// The URL with this scheme.
    #[must_use]
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}127.0.0.1:{}", self.login, self.port)
    }
}

/// Makes a layer that is connected to its server. On a busy machine the first attempt may take too long.
pub(crate) async fn layer<S: FaultyServer>(settings: Settings) -> Layer {
    let mut failed = None;
    for _ in 0..5 {
        match S::open(settings).await {
            (layer, Ok(())) => return layer,
            (_, Err(error)) => failed = Some(error),
        }
    }
    panic!("the layer cannot connect: {failed:?}");
}

/// The settings of a layer on this server.
pub(crate) fn on<S: FaultyServer>(server: &mut S) -> Settings {
    Settings::new(server.process().port())
}

/// Connects this many members of the group `room`.
pub(crate) async fn members(layer: &Layer, count: usize) -> Vec<Member> {
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(Member::of(layer, &["room"]).await);
    }
    members
}

/// Checks that each member hears this text next.
pub(crate) async fn all_hear(members: &mut [Member], expected: &str) {
    for member in members {
        assert_eq!(member.hears().await, expected);
    }
}

/// Whether a layer has noticed that its server is away.
#[must_use]
pub fn is_away(layer: &Layer) -> bool {
    let jobs = ChannelName::new("jobs").expect("a valid name");
    let sent = layer.send(&jobs, &note(0)).now_or_never();
    sent.is_some_and(|sent| matches!(sent, Err(LayerError::Unavailable(_))))
}

/// Waits until `so` returns true.
///
/// # Panics
/// If it does not return true in time.
pub async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Waits for a future that must not hang.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("the call does not hang")
}
