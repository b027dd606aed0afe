//! The chat over every transport, and over a network with faults.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use browser_tests::{Browser, Engine, Page, Proxy, Result, Server};
use serde_json::json;

const TRANSPORTS: [&str; 4] = ["websocket", "sse", "long-poll", "poll"];

/// How long a connection lives without a request, unless its page has said that it leaves.
const EXPIRY: Duration = Duration::from_secs(30);

fn path(name: &str, transport: &str) -> String {
    format!("/room/123/?name={name}&transport={transport}")
}

/// How often a page shows a text.
async fn count(page: &Page<'_>, text: &str) -> Result<usize> {
    Ok(page.messages().await?.iter().filter(|(_, shown)| shown == text).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_on_different_transports_hear_each_other() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let mut pages = Vec::new();
    for transport in TRANSPORTS {
        let page = browser.enter_at(&server.url(&path(transport, transport))).await?;
        page.wait_for_transport(transport).await?;
        pages.push(page);
    }
    for page in &pages {
        page.wait_for_members(&TRANSPORTS).await?;
    }
    for (page, transport) in pages.iter().zip(TRANSPORTS) {
        page.say(&format!("héllo 你好 from {transport}")).await?;
    }
    for page in &pages {
        for transport in TRANSPORTS {
            page.wait_for_message(transport, &format!("héllo 你好 from {transport}")).await?;
        }
        assert_eq!(page.messages().await?.len(), TRANSPORTS.len(), "each message once");
    }
    for (page, transport) in pages.iter().zip(TRANSPORTS).skip(1) {
        page.click("close").await?;
        page.wait_until_closed().await?;
        pages[0].wait_for_line("left", transport).await?;
    }
    assert_eq!(browser.console_errors().await?, [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_chooses_the_transport() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let page = browser.enter(&server, "123", "Ann").await?;
    let other = browser.enter(&server, "123", "Bo").await?;
    page.wait_for_transport("websocket").await?;
    for transport in ["poll", "sse", "websocket", "long-poll", ""] {
        page.choose_transport(transport).await?;
        page.wait_for_transport(if transport.is_empty() { "websocket" } else { transport }).await?;
        let asked = "return new URLSearchParams(location.search).get('transport') ?? ''";
        assert_eq!(page.run(asked, json!([])).await?, transport);
        page.wait_for_members(&["Ann", "Bo"]).await?;
        page.say(&format!("by {transport}")).await?;
        other.wait_for_message("Ann", &format!("by {transport}")).await?;
    }
    assert_eq!(other.messages().await?.len(), 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_websocket_is_replaced_and_not_tried_again() -> Result<()> {
    let server = Server::start()?;
    let proxy = Proxy::start(&server).await?;
    proxy.refuse_upgrades();
    let browser = Browser::start("en-US").await?;

    let first = browser.enter_at(&proxy.url("/room/123/?name=Ann")).await?;
    first.wait_for_transport("sse").await?;
    assert_eq!(proxy.count("UPGRADE"), 1);
    let second = browser.enter_at(&proxy.url("/room/123/?name=Bo")).await?;
    second.wait_for_transport("sse").await?;
    second.say("here too").await?;
    first.wait_for_message("Bo", "here too").await?;
    assert_eq!(proxy.count("UPGRADE"), 1, "the second page remembered");

    // If the browser stores nothing, the page itself remembers.
    let third = browser.open(&proxy.url("/home/")).await?;
    let script = "const done = arguments[arguments.length - 1];
        Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } });
        import('/greenroom.js').then(async ({ GreenroomSocket }) => {
          const open = () => new Promise((on) => {
            const socket = new GreenroomSocket('/room/124/');
            socket.onmessage = () => { socket.close(); on(socket.transport); };
          });
          return [await open(), await open()];
        }).then(done, (error) => done(error.stack))";
    assert_eq!(third.run_async(script, json!([])).await?, json!(["sse", "sse"]));
    assert_eq!(proxy.count("UPGRADE"), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_a_proxy_holds_back_is_replaced_on_the_same_connection() -> Result<()> {
    let server = Server::start()?;
    let proxy = Proxy::start(&server).await?;
    proxy.refuse_upgrades();
    proxy.hold_streams();
    let browser = Browser::start("en-US").await?;

    let page = browser.enter_at(&proxy.url("/room/123/?name=Ann")).await?;
    page.say("said early").await?;
    page.wait_for_transport("long-poll").await?;
    page.wait_for_message("Ann", "said early").await?;
    assert_eq!(proxy.count("=open"), 1);
    assert_eq!(page.lines("status").await?, ["[connected]"]);

    let next = browser.enter_at(&proxy.url("/room/123/?name=Bo")).await?;
    next.wait_for_transport("long-poll").await?;
    assert_eq!(proxy.count("=events"), 1, "the second page remembered");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_lost_while_a_killed_server_is_away() -> Result<()> {
    let server = Server::start()?;
    let proxy = Proxy::start(&server).await?;
    let browser = Browser::start("en-US").await?;
    let mut pages = Vec::new();
    for transport in TRANSPORTS {
        let page = browser.enter_at(&proxy.url(&path(transport, transport))).await?;
        page.wait_for_transport(transport).await?;
        pages.push(page);
    }
    server.kill();
    for (page, transport) in pages.iter().zip(TRANSPORTS) {
        page.wait_until_waiting().await?;
        page.burst(&[format!("1 {transport}"), format!("2 {transport}")]).await?;
    }
    let server = Server::start()?;
    proxy.turn_to(&server)?;
    for (page, transport) in pages.iter().zip(TRANSPORTS) {
        page.wait_for_transport(transport).await?;
        page.wait_for_members(&TRANSPORTS).await?;
        for text in [format!("1 {transport}"), format!("2 {transport}")] {
            page.wait_for_message(transport, &text).await?;
            assert_eq!(count(page, &text).await?, 1);
        }
        assert_eq!(page.lines("status").await?, ["[connected]", "[disconnected]", "[connected]"]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_is_found_again() -> Result<()> {
    let server = Server::start()?;
    let proxy = Proxy::start(&server).await?;
    let browser = Browser::start("en-US").await?;
    let mut pages = Vec::new();
    for transport in TRANSPORTS {
        let page = browser.enter_at(&proxy.url(&path(transport, transport))).await?;
        page.wait_for_transport(transport).await?;
        pages.push(page);
    }
    server.stop()?;
    let server = Server::start()?;
    proxy.turn_to(&server)?;
    for (page, transport) in pages.iter().zip(TRANSPORTS) {
        page.wait_for_members(&TRANSPORTS).await?;
        page.wait_for_transport(transport).await?;
        page.say(transport).await?;
        pages[0].wait_for_message(transport, transport).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_repeated_and_shown_once() -> Result<()> {
    let server = Server::start()?;
    let proxy = Proxy::start(&server).await?;
    let browser = Browser::start("en-US").await?;
    let other = browser.enter(&server, "123", "Bo").await?;
    for (round, transport) in ["long-poll", "poll"].into_iter().enumerate() {
        let page = browser.enter_at(&proxy.url(&path("Ann", transport))).await?;
        page.wait_for_members(&["Ann", "Bo"]).await?;

        // An answer with a message is lost.
        proxy.lose_an_answer("=poll", 200);
        other.say(&format!("down {transport}")).await?;
        proxy.wait_until_lost(2 * round + 1).await?;
        page.wait_for_message("Bo", &format!("down {transport}")).await?;
        // An answer to a send is lost.
        proxy.lose_an_answer("=send", 204);
        page.say(&format!("up {transport}")).await?;
        proxy.wait_until_lost(2 * round + 2).await?;
        page.say(&format!("after {transport}")).await?;

        for page in [&page, &other] {
            page.wait_for_message("Ann", &format!("after {transport}")).await?;
            for word in ["down", "up", "after"] {
                assert_eq!(count(page, &format!("{word} {transport}")).await?, 1, "{word} by {transport}");
            }
        }
        assert_eq!(page.lines("status").await?, ["[connected]"], "it was one connection all the time");
        page.leave().await?;
        other.wait_for_members(&["Bo"]).await?;
    }
    Ok(())
}

/// Waits until Bo is alone. This must come long before the id of the other person expires.
async fn only_bo_is_left_at_once(other: &Page<'_>, left: Instant, what: &str) -> Result<()> {
    other.wait_for_members(&["Bo"]).await?;
    assert!(left.elapsed() < EXPIRY / 2, "{what}: seen after {:?}", left.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_leaves_the_page_is_removed_at_once_and_may_come_back() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let other = browser.enter(&server, "123", "Bo").await?;
    for transport in TRANSPORTS {
        let page = browser.enter_at(&server.url(&path(transport, transport))).await?;
        other.wait_for_members(&["Bo", transport]).await?;

        let left = Instant::now();
        page.run("location.href = '/home/'", json!([])).await?;
        only_bo_is_left_at_once(&other, left, transport).await?;

        page.run("history.back()", json!([])).await?;
        other.wait_for_members(&["Bo", transport]).await?;
        page.wait_until_open().await?;
        page.say("back again").await?;
        other.wait_for_message(transport, "back again").await?;

        let left = Instant::now();
        page.leave().await?;
        only_bo_is_left_at_once(&other, left, &format!("{transport}, a closed tab")).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_from_the_back_forward_cache_connects_again() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let other = browser.enter(&server, "123", "Bo").await?;
    let mut loaded_again = Vec::new();
    for transport in TRANSPORTS {
        let page = browser.enter_at(&server.url(&path(transport, transport))).await?;
        other.wait_for_members(&["Bo", transport]).await?;
        page.run("window.mark = 'kept'; location.href = '/home/'", json!([])).await?;
        other.wait_for_members(&["Bo"]).await?;
        page.run("history.back()", json!([])).await?;
        other.wait_for_members(&["Bo", transport]).await?;
        page.wait_until_open().await?;

        if page.run("return window.mark", json!([])).await? == "kept" {
            let back = "[connected, nothing missed]";
            assert_eq!(page.lines("status").await?, ["[connected]", "[disconnected]", back]);
        } else {
            assert_eq!(browser.engine(), Engine::Firefox, "{transport}: the page was loaded again");
            loaded_again.push(transport);
        }
        page.say("back again").await?;
        other.wait_for_message(transport, "back again").await?;
        page.leave().await?;
        other.wait_for_members(&["Bo"]).await?;
    }
    if !loaded_again.is_empty() {
        let what = format!("the back/forward cache by {}", loaded_again.join(", "));
        let why = "a page with an open WebSocket or request is not kept, so it was loaded again";
        browser.engine().leaves_out(&what, why)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_closes_the_connection_and_leaves_at_once_is_removed_too() -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let other = browser.enter(&server, "123", "Bo").await?;
    for transport in TRANSPORTS {
        let page = browser.enter_at(&server.url(&path(transport, transport))).await?;
        other.wait_for_members(&["Bo", transport]).await?;
        let left = Instant::now();
        page.run("document.getElementById('close').click(); location.href = '/home/'", json!([])).await?;
        only_bo_is_left_at_once(&other, left, transport).await?;
    }
    Ok(())
}

/// Each page has a host of its own, because a browser opens at most six connections to a host.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_people_on_four_transports_see_one_chat() -> Result<()> {
    const EACH: usize = 5;
    const SAID: usize = 10;
    let server = Server::start_everywhere()?;
    let browser = Browser::start("en-US").await?;
    let mut names = Vec::new();
    let mut pages = Vec::new();
    for number in 0..EACH * TRANSPORTS.len() {
        let transport = TRANSPORTS[number % TRANSPORTS.len()];
        let name = format!("{transport}{number:02}");
        let url = server.url_on(&format!("127.0.0.{}", number + 2), &path(&name, transport))?;
        let page = browser.enter_at(&url).await?;
        page.wait_for_transport(transport).await?;
        names.push(name);
        pages.push(page);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for page in &pages {
        page.wait_for_members(&names).await?;
    }

    let texts = |name: &str| (0..SAID).map(|number| format!("{number} from {name}")).collect::<Vec<_>>();
    for (page, name) in pages.iter().zip(&names) {
        page.burst(&texts(name)).await?;
    }
    let everything: HashMap<String, Vec<String>> =
        names.iter().map(|name| (name.to_string(), texts(name))).collect();
    for (page, name) in pages.iter().zip(&names) {
        page.wait_for_messages(names.len() * SAID).await?;
        let mut shown: HashMap<String, Vec<String>> = HashMap::new();
        for (user, text) in page.messages().await? {
            shown.entry(user).or_default().push(text);
        }
        assert_eq!(shown, everything, "what {name} sees, by sender and in the sender's order");
    }
    Ok(())
}
