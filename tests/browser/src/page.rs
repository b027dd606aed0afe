//! One tab with a page of an example, and what a person in front of it does.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::{By, Key, WebDriver, WindowHandle};

use crate::Result;

/// How long a test waits for a page to show something. Only a failing test waits so long.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A tab. Each method first makes it the current one, so pages may be used in any order.
#[derive(Debug)]
pub struct Page<'a> {
    driver: &'a WebDriver,
    tab: WindowHandle,
}

impl<'a> Page<'a> {
    pub(crate) fn new(driver: &'a WebDriver, tab: WindowHandle) -> Self {
        Self { driver, tab }
    }

    /// Runs a script's body in the page; `args` are its `arguments`.
    pub async fn run(&self, script: &str, args: Value) -> Result<Value> {
        self.switch().await?;
        Ok(self.driver.execute(script, list(args)).await?.json().clone())
    }

    /// Runs an asynchronous script's body. It passes its result to the last of its `arguments`.
    pub async fn run_async(&self, script: &str, args: Value) -> Result<Value> {
        self.switch().await?;
        Ok(self.driver.execute_async(script, list(args)).await?.json().clone())
    }

    /// Waits until a JavaScript expression over `args` holds in the page.
    ///
    /// The page evaluates it at each change of the document, and every 50 ms for other changes, such
    /// as a scroll position. The expression is part of the script, because the page's security policy
    /// forbids to evaluate a text.
    pub async fn wait(&self, condition: &str, args: Value) -> Result<()> {
        self.switch().await?;
        let script = format!(
            "const args = arguments, done = arguments[arguments.length - 1];
             const look = () => {{ if ({condition}) end(true); }};
             const end = (held) => {{ changes.disconnect(); clearInterval(ticks); clearTimeout(limit); done(held); }};
             const changes = new MutationObserver(look);
             changes.observe(document,
               {{ subtree: true, childList: true, attributes: true, characterData: true }});
             const ticks = setInterval(look, 50);
             const limit = setTimeout(() => end(false), {});
             look();",
            LIMIT.as_millis()
        );
        if self.driver.execute_async(script, list(args.clone())).await?.json() == &Value::Bool(true) {
            return Ok(());
        }
        let log = self.run("return document.body.innerText", json!([])).await?;
        Err(format!("not within {LIMIT:?}: {condition} with {args}; the page shows {log}").into())
    }

    /// Waits until the page says that it is connected.
    pub async fn wait_until_open(&self) -> Result<()> {
        self.wait_for_state("open").await
    }

    /// Waits until the page says that it has lost the connection and will try again.
    pub async fn wait_until_waiting(&self) -> Result<()> {
        self.wait_for_state("waiting").await
    }

    /// Waits until the page is connected by this transport.
    pub async fn wait_for_transport(&self, transport: &str) -> Result<()> {
        let shown = "(({ state, transport }) => state === 'open' && transport === args[0])(
            document.getElementById('status').dataset)";
        self.wait(shown, json!([transport])).await
    }

    /// Chooses the transport. `""` is the automatic choice.
    pub async fn choose_transport(&self, transport: &str) -> Result<()> {
        let script = "const choice = document.getElementById('transport');
            choice.value = arguments[0];
            choice.dispatchEvent(new Event('change'))";
        self.run(script, json!([transport])).await?;
        Ok(())
    }

    /// Waits until the page says that it is disconnected.
    pub async fn wait_until_closed(&self) -> Result<()> {
        self.wait_for_state("closed").await
    }

    /// Waits until the page shows exactly these members, in any order.
    pub async fn wait_for_members(&self, members: &[&str]) -> Result<()> {
        let mut members = members.to_vec();
        members.sort_unstable();
        let shown = "JSON.stringify(Array.from(document.querySelectorAll('#members li'), li => li.dataset.user).sort())
            === JSON.stringify(args[0])";
        self.wait(shown, json!([members])).await
    }

    /// Waits until the page shows this many messages.
    pub async fn wait_for_messages(&self, count: usize) -> Result<()> {
        self.wait("document.querySelectorAll('[data-kind=message]').length >= args[0]", json!([count])).await
    }

    /// Waits until the page shows this message of this person.
    pub async fn wait_for_message(&self, user: &str, text: &str) -> Result<()> {
        let shown = "Array.from(document.querySelectorAll('[data-kind=message]')).some(
            line => line.dataset.user === args[0] && line.querySelector('.text').textContent === args[1])";
        self.wait(shown, json!([user, text])).await
    }

    /// Waits until the log has a line of this kind, and of this person unless `user` is empty.
    pub async fn wait_for_line(&self, kind: &str, user: &str) -> Result<()> {
        let shown = "Array.from(document.querySelectorAll(`#log > [data-kind=${args[0]}]`)).some(
            line => args[1] === '' || line.dataset.user === args[1])";
        self.wait(shown, json!([kind, user])).await
    }

    /// All messages that the page shows, each with its sender.
    pub async fn messages(&self) -> Result<Vec<(String, String)>> {
        let pairs = self
            .run(
                "return Array.from(document.querySelectorAll('[data-kind=message]'),
                   line => [line.dataset.user, line.querySelector('.text').textContent])",
                json!([]),
            )
            .await?;
        Ok(serde_json::from_value(pairs)?)
    }

    /// The texts of all lines of one kind.
    pub async fn lines(&self, kind: &str) -> Result<Vec<String>> {
        let script =
            "return Array.from(document.querySelectorAll(`[data-kind=${arguments[0]}]`), l => l.textContent)";
        Ok(serde_json::from_value(self.run(script, json!([kind])).await?)?)
    }

    /// The id of the control that has the focus.
    pub async fn focused(&self) -> Result<String> {
        Ok(serde_json::from_value(self.run("return document.activeElement.id", json!([])).await?)?)
    }

    /// Types a message and presses Enter.
    pub async fn say(&self, text: &str) -> Result<()> {
        self.type_into("input", text).await?;
        self.type_into("input", Key::Enter).await
    }

    /// Types into a field.
    pub async fn type_into(&self, id: &str, keys: impl Into<thirtyfour::TypingData>) -> Result<()> {
        self.switch().await?;
        Ok(self.driver.find(By::Id(id)).await?.send_keys(keys).await?)
    }

    /// Clicks on the element with this id.
    pub async fn click(&self, id: &str) -> Result<()> {
        self.switch().await?;
        Ok(self.driver.find(By::Id(id)).await?.click().await?)
    }

    /// Sends messages as fast as the page can, through its form.
    pub async fn burst(&self, texts: &[String]) -> Result<()> {
        let script = "for (const text of arguments[0]) {
            document.getElementById('input').value = text;
            document.getElementById('send').click();
        }";
        self.run(script, json!([texts])).await?;
        Ok(())
    }

    /// Saves a picture of the tab as a PNG file.
    pub async fn screenshot(&self, path: &Path) -> Result<()> {
        self.switch().await?;
        Ok(self.driver.screenshot(path).await?)
    }

    /// Loads the page again.
    pub async fn reload(&self) -> Result<()> {
        self.switch().await?;
        Ok(self.driver.refresh().await?)
    }

    /// Closes the tab without closing the connection first.
    pub async fn leave(self) -> Result<()> {
        self.switch().await?;
        Ok(self.driver.close_window().await?)
    }

    async fn switch(&self) -> Result<()> {
        Ok(self.driver.switch_to_window(self.tab.clone()).await?)
    }

    async fn wait_for_state(&self, state: &str) -> Result<()> {
        self.wait("document.getElementById('status')?.dataset.state === args[0]", json!([state])).await
    }
}

/// The arguments of a script, given as a JSON array.
fn list(args: Value) -> Vec<Value> {
    match args {
        Value::Array(list) => list,
        one => vec![one],
    }
}
