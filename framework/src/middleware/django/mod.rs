//! Reads the sessions and users of a Django project, by the cookie of its login.
//!
//! [`DjangoAuth`] is the middleware, and does what Channels' `AuthMiddlewareStack` does. It reads sessions of
//! Django's engine `signed_cookies` without a database, and those of `db` and `cached_db` from a [`DjangoStore`]:
//! `SqliteStore` (feature `django-sqlite`), `PostgresStore` (feature `django-postgres`), or your own
//! implementation. Consumers find a [`DjangoSession`] and a [`DjangoUser`] in their scope.
//!
//! Nothing is written to Django's database. So a consumer cannot log anybody in or out, and only Django can change
//! a session.

mod auth;
mod cookie;
mod health;
#[cfg(feature = "django-postgres")]
mod postgres;
#[cfg(any(feature = "django-postgres", feature = "django-sqlite"))]
mod queue;
mod session;
mod signing;
#[cfg(feature = "django-sqlite")]
mod sqlite;
mod store;
#[cfg(any(feature = "django-postgres", feature = "django-sqlite"))]
mod tables;
mod user;

#[cfg(feature = "django-postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "django-postgres")))]
pub use self::postgres::PostgresStore;
#[cfg(feature = "django-sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "django-sqlite")))]
pub use self::sqlite::SqliteStore;
#[cfg(any(feature = "django-postgres", feature = "django-sqlite"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "django-postgres", feature = "django-sqlite"))))]
pub use self::tables::DjangoTables;
pub use self::{
    auth::DjangoAuth,
    session::DjangoSession,
    store::{DjangoStore, StoreError, StoredSession, StoredUser},
    user::DjangoUser,
};
