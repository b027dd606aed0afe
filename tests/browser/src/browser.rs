//! A headless browser with a temporary profile, driven through its WebDriver.

use serde_json::{Value, json};
pub use thirtyfour::Key;
use thirtyfour::common::command::{Command, FormatRequestData};
use thirtyfour::{RequestData, SessionId, TypingData, WebDriver};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::Result;
use crate::engine::{Engine, Session};
use crate::page::{LIMIT, Page};
use crate::program::Server;

/// A browser of one language. All its processes end when it is dropped.
#[derive(Debug)]
pub struct Browser {
    engine: Engine,
    session: Session,
}

impl Browser {
    /// Starts a browser of this run's engine, whose user reads `language`, such as `zh-CN`.
    ///
    /// The runtime must have several threads: dropping a session blocks its thread, also in a test that
    /// fails, until the connection's task has run on another thread.
    pub async fn start(language: &str) -> Result<Self> {
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Err("a browser needs #[tokio::test(flavor = \"multi_thread\")]".into());
        }
        let engine = Engine::of_this_run()?;
        let session = engine.start(language).await?;
        // The waits in a page have their own limit. This limit is for a wait that is lost with its page.
        session.driver.set_script_timeout(LIMIT * 2).await?;
        Ok(Self { engine, session })
    }

    /// The engine of this browser.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Opens an address in a new tab.
    pub async fn open(&self, url: &str) -> Result<Page<'_>> {
        let tab = self.driver().new_tab().await?;
        self.driver().switch_to_window(tab.clone()).await?;
        self.driver().goto(url).await?;
        Ok(Page::new(self.driver(), tab))
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

    /// Takes the network away from the current page, or gives it back. No driver of WebKit can do so.
    pub async fn set_offline(&self, offline: bool) -> Result<()> {
        if self.engine == Engine::Firefox {
            self.driver().cmd(Context("chrome")).await?;
            self.driver().execute("Services.io.offline = arguments[0]", vec![json!(offline)]).await?;
            self.driver().cmd(Context("content")).await?;
            return Ok(());
        }
        let conditions =
            json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.protocol("Network.emulateNetworkConditions", conditions).await
    }

    /// Presses keys in the control that has the focus of the current page.
    pub async fn press(&self, keys: impl Into<TypingData>) -> Result<()> {
        Ok(self.driver().action_chain().send_keys(keys).perform().await?)
    }

    /// Presses Shift and Tab: the focus goes to the control before this one.
    pub async fn press_back_tab(&self) -> Result<()> {
        let keys = self.driver().action_chain().key_down(Key::Shift).send_keys(Key::Tab).key_up(Key::Shift);
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
    ///
    /// Only chromium's driver tells them. In the other engines the list is empty.
    pub async fn console_errors(&self) -> Result<Vec<String>> {
        if self.engine != Engine::Chromium {
            return Ok(Vec::new());
        }
        Ok(self.driver().browser_log().await?.into_iter().map(|entry| entry.message).collect())
    }

    async fn protocol(&self, method: &str, params: Value) -> Result<()> {
        self.driver().cdp().send_raw(method, params).await?;
        Ok(())
    }

    fn driver(&self) -> &WebDriver {
        &self.session.driver
    }
}

/// Firefox' command that says where scripts run: in the page (`content`) or in the browser (`chrome`).
#[derive(Debug)]
struct Context(&'static str);

impl FormatRequestData for Context {
    fn format_request(&self, session: &SessionId) -> RequestData {
        // Any command that is a POST too.
        let mut request = Command::Refresh.format_request(session);
        request.uri = format!("session/{session}/moz/context").into();
        request.add_body(json!({ "context": self.0 }))
    }
}
