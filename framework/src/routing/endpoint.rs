//! The endpoint of a route: its middleware, its limits, and how its consumers are made.

use std::{
    any::type_name,
    fmt::{self, Debug},
    marker::PhantomData,
    sync::Arc,
};

use actix_web::web::Payload;

use crate::{
    Consumer, HttpConsumer, Limits, Result, Scope,
    consumer::start::{Responding, Start, Starting},
    error::MisuseError,
    middleware::Chain,
    scope::MatchedRoute,
};

/// The endpoint of a route. All threads share it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// The route with its whole pattern: for errors and logs.
    pub(crate) route: Arc<MatchedRoute>,
    /// The name to [reverse](crate::routing::Routes::reverse) it by.
    pub(crate) name: Option<String>,
    /// The route's own limits, if it has any.
    pub(crate) limits: Option<Arc<Limits>>,
    /// The middleware that runs before the consumer is made, the outermost first.
    pub(crate) middleware: Chain,
    /// Makes and starts the consumer.
    pub(crate) starter: Target,
}

/// What makes a route's consumers, for HTTP requests or for WebSockets.
#[derive(Clone)]
pub(crate) enum Target {
    Http(Arc<dyn HttpStarter>),
    WebSocket(Arc<dyn Starter>),
}

impl Target {
    pub(crate) fn is_http(&self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// The type name of the consumer.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Http(starter) => starter.describe(),
            Self::WebSocket(starter) => starter.describe(),
        }
    }
}

impl Endpoint {
    /// The whole pattern, prefixes of outer routers included.
    pub(crate) fn pattern(&self) -> &str {
        &self.route.pattern
    }
}

impl Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("pattern", &self.pattern())
            .field("name", &self.name)
            .field("consumer", &self.starter.describe())
            .field("middleware", &self.middleware.len())
            .finish_non_exhaustive()
    }
}

/// Makes and starts a route's consumers; the one place where their type is erased.
pub(crate) trait Starter: Send + Sync + Debug {
    /// The type name of the consumer.
    fn describe(&self) -> &'static str;

    /// Starts the consumer of a connection. `None` while the server drains.
    fn start(&self, start: Start) -> Result<Option<Starting>, MisuseError>;
}

/// Makes and starts the consumers of a route for HTTP.
pub(crate) trait HttpStarter: Send + Sync + Debug {
    /// The type name of the consumer.
    fn describe(&self) -> &'static str;

    /// Starts the consumer of a request. `None` while the server drains.
    fn start(&self, start: Start, payload: Payload) -> Result<Option<Responding>, MisuseError>;
}

/// The function of a route that makes its consumer.
pub(crate) struct Maker<C, F> {
    pub(crate) make: Arc<F>,
    consumer: PhantomData<fn() -> C>,
}

impl<C, F> Maker<C, F> {
    pub(crate) fn new(make: F) -> Self {
        Self { make: Arc::new(make), consumer: PhantomData }
    }
}

impl<C, F> Debug for Maker<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Maker<{}>", type_name::<C>())
    }
}

impl<C, F> Starter for Maker<C, F>
where
    C: Consumer,
    F: Fn(&Scope) -> Result<C> + Send + Sync + 'static,
{
    fn describe(&self) -> &'static str {
        type_name::<C>()
    }

    fn start(&self, start: Start) -> Result<Option<Starting>, MisuseError> {
        let make = Arc::clone(&self.make);
        start.start(move |scope| make(scope))
    }
}

impl<C, F> HttpStarter for Maker<C, F>
where
    C: HttpConsumer,
    F: Fn(&Scope) -> Result<C> + Send + Sync + 'static,
{
    fn describe(&self) -> &'static str {
        type_name::<C>()
    }

    fn start(&self, start: Start, payload: Payload) -> Result<Option<Responding>, MisuseError> {
        let make = Arc::clone(&self.make);
        start.start_http(move |scope| make(scope), payload)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use crate::{Consumer, Context, Envelope, EventHandlers, Handled, Outgoing, Result, Scope};

    /// A consumer for routes that are only resolved.
    #[derive(Debug)]
    pub(crate) struct Nobody;

    impl Consumer for Nobody {}

    impl EventHandlers for Nobody {
        fn events() -> Vec<&'static str> {
            Vec::new()
        }

        async fn handle_event(&mut self, _: &Envelope, _: &mut Context) -> Result<Handled> {
            Ok(Handled::Unknown)
        }

        fn relay(_: &Envelope) -> Option<Result<Outgoing>> {
            None
        }
    }

    pub(crate) fn nobody(_: &Scope) -> Result<Nobody> {
        Ok(Nobody)
    }
}
