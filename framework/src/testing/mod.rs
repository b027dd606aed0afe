//! Clients, servers and a clock for your own tests. Feature `testing`.
//!
//! | In Channels | In Greenroom |
//! |---|---|
//! | `WebsocketCommunicator` | [`WebsocketCommunicator`] |
//! | `HttpCommunicator` | [`HttpCommunicator`] |
//! | `ApplicationCommunicator`, for the consumers of a worker | [`WorkerCommunicator`] |
//! | `ChannelsLiveServerTestCase` | [`LiveServer`] |
//! | waiting for a timeout | [`pause`] and [`advance`]: the test moves the time |
//!
//! ```
//! use greenroom::{Mount, prelude::*, testing::WebsocketCommunicator};
//!
//! #[derive(NoEvents)]
//! struct Echo;
//! impl Consumer for Echo {
//!     async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
//!         ctx.send_text(message.text()?.to_owned())
//!     }
//! }
//!
//! # #[actix_web::main]
//! # async fn main() -> Result<()> {
//! let mount = Mount::new(UrlRouter::new().route("/echo/", |_: &Scope| Ok(Echo)))?;
//! let mut client = WebsocketCommunicator::new(&mount, "/echo/");
//! client.connect().await.expect("the consumer accepts");
//! client.send_text("hello");
//! assert_eq!(client.receive_text().await?, "hello");
//! client.disconnect().await;
//! # Ok(())
//! # }
//! ```
//!
//! Write tests as `#[actix_web::test]`, and not as `#[tokio::test]`: a consumer needs actix's runtime, which has one thread.
//! A communicator panics elsewhere, and says so. A `LiveServer` has a thread of its own, and works in any test.

mod census;
mod communicator;
mod communicator_error;
mod detached;
mod expect;
mod http_communicator;
mod live_server;
mod worker;

/// Moves the stopped clock.
pub use tokio::time::advance;
/// Stops the clock of this thread's runtime.
///
/// Timers of hooks, grace periods and expiries then wait for [`advance`]. If nothing else is left to do, the clock
/// moves to the next of them.
pub use tokio::time::pause;

pub use self::{
    census::{Census, census},
    communicator::{Connected, WebsocketCommunicator},
    communicator_error::CommunicatorError,
    detached::DetachedContext,
    http_communicator::{HttpAnswer, HttpCommunicator, HttpHead},
    live_server::{Host, LiveServer},
    worker::WorkerCommunicator,
};
