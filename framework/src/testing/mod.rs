//! Clients, servers and a clock for your own tests. Feature `testing`.
//!
//! | In Channels | In Greenroom |
//! |---|---|
//! | `WebsocketCommunicator` | [`WebsocketCommunicator`] |
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
//! # async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
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
//! Write tests as `#[actix_web::test]`: a consumer needs actix's runtime, which has one thread.

mod census;
mod communicator;
mod detached;
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
    communicator::{CommunicatorError, Connected, WebsocketCommunicator},
    detached::DetachedContext,
    live_server::{Host, LiveServer},
    worker::WorkerCommunicator,
};
