//! What the cases with servers that fail share: servers as processes, ways to them that are cut, and members that tell
//! what they hear.

mod members;
mod process;
mod proxy;

use std::time::Duration;

use futures_util::FutureExt;
use greenroom::{ChannelName, Layer, LayerError};
use integration_tests::PATIENCE;
use tokio::time::{sleep, timeout};

pub use self::{
    members::{Member, Note, group, note},
    process::{ServerProcess, free_port},
    proxy::{Proxy, Slow},
};

/// A server that a case ends, freezes, or cuts off, and the layers on it.
#[expect(async_fn_in_trait, reason = "a case runs on one thread")]
pub trait FaultyServer: Sized {
    /// What the log calls it.
    const NAME: &'static str;
    /// Whether a member gets an event of its own process only when the server has sent it back.
    const ECHOES: bool = false;
    /// Whether members are told that messages were dropped because too many waited.
    const TELLS_DROPS: bool = true;
    /// Who may connect to a guarded server.
    const LOGINS: Logins;

    /// Starts one with nothing on it.
    fn start() -> Self;

    /// Starts one that lets only the guest of [`LOGINS`](Self::LOGINS) connect.
    fn guarded() -> Self;

    /// Its process.
    fn process(&mut self) -> &mut ServerProcess;

    /// Makes the layer of one more process, and says what its first attempt to connect came to.
    async fn open(settings: Settings) -> (Layer, Result<(), LayerError>);

    /// Cuts the connections of its clients, which come by this proxy.
    fn cut(&mut self, proxy: &Proxy) {
        proxy.cut();
    }

    /// Checks that layers that were closed have left nothing on it.
    fn assert_left(&mut self) {}
}

/// Who may connect to a server that asks for a password, each as it stands in a URL before the host.
#[derive(Debug)]
pub struct Logins {
    /// Who may.
    pub guest: &'static str,
    /// Who may not: nobody, then others, whose password is `wrong`.
    pub strangers: &'static [&'static str],
    /// One of these is in what the server says to a stranger.
    pub denied: &'static [&'static str],
}

/// The settings of a layer that a case cares for.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The server's port on 127.0.0.1, or that of a way to it.
    pub port: u16,
    /// Who connects, as it stands in a URL before the host.
    pub login: &'static str,
    /// Whether a `group_send` fails while the server is away.
    pub must: bool,
    /// How long the server may take to answer.
    pub timeout: Duration,
    /// How many bytes of messages may wait in each direction.
    pub queue_bytes: usize,
}

impl Settings {
    /// For a server on this port that is given up after 2 s: no busy machine takes as long.
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

/// A layer whose server is there. On a busy machine the first attempt may take too long.
pub(crate) async fn layer<S: FaultyServer>(settings: Settings) -> Layer {
    let mut failed = None;
    for _ in 0..5 {
        match S::open(settings).await {
            (layer, Ok(())) => return layer,
            (_, Err(error)) => failed = Some(error),
        }
    }
    panic!("the server is not there: {failed:?}");
}

/// The settings of a layer on this server.
pub(crate) fn on<S: FaultyServer>(server: &mut S) -> Settings {
    Settings::new(server.process().port())
}

/// Members of the group `room`.
pub(crate) async fn members(layer: &Layer, count: usize) -> Vec<Member> {
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(Member::of(layer, &["room"]).await);
    }
    members
}

/// Checks that each hears this next.
pub(crate) async fn all_hear(members: &mut [Member], expected: &str) {
    for member in members {
        assert_eq!(member.hears().await, expected);
    }
}

/// Whether a layer has noticed that its server is away.
#[must_use]
pub fn is_away(layer: &Layer) -> bool {
    let jobs = ChannelName::new("jobs").expect("a name");
    let sent = layer.send(&jobs, &note(0)).now_or_never();
    sent.is_some_and(|sent| matches!(sent, Err(LayerError::Unavailable(_))))
}

/// Waits until something is so.
///
/// # Panics
/// If it is not so in time.
pub async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// What comes of something that must not hang.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it does not hang")
}
