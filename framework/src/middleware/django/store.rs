//! The trait for stores of sessions and users, with its results and its errors.

use std::{error::Error as StdError, fmt, sync::Arc};

use async_trait::async_trait;
use serde_json::{Map, Value};

/// A database or cache in which Django keeps its sessions and users.
///
/// `SqliteStore` and `PostgresStore` implement it, each behind a feature. Implement it for another database, for
/// example with sqlx or diesel, or for a cache in front of a database. Write the implementation with
/// `#[async_trait(?Send)]`. One value serves all connections on all threads. A lookup that takes longer than
/// [`DjangoAuth::lookup_timeout`] is dropped.
///
/// [`DjangoAuth::lookup_timeout`]: super::DjangoAuth::lookup_timeout
#[async_trait(?Send)]
pub trait DjangoStore: Send + Sync + 'static {
    /// Finds the session of this key: a row of `django_session` that has not expired.
    ///
    /// The key is what a client sent, from 8 to 128 visible ASCII characters.
    ///
    /// # Errors
    /// If the store cannot tell whether there is such a session. The client is answered 503 if the error is
    /// [`Unavailable`](StoreError::Unavailable), [`Busy`](StoreError::Busy) or [`TimedOut`](StoreError::TimedOut),
    /// otherwise 500.
    async fn session(&self, key: &str) -> Result<Option<StoredSession>, StoreError>;

    /// Finds the user of this primary key, even if the user is not active.
    ///
    /// # Errors
    /// As [`session`](Self::session).
    async fn user(&self, id: &str) -> Result<Option<StoredUser>, StoreError>;
}

#[async_trait(?Send)]
impl<S: DjangoStore + ?Sized> DjangoStore for Arc<S> {
    async fn session(&self, key: &str) -> Result<Option<StoredSession>, StoreError> {
        (**self).session(key).await
    }

    async fn user(&self, id: &str) -> Result<Option<StoredUser>, StoreError> {
        (**self).user(id).await
    }
}

/// A session as a [`DjangoStore`] keeps it.
///
/// [`DjangoStore`] has an example.
pub struct StoredSession(pub(super) SessionData);

pub(super) enum SessionData {
    Signed(String),
    Values(Map<String, Value>),
}

impl StoredSession {
    /// A session as Django's engines `db`, `cached_db` and `file` write it: the field `session_data`.
    ///
    /// Its signature is verified. A session above 1 MiB is refused.
    pub fn signed(session_data: impl Into<String>) -> Self {
        Self(SessionData::Signed(session_data.into()))
    }

    /// A session that the store has decoded itself, for an engine that does not sign.
    ///
    /// Nothing verifies it: anyone who can write to the store can act as any user.
    #[must_use]
    pub fn values(values: Map<String, Value>) -> Self {
        Self(SessionData::Values(values))
    }
}

/// Shows nothing of the session.
impl fmt::Debug for StoredSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredSession")
    }
}

/// A user as a [`DjangoStore`] keeps it.
///
/// [`DjangoStore`] has an example.
#[derive(Clone)]
#[must_use]
pub struct StoredUser {
    pub(super) password: String,
    pub(super) username: Option<String>,
    pub(super) is_active: bool,
    pub(super) is_staff: bool,
    pub(super) is_superuser: bool,
}

impl StoredUser {
    /// An active user with this `password` field, as Django hashed it.
    ///
    /// The user is neither staff nor a superuser. A session of the user is valid only while this field is as it was
    /// at the login.
    pub fn new(password: impl Into<String>) -> Self {
        Self {
            password: password.into(),
            username: None,
            is_active: true,
            is_staff: false,
            is_superuser: false,
        }
    }

    /// Sets the username.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Sets whether the user is active. An inactive user counts as not logged in.
    pub fn active(mut self, is_active: bool) -> Self {
        self.is_active = is_active;
        self
    }

    /// Sets whether the user may use Django's admin site.
    pub fn staff(mut self, is_staff: bool) -> Self {
        self.is_staff = is_staff;
        self
    }

    /// Sets whether the user has all permissions.
    pub fn superuser(mut self, is_superuser: bool) -> Self {
        self.is_superuser = is_superuser;
        self
    }
}

/// Leaves the password out.
impl fmt::Debug for StoredUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredUser")
            .field("username", &self.username)
            .field("is_active", &self.is_active)
            .field("is_staff", &self.is_staff)
            .field("is_superuser", &self.is_superuser)
            .finish_non_exhaustive()
    }
}

/// Why a [`DjangoStore`] cannot answer, or cannot be opened.
///
/// [`DjangoStore`] has an example.
#[non_exhaustive]
pub enum StoreError {
    /// A name that is given to `DjangoTables` is invalid.
    BadName(String),
    /// The address of a database is invalid.
    BadUrl(Box<dyn StdError + Send + Sync>),
    /// The limit of lookups at once is reached.
    Busy,
    /// The database refuses the lookup, or is not as expected: somebody must change something.
    Failed(Box<dyn StdError + Send + Sync>),
    /// A lookup took too long.
    TimedOut,
    /// The database cannot be reached now. Later it may be.
    Unavailable(Box<dyn StdError + Send + Sync>),
}

impl StoreError {
    /// Makes a [`Failed`](Self::Failed): the database refuses the lookup, or is not as expected.
    pub fn failed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }

    /// Makes an [`Unavailable`](Self::Unavailable): the database cannot be reached now.
    pub fn unavailable(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unavailable(error.into())
    }

    /// A copy for further clients, with the causes as a text.
    #[cfg(feature = "django-postgres")]
    pub(super) fn copied(&self) -> Self {
        let text = |error: &(dyn StdError + Send + Sync + 'static)| {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            text
        };
        match self {
            Self::BadName(name) => Self::BadName(name.clone()),
            Self::BadUrl(error) => Self::BadUrl(text(error.as_ref()).into()),
            Self::Busy => Self::Busy,
            Self::Failed(error) => Self::failed(text(error.as_ref())),
            Self::TimedOut => Self::TimedOut,
            Self::Unavailable(error) => Self::unavailable(text(error.as_ref())),
        }
    }

    /// Whether a later lookup may succeed although nobody has changed anything.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Self::Busy | Self::TimedOut | Self::Unavailable(_))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(name) => write!(
                f,
                "{name:?} is not the name of a table or column: write at most 63 letters, digits and `_`; before a table there may be a schema and a `.`"
            ),
            Self::BadUrl(_) => f.write_str(
                "the address of the database is invalid: write postgres://user:password@host/database",
            ),
            Self::Busy => f.write_str("too many lookups wait for Django's database"),
            Self::Failed(_) => f.write_str("Django's database refuses the lookup"),
            Self::TimedOut => f.write_str("Django's database took too long"),
            Self::Unavailable(_) => f.write_str("Django's database cannot be reached"),
        }
    }
}

crate::causes::debug_shows_causes!(StoreError);

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::BadUrl(error) | Self::Failed(error) | Self::Unavailable(error) => Some(error.as_ref()),
            Self::BadName(_) | Self::Busy | Self::TimedOut => None,
        }
    }
}
