//! How a mount serves clients without a WebSocket.

use std::{fmt, sync::Arc, time::Duration};

use actix_web::HttpRequest;

use crate::time::FOREVER;

/// How long a request is held at most. Proxies cut a request that is quiet for half a minute.
const WAIT: Duration = Duration::from_secs(20);
/// How many connections one client address may have, by default.
const OF_PEER: usize = 5_000;

/// Tells the user of a request.
pub(super) type UserOf = Arc<dyn Fn(&HttpRequest) -> Option<String> + Send + Sync>;

/// The fallback transports of a [`Mount`](crate::Mount).
///
/// These are plain polling, long polling and server-sent events. They are for clients behind proxies that
/// break WebSockets. They serve the same consumers on the same paths, by requests with the query parameter
/// `greenroom`. [The protocol](crate::docs::protocol) is documented, and `greenroom.js` speaks it. On by
/// default.
///
/// Pages of other origins may connect if the route's validator lets them in, as for a WebSocket: see
/// [`SameOrigin::and`](crate::middleware::SameOrigin::and). Browsers are told so by CORS headers, which allow credentials.
///
/// | Setting | Default | |
/// |---|---|---|
/// | [`wait`](Self::wait) | 20 s | how long a request is held if nothing is due |
/// | [`expires`](Self::expires) | 30 s | how long a connection lives without a request; then it ends with 1006 |
/// | [`max_connections`](Self::max_connections) | half of the mount's | how many connections there may be at once |
/// | [`connections_per_peer`](Self::connections_per_peer) | 5,000 | how many connections one client address may have |
/// | [`user_cookies`](Self::user_cookies) | `sessionid`, `id` | the cookies that, beside `Authorization`, identify the user |
/// | [`bound_to`](Self::bound_to) | | another way to identify the user |
///
/// The [guide](crate::docs::guide#without-a-websocket) has an example.
#[derive(Clone)]
#[must_use]
pub struct Fallback {
    pub(crate) wait: Duration,
    pub(crate) expires: Duration,
    /// `None` stands for half of the mount's.
    max_connections: Option<usize>,
    pub(super) connections_per_peer: Option<usize>,
    pub(crate) user_cookies: Vec<String>,
    pub(super) user: Option<UserOf>,
    pub(crate) on: bool,
}

impl Default for Fallback {
    fn default() -> Self {
        Self {
            wait: WAIT,
            expires: Duration::from_secs(30),
            max_connections: None,
            connections_per_peer: Some(OF_PEER),
            user_cookies: vec!["sessionid".to_owned(), "id".to_owned()],
            user: None,
            on: true,
        }
    }
}

impl Fallback {
    /// The default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows only WebSockets. A request with the parameter `greenroom` is left to the App.
    pub fn off() -> Self {
        Self { on: false, ..Self::default() }
    }

    /// How long a poll is held if nothing is due. Default and maximum: 20 s.
    ///
    /// A client may ask for less. The time counts in whole seconds. With zero, no poll is held.
    pub fn wait(mut self, time: Duration) -> Self {
        self.wait = Duration::from_secs(time.as_secs()).min(WAIT);
        self
    }

    /// How long a connection lives without a request, at least one second. Default 30 s.
    ///
    /// The time begins when a request ends, also a held one. A client that polls every few seconds must come
    /// well within this time. When it is over, the consumer's `disconnect` gets 1006, as when a socket
    /// breaks. The first request must come within 10 s, because an `open` alone costs a client nothing.
    pub fn expires(mut self, time: Duration) -> Self {
        self.expires = time.clamp(Duration::from_secs(1), FOREVER);
        self
    }

    /// How many connections without a WebSocket there may be at once.
    ///
    /// Default: half of [`Mount::max_connections`](crate::Mount::max_connections). Further ones are refused with
    /// 503 and `Retry-After`. So a flood of `open`, which needs no socket for each connection, cannot take the
    /// places of WebSockets. A connection that has ended counts until its client was told. The connections of all
    /// mounts with the same [`Drain`](crate::Drain) count, and they count in `Mount::max_connections` too.
    pub fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = Some(count);
        self
    }

    /// How many connections without a WebSocket one client address may have. Default 5,000; `None` allows any number.
    ///
    /// Further ones are refused with 429. The address is the one in the scope, as for
    /// [`Mount::connections_per_peer`](crate::Mount::connections_per_peer), which counts these connections too: an
    /// IPv6 network of 64 bits counts as one client, and on a Unix socket nothing is counted. **Behind a proxy** all
    /// clients have the address of the proxy, unless
    /// [`TrustedProxies`](crate::middleware::TrustedProxies) put the right one there. The default leaves room for
    /// that, and for a company or a campus behind one address.
    pub fn connections_per_peer(mut self, count: impl Into<Option<usize>>) -> Self {
        self.connections_per_peer = count.into();
        self
    }

    /// How many connections there may be, if the mount may have `all`.
    pub(crate) fn most_connections(&self, all: usize) -> usize {
        self.max_connections.unwrap_or(all.div_ceil(2))
    }

    /// Names the cookies that identify the user. Default: `sessionid` and `id`.
    ///
    /// Django's session cookie is `sessionid`, and the one of actix-session is `id`. A connection is bound to
    /// its user: each request must bring the same values of these cookies, and the same `Authorization`, as
    /// the `open` did. Do not list a cookie that changes while the user stays the same, for example one that
    /// holds the whole session or one that the consumer's accept sets. For these see
    /// [`bound_to`](Self::bound_to).
    pub fn user_cookies<C: Into<String>>(mut self, names: impl IntoIterator<Item = C>) -> Self {
        self.user_cookies = names.into_iter().map(Into::into).collect();
        self
    }

    /// Identifies the user of a request by a function of your own.
    ///
    /// The function takes the place of cookies and `Authorization`.
    ///
    /// The function is called for each request, after the App's own middleware. So it can read what the
    /// middleware left in the request's extensions.
    pub fn bound_to(mut self, user: impl Fn(&HttpRequest) -> Option<String> + Send + Sync + 'static) -> Self {
        self.user = Some(Arc::new(user));
        self
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("on", &self.on)
            .field("wait", &self.wait)
            .field("expires", &self.expires)
            .field("max_connections", &self.max_connections)
            .field("connections_per_peer", &self.connections_per_peer)
            .field("user_cookies", &self.user_cookies)
            .finish_non_exhaustive()
    }
}
