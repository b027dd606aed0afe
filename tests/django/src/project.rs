//! A real Django project in a Python process, and the database that it shares with the tests.

use std::{env, path::PathBuf, process::Stdio, sync::Arc};

use greenroom::middleware::django::{DjangoAuth, DjangoStore, DjangoTables, PostgresStore, SqliteStore};
use integration_tests::PATIENCE;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{Folder, Postgres};

/// The database in which a project keeps sessions and users.
#[derive(Debug)]
pub enum Site {
    /// A file of SQLite, in this folder.
    Sqlite(Folder),
    /// A database of a PostgreSQL server, with its name.
    Postgres(Arc<Postgres>, String),
}

impl Site {
    /// A new SQLite file.
    #[must_use]
    pub fn sqlite() -> Self {
        Self::Sqlite(Folder::new())
    }

    /// A new database on the shared PostgreSQL server.
    #[must_use]
    pub fn postgres() -> Self {
        Self::of(Postgres::shared())
    }

    /// A new database on this PostgreSQL server.
    #[must_use]
    pub fn of(server: Arc<Postgres>) -> Self {
        let database = server.create();
        Self::Postgres(server, database)
    }

    /// The path of the SQLite file.
    ///
    /// # Panics
    /// If the database is not SQLite.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        match self {
            Self::Sqlite(folder) => folder.path().join("db.sqlite3"),
            Self::Postgres(..) => panic!("a server has no file"),
        }
    }

    /// Django's entry in `DATABASES`.
    #[must_use]
    pub fn settings(&self) -> Value {
        match self {
            Self::Sqlite(_) => json!({"ENGINE": "django.db.backends.sqlite3", "NAME": self.file()}),
            Self::Postgres(server, database) => server.settings(database),
        }
    }

    /// The store of Greenroom that reads the database.
    ///
    /// # Panics
    /// If the database cannot be opened.
    #[must_use]
    pub fn store(&self, tables: DjangoTables) -> Arc<dyn DjangoStore> {
        match self {
            Self::Sqlite(_) => {
                Arc::new(SqliteStore::open_with(self.file(), tables).expect("Django's tables"))
            }
            Self::Postgres(server, database) => {
                Arc::new(PostgresStore::with_tables(&server.url(database), tables).expect("an address"))
            }
        }
    }

    /// The middleware that reads the database. The first key is the secret key, the others are its fallbacks.
    #[must_use]
    pub fn auth(&self, keys: &[&str]) -> DjangoAuth {
        let auth = DjangoAuth::database(keys[0], self.store(DjangoTables::new()));
        auth.secret_key_fallbacks(&keys[1..])
    }
}

/// A running Django project.
#[derive(Debug)]
pub struct Project {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Project {
    /// Starts a project with the session engine `db` or `signed_cookies` and more settings, and makes its tables.
    ///
    /// # Panics
    /// If the project does not start.
    pub async fn start(site: &Site, engine: &str, settings: Value) -> Self {
        let custom = settings["custom_user"] == true;
        let mut project = Self::start_beside(site, engine, settings).await;
        project.must("migrate", json!([])).await;
        if let Site::Postgres(..) = site {
            project.grant(custom).await;
        }
        project
    }

    /// Starts a project whose tables exist already.
    ///
    /// # Panics
    /// If the project does not start.
    pub async fn start_beside(site: &Site, engine: &str, settings: Value) -> Self {
        let mut config = json!({"engine": engine, "database": site.settings(), "SECRET_KEY": "a key"});
        for (name, value) in settings.as_object().expect("settings") {
            config[name] = value.clone();
        }
        let mut process = Command::new(interpreter())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/project.py"))
            .arg(config.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python starts");
        let input = process.stdin.take().expect("a pipe");
        let output = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let mut project = Self { input, output, _process: process };
        assert_eq!(project.answer().await, Ok(json!("ready")));
        project
    }

    /// Lets the role `greenroom` read what the documentation names, and nothing else.
    async fn grant(&mut self, custom: bool) {
        let users = if custom {
            "GRANT SELECT (id, password, email) ON accounts_user TO greenroom"
        } else {
            "GRANT SELECT (id, password, username, is_active, is_staff, is_superuser) ON auth_user TO greenroom"
        };
        let role = format!(
            "DO $$ BEGIN CREATE ROLE greenroom LOGIN PASSWORD '{}'; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$",
            crate::postgres::PASSWORD
        );
        let sessions = "GRANT SELECT (session_key, session_data, expire_date) ON django_session TO greenroom";
        self.must("sql", json!([role, sessions, users])).await;
    }

    /// Calls a function of `python/project.py`.
    ///
    /// # Errors
    /// The exception that the function raised.
    ///
    /// # Panics
    /// If the project does not answer in time.
    pub async fn call(&mut self, name: &str, arguments: Value) -> Result<Value, String> {
        self.call_with(name, arguments, json!({})).await
    }

    async fn call_with(&mut self, name: &str, arguments: Value, named: Value) -> Result<Value, String> {
        let line = format!("{}\n", json!([name, arguments, named]));
        self.input.write_all(line.as_bytes()).await.expect("it runs");
        self.answer().await
    }

    /// Calls a function that must not fail.
    ///
    /// # Panics
    /// If the function raises an exception.
    pub async fn must(&mut self, name: &str, arguments: Value) -> Value {
        self.must_with(name, arguments, json!({})).await
    }

    /// Calls a function with keyword arguments too. It must not fail.
    ///
    /// # Panics
    /// If the function raises an exception.
    pub async fn must_with(&mut self, name: &str, arguments: Value, named: Value) -> Value {
        self.call_with(name, arguments, named).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Makes a user with the password `secret`. Returns the primary key.
    pub async fn user(&mut self, username: &str) -> String {
        text(self.must("user", json!([username, "secret"])).await)
    }

    /// Logs a user in. Returns the session cookie.
    pub async fn log_in(&mut self, username: &str) -> String {
        text(self.must("log_in", json!([username, "secret"])).await)
    }

    /// The primary key of the user that Django itself finds for a cookie.
    pub async fn who(&mut self, cookie: &str) -> Option<String> {
        self.must("who", json!([cookie])).await["user"].as_str().map(str::to_owned)
    }

    async fn answer(&mut self) -> Result<Value, String> {
        let line = timeout(PATIENCE * 3, self.output.next_line()).await.expect("it answers in time");
        let line = line.expect("it runs").expect("it runs");
        let mut answer: Value = serde_json::from_str(&line).expect("JSON");
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }
}

/// The text of an answer.
///
/// # Panics
/// If the answer is not a text.
fn text(answer: Value) -> String {
    answer.as_str().expect("a text").to_owned()
}

/// The Python that has the packages of `python/requirements.txt`. Makes its environment if that is missing.
fn interpreter() -> PathBuf {
    if let Some(python) = env::var_os("GREENROOM_DJANGO_PYTHON") {
        return python.into();
    }
    let setup = std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../redis/python/setup"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/requirements.txt"))
        .stderr(Stdio::inherit())
        .output()
        .expect("Python 3 is installed");
    assert!(setup.status.success(), "Django cannot be installed, see above");
    String::from_utf8(setup.stdout).expect("a path").trim().into()
}
