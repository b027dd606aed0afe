//! How a mount serves clients without a WebSocket.

use std::{fmt, sync::Arc, time::Duration};

use actix_web::HttpRequest;

/// How long a request is held at most: proxies cut what is quiet for half a minute.
const WAIT: Duration = Duration::from_secs(20);

/// What a request says of its user.
pub(super) type UserOf = Arc<dyn Fn(&HttpRequest) -> Option<String> + Send + Sync>;

/// The fallback transports of a [`Mount`](crate::Mount): plain polling, long polling and server-sent events.
///
/// They serve the same consumers on the same paths as WebSockets, for clients behind proxies that spoil these, by
/// requests with the query parameter `greenroom`. [The protocol](crate::docs::protocol) is documented; `greenroom.js` speaks
/// it. On by default.
///
/// | Setting | Default | |
/// |---|---|---|
/// | [`wait`](Self::wait) | 20 s | how long a request is held that finds nothing due |
/// | [`expires`](Self::expires) | 30 s | how long a connection lives without a request: then it has ended, with 1006 |
/// | [`cors`](Self::cors) | none | which other origins' pages may ask |
/// | [`user_cookies`](Self::user_cookies) | `sessionid`, `id` | which cookies, beside `Authorization`, say who the user is |
/// | [`bound_to`](Self::bound_to) | | another way to know that |
#[derive(Clone)]
#[must_use]
pub struct Fallback {
    pub(crate) wait: Duration,
    pub(crate) expires: Duration,
    pub(crate) origins: Vec<String>,
    pub(crate) user_cookies: Vec<String>,
    pub(super) user: Option<UserOf>,
    pub(crate) on: bool,
}

impl Default for Fallback {
    fn default() -> Self {
        Self {
            wait: WAIT,
            expires: Duration::from_secs(30),
            origins: Vec::new(),
            user_cookies: vec!["sessionid".to_owned(), "id".to_owned()],
            user: None,
            on: true,
        }
    }
}

impl Fallback {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// WebSockets only: a request with the parameter `greenroom` is the App's.
    pub fn off() -> Self {
        Self { on: false, ..Self::default() }
    }

    /// How long a poll is held that finds nothing due; a client may ask for less. Default, and most, 20 s.
    ///
    /// In whole seconds; zero holds none.
    pub fn wait(mut self, time: Duration) -> Self {
        self.wait = Duration::from_secs(time.as_secs()).min(WAIT);
        self
    }

    /// How long a connection lives without a request, at least one second. Default 30 s.
    ///
    /// The time begins when a request ends, a held one included. A client that polls every few seconds must come well
    /// within it. Then the consumer's `disconnect` sees 1006, as when a socket breaks.
    pub fn expires(mut self, time: Duration) -> Self {
        self.expires = time.max(Duration::from_secs(1));
        self
    }

    /// Lets pages of these origins ask, as `https://app.example.com`: what browsers need to be told (CORS).
    ///
    /// Credentials are allowed. The origin must be let in by the route's validator too:
    /// [`AllowedHostsOriginValidator`](crate::middleware::AllowedHostsOriginValidator), because the default lets in the
    /// own host only.
    pub fn cors<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        self.origins = origins.into_iter().map(Into::into).collect();
        self
    }

    /// Which cookies say who the user is. Default `sessionid`, Django's, and `id`, that of actix-session.
    ///
    /// A connection is bound to its user: each request must bring the same values of these, and the same
    /// `Authorization`, as its `open` did. A cookie that changes while its user stays, as one that holds the whole
    /// session or that the consumer's accept sets, must not be listed: see [`bound_to`](Self::bound_to).
    pub fn user_cookies<C: Into<String>>(mut self, names: impl IntoIterator<Item = C>) -> Self {
        self.user_cookies = names.into_iter().map(Into::into).collect();
        self
    }

    /// Says in another way who the user of a request is, instead of by cookies and `Authorization`.
    ///
    /// Called for each request, behind the App's own middleware: what that left in the request's extensions is there.
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
            .field("origins", &self.origins)
            .field("user_cookies", &self.user_cookies)
            .finish_non_exhaustive()
    }
}
