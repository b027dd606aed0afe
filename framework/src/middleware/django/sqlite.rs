//! Reads Django's tables from an SQLite file, on a thread for that.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};
use tokio::sync::mpsc;

use super::{
    DjangoStore, DjangoTables, StoreError, StoredSession, StoredUser,
    queue::{Lookup, LookupQueue},
    signing::MOST_BYTES,
    tables::Quoted,
};

/// How long a lookup waits while Django writes.
const BUSY: Duration = Duration::from_secs(2);

/// Reads Django's sessions and users from SQLite.
///
/// One background thread opens the file for reading only, and answers the lookups of all threads of the server. At
/// most 1,024 lookups wait for it. While Django writes, a lookup waits up to 2 s. If the file goes away or is
/// replaced, it is opened again.
///
/// Sessions expire by the clock of this machine. Django's setting `USE_TZ` must be on, which is the default. If it
/// is off, Django writes times of its own time zone.
///
/// The feature `django-sqlite` compiles SQLite itself, which is written in C.
///
/// ```no_run
/// use greenroom::{UrlRouter, middleware::django::{DjangoAuth, DjangoTables, SqliteStore}};
///
/// # fn main() -> greenroom::Result<()> {
/// let tables = DjangoTables::new().auth_user_model("accounts.User").username_column("email");
/// let store = SqliteStore::open_with("db.sqlite3", tables)?;
/// let secret_key = std::env::var("DJANGO_SECRET_KEY")?;
/// let router = UrlRouter::new().wrap(DjangoAuth::database(secret_key, store).required());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    queue: LookupQueue,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens a file that has Django's tables under their usual names.
    ///
    /// # Errors
    /// If the file cannot be opened, or does not have these tables.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, DjangoTables::new())
    }

    /// Opens a file whose tables have other names.
    ///
    /// # Errors
    /// If a name is invalid, or the file cannot be opened, or does not have these tables.
    pub fn open_with(path: impl AsRef<Path>, tables: DjangoTables) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let tables = tables.quoted()?;
        let reader = SqliteReader::open(&path, &tables)?;
        let file = path.clone();
        let queue =
            LookupQueue::start("greenroom-sqlite", move |lookups| serve(&file, &tables, reader, lookups))
                .map_err(StoreError::unavailable)?;
        Ok(Self { queue, path })
    }
}

#[async_trait(?Send)]
impl DjangoStore for SqliteStore {
    async fn session(&self, key: &str) -> Result<Option<StoredSession>, StoreError> {
        self.queue.session(key).await
    }

    async fn user(&self, id: &str) -> Result<Option<StoredUser>, StoreError> {
        self.queue.user(id).await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteStore").field(&self.path).finish()
    }
}

/// Answers lookups until all copies of the queue are dropped.
fn serve(path: &Path, tables: &Quoted, reader: SqliteReader, mut lookups: mpsc::Receiver<Lookup>) {
    let mut reader = Some(reader);
    while let Some(lookup) = lookups.blocking_recv() {
        if lookup.is_abandoned() {
            continue;
        }
        // Sending fails only if nobody waits for the reply any more.
        match lookup {
            Lookup::Session(key, reply) => {
                let found = ask(&mut reader, path, tables, |reader| reader.session(&key));
                let _ = reply.send(found);
            }
            Lookup::User(id, reply) => {
                let found = ask(&mut reader, path, tables, |reader| reader.user(&id));
                let _ = reply.send(found);
            }
        }
    }
}

/// Looks something up in the file that is at the path now. After a failure the file is opened again, because it may
/// have been replaced.
fn ask<T>(
    reader: &mut Option<SqliteReader>,
    path: &Path,
    tables: &Quoted,
    lookup: impl FnOnce(&SqliteReader) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    if reader.as_ref().is_none_or(|reader| reader.file != identity(path)) {
        *reader = None;
        *reader = Some(SqliteReader::open(path, tables)?);
    }
    let open = reader.as_ref().ok_or_else(|| StoreError::unavailable("the file is not open"))?;
    let answer = lookup(open);
    if answer.is_err() {
        *reader = None;
    }
    answer.map_err(store_error)
}

struct SqliteReader {
    connection: Connection,
    session_query: String,
    user_query: String,
    /// Which file was opened. Another file may take its place at the path.
    file: Option<(u64, u64)>,
}

impl SqliteReader {
    fn open(path: &Path, tables: &Quoted) -> Result<Self, StoreError> {
        let file = identity(path);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(store_error)?;
        connection.busy_timeout(BUSY).map_err(store_error)?;
        let session_query = format!(
            "SELECT substr(session_data, 1, {}) FROM {} WHERE session_key = ?1 \
             AND expire_date > strftime('%Y-%m-%d %H:%M:%f', 'now') LIMIT 1",
            MOST_BYTES + 1,
            tables.session,
        );
        // SQLite reads a name in double quotes as a text if there is no such column, so the columns are checked
        // first.
        let known = columns(&connection, &tables.user).map_err(store_error)?;
        for column in [tables.user_id.trim_matches('"'), "password"] {
            if !known.iter().any(|known| known == column) {
                return Err(StoreError::failed(format!("{} has no column {column}", tables.user)));
            }
        }
        let select = tables.user_columns(
            &known,
            |name| format!("CAST({name} AS TEXT)"),
            |name| format!("{name} <> 0"),
        );
        let user_query =
            format!("SELECT {select} FROM {} WHERE {} IN (?1, ?2) LIMIT 1", tables.user, tables.user_id);
        connection.prepare_cached(&session_query).map_err(store_error)?;
        connection.prepare_cached(&user_query).map_err(store_error)?;
        Ok(Self { connection, session_query, user_query, file })
    }

    fn session(&self, key: &str) -> rusqlite::Result<Option<StoredSession>> {
        let mut select = self.connection.prepare_cached(&self.session_query)?;
        let data: Option<String> = select.query_row([key], |row| row.get(0)).optional()?;
        Ok(data.map(StoredSession::signed))
    }

    fn user(&self, id: &str) -> rusqlite::Result<Option<StoredUser>> {
        let mut select = self.connection.prepare_cached(&self.user_query)?;
        let user = select.query_row(params![id, without_hyphens(id)], |row| {
            Ok(StoredUser {
                password: row.get(0)?,
                username: row.get(1)?,
                is_active: row.get(2)?,
                is_staff: row.get(3)?,
                is_superuser: row.get(4)?,
            })
        });
        user.optional()
    }
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let select = connection.prepare(&format!("SELECT * FROM {table} LIMIT 0"))?;
    Ok(select.column_names().map(str::to_owned).collect())
}

/// Removes the hyphens of a UUID: the session has them, Django's column in SQLite does not. Other texts stay as
/// they are.
fn without_hyphens(id: &str) -> String {
    let is_uuid = id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if is_uuid { id.replace('-', "") } else { id.to_owned() }
}

/// The device and the number of the file at a path. `None` if there is no file, or if the system has no such
/// numbers.
fn identity(path: &Path) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Sorts an error: if the file cannot be reached now, a later lookup may succeed.
fn store_error(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::SystemIoFailure,
        ) => StoreError::unavailable(error),
        _ => StoreError::failed(error),
    }
}
