//! Two chat servers on one Redis, with people and a Django process.

use std::collections::HashMap;

use browser_tests::{Browser, Page, Result, Server};
use redis_tests::{Python, RedisServer, eventually};
use serde_json::json;

/// How many pages each server has.
const PAGES: usize = 10;
/// The user of the messages from Django.
const DJANGO: &str = "django";

/// Django says something to everyone in the room.
async fn django_says(python: &mut Python, text: &str) {
    let message = format!("{{'type': 'chat.message', 'user': '{DJANGO}', 'text': '{text}'}}");
    python.must("group_send", &[json!("chat_123"), json!(message)]).await;
}

/// Checks that each page shows exactly these messages, each once, and in the order of each user.
async fn all_show(pages: &[Page<'_>], said: &HashMap<String, Vec<String>>) -> Result<()> {
    let count = said.values().map(Vec::len).sum();
    for page in pages {
        page.wait_for_messages(count).await?;
        let mut shown: HashMap<String, Vec<String>> = HashMap::new();
        for (user, text) in page.messages().await? {
            shown.entry(user).or_default().push(text);
        }
        assert_eq!(&shown, said);
    }
    Ok(())
}

/// Ten pages on each of two servers with this layer, a Django process with the same kind of layer, and a restart of Redis.
async fn two_servers_are_one_chat(
    scheme: &str,
    kind: &str,
    servers_in_the_room: impl Fn(&RedisServer) -> u64,
) -> Result<()> {
    let mut redis = RedisServer::start();
    let url = redis.url().replace("redis://", scheme);
    let servers = [Server::start_on(&url)?, Server::start_on(&url)?];
    let browser = Browser::start("en-US").await?;
    let names: Vec<String> = (0..2 * PAGES).map(|number| format!("person{number:02}")).collect();
    let mut pages = Vec::new();
    for (number, name) in names.iter().enumerate() {
        pages.push(browser.enter(&servers[number / PAGES], "123", name).await?);
    }
    let mut python = Python::start(kind, &json!({"hosts": [redis.url()]})).await;

    let mut said: HashMap<String, Vec<String>> = HashMap::new();
    for (page, name) in pages.iter().zip(&names) {
        let texts: Vec<String> = (1..=5).map(|number| format!("{number} from {name}")).collect();
        page.burst(&texts).await?;
        said.insert(name.clone(), texts);
    }
    all_show(&pages, &said).await?;
    django_says(&mut python, "hi").await;
    said.insert(DJANGO.to_owned(), vec!["hi".to_owned()]);
    all_show(&pages, &said).await?;

    redis.restart();
    eventually("both servers are there again", || servers_in_the_room(&redis) == 2).await;
    // The Python process has lost its connection too.
    let mut python = Python::start(kind, &json!({"hosts": [redis.url()]})).await;
    django_says(&mut python, "back").await;
    said.entry(DJANGO.to_owned()).or_default().push("back".to_owned());
    all_show(&pages, &said).await?;
    for (page, name) in [(&pages[0], &names[0]), (&pages[PAGES], &names[PAGES])] {
        page.say("still here").await?;
        said.entry(name.clone()).or_default().push("still here".to_owned());
        all_show(&pages, &said).await?;
    }
    for page in &pages {
        assert_eq!(page.lines("status").await?, ["[connected]"], "no page has lost its socket");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_are_one_chat_over_core() -> Result<()> {
    // Each server has a name in the group.
    let names = |redis: &RedisServer| redis.run::<u64>(&["ZCARD", "asgi:group:chat_123"]);
    two_servers_are_one_chat("redis://", "core", names).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_are_one_chat_over_pubsub() -> Result<()> {
    let subscribers =
        |redis: &RedisServer| redis.run::<(String, u64)>(&["PUBSUB", "NUMSUB", "asgi__group__chat_123"]).1;
    two_servers_are_one_chat("redis-pubsub://", "pubsub", subscribers).await
}
