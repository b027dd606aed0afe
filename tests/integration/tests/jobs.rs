//! Background work, as seen by the programs that send jobs and run workers.

use std::{
    rc::Rc,
    sync::{Arc, Mutex},
    thread::{self, ThreadId},
    time::Duration,
};

use greenroom::{
    ChannelName, ChannelNameRouter, Error, Layer, MemoryLayer, Mount, Worker, WorkerContext, prelude::*,
    testing::WebsocketCommunicator, worker::JobLimits,
};
use integration_tests::{Gate, PATIENCE, eventually, log};
use tokio::time::timeout;

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("thumbnail.generate")]
struct Generate {
    id: u64,
    reply_to: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("thumbnail.ready")]
struct Ready {
    path: String,
}

/// Asks for a thumbnail, and sends its path to the client.
struct Page;

impl Consumer for Page {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let job = Generate { id: message.text()?.parse()?, reply_to: ctx.channel_name().to_string() };
        Ok(ctx.layer().send(&channel("thumbnails-generate"), &job).await?)
    }
}

#[event_handlers]
impl Page {
    async fn thumbnail_ready(&mut self, event: &Ready, ctx: &mut Context) -> Result<()> {
        ctx.send_text(event.path.as_str())
    }
}

/// The fields of a consumer need not be `Send`.
struct Thumbnails {
    folder: Rc<str>,
}

#[event_handlers]
impl Thumbnails {
    async fn thumbnail_generate(&mut self, job: &Generate, ctx: &mut WorkerContext) -> Result<()> {
        let folder = Rc::clone(&self.folder);
        let id = job.id;
        let made = ctx.run_blocking(move || format!("{id}.png")).await?;
        let ready = Ready { path: format!("{folder}/{made}") };
        ctx.send(&ChannelName::new(&job.reply_to)?, &ready).await
    }
}

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

#[actix_web::test]
async fn a_page_asks_and_a_worker_of_its_process_answers() {
    let layer = Layer::from(MemoryLayer::new());
    let router = ChannelNameRouter::new()
        .channel("thumbnails-generate", |_| Ok(Thumbnails { folder: "thumbnails".into() }));
    let worker = Worker::new(layer.clone(), router).unwrap().start().unwrap();
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Page))).unwrap().layer(layer);
    let mut page = WebsocketCommunicator::new(&mount, "/");
    page.connect().await.unwrap();
    for id in [7, 8] {
        page.send_text(id.to_string());
        assert_eq!(page.receive_text().await.unwrap(), format!("thumbnails/{id}.png"));
    }
    page.disconnect().await;
    assert_eq!(worker.stop().await.unwrap().jobs, 2);
}

#[derive(Clone, Serialize, Deserialize, Event)]
enum Order {
    Fail,
    Hold,
    Where,
}

/// Notes the thread on which it ran.
#[derive(Clone, Default)]
struct Clerk {
    threads: Arc<Mutex<Vec<ThreadId>>>,
    gate: Gate,
}

#[event_handlers]
impl Clerk {
    async fn order(&mut self, order: Order, ctx: &mut WorkerContext) -> Result<()> {
        match order {
            Order::Fail => return Err(Error::msg("the disk is full")),
            Order::Hold => self.gate.pass().await,
            Order::Where => {}
        }
        assert!(ctx.layer_as("default").is_ok() && ctx.layer_as("other").is_err());
        self.threads.lock().unwrap().push(thread::current().id());
        Ok(())
    }
}

#[actix_web::test]
async fn consumers_share_the_threads_that_they_are_given() {
    for (threads, expected) in [(1, 1), (2, 2), (9, 3)] {
        let layer = Layer::from(MemoryLayer::new());
        let clerk = Clerk::default();
        let made = clerk.clone();
        let router =
            ChannelNameRouter::new()
                .channel_with("jobs", JobLimits::new().concurrency(3), move |_| Ok(made.clone()));
        let worker = Worker::new(layer.clone(), router).unwrap().threads(threads).start().unwrap();
        for _ in 0..3 {
            layer.send(&channel("jobs"), Order::Hold).await.unwrap();
        }
        for _ in 0..3 {
            clerk.gate.visited().await;
        }
        (0..3).for_each(|_| clerk.gate.open());
        assert_eq!(worker.stop().await.unwrap().jobs, 3);
        let mut ran: Vec<_> = clerk.threads.lock().unwrap().iter().map(|id| format!("{id:?}")).collect();
        assert!(!ran.contains(&format!("{:?}", thread::current().id())));
        ran.sort_unstable();
        ran.dedup();
        assert_eq!(ran.len(), expected, "with {threads} threads");
    }
}

#[actix_web::test]
async fn channels_have_limits_of_their_own() {
    let layer = Layer::from(MemoryLayer::new());
    let clerk = Clerk::default();
    let (patient, hasty) = (clerk.clone(), clerk.clone());
    let router = ChannelNameRouter::new().channel("patient", move |_| Ok(patient.clone())).channel_with(
        "hasty",
        JobLimits::new().timeout(Duration::from_millis(1)),
        move |_| Ok(hasty.clone()),
    );
    let worker = Worker::new(layer.clone(), router).unwrap().job_timeout(PATIENCE).start().unwrap();
    for name in ["patient", "hasty"] {
        layer.send(&channel(name), Order::Hold).await.unwrap();
    }
    for _ in ["patient", "hasty"] {
        clerk.gate.visited().await;
    }
    eventually("the hasty job is cancelled", || layer.metrics().jobs_timed_out == 1).await;
    // The gate lets one job pass, and only one is left.
    clerk.gate.open();
    let summary = worker.stop().await.unwrap();
    assert_eq!((summary.jobs, summary.timed_out, summary.cancelled.len()), (2, 1, 0));
    assert_eq!(clerk.threads.lock().unwrap().len(), 1);
}

#[actix_web::test]
async fn a_failed_job_is_logged_with_its_channel_and_its_event() {
    log::capture();
    let layer = Layer::from(MemoryLayer::new());
    let clerk = Clerk::default();
    let router = ChannelNameRouter::new().channel("logged-jobs", move |_| Ok(clerk.clone()));
    let worker = Worker::new(layer.clone(), router).unwrap().start().unwrap();
    layer.send(&channel("logged-jobs"), Order::Fail).await.unwrap();
    layer.send(&channel("logged-jobs"), Ready { path: String::new() }).await.unwrap();
    log::logged(&["ERROR", "a job failed", "channel=logged-jobs", "event=\"fail\"", "the disk is full"])
        .await;
    log::logged(&["WARN", "no handler for a job", "channel=logged-jobs", "event=\"thumbnail.ready\""]).await;
    let summary = worker.stop().await.unwrap();
    assert_eq!((summary.jobs, summary.failed, summary.unhandled), (2, 1, 1));
}

#[actix_web::test]
async fn a_worker_that_is_dropped_stops_at_once() {
    let layer = Layer::from(MemoryLayer::new());
    let clerk = Clerk::default();
    let made = clerk.clone();
    let router = ChannelNameRouter::new().channel("jobs", move |_| Ok(made.clone()));
    let worker = Worker::new(layer.clone(), router).unwrap().start().unwrap();
    layer.send(&channel("jobs"), Order::Hold).await.unwrap();
    clerk.gate.visited().await;
    drop(worker);
    eventually("the job is cancelled", || layer.metrics().jobs_cancelled == 1).await;
    layer.send(&channel("jobs"), Order::Where).await.unwrap();
    let left = timeout(PATIENCE, layer.receive(&channel("jobs"))).await.unwrap().unwrap();
    assert_eq!(left.name(), "where", "no worker takes the job");
}

#[cfg(unix)]
mod processes {
    use integration_tests::program::Program;

    fn toil(arguments: &[&str]) -> Program {
        Program::spawn(env!("CARGO_BIN_EXE_toil"), arguments)
    }

    #[actix_web::test]
    async fn after_a_signal_the_job_ends_and_no_other_is_taken() {
        for signal in ["TERM", "INT"] {
            let mut worker = toil(&["60000", "hold", "hold"]);
            assert_eq!(worker.line().await.as_deref(), Some("holding"));
            worker.signal(signal);
            assert_eq!(worker.line().await.as_deref(), Some("asked to stop"));
            worker.enter();
            let (lines, status) = worker.ended().await;
            assert_eq!(lines, ["done", "1 taken, 0 cancelled"]);
            assert_eq!(status.code(), Some(0));
        }
    }

    #[actix_web::test]
    async fn a_second_signal_ends_the_worker_at_once_with_failure() {
        let mut worker = toil(&["60000", "hold"]);
        assert_eq!(worker.line().await.as_deref(), Some("holding"));
        worker.signal("TERM");
        assert_eq!(worker.line().await.as_deref(), Some("asked to stop"));
        worker.signal("INT");
        let (lines, status) = worker.ended().await;
        assert_eq!(lines, ["stopped at once by a second signal, SIGINT; jobs cancelled: 1"]);
        assert_eq!(status.code(), Some(1));
    }

    #[actix_web::test]
    async fn a_job_that_blocks_its_thread_is_given_up() {
        let mut worker = toil(&["0", "block"]);
        assert_eq!(worker.line().await.as_deref(), Some("blocking"));
        worker.signal("TERM");
        let (lines, status) = worker.ended().await;
        assert_eq!(lines, ["1 taken, 1 cancelled"]);
        assert_eq!(status.code(), Some(0));
    }
}
