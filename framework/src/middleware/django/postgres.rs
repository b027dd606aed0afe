//! Django's tables in PostgreSQL, read by a thread that keeps one connection.

#[cfg(feature = "rustls")]
mod tls;

use std::{cell::Cell, error::Error as StdError, fmt, io, rc::Rc, time::Duration};

use async_trait::async_trait;
use bytes::BytesMut;
use tokio::{
    sync::mpsc,
    task::{JoinSet, LocalSet},
    time::{Instant, timeout},
};
use tokio_postgres::{
    Client, Config, NoTls, Row, Socket,
    config::SslMode,
    tls::MakeTlsConnect,
    types::{Format, IsNull, ToSql, Type},
};

use super::{
    DjangoStore, DjangoTables, StoreError, StoredSession, StoredUser,
    queue::{Lookup, LookupQueue},
    signing::MOST_BYTES,
    tables::Quoted,
};
use crate::time::Pauses;

/// How long connecting may take, and an answer: then the connection is given up.
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(4);
/// The pauses between attempts to connect, within which lookups fail at once.
const PAUSES: Pauses = Pauses::new(Duration::from_millis(50), Duration::from_secs(2));
/// How many queries are on their way at once.
const PIPELINED: usize = 64;

/// Reads Django's sessions and users from PostgreSQL.
///
/// One connection serves all workers, made at the first lookup by a thread of its own; queries are pipelined, 64 at once,
/// and at most 1,024 lookups wait. A connection that is lost, or does not answer for 4 s, is made anew by the next lookup; while the
/// server cannot be reached lookups fail at once, and it is tried again after 50 ms, later after 2 s. Statements are not
/// prepared, so a pooler such as PgBouncer may stand before the server.
///
/// Sessions expire by the clock of the database. The role needs to read, and nothing more:
///
/// ```sql
/// GRANT SELECT (session_key, session_data, expire_date) ON django_session TO greenroom;
/// GRANT SELECT (id, password, username, is_active, is_staff, is_superuser) ON auth_user TO greenroom;
/// ```
///
/// Without TLS connect by a Unix socket (`host=/run/postgresql user=greenroom dbname=site`) or on one machine;
/// an address with `sslmode=require` is refused. With the feature `rustls` there is `PostgresStore::rustls`.
///
/// ```no_run
/// use greenroom::{UrlRouter, middleware::django::{DjangoAuth, PostgresStore}};
///
/// # fn main() -> greenroom::Result<()> {
/// let store = PostgresStore::new("postgres://greenroom:password@127.0.0.1/site")?;
/// let secret_key = std::env::var("DJANGO_SECRET_KEY")?;
/// let router = UrlRouter::new().wrap(DjangoAuth::database(secret_key, store).required());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresStore {
    queue: LookupQueue,
}

impl PostgresStore {
    /// A database that has Django's tables under their usual names.
    ///
    /// The address is a URL, or the `key=value` form of libpq.
    ///
    /// # Errors
    /// Where the address cannot be used. Whether the server is there is not tried.
    pub fn new(address: &str) -> Result<Self, StoreError> {
        Self::with_tables(address, DjangoTables::new())
    }

    /// A database whose tables have other names.
    ///
    /// # Errors
    /// Where the address cannot be used, or a name is none.
    pub fn with_tables(address: &str, tables: DjangoTables) -> Result<Self, StoreError> {
        let config = parsed(address)?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(StoreError::BadUrl("sslmode=require needs PostgresStore::rustls".into()));
        }
        Self::start(config, Security::Plain, tables)
    }

    /// A database that is reached by TLS, with rustls.
    ///
    /// The certificate must be one that the configuration trusts, for the host of the address: as `sslmode=verify-full`
    /// of libpq, whatever the address says. Unix sockets have no TLS.
    ///
    /// ```no_run
    /// use greenroom::middleware::django::{DjangoTables, PostgresStore};
    /// use tokio_rustls::rustls::{ClientConfig, RootCertStore};
    ///
    /// # fn roots() -> RootCertStore { RootCertStore::empty() }
    /// let config = ClientConfig::builder().with_root_certificates(roots()).with_no_client_auth();
    /// let address = "postgres://greenroom:password@db.example.com/site";
    /// let store = PostgresStore::rustls(address, DjangoTables::new(), config)?;
    /// # Ok::<(), greenroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the address cannot be used, or a name is none.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn rustls(
        address: &str,
        tables: DjangoTables,
        config: tokio_rustls::rustls::ClientConfig,
    ) -> Result<Self, StoreError> {
        let mut address = parsed(address)?;
        address.ssl_mode(SslMode::Require);
        Self::start(address, Security::Tls(tls::Rustls::new(config)), tables)
    }

    fn start(mut config: Config, security: Security, tables: DjangoTables) -> Result<Self, StoreError> {
        if config.get_application_name().is_none() {
            config.application_name("greenroom");
        }
        let tables = tables.quoted()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StoreError::unavailable)?;
        let run = move |lookups| {
            LocalSet::new().block_on(&runtime, serve(PostgresLink::new(config, security, tables), lookups))
        };
        let queue = LookupQueue::start("greenroom-postgres", run).map_err(StoreError::unavailable)?;
        Ok(Self { queue })
    }
}

#[async_trait(?Send)]
impl DjangoStore for PostgresStore {
    async fn session(&self, key: &str) -> Result<Option<StoredSession>, StoreError> {
        self.queue.session(key).await
    }

    async fn user(&self, id: &str) -> Result<Option<StoredUser>, StoreError> {
        self.queue.user(id).await
    }
}

/// Shows no address: it may hold a password.
impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresStore")
    }
}

/// Answers lookups until nobody can ask any more.
async fn serve(mut link: PostgresLink, mut lookups: mpsc::Receiver<Lookup>) {
    let mut queries = JoinSet::new();
    while let Some(lookup) = lookups.recv().await {
        while queries.try_join_next().is_some() {}
        if queries.len() >= PIPELINED {
            queries.join_next().await;
        }
        if lookup.is_abandoned() {
            continue;
        }
        match link.connection().await {
            Ok(connection) => {
                queries.spawn_local(answer(connection, lookup));
            }
            Err(error) => lookup.fail(error),
        }
    }
    // Who asked last is answered still: each has its time limit.
    while queries.join_next().await.is_some() {}
}

async fn answer(connection: Rc<PostgresConnection>, lookup: Lookup) {
    match lookup {
        Lookup::Session(key, reply) => {
            let _ = reply.send(connection.session(&key).await);
        }
        Lookup::User(id, reply) => {
            let _ = reply.send(connection.user(&id).await);
        }
    }
}

/// The connection, made when it is needed.
struct PostgresLink {
    config: Config,
    security: Security,
    tables: Quoted,
    connection: Option<Rc<PostgresConnection>>,
    pauses: Pauses,
    /// Until when no connection is tried, and why.
    away: Option<(Instant, StoreError)>,
}

/// How the way to the server is kept from others.
enum Security {
    Plain,
    #[cfg(feature = "rustls")]
    Tls(tls::Rustls),
}

impl PostgresLink {
    fn new(config: Config, security: Security, tables: Quoted) -> Self {
        Self { config, security, tables, connection: None, pauses: PAUSES, away: None }
    }

    async fn connection(&mut self) -> Result<Rc<PostgresConnection>, StoreError> {
        self.connection = self.connection.take().filter(|connection| connection.is_usable());
        if let Some(connection) = &self.connection {
            return Ok(Rc::clone(connection));
        }
        if let Some((until, reason)) = &self.away
            && Instant::now() < *until
        {
            return Err(reason.copied());
        }
        let made =
            timeout(CONNECT, PostgresConnection::open(&self.config, &self.security, &self.tables)).await;
        match made.unwrap_or(Err(StoreError::TimedOut)) {
            Ok(connection) => {
                self.away = None;
                self.pauses.reset();
                Ok(Rc::clone(self.connection.insert(Rc::new(connection))))
            }
            Err(error) => {
                self.away = Some((Instant::now() + self.pauses.next(), error.copied()));
                Err(error)
            }
        }
    }
}

/// A connection, and the queries for the columns that are there.
struct PostgresConnection {
    client: Client,
    session_query: String,
    user_query: String,
    /// Whether a query has failed, so that nothing more is asked here.
    broken: Cell<bool>,
}

impl PostgresConnection {
    async fn open(config: &Config, security: &Security, tables: &Quoted) -> Result<Self, StoreError> {
        let client = match security {
            Security::Plain => connect(config, NoTls).await?,
            #[cfg(feature = "rustls")]
            Security::Tls(tls) => connect(config, tls.clone()).await?,
        };
        let session_query = format!(
            "SELECT substr(session_data, 1, {}) FROM {} WHERE session_key = $1 AND expire_date > now() LIMIT 1",
            MOST_BYTES + 1,
            tables.session,
        );
        // The catalogue may be read by every role.
        let columns = "SELECT attname::text FROM pg_catalog.pg_attribute \
                       WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped";
        let known = client.query_typed(columns, &[(&tables.user, Type::TEXT)]).await.map_err(store_error)?;
        let known: Vec<String> =
            known.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(store_error)?;
        let select =
            tables.user_columns(&known, |name| format!("{name}::text"), |name| format!("{name}::boolean"));
        let user_query =
            format!("SELECT {select} FROM {} WHERE {} = $1 LIMIT 1", tables.user, tables.user_id);
        Ok(Self { client, session_query, user_query, broken: Cell::new(false) })
    }

    fn is_usable(&self) -> bool {
        !self.broken.get() && !self.client.is_closed()
    }

    async fn session(&self, key: &str) -> Result<Option<StoredSession>, StoreError> {
        let row = self.row(&self.session_query, &key, Type::TEXT).await?;
        let data: Option<String> = row.map(|row| row.try_get(0)).transpose().map_err(store_error)?;
        Ok(data.map(StoredSession::signed))
    }

    async fn user(&self, id: &str) -> Result<Option<StoredUser>, StoreError> {
        // The server finds out which type the primary key has, and reads the text as one.
        let row = self.row(&self.user_query, &AsText(id), Type::UNKNOWN).await?;
        row.map(|row| stored(&row)).transpose().map_err(store_error)
    }

    async fn row(
        &self,
        query: &str,
        parameter: &(dyn ToSql + Sync),
        kind: Type,
    ) -> Result<Option<Row>, StoreError> {
        let parameters = [(parameter, kind)];
        match timeout(ANSWER, self.client.query_typed(query, &parameters)).await {
            Ok(Ok(rows)) => Ok(rows.into_iter().next()),
            // A text that is no value of the column's type is nobody's key: the errors of class 22.
            Ok(Err(error)) if error.code().is_some_and(|code| code.code().starts_with("22")) => Ok(None),
            Ok(Err(error)) => {
                self.broken.set(true);
                Err(store_error(error))
            }
            Err(_) => {
                self.broken.set(true);
                Err(StoreError::TimedOut)
            }
        }
    }
}

async fn connect<T>(config: &Config, tls: T) -> Result<Client, StoreError>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: 'static,
{
    let (client, connection) = config.connect(tls).await.map_err(store_error)?;
    tokio::task::spawn_local(async move {
        // It ends with its client; what it fails with, the queries fail with too.
        let _ = connection.await;
    });
    Ok(client)
}

fn parsed(address: &str) -> Result<Config, StoreError> {
    address.parse().map_err(|error: tokio_postgres::Error| StoreError::BadUrl(Box::new(error)))
}

fn stored(row: &Row) -> Result<StoredUser, tokio_postgres::Error> {
    Ok(StoredUser {
        password: row.try_get(0)?,
        username: row.try_get(1)?,
        is_active: row.try_get(2)?,
        is_staff: row.try_get(3)?,
        is_superuser: row.try_get(4)?,
    })
}

/// Whether it may pass: the server is away, full, starting or stopping; else somebody must change something.
fn store_error(error: tokio_postgres::Error) -> StoreError {
    let temporary = match error.code() {
        // Without a cause it is closed, or has timed out. A certificate that is not trusted is invalid data.
        None => error.source().is_none_or(|source| {
            source.downcast_ref::<io::Error>().is_some_and(|error| error.kind() != io::ErrorKind::InvalidData)
        }),
        Some(code) => ["08", "53", "57"].iter().any(|class| code.code().starts_with(class)),
    };
    if temporary { StoreError::unavailable(error) } else { StoreError::failed(error) }
}

/// A text that is sent as such, whatever type is expected.
#[derive(Debug)]
struct AsText<'a>(&'a str);

impl ToSql for AsText<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.to_sql(kind, out)
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }
}
