//! The three engines, and how a browser of each is started.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fmt, fs};

use redis_tests::free_port;
use serde_json::{Value, json};
use thirtyfour::{Capabilities, WebDriver};

use crate::Result;
use crate::program::{Program, installed};

/// Flags that make chromium quiet, and the same on every machine: no screen, no first-run page, and
/// no requests of its own. It runs without its sandbox because tests may run as root.
const CHROMIUM_FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1100,860",
];

/// Flags of Firefox.
const FIREFOX_FLAGS: [&str; 3] = ["-headless", "-width=1100", "-height=860"];

/// Where WebKit's browser is, which is not on the `PATH`: Debian's folder has the name of the machine's kind.
const MINIBROWSERS: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
    "/usr/lib/aarch64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
    "/usr/libexec/webkit2gtk-4.1/MiniBrowser",
];

/// A browser's engine. The variable `GREENROOM_TEST_BROWSER` names that of a run, and chromium is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The engine of Chromium, Chrome and Edge.
    Chromium,
    /// The engine of Firefox.
    Firefox,
    /// The engine of Safari, as GTK's MiniBrowser has it.
    WebKit,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chromium => "Chromium",
            Self::Firefox => "Firefox",
            Self::WebKit => "WebKit",
        })
    }
}

/// A session of a browser's driver.
#[derive(Debug)]
pub(crate) struct Session {
    // Dropped in this order: the end of the session closes the browser, then its driver ends, then the folder is removed.
    pub(crate) driver: WebDriver,
    _programs: Vec<Program>,
    _folder: Folder,
}

impl Engine {
    /// The engine of this run.
    pub fn of_this_run() -> Result<Self> {
        match env::var("GREENROOM_TEST_BROWSER").as_deref() {
            Err(_) | Ok("chromium") => Ok(Self::Chromium),
            Ok("firefox") => Ok(Self::Firefox),
            Ok("webkit") => Ok(Self::WebKit),
            Ok(name) => Err(format!("GREENROOM_TEST_BROWSER: no browser is named {name}").into()),
        }
    }

    /// Says in the output of the run what a test leaves out in this engine, and why.
    pub fn leaves_out(self, what: &str, why: &str) -> Result<()> {
        // Not by a macro: the output of a test that passes would be kept back.
        Ok(writeln!(io::stdout(), "\nleft out in {self}: {what}: {why}")?)
    }

    /// Starts a browser with an empty profile, whose user reads `language`.
    pub(crate) async fn start(self, language: &str) -> Result<Session> {
        let folder = Folder::create()?;
        let (programs, port, wanted) = match self {
            Self::Chromium => chromium(&folder, language)?,
            Self::Firefox => firefox(&folder, language)?,
            Self::WebKit => webkit(&folder)?,
        };
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities(wanted)).await?;
        Ok(Session { driver, _programs: programs, _folder: folder })
    }
}

/// The programs that were started, the port of the driver, and what to ask it for.
type Started = (Vec<Program>, u16, Value);

fn chromium(folder: &Folder, language: &str) -> Result<Started> {
    let browser = installed(&["chromium", "chromium-browser", "google-chrome"])?;
    let name = installed(&["chromedriver"])?;
    let start = || {
        let mut command = Command::new(&name);
        command.arg("--port=0");
        Program::start(command, |line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        })
    };
    // The driver takes a free port of IPv4, and ends if another program has the same port of IPv6.
    let (driver, port) = start().or_else(|_| start()).or_else(|_| start())?;
    let mut flags = CHROMIUM_FLAGS.map(str::to_owned).to_vec();
    flags.push(format!("--user-data-dir={}", folder.0.display()));
    flags.push(format!("--lang={language}"));
    flags.push(format!("--accept-lang={language}"));
    let wanted = json!({
        "browserName": "chrome",
        "goog:chromeOptions": { "binary": browser, "args": flags },
        "goog:loggingPrefs": { "browser": "SEVERE" },
    });
    Ok((vec![driver], port, wanted))
}

fn firefox(folder: &Folder, language: &str) -> Result<Started> {
    let browser = installed(&["firefox-esr", "firefox"])?;
    let mut command = Command::new(installed(&["geckodriver"])?);
    // System access lets a test take the network away.
    command
        .args(["--port=0", "--websocket-port=0", "--allow-system-access", "--profile-root"])
        .arg(&folder.0);
    let (driver, port) = Program::start(command, |line| {
        let (_, port) = line.split_once("Listening on 127.0.0.1:")?;
        port.parse::<u16>().ok()
    })?;
    let prefs = json!({
        "intl.accept_languages": language,
        // All servers of the tests are on this machine: without a network they are away too.
        "network.disable-localhost-when-offline": true,
    });
    let wanted = json!({
        "browserName": "firefox",
        "moz:firefoxOptions": { "binary": browser, "args": FIREFOX_FLAGS, "prefs": prefs },
    });
    Ok((vec![driver], port, wanted))
}

/// WebKit's browser has no mode without a screen, so it gets a screen of its own.
fn webkit(folder: &Folder) -> Result<Started> {
    let browser = MINIBROWSERS.into_iter().map(PathBuf::from).find(|path| path.is_file());
    let browser =
        browser.ok_or("the browser test needs MiniBrowser: `tests/run` installs libwebkit2gtk-4.1-0")?;
    let mut command = Command::new(installed(&["Xvfb"])?);
    command.args(["-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]);
    command.stderr(Stdio::null()); // it tells which numbers of screens are taken
    let (screen, number) = Program::start(command, |line| line.trim().parse::<u32>().ok())?;
    let path = installed(&["WebKitWebDriver"])?;
    let display = format!(":{number}");
    let (driver, port) = on_a_free_port(|port| {
        let mut command = Command::new(&path);
        command.arg(format!("--port={port}"));
        command
            .env("DISPLAY", &display)
            .env_remove("WAYLAND_DISPLAY")
            .env("MESA_SHADER_CACHE_DISABLE", "true");
        for variable in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env(variable, &folder.0);
        }
        command
    })?;
    let wanted = json!({
        "browserName": "MiniBrowser",
        "webkitgtk:browserOptions": { "binary": browser, "args": ["--automation"] },
    });
    Ok((vec![driver, screen], port, wanted))
}

/// Starts a program that takes a port and does not say when it listens.
fn on_a_free_port(command: impl Fn(u16) -> Command) -> Result<(Program, u16)> {
    for _ in 0..5 {
        let port = free_port();
        // Another program may take the port in between: then this one ends.
        if let Some(program) =
            Program::start_until(command(port), || TcpStream::connect(("127.0.0.1", port)).is_ok())?
        {
            return Ok((program, port));
        }
    }
    Err("no port stayed free".into())
}

fn capabilities(wanted: Value) -> Capabilities {
    match wanted {
        Value::Object(members) => Capabilities::from(members),
        _ => Capabilities::new(),
    }
}

/// A folder for one browser's files, removed when this is dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("greenroom-browser-{}-{number}", process::id()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a file left behind in the temporary folder fails no test
    }
}
