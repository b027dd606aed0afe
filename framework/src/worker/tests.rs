//! Tests of one consumer of a worker. It runs on the test's thread, and the test moves the clock.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use actix_rt::{spawn, task::JoinHandle};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::{
    task::yield_now,
    time::{Instant, advance, pause},
};

use super::*;
use crate::{
    ChannelLayer, ChannelName, Delivery, Envelope, Event, GroupName, LayerConfig, LayerError, MemoryLayer,
    Result,
    error::{Error, StopConsumer},
    layers::Groups,
};

#[derive(Clone, Serialize, Deserialize, crate::Event)]
enum Order {
    #[event("count")]
    Count,
    #[event("fail")]
    Fail,
    #[event("hang")]
    Hang,
    #[event("panic")]
    Panic,
    #[event("stop")]
    Stop,
    #[event("wait.for.stop")]
    WaitForStop,
}

/// An event that no consumer handles.
#[derive(Clone, Serialize, Deserialize, crate::Event)]
#[event("unknown")]
struct Unknown {}

#[derive(Clone, Serialize, Deserialize, crate::Event)]
struct Numbered {
    number: u32,
}

/// Notes what it does, with the number of its instance.
struct Clerk {
    instance: u32,
    done: u32,
    notes: Notes,
}

type Notes = Arc<Mutex<Vec<String>>>;

impl Clerk {
    fn note(&self, what: &str) {
        self.notes.lock().unwrap().push(format!("{what} {}.{}", self.instance, self.done));
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        self.note("dropped");
    }
}

#[crate::event_handlers]
impl Clerk {
    async fn numbered(&mut self, event: &Numbered, _ctx: &mut WorkerContext) -> Result<()> {
        self.note(&event.number.to_string());
        Ok(())
    }

    async fn order(&mut self, order: &Order, ctx: &mut WorkerContext) -> Result<()> {
        self.done += 1;
        self.note(order.name());
        match order {
            Order::Count => Ok(()),
            Order::Fail => Err(Error::msg("as ordered")),
            Order::Hang => std::future::pending().await,
            Order::Panic => panic!("as ordered"),
            Order::Stop => Err(StopConsumer)?,
            Order::WaitForStop => {
                assert!(!ctx.is_stopping());
                ctx.stopping().await;
                assert!(ctx.is_stopping());
                self.note("stopped");
                Ok(())
            }
        }
    }
}

/// One consumer at work.
struct Bench {
    layer: Layer,
    ledger: Arc<JobLedger>,
    notes: Notes,
    life: JoinHandle<()>,
}

const GRACE_HERE: Duration = Duration::from_secs(10);
/// The runtime's clock counts milliseconds, and rounds up.
const TICK: Duration = Duration::from_millis(1);

impl Bench {
    fn new(layer: Layer, timeout: Option<Duration>) -> Self {
        let made = Rc::new(Cell::new(0));
        Self::with(layer, timeout, move |notes| {
            made.set(made.get() + 1);
            Ok(Clerk { instance: made.get(), done: 0, notes })
        })
    }

    fn with(
        layer: Layer,
        timeout: Option<Duration>,
        make: impl Fn(Notes) -> Result<Clerk> + 'static,
    ) -> Self {
        pause();
        let ledger = Arc::new(JobLedger::new(&layer, GRACE_HERE));
        let layers = Layers::new([(DEFAULT_LAYER.to_owned(), layer.clone())].into());
        let context = WorkerContext::new(layer.clone(), layers, jobs(), ledger.stopped());
        let seat = Seat::new(0, context, timeout, Arc::clone(&ledger), Arc::default());
        let notes = Notes::default();
        let given = Arc::clone(&notes);
        let life = spawn(life::live(move |_: &WorkerContext| make(Arc::clone(&given)), seat));
        Self { layer, ledger, notes, life }
    }

    async fn send(&self, orders: &[Order]) {
        for order in orders {
            self.layer.send(&jobs(), order).await.unwrap();
        }
    }

    /// Lets the consumer do all that needs no clock, and returns its notes.
    async fn noted(&self) -> Vec<String> {
        for _ in 0..100 {
            yield_now().await;
        }
        std::mem::take(&mut *self.notes.lock().unwrap())
    }
}

fn jobs() -> ChannelName {
    ChannelName::new("jobs").unwrap()
}

fn memory() -> Layer {
    MemoryLayer::new().into()
}

#[actix_web::test]
async fn a_job_that_fails_ends_alone_and_the_next_has_a_new_instance() {
    use Order::{Count, Fail, Panic, Stop};
    let bench = Bench::new(memory(), None);
    bench.send(&[Count, Count, Fail, Count, Panic, Count, Stop, Count]).await;
    let expected = [
        "count 1.1",
        "count 1.2",
        "fail 1.3",
        "dropped 1.3",
        "count 2.1",
        "panic 2.2",
        "dropped 2.2",
        "count 3.1",
        "stop 3.2",
        "dropped 3.2",
        "count 4.1",
    ];
    assert_eq!(bench.noted().await, expected);
    let metrics = bench.layer.metrics();
    assert_eq!((metrics.jobs, metrics.jobs_failed, metrics.unhandled), (8, 2, 0));
    let summary = bench.ledger.summary();
    assert_eq!((summary.jobs, summary.failed, summary.unhandled), (8, 2, 0));
}

#[actix_web::test]
async fn a_job_without_a_handler_is_counted_and_the_instance_stays() {
    let bench = Bench::new(memory(), None);
    bench.send(&[Order::Count]).await;
    bench.layer.send(&jobs(), Unknown {}).await.unwrap();
    let misfit = Envelope::from_json(r#"{"type": "numbered", "number": "one"}"#).unwrap();
    bench.layer.send(&jobs(), misfit).await.unwrap();
    bench.send(&[Order::Count]).await;
    assert_eq!(bench.noted().await, ["count 1.1", "count 1.2"]);
    let metrics = bench.layer.metrics();
    assert_eq!((metrics.jobs, metrics.unhandled, metrics.jobs_failed), (4, 2, 0));
    assert_eq!(bench.ledger.summary().unhandled, 2);
}

#[actix_web::test]
async fn a_job_that_takes_too_long_is_cancelled_and_the_next_is_done() {
    let limit = Duration::from_secs(30);
    let bench = Bench::new(memory(), Some(limit));
    bench.send(&[Order::Count, Order::Hang, Order::Count]).await;
    assert_eq!(bench.noted().await, ["count 1.1", "hang 1.2"]);
    advance(limit - TICK).await;
    assert!(bench.noted().await.is_empty(), "within its time");
    advance(2 * TICK).await;
    assert_eq!(bench.noted().await, ["dropped 1.2", "count 2.1"]);
    assert_eq!((bench.layer.metrics().jobs_timed_out, bench.ledger.summary().timed_out), (1, 1));
}

#[actix_web::test]
async fn a_stop_takes_no_job_and_lets_the_running_one_end() {
    let bench = Bench::new(memory(), None);
    bench.send(&[Order::WaitForStop, Order::Count]).await;
    assert_eq!(bench.noted().await, ["wait.for.stop 1.1"]);
    bench.ledger.stop();
    assert_eq!(bench.noted().await, ["stopped 1.1", "dropped 1.1"]);
    bench.life.await.unwrap();
    assert_eq!(
        bench.layer.receive(&jobs()).await.unwrap().name(),
        "count",
        "the next job stays in the layer"
    );
    assert_eq!(bench.ledger.summary(), Summary { jobs: 1, ..Summary::default() });
}

#[actix_web::test]
async fn a_job_is_cancelled_when_the_grace_is_over() {
    let bench = Bench::new(memory(), None);
    bench.send(&[Order::Hang, Order::Count]).await;
    assert_eq!(bench.noted().await, ["hang 1.1"]);
    bench.ledger.stop();
    advance(GRACE_HERE - TICK).await;
    assert!(bench.noted().await.is_empty(), "within the grace");
    // A second stop does not extend the grace.
    bench.ledger.stop();
    advance(2 * TICK).await;
    assert_eq!(bench.noted().await, ["dropped 1.1"]);
    bench.life.await.unwrap();
    let cancelled = vec![CancelledJob { channel: jobs(), event: "hang".into() }];
    assert_eq!(bench.ledger.summary(), Summary { jobs: 1, cancelled, ..Summary::default() });
    assert_eq!(bench.layer.metrics().jobs_cancelled, 1);
}

#[actix_web::test]
async fn a_stop_at_once_does_not_wait_for_the_grace() {
    let bench = Bench::new(memory(), None);
    bench.send(&[Order::Hang]).await;
    assert_eq!(bench.noted().await, ["hang 1.1"]);
    bench.ledger.stop();
    assert!(bench.noted().await.is_empty());
    bench.ledger.stop_at_once();
    assert_eq!(bench.noted().await, ["dropped 1.1"]);
    // A graceful stop after that changes nothing.
    bench.ledger.stop();
    bench.life.await.unwrap();
}

#[actix_web::test]
async fn without_an_instance_no_job_is_taken() {
    let attempts = Rc::new(Cell::new(0));
    let made = Rc::clone(&attempts);
    let bench = Bench::with(memory(), None, move |notes| {
        made.set(made.get() + 1);
        match made.get() {
            1 => panic!("no database"),
            2 | 3 => Err(Error::msg("no database")),
            instance => Ok(Clerk { instance, done: 0, notes }),
        }
    });
    bench.send(&[Order::Count]).await;
    for (attempt, wait) in [(1, 100), (2, 200), (3, 400)] {
        assert!(bench.noted().await.is_empty());
        assert_eq!((attempts.get(), bench.layer.metrics().jobs), (attempt, 0));
        advance(Duration::from_millis(wait) + TICK).await;
    }
    assert_eq!(bench.noted().await, ["count 4.1"]);
}

#[actix_web::test]
async fn a_worker_stops_even_if_no_instance_can_be_made() {
    let bench = Bench::with(memory(), None, |_| Err(Error::msg("no database")));
    assert!(bench.noted().await.is_empty());
    bench.ledger.stop();
    bench.life.await.unwrap();
}

/// A memory layer whose `receive` fails `failures` times.
#[derive(Debug)]
struct Failing {
    memory: MemoryLayer,
    failures: AtomicU32,
    asked: Arc<AtomicU32>,
}

#[async_trait]
impl ChannelLayer for Failing {
    fn groups(&self) -> &Groups {
        self.memory.groups()
    }

    async fn send(&self, channel: &ChannelName, envelope: Envelope) -> Result<(), LayerError> {
        self.memory.send(channel, envelope).await
    }

    async fn receive(&self, channel: &ChannelName) -> Result<Envelope, LayerError> {
        self.asked.fetch_add(1, SeqCst);
        if self.failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(LayerError::TooManyChannels { limit: 0 });
        }
        self.memory.receive(channel).await
    }

    async fn new_channel(&self, prefix: &str) -> Result<ChannelName, LayerError> {
        self.memory.new_channel(prefix).await
    }

    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.memory.group_add(group, channel).await
    }

    async fn group_discard(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.memory.group_discard(group, channel).await
    }

    async fn group_send(&self, group: &GroupName, envelope: Envelope) -> Result<(), LayerError> {
        self.memory.group_send(group, envelope).await
    }

    async fn group_send_counted(
        &self,
        group: &GroupName,
        envelope: Envelope,
    ) -> Result<Delivery, LayerError> {
        self.memory.group_send_counted(group, envelope).await
    }

    async fn flush(&self) -> Result<(), LayerError> {
        self.memory.flush().await
    }
}

/// In Channels an error of the layer ends the listener, and nothing reports it.
#[actix_web::test]
async fn a_receive_that_fails_is_tried_again_at_longer_intervals() {
    let asked = Arc::new(AtomicU32::new(0));
    let memory = MemoryLayer::with_config(LayerConfig::new().expiry(Duration::MAX));
    let layer = Layer::new(Failing { memory, failures: 10.into(), asked: Arc::clone(&asked) });
    let bench = Bench::new(layer, None);
    bench.send(&[Order::Count]).await;
    let start = Instant::now();
    for wait in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000] {
        assert!(bench.noted().await.is_empty());
        let before = asked.load(SeqCst);
        advance(Duration::from_millis(wait) - TICK).await;
        assert!(bench.noted().await.is_empty());
        assert_eq!(asked.load(SeqCst), before, "no spinning");
        advance(2 * TICK).await;
    }
    assert!(bench.noted().await.is_empty());
    assert_eq!(asked.load(SeqCst), 10);
    advance(Duration::from_secs(5) + TICK).await;
    assert_eq!(bench.noted().await, ["count 1.1"], "with the same instance");
    assert_eq!(asked.load(SeqCst), 12, "and waits for the next");
    assert!(start.elapsed() < Duration::from_secs(30));
}
