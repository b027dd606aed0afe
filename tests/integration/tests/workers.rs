//! Threads of a server: the turns of connections on one thread, and a thread that is behind.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::SeqCst},
    mpsc,
};

use greenroom::{
    Limits, Mount,
    prelude::*,
    testing::{LiveServer, WebsocketCommunicator, pause},
};
use integration_tests::{Client, Log, eventually};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

/// Blocks its whole thread until the test ends the block. No consumer should do this.
#[derive(Clone)]
struct Blocker {
    is_blocked: Arc<AtomicBool>,
    end: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Consumer for Blocker {
    fn groups(&self) -> Vec<GroupName> {
        vec![GroupName::new("room").unwrap()]
    }

    async fn receive(&mut self, _: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text("blocking")?;
        // The frame leaves when the hook is suspended for a moment.
        tokio::task::yield_now().await;
        let end = self.end.lock().unwrap();
        // From now on this thread does nothing.
        self.is_blocked.store(true, SeqCst);
        let end = end.recv();
        ctx.send_text(if end.is_ok() { "free" } else { "dropped" })
    }
}

#[event_handlers]
impl Blocker {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

#[actix_web::test]
async fn a_thread_that_is_behind_costs_only_its_own_members_and_is_counted() {
    let (free, end) = mpsc::channel();
    let blocker = Blocker { is_blocked: Arc::default(), end: Arc::new(Mutex::new(end)) };
    let is_blocked = Arc::clone(&blocker.is_blocked);
    let routes = UrlRouter::new().route("/", move |_: &Scope| Ok(blocker.clone()));
    // The waiting events arrive all at once. The outbox is large, because this test is not about slow readers.
    let mount = Mount::new(routes).unwrap().limits(Limits::new().outbox_size(64 << 20));
    let server = LiveServer::start(&mount, 1).unwrap();
    // This is dropped before the server. Otherwise the server's thread would never end if the test failed.
    let free = free;
    let mut member = Client::connect(&server, "/").await;
    member.send("block").await;
    assert_eq!(member.text().await, "blocking");
    eventually("the thread is blocked", || is_blocked.load(SeqCst)).await;

    pause();
    let room = GroupName::new("room").unwrap();
    let megabyte = Said { text: "x".repeat(1 << 20) };
    let layer = mount.default_layer();
    let mut sent = 0;
    while layer.metrics().thread_behind == 0 {
        layer.group_send(&room, &megabyte).await.unwrap();
        sent += 1;
        assert!(sent < 100, "the queue between threads takes any number of events");
    }
    assert!(sent <= 8, "{sent} were sent: 7 fit into its 8 MiB");
    let counted = layer.group_send_counted(&room, &megabyte).await.unwrap();
    assert_eq!((counted.delivered, counted.threads_behind), (0, 1));
    tokio::time::resume();
    free.send(()).unwrap();
    assert_eq!(member.text().await, "free");
}

/// The thread that is blocked is asked first, and its queue is full.
#[actix_web::test]
async fn a_thread_that_is_behind_does_not_delay_the_members_of_another() {
    let (free, end) = mpsc::channel();
    let blocker = Blocker { is_blocked: Arc::default(), end: Arc::new(Mutex::new(end)) };
    let is_blocked = Arc::clone(&blocker.is_blocked);
    let routes = UrlRouter::new().route("/", move |_: &Scope| Ok(blocker.clone()));
    let mount = Mount::new(routes).unwrap().limits(Limits::new().outbox_size(64 << 20));
    let (blocked, other) = (LiveServer::start(&mount, 1).unwrap(), LiveServer::start(&mount, 1).unwrap());
    let free = free;
    let mut stuck = Client::connect(&blocked, "/").await;
    let mut member = Client::connect(&other, "/").await;
    stuck.send("block").await;
    assert_eq!(stuck.text().await, "blocking");
    eventually("the thread is blocked", || is_blocked.load(SeqCst)).await;
    let (layer, room) = (mount.default_layer(), GroupName::new("room").unwrap());
    for _ in 0..7 {
        layer.group_send(&room, Said { text: "x".repeat(1 << 20) }).await.unwrap();
        assert_eq!(member.text().await.len(), 1 << 20);
    }
    let text = "y".repeat(1 << 20);
    let send = async {
        layer.group_send(&room, Said { text: text.clone() }).await.unwrap();
        unreachable!("it waits for the thread that is blocked");
    };
    let hears = async { assert_eq!(member.text().await, text) };
    tokio::select! {
        biased;
        () = send => {}
        () = hears => {}
    }
    assert_eq!(layer.metrics().thread_behind, 0, "no deadline was over");
    free.send(()).unwrap();
    assert_eq!(stuck.text().await, "free");
}

/// Notes each message.
#[derive(NoEvents)]
struct Noter(Log);

impl Consumer for Noter {
    async fn receive(&mut self, message: Message, _: &mut Context) -> Result<()> {
        self.0.note(message.text()?.to_owned());
        Ok(())
    }
}

#[actix_web::test]
async fn a_client_that_floods_leaves_the_others_their_turn() {
    let log = Log::default();
    let notes = log.clone();
    let mount = Mount::new(UrlRouter::new().route("/", move |_: &Scope| Ok(Noter(notes.clone())))).unwrap();
    let mut flooder = WebsocketCommunicator::new(&mount, "/");
    flooder.connect().await.unwrap();
    let mut other = WebsocketCommunicator::new(&mount, "/");
    other.connect().await.unwrap();
    for _ in 0..500 {
        flooder.send_text("flood");
    }
    other.send_text("other");
    other.disconnect().await;
    flooder.disconnect().await;
    let lines = log.lines();
    assert_eq!(lines.len(), 501);
    let place = lines.iter().position(|line| line == "other").unwrap();
    assert!(
        place <= 64,
        "the other client came after {place} hooks of the flooder, which may run 32 in a turn"
    );
}
