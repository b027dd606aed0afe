//! The live chart in a real browser: several pages, a running job, and data from other programs.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use browser_tests::{Browser, Page, Result, Server};
use serde_json::{Value, json};

/// A script that returns what a page shows of each name.
///
/// These are its value, the width of its bar, the length of its slice, and its share.
const SHOWN: &str =
    "return Array.from(document.querySelectorAll('#bars li'), (row, index) => [row.dataset.name,
    Number(row.querySelector('.value').textContent.replaceAll(',', '')),
    parseFloat(row.querySelector('rect').style.width),
    parseFloat(document.getElementById('pie').children[index + 1].style.strokeDasharray),
    document.getElementById('legend').children[index].querySelector('.value').textContent])";

/// What a page shows of one name: value, width, length and share.
async fn shown(page: &Page<'_>, name: &str) -> Result<(f64, f64, f64, String)> {
    let rows: Vec<(String, f64, f64, f64, String)> =
        serde_json::from_value(page.run(SHOWN, json!([])).await?)?;
    let row = rows.into_iter().find(|row| row.0 == name).ok_or("the name is shown")?;
    Ok((row.1, row.2, row.3, row.4))
}

/// Waits until a page shows this value of this name.
async fn wait_for(page: &Page<'_>, name: &str, value: &str) -> Result<()> {
    let holds = "document.querySelector(`#bars [data-name=\"${args[0]}\"] .value`)?.textContent === args[1]";
    page.wait(holds, json!([name, value])).await
}

/// Posts JSON, as any other program does. Returns the status line.
fn post(server: &Server, path: &str, body: &Value) -> Result<String> {
    let body = body.to_string();
    let mut socket = TcpStream::connect(server.address()?)?;
    write!(
        socket,
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        server.address()?,
        body.len()
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_sees_the_job_and_what_is_posted() -> Result<()> {
    let server = Server::start_of("live-chart", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let first = browser.open(&server.url("/")).await?;
    let second = browser.open(&server.url("/")).await?;
    for page in [&first, &second] {
        page.wait_until_open().await?;
    }

    // The timer moves the progress, and no page has sent anything.
    let done = "document.getElementById('progress').value";
    let before = first.run(&format!("return {done}"), json!([])).await?;
    first.wait(&format!("{done} > args[0]"), json!([before])).await?;
    second.wait(&format!("{done} > args[0]"), json!([before])).await?;

    // One page pauses the job for all pages.
    first.click("run").await?;
    for page in [&first, &second] {
        page.wait("document.getElementById('run').textContent === 'Resume'", json!([])).await?;
    }

    // A program posts data. Every page shows it as a bar, as a slice and as a number.
    assert_eq!(post(&server, "/data", &json!({"name": "Fair", "add": 30_000}))?, "HTTP/1.1 204 No Content");
    let (app, ..) = shown(&first, "App").await?;
    for page in [&first, &second] {
        wait_for(page, "Fair", "30,000").await?;
        let (value, width, slice, share) = shown(page, "Fair").await?;
        assert_eq!((value, width), (30_000.0, 60.0), "the scale goes to 50,000");
        assert!(slice > 90.0 && share.ends_with('%'), "{slice} {share}");
        assert_eq!(shown(page, "App").await?.0, app, "a paused job changes nothing");
    }

    // The form of the page does the same.
    second.click("add-button").await?;
    for page in [&first, &second] {
        wait_for(page, "Fair", "30,050").await?;
    }
    assert_eq!(browser.console_errors().await?, [""; 0], "no error, and nothing the policy forbids");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_data_is_refused_with_a_reason_and_markup_stays_text() -> Result<()> {
    let server = Server::start_of("live-chart", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/")).await?;
    page.wait_until_open().await?;

    for name in ["<b>six</b>", "seven", "eight"] {
        assert_eq!(post(&server, "/data", &json!({"name": name, "add": 1}))?, "HTTP/1.1 204 No Content");
        wait_for(&page, name, "1").await?;
    }
    assert_eq!(page.run("return document.querySelectorAll('main b').length", json!([])).await?, 0);
    assert_eq!(post(&server, "/data", &json!({"name": "nine", "add": 1}))?, "HTTP/1.1 400 Bad Request");
    page.run("document.getElementById('name').value = 'nine'", json!([])).await?;
    page.click("add-button").await?;
    page.wait(
        "document.getElementById('problem').innerText === 'the chart has 8 names already: add to one of them'",
        json!([]),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_comes_back_when_the_server_does() -> Result<()> {
    let server = Server::start_of("live-chart", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/")).await?;
    page.wait_until_open().await?;
    post(&server, "/data", &json!({"name": "Fair", "add": 1}))?;
    wait_for(&page, "Fair", "1").await?;

    let address = server.address()?.to_string();
    server.stop()?;
    page.wait("document.getElementById('status').dataset.state !== 'open'", json!([])).await?;
    let _again = Server::start_of("live-chart", &address)?;
    page.wait_until_open().await?;
    page.wait("document.querySelectorAll('#bars li, #legend li').length === 10", json!([])).await?;
    assert_eq!(
        page.run(SHOWN, json!([])).await?.as_array().map(Vec::len),
        Some(5),
        "the page shows the data of the new server"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_fits_a_phone() -> Result<()> {
    const WIDTH: u32 = 360;
    let server = Server::start_of("live-chart", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/")).await?;
    page.wait_until_open().await?;
    browser.become_a_phone(WIDTH, 740).await?;
    post(&server, "/data", &json!({"name": "W".repeat(24), "add": 4_000_000}))?;
    wait_for(&page, &"W".repeat(24), "4,000,000").await?;
    let width = "return [document.documentElement.scrollWidth,
        document.querySelector('#bars rect').getBoundingClientRect().right <= window.innerWidth]";
    assert_eq!(page.run(width, json!([])).await?, json!([WIDTH, true]));
    Ok(())
}
