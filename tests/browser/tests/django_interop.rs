//! One room on two servers: a person on Django's page, others on Rust's page, and Redis between them.

use browser_tests::{Browser, Interop, Page, Result};
use serde_json::json;

async fn wait_for_typing(page: &Page<'_>, text: &str) -> Result<()> {
    page.wait("document.getElementById('typing').textContent === args[0]", json!([text])).await
}

/// The counts of events that the Rust server could not use.
async fn counts(page: &Page<'_>) -> Result<serde_json::Value> {
    let script = "fetch('/counts/').then((answer) => answer.json()).then(arguments[arguments.length - 1])";
    page.run_async(script, json!([])).await
}

fn said(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines.iter().map(|&(user, text)| (user.to_owned(), text.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_on_both_servers_share_one_room() -> Result<()> {
    let mut servers = Interop::start()?;
    let browser = Browser::start("en-US").await?;
    let ann = browser.enter_at(&servers.rust("Ann")?).await?;
    let cy = browser.enter_at(&servers.rust("Cy")?).await?;
    let bob = browser.enter_at(&servers.django("Bob")?).await?;
    for (page, server) in [(&ann, "Rust"), (&bob, "Django")] {
        assert_eq!(page.run("return document.getElementById('server').innerText", json!([])).await?, server);
    }

    ann.say("hello from Rust").await?;
    bob.wait_for_message("Ann", "hello from Rust").await?;
    bob.say("hello from Django").await?;
    ann.wait_for_message("Bob", "hello from Django").await?;

    // Only the Rust server has typing notices: they would end a Django consumer.
    ann.type_into("input", "I am").await?;
    wait_for_typing(&cy, "Ann is typing…").await?;
    // The notice goes to the others only.
    wait_for_typing(&ann, "").await?;

    // Django shows a message that Rust cannot decode. Rust counts it, and no connection ends. The next message reaches all.
    let send = "from asgiref.sync import async_to_sync; from channels.layers import get_channel_layer
send = async_to_sync(get_channel_layer().group_send)
send('chat_lobby', {'type': 'chat.message', 'user': 'Python', 'text': 5})
send('chat_lobby', {'type': 'chat.message', 'user': 'Python', 'text': 'behind it'})";
    servers.python(send)?;
    for page in [&ann, &cy, &bob] {
        page.wait_for_message("Python", "behind it").await?;
    }
    assert_eq!(counts(&ann).await?, json!({"unhandled": 0, "relay_failed": 1, "undecodable": 0}));

    let everyone =
        [("Ann", "hello from Rust"), ("Bob", "hello from Django"), ("Python", "behind it")].as_slice();
    for page in [&ann, &cy] {
        assert_eq!(page.messages().await?, said(everyone), "each message once, in order");
    }
    let django = [everyone[0], everyone[1], ("Python", "5"), everyone[2]];
    assert_eq!(bob.messages().await?, said(&django));
    for page in [&ann, &cy, &bob] {
        assert!(page.lines("lost").await?.is_empty(), "no connection has ended");
    }

    // Redis stops, and comes back empty. Django's consumer ends, and its page connects again. Rust's connections live.
    servers.restart_redis()?;
    bob.wait_for_line("lost", "").await?;
    for page in [&ann, &cy] {
        page.wait_for_line("gap", "").await?;
    }
    bob.wait_until_open().await?;
    bob.say("back again").await?;
    for page in [&ann, &cy] {
        page.wait_for_message("Bob", "back again").await?;
        assert!(page.lines("lost").await?.is_empty(), "Rust's connections have not ended");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_room_fits_a_phone() -> Result<()> {
    const WIDTH: u32 = 360;
    let servers = Interop::start()?;
    let browser = Browser::start("en-US").await?;
    for url in [servers.rust("Ann")?, servers.django("Bob")?] {
        let page = browser.enter_at(&url).await?;
        browser.become_a_phone(WIDTH, 740).await?;
        page.say(&"W".repeat(200)).await?;
        page.wait_for_messages(1).await?;
        assert_eq!(page.run("return document.documentElement.scrollWidth", json!([])).await?, WIDTH);
        assert_eq!(browser.console_errors().await?, [""; 0], "no error, and nothing the policy forbids");
    }
    Ok(())
}
