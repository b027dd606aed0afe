use serde_json::Value;

use super::{DjangoSession, StoredUser};

/// A user of Django.
///
/// [`DjangoAuth`](super::DjangoAuth) puts it into [`Scope::user`](crate::Scope::user) if the session belongs to a
/// user who has logged in. Without a database only the [`id`](Self::id) and the [`backend`](Self::backend) are
/// known.
///
/// The [guide](crate::docs::guide#users-of-a-django-project) has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DjangoUser {
    id: String,
    backend: String,
    username: Option<String>,
    is_active: bool,
    is_staff: bool,
    is_superuser: bool,
}

impl DjangoUser {
    /// A user of whom only the id and the backend are known, as from a signed cookie.
    #[must_use]
    pub fn new(id: impl Into<String>, backend: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            backend: backend.into(),
            username: None,
            is_active: false,
            is_staff: false,
            is_superuser: false,
        }
    }

    /// The primary key, as the session has it: a text, even if it is a number or a UUID.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The entry of `AUTHENTICATION_BACKENDS` with which the user logged in.
    #[must_use]
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// The username. `None` if no database was asked, or if its table has no such column.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Whether a database says that the user is active. False if no database was asked.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.is_active
    }

    /// Whether a database says that the user may use Django's admin site.
    ///
    /// False if no database was asked.
    #[must_use]
    pub fn is_staff(&self) -> bool {
        self.is_staff
    }

    /// Whether a database says that the user has all permissions.
    ///
    /// False if no database was asked.
    #[must_use]
    pub fn is_superuser(&self) -> bool {
        self.is_superuser
    }

    /// Reads the user from a session, as Django's `login` writes it.
    pub(super) fn of(session: &DjangoSession) -> Option<Self> {
        let id = match session.value("_auth_user_id")? {
            Value::String(id) => id.clone(),
            Value::Number(id) => id.to_string(),
            _ => return None,
        };
        let backend = session.value("_auth_user_backend")?.as_str()?;
        Some(Self::new(id, backend))
    }

    /// Adds what a store knows of the user.
    pub(super) fn with(self, stored: StoredUser) -> Self {
        Self {
            username: stored.username,
            is_active: stored.is_active,
            is_staff: stored.is_staff,
            is_superuser: stored.is_superuser,
            ..self
        }
    }
}
