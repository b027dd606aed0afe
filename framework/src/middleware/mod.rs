//! Middleware: the steps between the router and the consumer.
//!
//! A [`Middleware`] sees the [`Scope`] of each connection after its route has matched and before its consumer is
//! made. It may add to the scope, or end the connection with a [`Rejection`].
//! [`UrlRouter::wrap`](crate::UrlRouter::wrap) puts a middleware before all routes of a router. A [`Stack`] makes
//! one middleware of several.
//!
//! | Channels | Greenroom |
//! |---|---|
//! | `AllowedHostsOriginValidator`, `OriginValidator` | [`AllowedHostsOriginValidator`], and by default [`SameOrigin`] |
//! | `CookieMiddleware` | not needed: [`Scope::cookie`], [`Scope::set_cookie`] |
//! | `SessionMiddleware` | [`SessionMiddleware`] with a loader, [`Scope::session`] |
//! | `AuthMiddleware` | [`AuthMiddleware`] with a function, [`Scope::user`] |
//! | `AuthMiddlewareStack` | [`Stack`]; for the users of a Django project `django::DjangoAuth` (feature `django`) |
//! | `BaseMiddleware` | [`Middleware`], or [`from_fn`] |
//! | Django's `ALLOWED_HOSTS` | [`AllowedHosts`]; by default on loopback addresses |
//! | Daphne's `--proxy-headers` | [`TrustedProxies`], with a list of the proxies |
//!
//! Unlike in Channels, routing comes first. If a path has no route, it is answered 404, and no middleware runs.

mod denied;
#[cfg(feature = "django")]
#[cfg_attr(docsrs, doc(cfg(feature = "django")))]
pub mod django;
mod forwarded;
mod host;
mod origin;
mod pattern;
mod proxy;
mod rejection;
mod site;
mod slots;
mod stack;

use std::{fmt, sync::Arc};

use async_trait::async_trait;

pub(crate) use self::origin::note_denied;
pub use self::{
    host::AllowedHosts,
    origin::{AllowedHostsOriginValidator, SameOrigin},
    proxy::TrustedProxies,
    rejection::Rejection,
    slots::{AuthMiddleware, SessionMiddleware},
    stack::Stack,
};
use crate::{Result, Scope};

/// One step between the router and the consumer.
///
/// One value serves all connections on all threads. Write the implementation with `#[async_trait(?Send)]`, or use
/// [`from_fn`], which needs no trait.
///
/// See [`from_fn`](crate::middleware::from_fn) for the shortest form, and the [guide](crate::docs::guide#middleware) for a stack.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a middleware",
    note = "for a function or a closure, write `middleware::from_fn(async |scope: &mut Scope| …)`",
    note = "for a type, write `#[async_trait(?Send)] impl Middleware for {Self}`"
)]
#[async_trait(?Send)]
pub trait Middleware: Send + Sync + 'static {
    /// Looks at a connection that asks to be let in, and may add to its scope.
    ///
    /// # Errors
    /// A [`Rejection`] is sent to the client as the answer. No later middleware runs, and no consumer is made. `?`
    /// turns any other error into a rejection: the error is logged, and the client is answered 500.
    async fn handle(&self, scope: &mut Scope) -> Result<(), Rejection>;

    /// Checks the settings of this middleware.
    ///
    /// It is called once, when the router is built. The default finds nothing wrong.
    ///
    /// # Errors
    /// If a setting is wrong. The server then does not start, and reports the error together with those of the
    /// routes.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Whether pages of another origin may connect. The default, `None`, says that this middleware does not decide that.
    ///
    /// A browser asks so before a page of another origin sends a request of a [fallback transport](crate::Fallback)
    /// (CORS). The answer is yes if a middleware of the route says yes, and none says no. [`handle`](Self::handle) still
    /// runs for the connection, so it has the last word.
    ///
    /// Write this only in a middleware that checks origins itself. `origin` is the header's value, which may be any text.
    fn allows_origin(&self, origin: &str) -> Option<bool> {
        let _ = origin;
        None
    }
}

/// The middleware of a route, the outermost first.
pub(crate) type Chain = Arc<[Arc<dyn Middleware>]>;

/// Runs a chain in order, and stops at the first middleware that rejects.
pub(crate) async fn run(chain: &[Arc<dyn Middleware>], scope: &mut Scope) -> Result<(), Rejection> {
    for middleware in chain {
        middleware.handle(scope).await?;
    }
    Ok(())
}

/// Runs a route's chain, then the default checks of host and origin if the chain had none.
///
/// An HTTP request that changes nothing needs no origin check: browsers do not let a page of another site read the
/// answer. It needs the check of its host, after which the page is not of another site that only looks like this one.
pub(crate) async fn admit(chain: &[Arc<dyn Middleware>], scope: &mut Scope) -> Result<(), Rejection> {
    let host_is_allowed = host::listener_allows(scope);
    run(chain, scope).await?;
    if !host_is_allowed && !scope.is_host_checked() {
        return Err(host::denied_by_listener(scope));
    }
    if scope.is_origin_checked() || scope.is_safe_exchange() {
        Ok(())
    } else {
        SameOrigin::new().handle(scope).await
    }
}

/// Whether pages of another origin may send requests to the route of this chain.
pub(crate) fn allows_origin(chain: &[Arc<dyn Middleware>], origin: &str) -> bool {
    opinion(chain, origin) == Some(true)
}

/// What a chain says about an origin: a middleware that says no outweighs all others.
fn opinion(chain: &[Arc<dyn Middleware>], origin: &str) -> Option<bool> {
    chain.iter().filter_map(|middleware| middleware.allows_origin(origin)).reduce(|one, other| one && other)
}

/// Makes a middleware from an async closure or function.
///
/// ```
/// use greenroom::{Scope, UrlRouter, middleware::{Rejection, from_fn}};
///
/// async fn only_english(scope: &mut Scope) -> Result<(), Rejection> {
///     match scope.query_param("lang").as_deref() {
///         Some("en") => Ok(()),
///         _ => Err(Rejection::forbidden()),
///     }
/// }
///
/// let router = UrlRouter::new().wrap(from_fn(only_english)).wrap(from_fn(async |scope: &mut Scope| {
///     scope.insert(std::time::Instant::now());
///     Ok(())
/// }));
/// ```
pub fn from_fn<F>(function: F) -> FromFn<F>
where
    F: AsyncFn(&mut Scope) -> Result<(), Rejection> + Send + Sync + 'static,
{
    FromFn(function)
}

/// The middleware that [`from_fn`] makes.
///
/// [`from_fn`] has an example.
#[derive(Clone)]
pub struct FromFn<F>(F);

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<F>())
    }
}

#[async_trait(?Send)]
impl<F> Middleware for FromFn<F>
where
    F: AsyncFn(&mut Scope) -> Result<(), Rejection> + Send + Sync + 'static,
{
    async fn handle(&self, scope: &mut Scope) -> Result<(), Rejection> {
        (self.0)(scope).await
    }
}
