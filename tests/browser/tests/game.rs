//! The game in a real browser: players, a spectator, whispers, and a player that is removed.

use browser_tests::{Browser, Page, Result, Server};
use serde_json::{Value, json};

/// Opens an arena, as a player or without a name as a spectator, and waits until the page is connected.
async fn enter<'a>(browser: &'a Browser, server: &Server, arena: &str, query: &str) -> Result<Page<'a>> {
    browser.enter_at(&server.url(&format!("/game/{arena}/?{query}"))).await
}

/// Waits until a page lists exactly these players, in any order.
async fn wait_for_players(page: &Page<'_>, names: &[&str]) -> Result<()> {
    let listed =
        "JSON.stringify(Array.from(document.querySelectorAll('#players bdi'), el => el.textContent).sort())
        === JSON.stringify(args[0].sort())";
    page.wait(listed, json!([names])).await
}

/// Waits until the talk has this line.
async fn wait_for_line(page: &Page<'_>, line: &str) -> Result<()> {
    let shown = "Array.from(document.querySelectorAll('#log p')).some(line => line.textContent === args[0])";
    page.wait(shown, json!([line])).await
}

/// Says something to everyone, or to one player.
async fn say(page: &Page<'_>, to: &str, text: &str) -> Result<()> {
    let script = "const to = document.getElementById('to');
        to.value = Array.from(to.options).find(option => option.textContent === arguments[0]).value;
        document.getElementById('text').value = arguments[1];
        document.getElementById('say').requestSubmit();";
    page.run(script, json!([to, text])).await?;
    Ok(())
}

async fn lines(page: &Page<'_>) -> Result<Value> {
    page.run("return Array.from(document.querySelectorAll('#log p'), line => line.textContent)", json!([]))
        .await
}

/// Presses a key down in the page, or lets it go.
async fn key(page: &Page<'_>, kind: &str, code: &str) -> Result<()> {
    page.run(
        "document.body.dispatchEvent(new KeyboardEvent(arguments[0], { code: arguments[1], bubbles: true }))",
        json!([kind, code]),
    )
    .await?;
    Ok(())
}

/// An expression: where on the canvas the player in this row of the list is drawn, in pixels from the left.
const PLACE: &str = "((id) => {
    const board = document.getElementById('board');
    const probe = document.createElement('canvas').getContext('2d');
    probe.fillStyle = `hsl(${(id * 137) % 360} 65% 45%)`;
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
    const { data, width } = board.getContext('2d').getImageData(0, 0, board.width, board.height);
    let [sum, count] = [0, 0];
    for (let at = 0; at < data.length; at += 4) {
      if (Math.abs(data[at] - r) + Math.abs(data[at + 1] - g) + Math.abs(data[at + 2] - b) < 12) {
        sum += at / 4 % width;
        count += 1;
      }
    }
    return count ? sum / count : -1;
  })";

#[tokio::test(flavor = "multi_thread")]
async fn players_move_whisper_and_remove_and_a_spectator_watches() -> Result<()> {
    let server = Server::start_of("game", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let ann = enter(&browser, &server, "1", "name=Ann").await?;
    let bob = enter(&browser, &server, "1", "name=Bob").await?;
    let watching = enter(&browser, &server, "1", "").await?;
    let _elsewhere = enter(&browser, &server, "2", "name=Eve").await?;
    for page in [&ann, &bob, &watching] {
        wait_for_players(page, &["Ann", "Bob"]).await?;
    }
    let role = "document.getElementById('role').textContent === args[0]";
    bob.wait(role, json!(["Bob"])).await?;
    watching.wait(role, json!(["Watching"])).await?;

    // Ann steers to the left wall and then to the right one. Bob sees both.
    for (code, place) in [("ArrowLeft", "< 60"), ("KeyD", "> 1500")] {
        key(&ann, "keydown", code).await?;
        let there = format!("(place => place >= 0 && place {place})({PLACE}(1))");
        ann.wait(&there, json!([])).await?;
        bob.wait(&there, json!([])).await?;
        watching.wait(&there, json!([])).await?;
        key(&ann, "keyup", code).await?;
    }

    say(&bob, "Ann", "only you").await?;
    wait_for_line(&ann, "Bob, only to you: only you").await?;
    say(&ann, "Everyone", "<b>hello</b>").await?;
    for page in [&ann, &bob, &watching] {
        wait_for_line(page, "Ann: <b>hello</b>").await?;
    }
    assert_eq!(lines(&watching).await?, json!(["Ann: <b>hello</b>"]), "the whisper was for Ann");
    assert_eq!(lines(&bob).await?, json!(["You to Ann: only you", "Ann: <b>hello</b>"]));

    // Only the host can remove. Ann came first.
    let buttons = "document.querySelectorAll('#players button:not([hidden])').length === args[0]";
    bob.wait(buttons, json!([0])).await?;
    ann.wait(buttons, json!([1])).await?;
    ann.run("document.querySelector('#players button:not([hidden])').click()", json!([])).await?;
    bob.wait_until_closed().await?;
    wait_for_line(&bob, "The host removed you.").await?;
    for page in [&ann, &watching] {
        wait_for_players(page, &["Ann"]).await?;
    }
    assert_eq!(browser.console_errors().await?, [""; 0], "no error, and nothing the policy forbids");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_leads_into_an_arena() -> Result<()> {
    let server = Server::start_of("game", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/")).await?;
    page.type_into("name", "Ann").await?;
    page.run("document.querySelector('button.primary').click()", json!([])).await?;
    page.wait("location.pathname === '/game/1/'", json!([])).await?;
    page.wait_until_open().await?;
    wait_for_players(&page, &["Ann"]).await?;
    page.run("location.assign('/')", json!([])).await?;
    page.wait("document.getElementById('watch') !== null", json!([])).await?;
    page.click("watch").await?;
    page.wait("location.pathname === '/game/1/'", json!([])).await?;
    page.wait_until_open().await?;
    wait_for_players(&page, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_comes_back_when_the_server_does() -> Result<()> {
    let server = Server::start_of("game", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let page = enter(&browser, &server, "1", "name=Ann").await?;
    wait_for_players(&page, &["Ann"]).await?;
    let address = server.address()?.to_string();
    server.stop()?;
    page.wait("document.getElementById('status').dataset.state !== 'open'", json!([])).await?;
    wait_for_players(&page, &[]).await?;
    let _again = Server::start_of("game", &address)?;
    page.wait_until_open().await?;
    wait_for_players(&page, &["Ann"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_game_fits_a_phone() -> Result<()> {
    const WIDTH: u32 = 360;
    let server = Server::start_of("game", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let page = enter(&browser, &server, "1", &format!("name={}", "W".repeat(24))).await?;
    browser.become_a_phone(WIDTH, 740).await?;
    wait_for_players(&page, &[&"W".repeat(24)]).await?;
    let sizes = "return [document.documentElement.scrollWidth,
        document.getElementById('board').getBoundingClientRect().width > 300]";
    assert_eq!(page.run(sizes, json!([])).await?, json!([WIDTH, true]));
    Ok(())
}
