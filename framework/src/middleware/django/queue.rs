//! The way to a thread that reads a database: workers must not block, and share one connection.

use std::{io, thread};

use tokio::sync::{mpsc, oneshot};

use super::{StoreError, StoredSession, StoredUser};

/// How many lookups may wait for the thread.
const WAITING: usize = 1024;

/// What is asked of the thread.
pub(super) enum Lookup {
    Session(String, LookupReply<StoredSession>),
    User(String, LookupReply<StoredUser>),
}

type LookupReply<T> = oneshot::Sender<Result<Option<T>, StoreError>>;

/// Where lookups are asked. With its last copy the thread ends.
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
        let ended = || StoreError::unavailable("the thread that reads it has ended");
        let (reply, answer) = oneshot::channel();
        self.0.try_send(lookup(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => ended(),
        })?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Lookup {
    /// Whether nobody waits for it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Session(_, reply) => reply.is_closed(),
            Self::User(_, reply) => reply.is_closed(),
        }
    }

    /// Answers that it is not known.
    #[cfg(feature = "django-postgres")]
    pub(super) fn fail(self, error: StoreError) {
        // Who has gone meanwhile need not know.
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
