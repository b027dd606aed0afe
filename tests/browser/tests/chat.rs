//! The chat example with many people in one room.

use std::collections::HashMap;

use browser_tests::{Browser, Key, Result, Server};
use serde_json::json;

/// Twenty people open the same room, and all of them see the same chat.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_people_see_one_chat() -> Result<()> {
    const TYPED: usize = 2;
    const BURST: usize = 8;
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;

    let names: Vec<String> = (1..=20).map(|number| format!("person{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut pages = Vec::new();
    for name in &names {
        pages.push(browser.enter(&server, "123", name).await?);
    }
    for page in &pages {
        page.wait_for_members(&names).await?;
    }

    let said = |name: &str, number: usize| format!("{number} from {name}");
    for number in 0..TYPED {
        for (page, name) in pages.iter().zip(&names) {
            page.say(&said(name, number)).await?;
        }
    }
    for (page, name) in pages.iter().zip(&names) {
        let texts: Vec<String> = (TYPED..TYPED + BURST).map(|number| said(name, number)).collect();
        page.burst(&texts).await?;
    }

    let everything: HashMap<String, Vec<String>> = names
        .iter()
        .map(|name| (name.to_string(), (0..TYPED + BURST).map(|number| said(name, number)).collect()))
        .collect();
    for (page, name) in pages.iter().zip(&names) {
        page.wait_for_messages(names.len() * (TYPED + BURST)).await?;
        let mut shown: HashMap<String, Vec<String>> = HashMap::new();
        for (user, text) in page.messages().await? {
            shown.entry(user).or_default().push(text);
        }
        assert_eq!(shown, everything, "what {name} sees, by sender and in the sender's order");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_leaves_is_removed_once() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let bo = browser.enter(&server, "123", "Bo").await?;
    let ann = browser.enter(&server, "123", "Ann").await?;
    let other_ann = browser.enter(&server, "123", "Ann").await?;
    let cy = browser.enter(&server, "123", "Cy").await?;
    let elsewhere = browser.enter(&server, "124", "Dee").await?;

    // Two people of the same name are two members, both on the pages that saw them come and on later pages.
    for page in [&bo, &ann, &other_ann, &cy] {
        page.wait_for_members(&["Ann", "Ann", "Bo", "Cy"]).await?;
    }
    other_ann.click("close").await?;
    other_ann.wait_until_closed().await?;
    for page in [&bo, &ann, &cy] {
        page.wait_for_line("left", "Ann").await?;
        page.wait_for_members(&["Ann", "Bo", "Cy"]).await?;
    }
    // A closed tab sends nothing, and its member is removed all the same.
    cy.leave().await?;
    for page in [&bo, &ann] {
        page.wait_for_line("left", "Cy").await?;
        page.wait_for_members(&["Ann", "Bo"]).await?;
    }
    elsewhere.wait_for_members(&["Dee"]).await?;
    assert!(elsewhere.lines("left").await?.is_empty(), "a page of another room shows nothing of it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_stays_text() -> Result<()> {
    const NAME: &str = "<b>Eve</b>";
    const TEXTS: [&str; 2] =
        ["<script>window.__pwned=1</script>", "<img src=x onerror=\"window.__pwned=1\">&amp;"];
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let first = browser.enter(&server, "123", "Ann").await?;
    let eve = browser.enter(&server, "123", NAME).await?;
    let third = browser.enter(&server, "123", "Bo").await?;

    for text in TEXTS {
        eve.say(text).await?;
    }
    for page in [&first, &eve, &third] {
        page.wait_for_messages(TEXTS.len()).await?;
        page.wait_for_members(&["Ann", "Bo", NAME]).await?;
        let texts: Vec<String> = page.messages().await?.into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, TEXTS);
        let harm = "return [window.__pwned ?? null,
            document.querySelectorAll('body script, #log img, #log b, #members b').length]";
        assert_eq!(page.run(harm, json!([])).await?, json!([null, 0]));
    }
    assert_eq!(first.lines("joined").await?[0], "<b>Eve</b> joined");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_shows_closes_and_reopens_its_connection() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.enter(&server, "123", "Ann").await?;
    let other = browser.enter(&server, "123", "Bo").await?;

    page.say("with Enter").await?;
    page.type_into("input", "with the button").await?;
    page.click("send").await?;
    other.wait_for_message("Ann", "with the button").await?;
    assert_eq!(page.run("return document.getElementById('input').value", json!([])).await?, "");

    // An empty message is not sent. The next message arrives alone.
    page.say("   ").await?;
    page.run("document.getElementById('input').value = ''", json!([])).await?;
    page.click("send").await?;
    page.say("the third").await?;
    other.wait_for_message("Ann", "the third").await?;
    assert_eq!(other.messages().await?.len(), 3);

    page.click("close").await?;
    page.wait_until_closed().await?;
    page.wait_for_members(&[]).await?;
    other.wait_for_members(&["Bo"]).await?;
    page.type_into("input", "kept").await?;
    page.type_into("input", Key::Enter).await?;
    page.click("reconnect").await?;
    page.wait_until_open().await?;
    page.type_into("input", Key::Enter).await?;
    other.wait_for_message("Ann", "kept").await?;
    assert_eq!(page.lines("status").await?, ["[connected]", "[disconnected]", "[connected]"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_is_shown() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let pages = [browser.enter(&server, "123", "Ann").await?, browser.enter(&server, "124", "Bo").await?];

    server.stop()?;
    for page in &pages {
        page.wait_until_waiting().await?;
        assert_eq!(page.lines("status").await?, ["[connected]", "[disconnected]"]);
    }
    // A person may stop the waiting, and may then try again.
    pages[0].click("close").await?;
    pages[0].wait_until_closed().await?;
    pages[0].click("reconnect").await?;
    pages[0].wait_until_waiting().await
}

/// For clients other than this page: plain text is a message too, and the text `close` ends the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_text_client_takes_part() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.enter(&server, "123", "Ann").await?;

    let script = "window.plain = new WebSocket(`ws://${location.host}/room/123/?name=Telnet`);
        plain.onopen = () => plain.send('plain words')";
    page.run(script, json!([])).await?;
    page.wait_for_message("Telnet", "plain words").await?;
    page.run("plain.send('close')", json!([])).await?;
    page.wait_for_line("left", "Telnet").await?;
    page.wait_for_members(&["Ann"]).await
}
