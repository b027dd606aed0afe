//! Clients behind what spoils WebSockets: plain polling, long polling, and server-sent events with POST for input.
//!
//! Each request of such a client is one of its own; a [`Session`](session::Session) is what stays between them. It is
//! a task on the worker that took the `open`. It puts what clients post into the connection, and takes out of the
//! outbox only when a request waits for that, so that all limits of the outbox hold while nobody asks. The
//! [`SessionTable`](table::SessionTable) finds it from any worker.

pub(crate) mod body;
pub(crate) mod bound;
pub(crate) mod events;
pub(crate) mod intake;
pub(crate) mod kept;
pub(crate) mod refusal;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod table;
