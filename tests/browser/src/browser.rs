//! A headless chromium with a temporary profile, driven through chromedriver.

use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

use serde_json::{Value, json};
pub use thirtyfour::Key;
use thirtyfour::{
    ChromiumLikeCapabilities as _, DesiredCapabilities, LoggingPrefsLogLevel, TypingData, WebDriver,
};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::Result;
use crate::page::{LIMIT, Page};
use crate::program::{Program, Server, installed};

/// Flags that make chromium quiet, and the same on every machine: no screen, no first-run page, and
/// no requests of its own. It runs without its sandbox because tests may run as root.
const FLAGS: [&str; 9] = [
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

/// A browser of one language. All its processes end when it is dropped.
#[derive(Debug)]
pub struct Browser {
    // Dropped in this order: the end of the session closes chromium, then chromedriver ends, then the profile is removed.
    driver: WebDriver,
    _chromedriver: Program,
    _profile: Profile,
}

impl Browser {
    /// Starts a browser whose user reads `language`, such as `zh-CN`.
    ///
    /// The runtime must have several threads: dropping a session blocks its thread, also in a test that
    /// fails, until the connection's task has run on another thread.
    pub async fn start(language: &str) -> Result<Self> {
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Err("a browser needs #[tokio::test(flavor = \"multi_thread\")]".into());
        }
        let chromium = installed(&["chromium", "chromium-browser", "google-chrome"])?;
        let mut command = Command::new(installed(&["chromedriver"])?);
        command.arg("--port=0");
        let (chromedriver, port) = Program::start(command, |line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        })?;

        let profile = Profile::create()?;
        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary(&chromium.to_string_lossy())?;
        for flag in FLAGS {
            wanted.add_arg(flag)?;
        }
        wanted.add_arg(&format!("--user-data-dir={}", profile.0.display()))?;
        wanted.add_arg(&format!("--lang={language}"))?;
        wanted.add_arg(&format!("--accept-lang={language}"))?;
        wanted.set_browser_log_level(LoggingPrefsLogLevel::Severe)?;
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wanted).await?;
        // The waits in a page have their own limit. This limit is for a wait that is lost with its page.
        driver.set_script_timeout(LIMIT * 2).await?;
        Ok(Self { driver, _chromedriver: chromedriver, _profile: profile })
    }

    /// Opens an address in a new tab.
    pub async fn open(&self, url: &str) -> Result<Page<'_>> {
        let tab = self.driver.new_tab().await?;
        self.driver.switch_to_window(tab.clone()).await?;
        self.driver.goto(url).await?;
        Ok(Page::new(&self.driver, tab))
    }

    /// Opens a room under a name in a new tab, and waits until the page is connected.
    pub async fn enter(&self, server: &Server, room: &str, name: &str) -> Result<Page<'_>> {
        let page = self.open(&server.url(&format!("/room/{room}/?name={name}"))).await?;
        page.wait_until_open().await?;
        Ok(page)
    }

    /// Opens a room at any address in a new tab, and waits until the page is connected.
    pub async fn enter_at(&self, url: &str) -> Result<Page<'_>> {
        let page = self.open(url).await?;
        page.wait_until_open().await?;
        Ok(page)
    }

    /// Takes the network away from the current page, or gives it back.
    pub async fn set_offline(&self, offline: bool) -> Result<()> {
        let conditions =
            json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.protocol("Network.emulateNetworkConditions", conditions).await
    }

    /// Presses keys in the control that has the focus of the current page.
    pub async fn press(&self, keys: impl Into<TypingData>) -> Result<()> {
        Ok(self.driver.action_chain().send_keys(keys).perform().await?)
    }

    /// Presses Shift and Tab: the focus goes to the control before this one.
    pub async fn press_back_tab(&self) -> Result<()> {
        let keys = self.driver.action_chain().key_down(Key::Shift).send_keys(Key::Tab).key_up(Key::Shift);
        Ok(keys.perform().await?)
    }

    /// Writes into the focused field as an input method does before the person has picked a word.
    pub async fn compose(&self, text: &str) -> Result<()> {
        let end = text.chars().count();
        let composition = json!({ "text": text, "selectionStart": end, "selectionEnd": end });
        self.protocol("Input.imeSetComposition", composition).await
    }

    /// Replaces the composed text by the picked word.
    pub async fn commit(&self, text: &str) -> Result<()> {
        self.protocol("Input.insertText", json!({ "text": text })).await
    }

    /// Makes the current page as large as a phone's, in its own pixels.
    pub async fn become_a_phone(&self, width: u32, height: u32) -> Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 2, "mobile": true });
        self.protocol("Emulation.setDeviceMetricsOverride", metrics).await
    }

    /// The errors on the console since the last call: from scripts, loading, and the security policy.
    pub async fn console_errors(&self) -> Result<Vec<String>> {
        Ok(self.driver.browser_log().await?.into_iter().map(|entry| entry.message).collect())
    }

    async fn protocol(&self, method: &str, params: Value) -> Result<()> {
        self.driver.cdp().send_raw(method, params).await?;
        Ok(())
    }
}

/// A folder for one browser's profile, removed when this is dropped.
#[derive(Debug)]
struct Profile(PathBuf);

impl Profile {
    fn create() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("greenroom-browser-{}-{number}", process::id()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // a file left behind in the temporary folder fails no test
    }
}
