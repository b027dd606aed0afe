//! A real PostgreSQL with a temporary data folder. It ends with its test.

use std::{
    env,
    fs::{self, Permissions},
    io::{BufRead, BufReader, Read},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use integration_tests::free_port;
use serde_json::{Value, json};

use crate::Folder;

/// The password of `postgres` and of every role. Only connections over TCP need it.
pub(crate) const PASSWORD: &str = "of the tests";

/// A PostgreSQL server on a Unix socket and on a free port of 127.0.0.1.
#[derive(Debug)]
pub struct Postgres {
    folder: Folder,
    port: u16,
    options: Vec<String>,
    process: Mutex<Option<Child>>,
}

impl Postgres {
    /// Starts a server that no other test uses.
    ///
    /// # Panics
    /// If PostgreSQL, from the Debian package `postgresql`, is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// Starts a server that speaks TLS, with this certificate and its key in PEM.
    ///
    /// # Panics
    /// In the cases of [`start`](Self::start).
    #[must_use]
    pub fn with_certificate(certificate: &str, key: &str) -> Self {
        Self::start_with(|folder| {
            let file = |name: &str, text: &str| {
                let path = folder.path().join(name);
                fs::write(&path, text).expect("a file");
                fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
                if let Some((user, group)) = owner() {
                    chown(&path, Some(user), Some(group)).expect("this is root");
                }
                path.display().to_string()
            };
            let certificate = format!("ssl_cert_file={}", file("server.crt", certificate));
            let key = format!("ssl_key_file={}", file("server.key", key));
            ["-c", "ssl=on", "-c", &certificate, "-c", &key].map(str::to_owned).into()
        })
    }

    fn start_with(options: impl FnOnce(&Folder) -> Vec<String>) -> Self {
        let folder = Folder::new();
        if let Some((user, group)) = owner() {
            chown(folder.path(), Some(user), Some(group)).expect("this is root");
        }
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).expect("a file");
        let made = command("initdb")
            .arg("--pgdata")
            .arg(folder.path().join("data"))
            .arg("--pwfile")
            .arg(&password)
            .args(["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C"])
            .stdout(Stdio::null())
            .status()
            .expect("initdb runs");
        assert!(made.success(), "initdb: {made}");
        let options = options(&folder);
        let mut server = Self { folder, port: 0, options, process: Mutex::new(None) };
        for _ in 0..20 {
            // If another process takes the port before the server does, the next port is tried.
            server.port = free_port();
            if server.launch() {
                return server;
            }
        }
        panic!("no PostgreSQL started on a free port");
    }

    /// The server that the tests of this process share. It ends when no test uses it.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Makes an empty database, and returns its name.
    ///
    /// # Panics
    /// If the database cannot be made.
    #[must_use]
    pub fn create(&self) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("site_{}", NUMBER.fetch_add(1, Relaxed));
        let made = command("createdb")
            .arg("--host")
            .arg(self.folder.path())
            .args(["--port", &self.port.to_string(), "--username=postgres", &name])
            .status()
            .expect("createdb runs");
        assert!(made.success(), "createdb: {made}");
        name
    }

    /// Django's entry in `DATABASES`, with the Unix socket.
    #[must_use]
    pub fn settings(&self, database: &str) -> Value {
        json!({
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database,
            "USER": "postgres",
            "HOST": self.folder.path(),
            "PORT": self.port.to_string(),
        })
    }

    /// The address of a database by the Unix socket, as the role `greenroom`.
    #[must_use]
    pub fn socket_address(&self, database: &str) -> String {
        format!("host={} port={} user=greenroom dbname={database}", self.folder.path().display(), self.port)
    }

    /// The address of a database by TCP, as the role `greenroom` with its password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://greenroom:{}@127.0.0.1:{}/{database}", PASSWORD.replace(' ', "%20"), self.port)
    }

    /// Ends the server, and all connections to it.
    ///
    /// # Panics
    /// If the server does not end.
    pub fn stop(&self) {
        if let Some(mut process) = self.process().take() {
            // An immediate shutdown also ends the server's child processes, which a kill might leave behind.
            let ended = Command::new("kill").args(["-s", "QUIT", &process.id().to_string()]).status();
            assert!(ended.expect("kill runs").success(), "the signal is sent");
            process.wait().expect("it ends");
        }
    }

    /// Starts the server again, with its data.
    ///
    /// # Panics
    /// If the server does not start.
    pub fn restart(&self) {
        assert!(self.launch(), "its port is still free");
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the server, and waits until it is ready. Returns false if its port is taken.
    fn launch(&self) -> bool {
        let mut process = command("postgres")
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .arg("-k")
            .arg(self.folder.path())
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-c", "fsync=off"])
            .args(["-c", "logging_collector=off", "-c", "log_destination=stderr", "-c", "lc_messages=C"])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("postgres starts");
        let mut log = BufReader::new(process.stderr.take().expect("a pipe"));
        let mut line = String::new();
        let mut said = String::new();
        while log.read_line(&mut line).is_ok_and(|read| read > 0) {
            if line.contains("ready to accept connections") {
                // Reads on, because the server would block on a full pipe.
                thread::spawn(move || drop(log.read_to_end(&mut Vec::new())));
                *self.process() = Some(process);
                return true;
            }
            said.push_str(&line);
            line.clear();
        }
        let _ = process.wait();
        assert!(said.contains("could not bind"), "PostgreSQL did not start:\n{said}");
        false
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A program of PostgreSQL. These refuse to run as root, so root runs them as the user `postgres`.
fn command(program: &str) -> Command {
    let mut command = Command::new(programs().join(program));
    // The user `postgres` may not be allowed to enter the current folder.
    command.current_dir("/");
    if let Some((user, group)) = owner() {
        command.uid(user).gid(group);
    }
    command
}

/// The folder of PostgreSQL's programs. Debian's is not in the `PATH`.
fn programs() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, path)| path.join("initdb").exists())
        .collect();
    found.sort();
    let debian = found.pop().map(|(_, path)| path);
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = || env::split_paths(&path).find(|folder| folder.join("initdb").exists());
    debian.or_else(on_path).expect("PostgreSQL, from the Debian package `postgresql`, is installed")
}

/// The numbers of the user and the group `postgres`, if this process runs as root.
fn owner() -> Option<(u32, u32)> {
    let root = Command::new("id").arg("-u").output().expect("id runs").stdout == b"0\n";
    root.then(|| {
        let users = fs::read_to_string("/etc/passwd").expect("it is readable");
        let line =
            users.lines().find(|line| line.starts_with("postgres:")).expect("the user postgres exists");
        let numbers: Vec<u32> =
            line.split(':').skip(2).take(2).map_while(|number| number.parse().ok()).collect();
        (numbers[0], numbers[1])
    })
}
