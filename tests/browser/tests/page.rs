//! The chat page for one person: by keyboard, in two languages, on a phone.

use browser_tests::{Browser, Key, Result, Server};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_keyboard_is_enough() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/home/")).await?;

    for keys in ["", "my-room", "Ann"] {
        browser.press(keys).await?;
        browser.press(Key::Tab).await?;
    }
    assert_eq!(page.run("return document.activeElement.tagName", json!([])).await?, "BUTTON");
    browser.press(Key::Enter).await?;
    page.wait_until_open().await?;
    let place = page.run("return [location.pathname, document.querySelector('h1').innerText]", json!([]));
    assert_eq!(place.await?, json!(["/room/my-room/", "my-room"]));

    assert_eq!(page.focused().await?, "input", "the person can type at once");
    browser.press("one").await?;
    browser.press(Key::Enter).await?;
    page.wait_for_message("Ann", "one").await?;
    browser.press("two").await?;
    browser.press(Key::Tab).await?;
    assert_eq!(page.focused().await?, "send");
    browser.press(Key::Space).await?;
    page.wait_for_message("Ann", "two").await?;
    assert_eq!(page.focused().await?, "input", "the focus is in the field again after the button");

    browser.press_back_tab().await?;
    assert_eq!(page.focused().await?, "log", "the arrow keys scroll the log");
    for _ in 0..5 {
        if page.focused().await? == "close" {
            break;
        }
        let outline =
            page.run("return getComputedStyle(document.activeElement).outlineStyle", json!([])).await?;
        assert_eq!(outline, "solid", "the focus is seen on {}", page.focused().await?);
        browser.press_back_tab().await?;
    }
    assert_eq!(page.focused().await?, "close");
    browser.press(Key::Enter).await?;
    page.wait_until_closed().await?;
    assert_eq!(page.focused().await?, "reconnect", "the focus stays where the button was");
    browser.press(Key::Enter).await?;
    page.wait_until_open().await?;
    assert_eq!(page.focused().await?, "input");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enter_that_picks_a_word_does_not_send() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("zh-CN").await?;
    let page = browser.enter(&server, "123", "Ann").await?;

    browser.compose("ni hao").await?;
    browser.press(Key::Enter).await?;
    browser.commit("你好").await?;
    browser.press(Key::Enter).await?;
    page.wait_for_message("Ann", "你好").await?;
    assert_eq!(page.messages().await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_speaks_the_browsers_language() -> Result<()> {
    let english = ["en", "Type a message", "Send", "Close connection", "[connected]", "[disconnected]"];
    let chinese = ["zh-CN", "请输入", "发送", "关闭链接", "[连接成功]", "[连接断开]"];
    let server = Server::start()?;
    for (language, words) in [("en-US", english), ("zh-CN", chinese), ("de-DE", english)] {
        let browser = Browser::start(language).await?;
        let page = browser.enter(&server, "123", "Ann").await?;
        page.click("close").await?;
        page.wait_until_closed().await?;
        let shown = "const text = (id) => document.getElementById(id).textContent;
            return [document.documentElement.lang, document.getElementById('input').placeholder,
              text('send'), text('close'),
              ...Array.from(document.querySelectorAll('[data-kind=status]'), line => line.textContent)]";
        assert_eq!(page.run(shown, json!([])).await?, json!(words), "in {language}");
        assert_eq!(browser.console_errors().await?, [""; 0], "no error, and nothing the policy forbids");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_line_is_in_view_unless_the_reader_has_scrolled_back() -> Result<()> {
    const LAST_IN_VIEW: &str = "(() => { const log = document.getElementById('log');
        return log.lastElementChild.getBoundingClientRect().bottom <= log.getBoundingClientRect().bottom + 1; })()";
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let other = browser.enter(&server, "123", "Bo").await?;
    let page = browser.enter(&server, "123", "Ann").await?;

    // A log holds 500 lines. After that the oldest lines are removed.
    let texts: Vec<String> = (0..600).map(|number| format!("line {number}")).collect();
    for part in texts.chunks(60) {
        page.burst(part).await?;
        page.wait_for_message("Ann", &part[part.len() - 1]).await?;
    }
    page.wait(LAST_IN_VIEW, json!([])).await?;
    assert_eq!(page.run("return document.getElementById('log').childElementCount", json!([])).await?, 500);

    let scroll = "const log = document.getElementById('log');
        log.addEventListener('scroll', () => log.dataset.seen = '', { once: true });
        log.scrollTop = 1000";
    page.run(scroll, json!([])).await?;
    page.wait("'seen' in document.getElementById('log').dataset", json!([])).await?;
    other.say("news").await?;
    page.wait("!document.getElementById('newer').hidden", json!([])).await?;
    let above = page.run("return document.getElementById('log').scrollTop < 2000", json!([])).await?;
    assert_eq!(above, true, "the log does not scroll under the reader");
    page.click("newer").await?;
    page.wait(LAST_IN_VIEW, json!([])).await?;
    page.wait("document.getElementById('newer').hidden", json!([])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_fits_a_phone() -> Result<()> {
    const WIDTH: u32 = 375;
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.enter(&server, "123", "Ann").await?;
    browser.become_a_phone(WIDTH, 812).await?;

    page.say(&"long".repeat(200)).await?;
    page.wait_for_messages(1).await?;
    let size = "const page = document.documentElement;
        return [page.scrollWidth, page.scrollHeight, document.getElementById('log').scrollWidth <= page.clientWidth]";
    assert_eq!(page.run(size, json!([])).await?, json!([WIDTH, 812, true]));
    let members_shown = "document.getElementById('members').checkVisibility() === args[0]";
    page.wait(members_shown, json!([false])).await?;
    page.click("show-members").await?;
    page.wait(members_shown, json!([true])).await
}
