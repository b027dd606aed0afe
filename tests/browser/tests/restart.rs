//! The server of the chat is replaced in the middle of talk, and no page misses a word, over every transport.

use std::collections::HashSet;

use browser_tests::{Browser, Page, Proxy, Result, Server};
use nats_tests::NatsServer;
use redis_tests::RedisServer;
use serde_json::json;

const TRANSPORTS: [&str; 4] = ["websocket", "sse", "long-poll", "poll"];
/// What a page shows that came back, and got all that it had missed.
const RECOVERED: &str = "[connected, nothing missed]";
/// How many messages a page gets that is new in its room.
const LAST: usize = 50;

/// Texts that nobody else says.
fn texts(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{what} {number}")).collect()
}

async fn all_say(pages: &[Page<'_>], what: &str, count: usize) -> Result<()> {
    for (page, transport) in pages.iter().zip(TRANSPORTS) {
        page.burst(&texts(&format!("{what} by {transport}"), count)).await?;
    }
    Ok(())
}

/// The texts that a page shows, in its order.
async fn shown(page: &Page<'_>) -> Result<Vec<String>> {
    Ok(page.messages().await?.into_iter().map(|(_, text)| text).collect())
}

/// Waits until a page is back on another server, and shows that nothing is missing.
async fn is_back(page: &Page<'_>, transport: &str) -> Result<()> {
    let shown = "Array.from(document.querySelectorAll('[data-kind=status]')).at(-1)?.textContent === args[0]";
    page.wait(shown, json!([RECOVERED])).await.map_err(|error| format!("{transport}: {error}"))?;
    page.wait_for_transport(transport).await
}

/// Four pages talk, one on each transport, while their server stops and another one begins.
///
/// The first page is back before the others, and talks on. If the servers share their layer, somebody on the new one never
/// goes away, and talks too.
async fn nothing_is_lost(options: &[&str], shared: bool) -> Result<()> {
    let old = Server::start_with(options)?;
    let browser = Browser::start("en-US").await?;
    let (mut pages, mut proxies) = (Vec::new(), Vec::new());
    for transport in TRANSPORTS {
        let proxy = Proxy::start(&old).await?;
        let url = proxy.url(&format!("/room/123/?name={transport}&transport={transport}"));
        let page = browser.enter_at(&url).await?;
        page.wait_for_transport(transport).await?;
        pages.push(page);
        proxies.push(proxy);
    }
    let early = if shared { Some(Server::start_with(options)?) } else { None };
    let stays = match &early {
        Some(server) => Some(browser.enter(server, "123", "Zoe").await?),
        None => None,
    };
    all_say(&pages, "before", 3).await?;
    for page in pages.iter().chain(&stays) {
        page.wait_for_messages(3 * TRANSPORTS.len()).await?;
    }

    let stopping = tokio::task::spawn_blocking(move || old.stop().map_err(|error| error.to_string()));
    let mut round = 0;
    // No more than the rooms keep.
    while !stopping.is_finished() && round < 8 {
        all_say(&pages, &format!("meanwhile {round}"), 1).await?;
        round += 1;
    }
    stopping.await??;
    let new = match early {
        Some(server) => server,
        None => Server::start_with(options)?,
    };
    proxies[0].turn_to(&new)?;
    is_back(&pages[0], TRANSPORTS[0]).await?;
    pages[0].burst(&texts("away", 10)).await?;
    if let Some(stays) = &stays {
        stays.burst(&texts("Zoe", 10)).await?;
        pages[0].wait_for_message("Zoe", "Zoe 9").await?;
    }
    pages[0].wait_for_message(TRANSPORTS[0], "away 9").await?;
    for proxy in &proxies {
        proxy.turn_to(&new)?;
    }
    for (page, transport) in pages.iter().zip(TRANSPORTS) {
        is_back(page, transport).await?;
    }
    all_say(&pages, "after", 2).await?;
    for page in pages.iter().chain(&stays) {
        for transport in TRANSPORTS {
            page.wait_for_message(transport, &format!("after by {transport} 1")).await?;
        }
    }

    // All have heard the same, in one order, and each message once.
    let said = shown(&pages[0]).await?;
    for (page, transport) in pages.iter().zip(TRANSPORTS) {
        assert_eq!(shown(page).await?, said, "{transport}");
        assert_eq!(page.lines("status").await?, ["[connected]", "[disconnected]", RECOVERED], "{transport}");
        assert_eq!(page.lines("lost").await?, [""; 0], "{transport}");
    }
    if let Some(stays) = &stays {
        assert_eq!(shown(stays).await?, said, "who never went away");
    }
    let all: HashSet<&String> = said.iter().collect();
    assert_eq!(all.len(), said.len(), "{said:?}");
    let mut sure = texts("away", 10);
    sure.extend(TRANSPORTS.iter().flat_map(|by| texts(&format!("before by {by}"), 3)));
    sure.extend(TRANSPORTS.iter().flat_map(|by| texts(&format!("after by {by}"), 2)));
    sure.extend(stays.iter().flat_map(|_| texts("Zoe", 10)));
    for text in &sure {
        assert!(all.contains(text), "{text:?} is missing in {said:?}");
    }

    // A page that is loaded again begins with the last messages.
    let last = &said[said.len().saturating_sub(LAST)..];
    for (page, transport) in pages.iter().zip(TRANSPORTS) {
        page.reload().await?;
        page.wait_for_messages(last.len()).await?;
        assert_eq!(shown(page).await?, last, "{transport}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_with_a_history_file_loses_nothing() -> Result<()> {
    let file = std::env::temp_dir().join(format!("greenroom-chat-{}", std::process::id()));
    let outcome = nothing_is_lost(&["--history-file", file.to_str().ok_or("a text")?], false).await;
    std::fs::remove_file(file)?;
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_on_redis_loses_nothing() -> Result<()> {
    let redis = RedisServer::start();
    nothing_is_lost(&["--layer", &redis.url()], true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_on_redis_pubsub_loses_nothing() -> Result<()> {
    let redis = RedisServer::start();
    nothing_is_lost(&["--layer", &redis.url().replace("redis://", "redis-pubsub://")], true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_on_nats_loses_nothing() -> Result<()> {
    let nats = NatsServer::jetstream();
    nothing_is_lost(&["--layer", &nats.url()], true).await
}

/// The history of one process is gone with the process, and the page says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_forgotten_its_rooms_says_so() -> Result<()> {
    let old = Server::start()?;
    let proxy = Proxy::start(&old).await?;
    let browser = Browser::start("en-US").await?;
    let page = browser.enter_at(&proxy.url("/room/123/?name=Ann")).await?;
    page.say("before").await?;
    page.wait_for_message("Ann", "before").await?;
    old.stop()?;
    page.wait_until_waiting().await?;
    let new = Server::start()?;
    proxy.turn_to(&new)?;
    page.wait_for_line("lost", "").await?;
    page.wait_until_open().await?;
    page.say("after").await?;
    page.wait_for_message("Ann", "after").await?;
    assert_eq!(page.lines("lost").await?, ["Some messages may be missing here (epoch)"]);
    assert_eq!(page.lines("status").await?, ["[connected]", "[disconnected]", "[connected]"]);
    assert_eq!(shown(&page).await?, ["before", "after"]);
    Ok(())
}
