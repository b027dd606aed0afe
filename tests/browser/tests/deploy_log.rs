//! The deployment console in a real browser.

use browser_tests::{Browser, Key, Page, Result, Server};
use serde_json::{Value, json};

async fn open<'a>(browser: &'a Browser, server: &Server) -> Result<Page<'a>> {
    let page = browser.open(&server.url("/")).await?;
    page.wait_until_open().await?;
    page.wait("document.querySelector('#plans button')", json!([])).await?;
    Ok(page)
}

/// Clicks on the first element that a selector matches.
async fn click(page: &Page<'_>, selector: &str) -> Result<()> {
    page.run("document.querySelector(arguments[0]).click()", json!([selector])).await?;
    Ok(())
}

async fn wait_for_state(page: &Page<'_>, id: u64, state: &str) -> Result<()> {
    let holds = "document.querySelector(`[data-id=\"${args[0]}\"] .state`)?.textContent === args[1]";
    page.wait(holds, json!([id, state])).await
}

async fn wait_for_line(page: &Page<'_>, id: u64, text: &str) -> Result<()> {
    let holds = "Array.from(document.querySelectorAll(`[data-id=\"${args[0]}\"] .log p`))
        .some((line) => line.lastChild.data === args[1])";
    page.wait(holds, json!([id, text])).await
}

/// Number, source and text of each line that a page shows of a deployment.
async fn lines(page: &Page<'_>, id: u64) -> Result<Vec<(u64, String, String)>> {
    let script = "return Array.from(document.querySelectorAll(`[data-id=\"${arguments[0]}\"] .log p`),
        (line) => [Number(line.dataset.number), line.dataset.source, line.lastChild.data])";
    Ok(serde_json::from_value(page.run(script, json!([id])).await?)?)
}

/// Two people watch from the start and one comes late. All read the same lines.
#[tokio::test(flavor = "multi_thread")]
async fn everyone_who_watches_reads_the_same_lines() -> Result<()> {
    let server = Server::start_of("deploy-log", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let (ann, bob) = (open(&browser, &server).await?, open(&browser, &server).await?);

    click(&ann, "[data-plan=database]").await?;
    wait_for_line(&ann, 1, "Connecting to db-1").await?;
    wait_for_state(&bob, 1, "running").await?;
    click(&bob, "[data-id=\"1\"] summary").await?;
    wait_for_line(&bob, 1, "Connecting to db-1").await?;
    wait_for_line(&ann, 1, "0041 add_orders: done before").await?;
    let late = open(&browser, &server).await?;
    wait_for_line(&late, 1, "Connecting to db-1").await?;

    for page in [&ann, &bob, &late] {
        wait_for_state(page, 1, "failed, exit code 3").await?;
        wait_for_line(page, 1, "0043 unique_email: rolled back").await?;
        let lines = lines(page, 1).await?;
        assert_eq!(lines.iter().map(|line| line.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(lines[4].1, "stderr");
        assert!(lines[4].2.starts_with("error: duplicate key"), "{lines:?}");
        assert!(lines.iter().filter(|line| line.1 == "stderr").count() == 1);
        let button = "return document.querySelector('[data-id=\"1\"] .cancel').checkVisibility()";
        assert_eq!(
            page.run(button, json!([])).await?,
            false,
            "a deployment that has ended cannot be cancelled"
        );
    }
    assert_eq!(browser.console_errors().await?, [""; 0], "no error, and nothing the policy forbids");
    Ok(())
}

/// Two deployments run at once, the others wait. Each can be cancelled. One page shows several.
#[tokio::test(flavor = "multi_thread")]
async fn deployments_queue_run_side_by_side_and_are_cancelled() -> Result<()> {
    let server = Server::start_of("deploy-log", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let (ann, bob) = (open(&browser, &server).await?, open(&browser, &server).await?);

    for _ in 0..4 {
        click(&ann, "[data-plan=website]").await?;
    }
    for (id, state) in [(1, "running"), (2, "running"), (3, "queued"), (4, "queued")] {
        wait_for_state(&bob, id, state).await?;
    }
    click(&bob, "[data-id=\"4\"] .cancel").await?;
    click(&bob, "[data-id=\"1\"] .cancel").await?;
    wait_for_state(&ann, 4, "cancelled").await?;
    wait_for_state(&ann, 1, "cancelled").await?;
    wait_for_line(&ann, 1, "[cancelled]").await?;
    wait_for_state(&ann, 2, "done").await?;
    wait_for_state(&ann, 3, "done").await?;
    for id in [2, 3] {
        wait_for_line(&ann, id, "The website is deployed").await?;
    }
    let order = "return Array.from(document.querySelectorAll('#list > li'), (item) => item.dataset.id)";
    assert_eq!(ann.run(order, json!([])).await?, json!(["4", "3", "2", "1"]), "the newest stands first");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn long_output_shows_its_end_and_counts_the_missing_lines() -> Result<()> {
    let server = Server::start_of("deploy-log", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let page = open(&browser, &server).await?;
    click(&page, "[data-plan=search]").await?;
    wait_for_line(&page, 1, "indexed document 700").await?;
    let late = open(&browser, &server).await?;
    for page in [&page, &late] {
        wait_for_state(page, 1, "done").await?;
        wait_for_line(page, 1, "The search index has 1200 documents").await?;
        let lines = lines(page, 1).await?;
        assert_eq!((lines.len(), lines[0].0, lines[499].0), (500, 702, 1201));
        let cut = page.run("return document.querySelector('.cut').innerText", json!([])).await?;
        assert_eq!(cut, "701 earlier lines are no longer kept");
        let end = "return ((log) => log.scrollHeight - log.scrollTop - log.clientHeight < 32)(document.querySelector('.log'))";
        assert_eq!(page.run(end, json!([])).await?, true, "the newest line is in view");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyboard_is_enough_and_a_page_comes_back() -> Result<()> {
    let server = Server::start_of("deploy-log", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let page = open(&browser, &server).await?;

    browser.press(Key::Tab).await?;
    browser.press(Key::Enter).await?;
    wait_for_line(&page, 1, "Fetching main").await?;
    for _ in 0..5 {
        let place = page.run("return document.activeElement.className", json!([])).await?;
        let outline =
            page.run("return getComputedStyle(document.activeElement).outlineStyle", json!([])).await?;
        assert_eq!(outline, "solid", "the focus is seen on {place}");
        if place == "cancel quiet" {
            break;
        }
        browser.press(Key::Tab).await?;
    }
    browser.press(Key::Space).await?;
    wait_for_state(&page, 1, "cancelled").await?;
    let focused = page.run("return document.activeElement.tagName", json!([])).await?;
    assert_eq!(focused, "SUMMARY", "the focus stays where the button was");

    let address = server.address()?.to_string();
    server.stop()?;
    page.wait("document.getElementById('status').dataset.state !== 'open'", json!([])).await?;
    let _again = Server::start_of("deploy-log", &address)?;
    page.wait_until_open().await?;
    page.wait("document.querySelectorAll('#list > li').length === 0", json!([])).await?;
    click(&page, "[data-plan=database]").await?;
    wait_for_line(&page, 1, "Connecting to db-1").await?;
    assert_eq!(lines(&page, 1).await?[0].0, 1, "the output of the old server is not shown");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_fits_a_phone() -> Result<()> {
    const WIDTH: u32 = 360;
    let server = Server::start_of("deploy-log", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let page = open(&browser, &server).await?;
    browser.become_a_phone(WIDTH, 740).await?;
    click(&page, "[data-plan=database]").await?;
    wait_for_state(&page, 1, "failed, exit code 3").await?;
    let width: Value = page.run("return document.documentElement.scrollWidth", json!([])).await?;
    assert_eq!(width, WIDTH);
    Ok(())
}
