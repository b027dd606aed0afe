//! Saves the pictures that the README shows: `screenshot docs/chat.png docs/live-chart.png docs/deploy-log.png
//! docs/django-interop.png docs/game.png`. That of django-interop also saves the Django page, as `docs/django-interop-django.png`.

use std::path::{Path, PathBuf};

use browser_tests::{Browser, Interop, Result, Server};
use serde_json::json;

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
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if paths.is_empty() {
        return Err("usage: screenshot PATH..., each named as its example".into());
    }
    for path in paths {
        match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("chat") => chat(&path).await?,
            Some("live-chart") => live_chart(&path).await?,
            Some("deploy-log") => deploy_log(&path).await?,
            Some("django-interop") => django_interop(&path).await?,
            Some("game") => game(&path).await?,
            _ => return Err(format!("{}: there is no example of this name", path.display()).into()),
        }
    }
    Ok(())
}

async fn chat(path: &Path) -> Result<()> {
    let server = Server::start()?;
    let browser = Browser::start("en-US").await?;
    let mut pages = Vec::new();
    for name in NAMES {
        pages.push(browser.enter(&server, "123", name).await?);
    }
    // One person leaves and comes back, so that the picture has such lines too.
    pages[5].click("close").await?;
    pages[0].wait_for_line("left", "Sam").await?;
    pages[5].click("reconnect").await?;
    pages[0].wait_for_members(&NAMES).await?;
    for (speaker, text) in TALK {
        pages[speaker].say(text).await?;
        pages[0].wait_for_message(NAMES[speaker], text).await?;
    }
    pages[0].screenshot(path).await
}

async fn live_chart(path: &Path) -> Result<()> {
    let server = Server::start_of("live-chart", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/")).await?;
    page.wait_until_open().await?;
    page.click("add-button").await?;
    page.wait("document.getElementById('progress').value > 250", json!([])).await?;
    page.click("run").await?;
    page.wait("document.getElementById('run').textContent === 'Resume'", json!([])).await?;
    page.wait("document.getAnimations().length === 0", json!([])).await?;
    page.screenshot(path).await
}

async fn deploy_log(path: &Path) -> Result<()> {
    let server = Server::start_of("deploy-log", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let page = browser.open(&server.url("/")).await?;
    page.wait_until_open().await?;
    let plans = ["database", "website", "search"];
    page.wait("document.querySelector('#plans button')", json!([])).await?;
    for plan in plans {
        page.run("document.querySelector(`[data-plan=${arguments[0]}]`).click()", json!([plan])).await?;
    }
    page.wait("document.querySelectorAll('#list details[open]').length === 3", json!([])).await?;
    page.wait("document.querySelector('[data-state=failed]')", json!([])).await?;
    page.run("document.querySelector('[data-id=\"3\"] details').open = false", json!([])).await?;
    page.screenshot(path).await
}

async fn django_interop(path: &Path) -> Result<()> {
    const TALK: [(usize, &str); 5] = [
        (0, "Hello from the Rust server."),
        (1, "And hello from Django. Do you see this?"),
        (0, "Yes, at once."),
        (1, "One Redis is all there is between us."),
        (0, "And nobody had to move everything in one day: this room is on both, for as long as it takes."),
    ];
    let servers = Interop::start()?;
    let browser = Browser::start("en-US").await?;
    let pages = [
        browser.enter_at(&servers.rust("Ann")?).await?,
        browser.enter_at(&servers.django("Bob")?).await?,
        browser.enter_at(&servers.rust("Cy")?).await?,
    ];
    for (speaker, text) in TALK {
        pages[speaker].say(text).await?;
        for page in &pages {
            page.wait_for_message(["Ann", "Bob"][speaker], text).await?;
        }
    }
    pages[1].screenshot(&path.with_file_name("django-interop-django.png")).await?;
    pages[2].type_into("input", "So").await?;
    pages[0].wait("document.getElementById('typing').textContent !== ''", json!([])).await?;
    pages[0].screenshot(path).await
}

async fn game(path: &Path) -> Result<()> {
    let server = Server::start_of("game", "127.0.0.1:0")?;
    let browser = Browser::start("en-US").await?;
    let page = browser.enter_at(&server.url(&format!("/game/1/?name={}", NAMES[0]))).await?;
    // The other players are sockets, because a tab in the background is slow. All of them go for the nearest spark.
    let play = r"
        const given = arguments;
        const nearest = (sparks, [x, y]) => sparks.map(([a, b]) => [a - x, b - y])
          .sort((one, other) => Math.hypot(...one) - Math.hypot(...other))[0] ?? [0, 0];
        const press = (code, held) => document.body.dispatchEvent(
          new KeyboardEvent(held ? 'keydown' : 'keyup', { code, bubbles: true }));
        given[0].forEach((name, index) => {
          const socket = new WebSocket(`/game/1/?name=${encodeURIComponent(name)}`);
          let me = null;
          let count = 0;
          socket.onmessage = ({ data }) => {
            const event = JSON.parse(data);
            if (event.type === 'you') me = event.id;
            if (event.type !== 'moved') return;
            const player = (id) => event.players.find((player) => player[0] === id);
            if (index === 0) {
              const [dx, dy] = nearest(event.sparks, player(1)[1]);
              [['ArrowLeft', dx < -8], ['ArrowRight', dx > 8], ['ArrowUp', dy < -8], ['ArrowDown', dy > 8]]
                .forEach(([code, held]) => press(code, held));
            }
            const own = player(me);
            if (own && count++ % (6 + index) === 0) {
              const [dx, dy] = nearest(event.sparks.slice(index), own[1]);
              const length = Math.hypot(dx, dy) || 1;
              socket.send(JSON.stringify({ type: 'steer', x: dx / length, y: dy / length }));
            }
            const [at, wish] = given[1][index] ?? [];
            if (count === at) socket.send(JSON.stringify(wish));
          };
        });";
    let say = |text: &str| json!({ "type": "say", "text": text });
    let wishes = json!([
        [20, say("Who has seen the spark at the left?")],
        [30, say("大家加油！")],
        [40, say("Which one? There are three.")],
        [50, say("I come from the other side.")],
        [60, { "type": "whisper", "to": 1, "text": "Take the corner, I take the middle." }],
    ]);
    page.run(play, json!([&NAMES[1..], wishes])).await?;
    let shown = "document.querySelectorAll('#log p').length === 5
        && Array.from(document.querySelectorAll('#players span')).filter(score => score.textContent > 4).length > 3";
    page.wait(shown, json!([])).await?;
    page.screenshot(path).await
}
