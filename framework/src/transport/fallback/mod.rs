//! Plain polling, long polling, and server-sent events with POST for input.
//!
//! They are for clients behind a proxy that breaks WebSockets. Each request of such a client stands alone. A
//! [`Session`](session::Session) keeps the state between them. It is a task on the thread that took the
//! `open`. It puts what clients post into the connection. It takes frames out of the outbox only when a
//! request waits for them, so that all limits of the outbox hold while no request waits. Any thread finds the
//! session through the [`SessionTable`](table::SessionTable).

pub(crate) mod body;
pub(crate) mod bound;
pub(crate) mod events;
pub(crate) mod intake;
pub(crate) mod kept;
pub(crate) mod refusal;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod table;
