//! Saves the picture of the chat page that the README shows: `screenshot docs/chat.png`.

use std::path::PathBuf;

use browser_tests::{Browser, Result, Server};

const TALK: [(usize, &str); 7] = [
    (1, "Doors open in ten minutes."),
    (1, "Does everyone have the running order?"),
    (2, "有的，谢谢！灯光也准备好了。"),
    (0, "Yes, got it."),
    (
        3,
        "The second act has changed since the last rehearsal: lights first, then sound, then the curtain. \
         Nobody touches the trapdoor before the third bell, please.",
    ),
    (0, "Understood, I stay at the desk and wait for your sign."),
    (2, "大家加油！"),
];

const NAMES: [&str; 8] = ["Lin", "Ann", "王小明", "Ravi", "Zoë", "Sam", "Uma", "Tom"];

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: screenshot PATH")?;
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let mut pages = Vec::new();
    for name in NAMES {
        pages.push(browser.enter(&server, "123", name).await?);
    }
    // One leaves and comes back, so that the quiet lines are in the picture too.
    pages[5].click("close").await?;
    pages[0].wait_for_line("left", "Sam").await?;
    pages[5].click("reconnect").await?;
    pages[0].wait_for_members(&NAMES).await?;
    for (speaker, text) in TALK {
        pages[speaker].say(text).await?;
        pages[0].wait_for_message(NAMES[speaker], text).await?;
    }
    pages[0].screenshot(&path).await
}
