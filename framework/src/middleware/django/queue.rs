//! A queue of lookups for the thread that reads a database.
//!
//! The server's threads must not block, and they share one connection to the database.

use std::{io, thread};

use tokio::sync::{mpsc, oneshot};

use super::{StoreError, StoredSession, StoredUser};

/// How many lookups may wait for the thread.
const WAITING: usize = 1024;

/// A lookup for the thread, with the sender for its reply.
pub(super) enum Lookup {
    Session(String, LookupReply<StoredSession>),
    User(String, LookupReply<StoredUser>),
}

type LookupReply<T> = oneshot::Sender<Result<Option<T>, StoreError>>;

/// The sender of lookups. When its last copy is dropped, the thread ends.
#[derive(Clone)]
pub(super) struct LookupQueue(mpsc::Sender<Lookup>);

impl LookupQueue {
    /// Starts the thread.
    pub(super) fn start(
        name: &str,
        run: impl FnOnce(mpsc::Receiver<Lookup>) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(WAITING);
        thread::Builder::new().name(name.to_owned()).spawn(move || run(receiver))?;
        Ok(Self(sender))
    }

    pub(super) async fn session(&self, key: &str) -> Result<Option<StoredSession>, StoreError> {
        self.ask(|reply| Lookup::Session(key.to_owned(), reply)).await
    }

    pub(super) async fn user(&self, id: &str) -> Result<Option<StoredUser>, StoreError> {
        self.ask(|reply| Lookup::User(id.to_owned(), reply)).await
    }

    async fn ask<T>(&self, lookup: impl FnOnce(LookupReply<T>) -> Lookup) -> Result<Option<T>, StoreError> {
        let ended = || StoreError::unavailable("the thread that reads the database has ended");
        let (reply, answer) = oneshot::channel();
        self.0.try_send(lookup(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => ended(),
        })?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Lookup {
    /// Whether nobody waits for the reply any more.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Session(_, reply) => reply.is_closed(),
            Self::User(_, reply) => reply.is_closed(),
        }
    }

    /// Replies with an error.
    #[cfg(feature = "django-postgres")]
    pub(super) fn fail(self, error: StoreError) {
        // Sending fails only if nobody waits for the reply any more.
        match self {
            Self::Session(_, reply) => {
                let _ = reply.send(Err(error));
            }
            Self::User(_, reply) => {
                let _ = reply.send(Err(error));
            }
        }
    }
}
