//! Reads Django's tables from PostgreSQL, on a thread that keeps one connection.

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
#[cfg(all(feature = "rustls", unix))]
use tokio_postgres::config::Host;
use tokio_postgres::{
    Client, Config, NoTls, Row, Socket,
    config::{ChannelBinding, SslMode, SslNegotiation},
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

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer may take. After that the connection is given up.
const ANSWER: Duration = Duration::from_secs(4);
/// The pauses between attempts to connect. During a pause lookups fail at once.
const PAUSES: Pauses = Pauses::new(Duration::from_millis(50), Duration::from_secs(2));
/// How many queries may wait for their answers at once.
const PIPELINED: usize = 64;

/// Reads Django's sessions and users from PostgreSQL.
///
/// One background thread answers the lookups of all threads of the server. It makes one connection, at the first
/// lookup. Queries are pipelined, 64 at once, and at most 1,024 lookups wait. If the connection is lost, or does
/// not answer for 4 s, the next lookup makes a new one. While the server cannot be reached, lookups fail at once.
/// The next attempt to connect is made after 50 ms, later after up to 2 s. Statements are not prepared, so a pooler
/// such as PgBouncer may stand before the server.
///
/// Sessions expire by the clock of the database. The database role needs only these permissions:
///
/// ```sql
/// GRANT SELECT (session_key, session_data, expire_date) ON django_session TO greenroom;
/// GRANT SELECT (id, password, username, is_active, is_staff, is_superuser) ON auth_user TO greenroom;
/// ```
///
/// Without TLS, connect through a Unix socket (`host=/run/postgresql user=greenroom dbname=site`) or on one
/// machine. An address with `sslmode=require` or `sslnegotiation=direct` is then refused. For TLS use
/// `PostgresStore::rustls_0_23` (feature `rustls`), which refuses Unix sockets. Both refuse `channel_binding=require`. Of
/// libpq's values of `sslmode`, only `disable`, `prefer` and `require` are known.
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
    /// Reads a database that has Django's tables under their usual names.
    ///
    /// The address is a URL, or the `key=value` form of libpq.
    ///
    /// # Errors
    /// If the address is invalid. The server is not contacted yet.
    pub fn new(address: &str) -> Result<Self, StoreError> {
        Self::with_tables(address, DjangoTables::new())
    }

    /// Reads a database whose tables have other names.
    ///
    /// # Errors
    /// If the address or a name is invalid.
    pub fn with_tables(address: &str, tables: DjangoTables) -> Result<Self, StoreError> {
        let config = parsed(address)?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(StoreError::BadUrl("sslmode=require needs PostgresStore::rustls_0_23".into()));
        }
        if config.get_ssl_negotiation() == SslNegotiation::Direct {
            return Err(StoreError::BadUrl("sslnegotiation=direct needs PostgresStore::rustls_0_23".into()));
        }
        Self::start(config, Security::Plain, tables)
    }

    /// Reads a database over TLS, with rustls.
    ///
    /// The configuration must trust the server's certificate, and the certificate must be for the host of the
    /// address. This is `sslmode=verify-full` of libpq, whatever `sslmode` the address has. An address of a Unix socket
    /// is refused, because it has no TLS.
    ///
    /// ```no_run
    /// use greenroom::middleware::django::{DjangoTables, PostgresStore};
    /// use tokio_rustls::rustls::{ClientConfig, RootCertStore};
    ///
    /// # fn roots() -> RootCertStore { RootCertStore::empty() }
    /// let config = ClientConfig::builder().with_root_certificates(roots()).with_no_client_auth();
    /// let address = "postgres://greenroom:password@db.example.com/site";
    /// let store = PostgresStore::rustls_0_23(address, DjangoTables::new(), config)?;
    /// # Ok::<(), greenroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the address or a name is invalid.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn rustls_0_23(
        address: &str,
        tables: DjangoTables,
        config: tokio_rustls::rustls::ClientConfig,
    ) -> Result<Self, StoreError> {
        let mut address = parsed(address)?;
        #[cfg(unix)]
        if address.get_hosts().iter().any(|host| matches!(host, Host::Unix(_))) {
            return Err(StoreError::BadUrl("a Unix socket has no TLS: use PostgresStore::new".into()));
        }
        if address.get_hosts().is_empty() {
            return Err(StoreError::BadUrl("TLS needs the host's name: write host=…".into()));
        }
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

/// Leaves the address out: it may contain a password.
impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresStore")
    }
}

/// Answers lookups until all copies of the queue are dropped.
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
    // The last lookups are still answered. Each has a time limit.
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

/// The connection to the server, which is made when a lookup needs it.
struct PostgresLink {
    config: Config,
    security: Security,
    tables: Quoted,
    connection: Option<Rc<PostgresConnection>>,
    pauses: Pauses,
    /// Until when no connection is tried, and the error that caused this.
    away: Option<(Instant, StoreError)>,
}

/// Whether the connection is encrypted.
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

/// A connection, with queries for the columns that the tables have.
struct PostgresConnection {
    client: Client,
    session_query: String,
    user_query: String,
    /// Whether a query has failed. If so, the connection is not used again.
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
        // Every role may read the catalogue.
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
        // The server knows the type of the primary key, and reads the text as that type.
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
            // An error of class 22: the text is not a value of the column's type, so no user has this key.
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
        // The task ends with its client. If it fails, the queries fail with the same error.
        let _ = connection.await;
    });
    Ok(client)
}

/// Reads an address. An option that could not be kept is an error.
fn parsed(address: &str) -> Result<Config, StoreError> {
    let config: Config = address.parse().map_err(|error: tokio_postgres::Error| {
        // Only this error never shows a piece of the address. A piece may belong to a password that is written
        // wrong.
        let told = error.source().map(ToString::to_string);
        let told = told.filter(|told| told.starts_with("invalid value for option"));
        let unknown = "an option is unknown, or a password has a character that is written otherwise \
                       (%40 for `@` in a URL, and quotes around a blank after password=)";
        StoreError::BadUrl(told.unwrap_or_else(|| unknown.to_owned()).into())
    })?;
    if config.get_channel_binding() == ChannelBinding::Require {
        return Err(StoreError::BadUrl("channel_binding=require is not supported: leave it out".into()));
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(StoreError::BadUrl("there is no host".into()));
    }
    Ok(config)
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

/// Sorts an error: if the server is away, full, starting or stopping, a later lookup may succeed. Otherwise
/// somebody must change something.
fn store_error(error: tokio_postgres::Error) -> StoreError {
    let temporary = match error.code() {
        // Without a cause the connection was closed, or has timed out. An untrusted certificate is reported as
        // invalid data.
        None => error.source().is_none_or(|source| {
            source.downcast_ref::<io::Error>().is_some_and(|error| error.kind() != io::ErrorKind::InvalidData)
        }),
        Some(code) => ["08", "53", "57"].iter().any(|class| code.code().starts_with(class)),
    };
    if temporary { StoreError::unavailable(error) } else { StoreError::failed(error) }
}

/// A parameter that is sent as text, whatever type the server expects.
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
