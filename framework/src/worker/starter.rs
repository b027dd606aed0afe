//! How the consumers of a channel are made; the one place where their type is erased.

use std::{any::type_name, fmt::Debug, sync::Arc};

use futures_util::future::LocalBoxFuture;

use super::{
    WorkerContext,
    life::{self, Seat},
};
use crate::{EventHandlers, Result, routing::endpoint::Maker};

/// Makes the consumers of a channel, and runs their lives.
pub(crate) trait JobStarter: Send + Sync + Debug {
    /// The type name of the consumer.
    fn describe(&self) -> &'static str;

    /// Runs the whole life of one consumer.
    fn live(&self, seat: Seat) -> LocalBoxFuture<'static, ()>;
}

impl<C, F> JobStarter for Maker<C, F>
where
    C: EventHandlers<WorkerContext>,
    F: Fn(&WorkerContext) -> Result<C> + Send + Sync + 'static,
{
    fn describe(&self) -> &'static str {
        type_name::<C>()
    }

    fn live(&self, seat: Seat) -> LocalBoxFuture<'static, ()> {
        let make = Arc::clone(&self.make);
        Box::pin(life::live(move |ctx: &WorkerContext| make(ctx), seat))
    }
}
