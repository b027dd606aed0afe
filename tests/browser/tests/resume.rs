//! What a page has missed comes when it is back, once and in order, over every transport, or the page is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use browser_tests::{Browser, Engine, Page, Proxy};
use greenroom::{
    Body, Fallback, HttpConsumer, HttpContext, Layer, LayerConfig, MemoryLayer, Mount,
    close::{Cause, Disconnect},
    history::History,
    prelude::*,
    testing::LiveServer,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

type Result<T> = browser_tests::Result<T>;

const TRANSPORTS: [&str; 4] = ["websocket", "sse", "long-poll", "poll"];
/// After so long without a request, a client without a WebSocket is gone.
const EXPIRY: Duration = Duration::from_millis(500);

/// A number for all, which is relayed.
#[derive(Clone, Serialize, Deserialize, Event)]
struct Number {
    number: usize,
}

/// A number of which a handler makes two messages: a text, and bytes.
#[derive(Clone, Serialize, Deserialize, Event)]
struct Pair {
    number: usize,
}

/// A page's consumer.
struct Board {
    room: GroupName,
    /// While this is held, `connect` goes on behind its accept.
    gate: Arc<Mutex<()>>,
    superseded: Arc<AtomicUsize>,
}

impl Consumer for Board {
    fn groups(&self) -> Vec<GroupName> {
        vec![self.room.clone()]
    }

    async fn connect(&mut self, ctx: &mut Context) -> greenroom::Result<()> {
        ctx.accept()?;
        drop(self.gate.lock().await);
        Ok(())
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> greenroom::Result<()> {
        ctx.send_text(format!("echo {}", message.text()?))
    }

    async fn disconnect(&mut self, end: Disconnect, _ctx: &mut Context) {
        self.superseded.fetch_add(usize::from(end.cause == Cause::Superseded), SeqCst);
    }
}

#[event_handlers]
impl Board {
    #[relay]
    fn number(event: &Number) -> Outgoing {
        Outgoing::text(event.number.to_string())
    }

    async fn pair(&mut self, event: &Pair, ctx: &mut Context) -> greenroom::Result<()> {
        ctx.send_text(format!("{} first", event.number))?;
        ctx.send_bytes(format!("{} second", event.number).into_bytes())
    }
}

/// An empty page.
#[derive(NoEvents)]
struct Empty;

impl HttpConsumer for Empty {
    async fn handle(&mut self, _body: Body, ctx: &mut HttpContext) -> greenroom::Result<()> {
        ctx.send_response(200, &[("content-type", "text/html")], "<!doctype html><title>board</title><body>")
    }
}

/// A server of boards, and what is said on them.
struct Boards {
    layer: Layer,
    server: LiveServer,
    gate: Arc<Mutex<()>>,
    superseded: Arc<AtomicUsize>,
    said: usize,
}

impl Boards {
    fn start(history: History) -> Result<Self> {
        let layer = MemoryLayer::with_config(LayerConfig::new().history("board_*", history)).into();
        Self::start_on(&layer)
    }

    /// Another server may have the same layer, as after a deploy.
    fn start_on(layer: &Layer) -> Result<Self> {
        let superseded = Arc::<AtomicUsize>::default();
        let gate = Arc::<Mutex<()>>::default();
        let (held, counted) = (Arc::clone(&gate), Arc::clone(&superseded));
        let board = move |_: &Scope| {
            Ok(Board { room: room(), gate: Arc::clone(&held), superseded: Arc::clone(&counted) })
        };
        let routes = UrlRouter::new().http("/", |_: &Scope| Ok(Empty)).http("/other", |_: &Scope| Ok(Empty));
        let mount = Mount::new(routes.route("/board", board))?
            .layer(layer.clone())
            .fallback(Fallback::new().expires(EXPIRY).wait(Duration::from_millis(200)))
            .script("/greenroom.js");
        Ok(Self { layer: layer.clone(), server: LiveServer::start(&mount, 2)?, gate, superseded, said: 0 })
    }

    /// Says so many numbers more.
    async fn say(&mut self, count: usize) -> Result<()> {
        for number in self.said..self.said + count {
            if number % 10 == 9 {
                self.layer.group_send(&room(), Pair { number }).await?;
            } else {
                self.layer.group_send(&room(), Number { number }).await?;
            }
        }
        self.said += count;
        Ok(())
    }

    /// What a page has heard if it has missed nothing.
    fn all(&self) -> Vec<String> {
        let messages = |number: usize| match number % 10 {
            9 => vec![format!("{number} first"), format!("{number} second")],
            _ => vec![number.to_string()],
        };
        (0..self.said).flat_map(messages).collect()
    }
}

fn room() -> GroupName {
    GroupName::new("board_1").unwrap_or_else(|error| panic!("{error}"))
}

/// Opens a page, and in it a socket by each of these transports. What each hears is kept in the page.
async fn open<'a>(browser: &'a Browser, url: &str, transports: &[&str]) -> Result<Page<'a>> {
    let page = browser.open(url).await?;
    let script = "const [transports] = arguments, done = arguments[arguments.length - 1];
        import('/greenroom.js').then(async ({ GreenroomSocket }) => {
          window.boards = {};
          await Promise.all(transports.map((transport) => new Promise((opened) => {
            const socket = new GreenroomSocket('/board', [], {
              transports: [transport], pollInterval: 20, reconnect: { base: 20, max: 20 },
            });
            socket.binaryType = 'arraybuffer';
            const board = boards[transport] = { socket, heard: [], places: [], backs: [], lost: [] };
            socket.onopen = opened;
            socket.onmessage = ({ data, lastEventId }) => {
              board.heard.push(typeof data === 'string' ? data : new TextDecoder().decode(data));
              if (lastEventId) board.places.push(lastEventId);
            };
            socket.onreconnect = ({ recovered, lost }) => board.backs.push([recovered, lost.map(({ reason }) => reason)]);
            socket.onlost = ({ lost }) => board.lost.push(lost.map(({ reason }) => reason));
          })));
        }).then(() => done(null), (error) => done(String(error.stack)))";
    let failed = page.run_async(script, json!([transports])).await?;
    if failed.is_null() { Ok(page) } else { Err(failed.to_string().into()) }
}

/// A script that counts the new connections that the server has greeted.
const COUNT_GREETINGS: &str = "
    window.greeted = 0;
    const ask = fetch;
    window.fetch = async (url, options) => {
      const answer = await ask(url, options);
      if (!answer.ok || !url.includes('greenroom=open')) return answer;
      await answer.clone().text();
      greeted += 1;
      return answer;
    };
    window.WebSocket = class extends WebSocket {
      constructor(url, protocols) {
        super(url, protocols);
        this.addEventListener('message', () => { greeted += 1; }, { once: true });
      }
    };";

/// Waits until the tab shows the page of a path. Not by a script that waits: Firefox would put it into its cache, with the
/// page that is left.
async fn arrived(page: &Page<'_>, path: &str) -> Result<()> {
    let here = "return location.pathname === arguments[0] && document.readyState === 'complete'";
    let arriving = async {
        // An error means that the page is just being replaced.
        while !page.run(here, json!([path])).await.is_ok_and(|here| here == true) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    Ok(tokio::time::timeout(Duration::from_secs(30), arriving).await?)
}

/// Waits until the socket of a transport has heard so many messages.
async fn heard(page: &Page<'_>, transport: &str, count: usize) -> Result<()> {
    let waited = page.wait("boards[args[0]].heard.length >= args[1]", json!([transport, count])).await;
    if let Err(error) = waited {
        return Err(format!("{transport}: {error}; heard {}", of(page, transport, "heard").await?).into());
    }
    Ok(())
}

/// Waits until all sockets have heard so many messages.
async fn all_heard(page: &Page<'_>, count: usize) -> Result<()> {
    for transport in TRANSPORTS {
        heard(page, transport, count).await?;
    }
    Ok(())
}

/// Waits until the sockets have heard these messages. They have heard no others, and were told this when they came back.
async fn have_heard(page: &Page<'_>, transports: &[&str], messages: &[String], backs: Value) -> Result<()> {
    for transport in transports {
        heard(page, transport, messages.len()).await?;
        assert_eq!(of(page, transport, "heard").await?, json!(messages), "{transport}");
        assert_eq!(of(page, transport, "backs").await?, backs, "{transport}");
    }
    Ok(())
}

/// What the socket of a transport has noted.
async fn of(page: &Page<'_>, transport: &str, what: &str) -> Result<Value> {
    page.run("return boards[arguments[0]][arguments[1]]", json!([transport, what])).await
}

/// Waits until all sockets have come back so often.
async fn back(page: &Page<'_>, times: usize) -> Result<()> {
    page.wait("Object.values(boards).every(({ backs }) => backs.length === args[0])", json!([times])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_gets_what_it_missed_over_every_transport() -> Result<()> {
    let mut boards = Boards::start(History::last(1000))?;
    let proxy = Proxy::start_before(boards.server.address()).await?;
    let browser = Browser::start("en-US").await?;
    let page = open(&browser, &proxy.url("/"), &TRANSPORTS).await?;
    boards.say(15).await?;
    all_heard(&page, boards.all().len()).await?;
    proxy.cut();
    boards.server.wait_until_empty().await;
    boards.say(30).await?;
    proxy.restore();
    all_heard(&page, boards.all().len()).await?;
    boards.say(5).await?;
    have_heard(&page, &TRANSPORTS, &boards.all(), json!([[true, []]])).await?;
    for transport in TRANSPORTS {
        assert_eq!(of(&page, transport, "lost").await?, json!([]), "{transport}");
        let distinct = "const { places } = boards[arguments[0]];
            return [places.length, new Set(places).size, places.every((place) => /^[0-9a-f]{16}\\.\\d+\\.[0-9a-f]{6}$/.test(place))]";
        let places = page.run(distinct, json!([transport])).await?;
        assert_eq!(places, json!([boards.all().len(), boards.said, true]), "{transport}");
    }
    Ok(())
}

/// Some of the cuts are so short that a connection without a WebSocket outlives them, and others are not.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_however_often_the_connection_is_cut() -> Result<()> {
    const CUTS: usize = 12;
    let mut boards = Boards::start(History::last(1000))?;
    let proxy = Proxy::start_before(boards.server.address()).await?;
    let browser = Browser::start("en-US").await?;
    let page = open(&browser, &proxy.url("/"), &TRANSPORTS).await?;
    for round in 0..CUTS {
        boards.say(7).await?;
        proxy.cut();
        boards.say(7).await?;
        if round % 3 == 2 {
            boards.server.wait_until_empty().await;
        }
        proxy.restore();
        // The next cut may come before they are back, or while they catch up.
        if round % 2 == 1 {
            all_heard(&page, boards.all().len()).await?;
        }
    }
    boards.say(1).await?;
    for transport in TRANSPORTS {
        heard(&page, transport, boards.all().len()).await?;
        assert_eq!(of(&page, transport, "heard").await?, json!(boards.all()), "{transport}");
        let backs = of(&page, transport, "backs").await?;
        assert!(backs.as_array().is_some_and(|backs| !backs.is_empty()), "{transport}");
        assert!(
            backs.as_array().into_iter().flatten().all(|back| *back == json!([true, []])),
            "{transport}: {backs}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_loses_nothing_if_the_history_survives_and_says_so_if_not() -> Result<()> {
    let mut boards = Boards::start(History::last(1000))?;
    let proxy = Proxy::start_before(boards.server.address()).await?;
    let browser = Browser::start("en-US").await?;
    let page = open(&browser, &proxy.url("/"), &TRANSPORTS).await?;
    boards.say(12).await?;

    let next = Boards::start_on(&boards.layer)?;
    proxy.turn_to_address(next.server.address());
    let (left, said) = tokio::join!(boards.server.drain(Duration::from_secs(20)), async {
        let (layer, from) = (&next.layer, boards.said);
        for number in from..from + 7 {
            layer.group_send(&room(), Number { number }).await?;
        }
        Result::Ok(())
    });
    said?;
    assert_eq!(left, 0);
    let mut boards = Boards { said: boards.said + 7, ..next };
    boards.say(20).await?;
    have_heard(&page, &TRANSPORTS, &boards.all(), json!([[true, []]])).await?;

    // A server that has forgotten everything does not know what the pages show it.
    let mut other = Boards::start(History::last(1000))?;
    proxy.turn_to_address(other.server.address());
    assert_eq!(boards.server.drain(Duration::from_secs(20)).await, 0);
    back(&page, 2).await?;
    other.say(3).await?;
    let both = [boards.all(), other.all()].concat();
    have_heard(&page, &TRANSPORTS, &both, json!([[true, []], [false, ["epoch"]]])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_away_too_long_is_told() -> Result<()> {
    let mut boards = Boards::start(History::last(5))?;
    let proxy = Proxy::start_before(boards.server.address()).await?;
    let browser = Browser::start("en-US").await?;
    let page = open(&browser, &proxy.url("/"), &TRANSPORTS).await?;
    boards.say(3).await?;
    all_heard(&page, 3).await?;
    proxy.cut();
    boards.server.wait_until_empty().await;
    boards.say(6).await?;
    proxy.restore();
    back(&page, 1).await?;
    boards.say(1).await?;
    let messages = ["0", "1", "2", "9 first", "9 second"].map(str::to_owned);
    have_heard(&page, &TRANSPORTS, &messages, json!([[false, ["trimmed"]]])).await
}

/// The network vanishes: the server still holds the old WebSocket for open when the page comes back.
#[tokio::test(flavor = "multi_thread")]
async fn the_old_connection_of_a_page_ends_when_it_is_back() -> Result<()> {
    let mut boards = Boards::start(History::last(1000))?;
    let proxy = Proxy::start_before(boards.server.address()).await?;
    let browser = Browser::start("en-US").await?;
    let page = open(&browser, &proxy.url("/"), &["websocket"]).await?;
    boards.say(3).await?;
    heard(&page, "websocket", 3).await?;
    proxy.cut_unnoticed();
    page.wait("boards.websocket.socket.readyState === 0", json!([])).await?;
    boards.say(5).await?;
    proxy.restore();
    heard(&page, "websocket", 8).await?;
    boards.say(1).await?;
    heard(&page, "websocket", 9).await?;
    assert_eq!(of(&page, "websocket", "heard").await?, json!(boards.all()));
    let ended = async {
        while boards.superseded.load(SeqCst) < 1 || boards.server.connections() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await?;
    let state = "return boards.websocket.socket.state";
    assert_eq!(page.run(state, json!([])).await?, "open", "the new connection goes on");
    Ok(())
}

/// The server greets the client before its consumer is ready, and says only then what the page has missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_consumer_takes_long_is_told_once_and_rightly() -> Result<()> {
    let mut boards = Boards::start(History::last(1000))?;
    let proxy = Proxy::start_before(boards.server.address()).await?;
    let browser = Browser::start("en-US").await?;
    let page = open(&browser, &proxy.url("/"), &TRANSPORTS).await?;
    boards.say(3).await?;
    all_heard(&page, 3).await?;
    page.run(COUNT_GREETINGS, json!([])).await?;
    let gate = Arc::clone(&boards.gate);
    let held = gate.lock().await;
    proxy.cut();
    boards.server.wait_until_empty().await;
    boards.say(12).await?;
    proxy.restore();
    page.wait("greeted === args[0]", json!([TRANSPORTS.len()])).await?;
    for transport in TRANSPORTS {
        assert_eq!(of(&page, transport, "backs").await?, json!([]), "{transport}");
    }
    drop(held);
    have_heard(&page, &TRANSPORTS, &boards.all(), json!([[true, []]])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_from_the_browsers_cache_gets_what_it_missed() -> Result<()> {
    let browser = Browser::start("en-US").await?;
    for transport in TRANSPORTS {
        let mut boards = Boards::start(History::last(1000))?;
        let page = open(&browser, &boards.server.url("/"), &[transport]).await?;
        boards.say(3).await?;
        heard(&page, transport, 3).await?;
        page.run("location.href = '/other'", json!([])).await?;
        arrived(&page, "/other").await?;
        boards.server.wait_until_empty().await;
        boards.say(12).await?;
        page.run("history.back()", json!([])).await?;
        arrived(&page, "/").await?;
        if page.run("return 'boards' in window", json!([])).await? == false {
            assert_eq!(browser.engine(), Engine::Firefox, "{transport}: the page was loaded again");
            let what = format!("what a page from the back/forward cache has missed by {transport}");
            let why = "a page with an open WebSocket or request is not kept, so it was loaded again";
            browser.engine().leaves_out(&what, why)?;
            continue;
        }
        have_heard(&page, &[transport], &boards.all(), json!([[true, []]])).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_a_network_gets_what_it_missed() -> Result<()> {
    let mut boards = Boards::start(History::last(1000))?;
    let browser = Browser::start("en-US").await?;
    let page = open(&browser, &boards.server.url("/"), &TRANSPORTS).await?;
    boards.say(3).await?;
    all_heard(&page, 3).await?;
    if browser.engine() == Engine::WebKit {
        let reason = "its driver cannot take the network away, so a script sends the page the event";
        browser.engine().leaves_out("what a page without a network has missed", reason)?;
        page.run("dispatchEvent(new Event('offline'))", json!([])).await?;
    } else {
        browser.set_offline(true).await?;
        // Chromium lets a new WebSocket through all the same.
        let noticed = "boards.websocket.socket.readyState === 0 || boards.websocket.backs.length > 0";
        page.wait(noticed, json!([])).await?;
    }
    boards.say(12).await?;
    if browser.engine() == Engine::WebKit {
        page.run("dispatchEvent(new Event('online'))", json!([])).await?;
    } else {
        browser.set_offline(false).await?;
    }
    for transport in TRANSPORTS {
        heard(&page, transport, boards.all().len()).await?;
        assert_eq!(of(&page, transport, "heard").await?, json!(boards.all()), "{transport}");
    }
    assert_eq!(of(&page, "websocket", "backs").await?, json!([[true, []]]));
    Ok(())
}
