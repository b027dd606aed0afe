//! What a hook can do with its context.

use std::{cell::RefCell, rc::Rc, time::Duration};

use greenroom::{
    Accept, Layer, LayerError, MemoryLayer, Mount,
    close::CloseCode,
    consumer::{Deliver, Handle, Task},
    error::{Closed, MisuseError},
    prelude::*,
    testing::{CommunicatorError, WebsocketCommunicator, advance, pause},
};
use integration_tests::{Log, eventually, log};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Tick {
    name: String,
}

type Slot<T> = Rc<RefCell<Option<T>>>;

thread_local! {
    /// Hooks leave here what the test needs. All of it lives on one thread.
    static HANDLE: Slot<Handle> = Slot::default();
    static TASK: Slot<Task> = Slot::default();
    static ADDRESS: Slot<actix::Addr<greenroom::consumer::ConsumerActor>> = Slot::default();
}

#[derive(Clone, Default)]
struct Subject(Log);

impl Consumer for Subject {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        match message.text()? {
            "later" => drop(ctx.notify_later(Tick { name: "later".to_owned() }, Duration::from_secs(60))?),
            "every" => {
                let timer = ctx.notify_every(Tick { name: "every".to_owned() }, Duration::from_secs(10))?;
                TASK.with(|slot| *slot.borrow_mut() = Some(timer));
            }
            "spawn" => {
                struct OnDrop(Log);
                impl Drop for OnDrop {
                    fn drop(&mut self) {
                        self.0.note("the task ended");
                    }
                }
                let guard = OnDrop(self.0.clone());
                let task = ctx.spawn(async move {
                    std::future::pending::<()>().await;
                    drop(guard);
                })?;
                TASK.with(|slot| *slot.borrow_mut() = Some(task));
            }
            "spawn a panic" => drop(ctx.spawn(async { panic!("the text of a spawned panic") })?),
            "flood of tasks" => loop {
                if let Err(error) = ctx.spawn(std::future::pending()) {
                    ctx.send_text(error.to_string())?;
                    break;
                }
            },
            "blocking" => {
                let here = std::thread::current().id();
                let there = ctx.run_blocking(|| std::thread::current().id()).await?;
                ctx.send_text(if here == there { "here" } else { "elsewhere" })?;
            }
            "handle" => HANDLE.with(|slot| *slot.borrow_mut() = Some(ctx.handle())),
            "address" => ADDRESS.with(|slot| *slot.borrow_mut() = Some(ctx.address())),
            "accept again" => ctx.send_text(ctx.accept().unwrap_err().to_string())?,
            "bad code" => ctx.send_text(ctx.close_with(1005, "").unwrap_err().to_string())?,
            "both" => {
                let group = GroupName::new("both")?;
                ctx.group_add(&group).await?;
                let (first, second) = (Tick { name: "1".to_owned() }, Tick { name: "2".to_owned() });
                let (one, two) =
                    tokio::join!(ctx.group_send(&group, &first), ctx.group_send(&group, &second));
                one.and(two)?;
            }
            other => ctx.send_text(other.to_owned())?,
        }
        ctx.send_text("done")
    }
}

#[event_handlers]
impl Subject {
    async fn tick(&mut self, event: &Tick, ctx: &mut Context) -> Result<()> {
        ctx.send_text(event.name.clone())
    }
}

async fn connected(log: &Log) -> WebsocketCommunicator {
    let log = log.clone();
    let mut client = WebsocketCommunicator::of(move |_: &Scope| Ok(Subject(log.clone())));
    client.connect().await.unwrap();
    client
}

async fn tell(client: &mut WebsocketCommunicator, what: &str) {
    client.send_text(what);
    assert_eq!(client.receive_text().await.unwrap(), "done");
}

#[actix_web::test]
async fn timers_bring_events_in_sequence_and_can_be_cancelled() {
    let mut client = connected(&Log::default()).await;
    pause();
    tell(&mut client, "later").await;
    tell(&mut client, "every").await;
    for expected in ["every", "every", "every", "every", "every"] {
        advance(Duration::from_secs(10)).await;
        assert_eq!(client.receive_text().await.unwrap(), expected);
    }
    TASK.with(|slot| slot.borrow_mut().take()).unwrap().cancel();
    advance(Duration::from_secs(10)).await;
    assert_eq!(client.receive_text().await.unwrap(), "later");
    advance(Duration::from_secs(100)).await;
    assert!(client.receive_nothing().await);
}

#[actix_web::test]
async fn a_spawned_task_ends_with_the_connection() {
    let log = Log::default();
    let mut client = connected(&log).await;
    tell(&mut client, "spawn").await;
    assert!(log.lines().is_empty());
    client.disconnect().await;
    eventually("the task is dropped", || log.lines() == ["the task ended"]).await;
}

#[actix_web::test]
async fn a_spawned_task_can_be_cancelled_and_says_whether_it_has_ended() {
    let log = Log::default();
    let mut client = connected(&log).await;
    tell(&mut client, "spawn").await;
    let task = TASK.with(|slot| slot.borrow_mut().take()).unwrap();
    assert!(!task.is_finished());
    // A task may be cancelled from any thread.
    let canceller = task.clone();
    std::thread::spawn(move || canceller.cancel()).join().unwrap();
    eventually("the task is dropped", || task.is_finished() && log.lines() == ["the task ended"]).await;
    task.cancel();
    client.send_text("still here");
    assert_eq!(client.receive_text().await.unwrap(), "still here");
}

#[actix_web::test]
async fn a_spawned_task_that_panics_is_logged_at_once() {
    log::capture();
    let mut client = connected(&Log::default()).await;
    tell(&mut client, "spawn a panic").await;
    log::logged(&["ERROR", "a task of a connection", "the text of a spawned panic", "path=", "context::"])
        .await;
}

#[actix_web::test]
async fn tasks_are_bounded() {
    let mut client = connected(&Log::default()).await;
    client.send_text("flood of tasks");
    assert_eq!(client.receive_text().await.unwrap(), MisuseError::TooManyTasks(128).to_string());
}

#[actix_web::test]
async fn blocking_work_runs_on_another_thread() {
    let mut client = connected(&Log::default()).await;
    client.send_text("blocking");
    assert_eq!(client.receive_text().await.unwrap(), "elsewhere");
}

#[actix_web::test]
async fn a_handle_sends_until_the_connection_has_ended() {
    let mut client = connected(&Log::default()).await;
    tell(&mut client, "handle").await;
    let handle = HANDLE.with(|slot| slot.borrow_mut().take()).unwrap();
    handle.send("from outside").unwrap();
    assert_eq!(client.receive_text().await.unwrap(), "from outside");
    assert!(handle.notify(Tick { name: "notified".to_owned() }));
    assert_eq!(client.receive_text().await.unwrap(), "notified");
    handle.send_text("text").unwrap();
    handle.send_bytes([1, 2].as_slice().to_vec()).unwrap();
    handle.send_json(&[1, 2]).unwrap();
    assert_eq!(client.receive_text().await.unwrap(), "text");
    assert_eq!(client.receive_bytes().await.unwrap()[..], [1, 2]);
    assert_eq!(client.receive_json::<[u8; 2]>().await.unwrap(), [1, 2]);
    let bad = handle.close_with(1005, "").unwrap_err();
    assert_eq!(bad.to_string(), MisuseError::BadCloseCode(1005).to_string());
    handle.close_with(4001, "by a task").unwrap();
    let closed = CommunicatorError::Closed { code: CloseCode(4001), reason: "by a task".into() };
    assert_eq!(client.receive().await.unwrap_err(), closed);
    client.disconnect().await;
    handle.close_with(4001, "late").unwrap();
    assert_eq!(handle.send("late"), Err(Closed));
    assert!(!handle.notify(Tick { name: "late".to_owned() }) && handle.is_closed());
}

#[actix_web::test]
async fn any_actor_can_send_events_to_a_consumers_address() {
    let mut client = connected(&Log::default()).await;
    tell(&mut client, "address").await;
    let address = ADDRESS.with(|slot| slot.borrow_mut().take()).unwrap();
    address.send(Deliver(Tick { name: "1".to_owned() })).await.unwrap().unwrap();
    let recipient: actix::Recipient<Deliver<Tick>> = address.clone().recipient();
    recipient.do_send(Deliver(Tick { name: "2".to_owned() }));
    assert_eq!(client.receive_text().await.unwrap(), "1");
    assert_eq!(client.receive_text().await.unwrap(), "2");
    client.disconnect().await;
    match address.send(Deliver(Tick { name: "late".to_owned() })).await {
        Ok(Err(LayerError::NoReceiver)) | Err(actix::MailboxError::Closed) => {}
        other => panic!("an actor that has ended answered {other:?}"),
    }
}

#[actix_web::test]
async fn misuse_is_an_error_that_says_the_fix() {
    let mut client = connected(&Log::default()).await;
    client.send_text("accept again");
    assert_eq!(client.receive_text().await.unwrap(), MisuseError::AlreadyAnswered.to_string());
    assert_eq!(client.receive_text().await.unwrap(), "done");
    client.send_text("bad code");
    assert_eq!(client.receive_text().await.unwrap(), MisuseError::BadCloseCode(1005).to_string());
}

#[actix_web::test]
async fn two_sends_at_once_compile_and_arrive() {
    let mut client = connected(&Log::default()).await;
    tell(&mut client, "both").await;
    assert_eq!(client.receive_text().await.unwrap(), "1");
    assert_eq!(client.receive_text().await.unwrap(), "2");
}

/// A consumer on another layer.
struct Other;

impl Consumer for Other {
    const LAYER: &'static str = "testlayer";

    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept_with(Accept::new().subprotocol("v2").header("x-foo", "bar"))
    }
}

#[event_handlers]
impl Other {
    async fn tick(&mut self, event: &Tick, ctx: &mut Context) -> Result<()> {
        ctx.send_text(event.name.clone())
    }
}

#[actix_web::test]
async fn a_consumer_uses_the_layer_that_it_names() {
    let layer = Layer::from(MemoryLayer::new());
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Other))).unwrap();
    let mut refused = WebsocketCommunicator::new(&mount, "/");
    assert_eq!(refused.connect().await.unwrap_err().status(), 500, "rule 21: no such layer is configured");

    let mount = mount.layer_as("testlayer", layer.clone());
    let mut client = WebsocketCommunicator::new(&mount, "/").subprotocols(&["v1", "v2"]);
    let connected = client.connect().await.unwrap();
    assert_eq!(connected.subprotocol.as_deref(), Some("v2"));
    assert_eq!(connected.headers, [("x-foo".to_owned(), "bar".to_owned())]);
    layer.send(&client.channel_name().unwrap(), Tick { name: "here".to_owned() }).await.unwrap();
    assert_eq!(client.receive_text().await.unwrap(), "here");
}
