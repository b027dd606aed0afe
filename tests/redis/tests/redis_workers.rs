//! Workers over Redis, beside real processes of channels_redis.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use greenroom::{
    ChannelName, ChannelNameRouter, Error, Layer, LayerConfig, LayerError, Worker, WorkerContext,
    layers::redis::{RedisConfig, RedisLayer, RedisPubSubLayer},
    prelude::*,
    worker::RunningWorker,
};
use integration_tests::Gate;
use redis_tests::{Note, Python, RedisServer, eventually, note};
use serde_json::json;

/// The job as a Django program writes it.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("thumbnail.generate")]
struct Generate {
    id: u64,
}

/// The number of the job that fails.
const BAD: u64 = 13;

#[derive(Clone, Default)]
struct Clerk {
    done: Arc<Mutex<Vec<u64>>>,
    gate: Gate,
}

#[event_handlers]
impl Clerk {
    async fn thumbnail_generate(&mut self, job: &Generate, _ctx: &mut WorkerContext) -> Result<()> {
        if job.id == BAD {
            return Err(Error::msg("as asked"));
        }
        self.done.lock().unwrap().push(job.id);
        Ok(())
    }

    async fn note(&mut self, note: &Note, _ctx: &mut WorkerContext) -> Result<()> {
        self.gate.pass().await;
        self.done.lock().unwrap().push(note.number);
        Ok(())
    }
}

impl Clerk {
    fn work(&self, layer: &Layer, consumers: usize) -> RunningWorker {
        let clerk = self.clone();
        let router = ChannelNameRouter::new().channel("thumbnails-generate", move |_| Ok(clerk.clone()));
        Worker::new(layer.clone(), router).unwrap().concurrency(consumers).start().unwrap()
    }

    fn done(&self) -> Vec<u64> {
        self.done.lock().unwrap().clone()
    }

    async fn has_done(&self, count: usize) {
        eventually(&format!("{count} jobs are done"), || self.done().len() >= count).await;
    }
}

fn jobs() -> ChannelName {
    ChannelName::new("thumbnails-generate").unwrap()
}

fn config(server: &RedisServer) -> RedisConfig {
    RedisConfig::new(server.url()).layer(LayerConfig::new().capacity(1_000).expiry(Duration::from_secs(600)))
}

async fn core(server: &RedisServer) -> Layer {
    let layer = RedisLayer::new(config(server)).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

async fn pubsub(server: &RedisServer) -> Layer {
    let layer = RedisPubSubLayer::new(config(server)).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

async fn python(kind: &str, server: &RedisServer) -> Python {
    Python::start(kind, &json!({"hosts": [server.url()], "capacity": 1_000})).await
}

/// `channel_layer.send("thumbnails-generate", {"type": "thumbnail.generate", "id": …})`.
async fn ask(python: &mut Python, id: u64) {
    let job = format!("{{'type': 'thumbnail.generate', 'id': {id}}}");
    python.must("send", &[json!(jobs().as_str()), json!(job)]).await;
}

/// Rule 24: jobs sent before a worker starts are done, in order. Rule 35: a job that fails loses no other job.
///
/// Neither does a job without a handler, or a message that is not an event. In Channels all jobs behind the first of these
/// are lost, and the last of these ends the listener.
#[actix_web::test]
async fn jobs_that_django_sends_are_done() {
    let server = RedisServer::start();
    let mut django = python("core", &server).await;
    for id in 0..20 {
        ask(&mut django, id).await;
        if id == 9 {
            for stray in ["{'type': 'thumbnail.delete', 'id': 1}", "{'id': 2}"] {
                django.must("send", &[json!(jobs().as_str()), json!(stray)]).await;
            }
        }
    }
    let (layer, clerk) = (core(&server).await, Clerk::default());
    let worker = clerk.work(&layer, 1);
    clerk.has_done(19).await;
    assert_eq!(clerk.done(), (0..20).filter(|id| *id != BAD).collect::<Vec<_>>());
    let summary = worker.stop().await.unwrap();
    assert_eq!((summary.jobs, summary.failed, summary.unhandled), (21, 1, 1));
    assert_eq!(layer.metrics().undecodable, 1);
}

/// Rule 24: two processes with two consumers each do 300 jobs of Django, each job once.
#[actix_web::test]
async fn rule_24_two_processes_share_the_jobs_of_django() {
    let server = RedisServer::start();
    let mut django = python("core", &server).await;
    let (first, second, clerk) = (core(&server).await, core(&server).await, Clerk::default());
    let (here, there) = (clerk.work(&first, 2), clerk.work(&second, 2));
    let expected: Vec<_> = (100..400).collect();
    for id in &expected {
        ask(&mut django, *id).await;
    }
    clerk.has_done(300).await;
    let (here, there) = (here.stop().await.unwrap().jobs, there.stop().await.unwrap().jobs);
    assert_eq!(here + there, 300, "each was taken once");
    assert!(here > 0 && there > 0, "both worked: {here} and {there}");
    let mut done = clerk.done();
    done.sort_unstable();
    assert_eq!(done, expected);
}

/// A worker that stops leaves the jobs that it has not begun to the next process.
#[actix_web::test]
async fn jobs_that_a_stopped_worker_leaves_are_done_by_another() {
    let server = RedisServer::start();
    let mut django = python("core", &server).await;
    let (first, clerk) = (core(&server).await, Clerk::default());
    let worker = clerk.work(&first, 2);
    for number in 0..2 {
        first.send(&jobs(), note(number)).await.unwrap();
        clerk.gate.visited().await;
    }
    for id in 100..150 {
        ask(&mut django, id).await;
    }
    worker.handle().stop();
    clerk.gate.open();
    clerk.gate.open();
    let summary = worker.stop().await.unwrap();
    assert_eq!((summary.jobs, summary.cancelled), (2, Vec::new()));
    first.close().await;
    drop(first);

    let second = core(&server).await;
    let worker = clerk.work(&second, 1);
    clerk.has_done(52).await;
    assert_eq!(clerk.done().split_off(2), (100..150).collect::<Vec<_>>());
    assert_eq!(worker.stop().await.unwrap().jobs, 50);
}

/// Processes that end while jobs arrive lose none: a job on its way to such a process goes back.
#[actix_web::test]
async fn no_job_is_lost_when_processes_end() {
    const ROUNDS: u64 = 20;
    const JOBS: u64 = 20;
    let server = RedisServer::start();
    let (sender, clerk) = (core(&server).await, Clerk::default());
    for round in 0..ROUNDS {
        let layer = core(&server).await;
        let worker = clerk.work(&layer, 2);
        let send = async {
            for number in 0..JOBS {
                sender.send(&jobs(), Generate { id: 100 + round * JOBS + number }).await.unwrap();
            }
        };
        let end = async {
            // The worker stops in the midst of the jobs, each round at another moment.
            clerk.has_done((round * JOBS / 4) as usize).await;
            worker.stop().await.unwrap();
            layer.close().await;
        };
        tokio::join!(send, end);
    }
    let last = core(&server).await;
    let worker = clerk.work(&last, 1);
    let all = (ROUNDS * JOBS) as usize;
    clerk.has_done(all).await;
    worker.stop().await.unwrap();
    let mut done = clerk.done();
    done.sort_unstable();
    assert_eq!(done, (100..100 + ROUNDS * JOBS).collect::<Vec<_>>());
}

/// Redis restarts. The worker waits, and does the jobs that are sent afterwards.
#[actix_web::test]
async fn a_worker_outlives_a_restart_of_redis() {
    let mut server = RedisServer::start();
    let (layer, clerk) = (core(&server).await, Clerk::default());
    let worker = clerk.work(&layer, 1);
    layer.send(&jobs(), Generate { id: 1 }).await.unwrap();
    clerk.has_done(1).await;
    server.restart();
    let sent = async {
        while layer.send(&jobs(), Generate { id: 2 }).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(integration_tests::PATIENCE, sent).await.expect("Redis is back");
    clerk.has_done(2).await;
    assert_eq!(clerk.done(), [1, 2]);
    assert_eq!(worker.stop().await.unwrap().failed, 0);
}

/// The worker of Channels, with its own consumer and router, does the jobs that we send.
#[actix_web::test]
async fn a_worker_of_django_does_the_jobs_that_we_send() {
    let server = RedisServer::start();
    let layer = core(&server).await;
    let mut django = python("core", &server).await;
    for number in 0..20 {
        layer.send(&jobs(), note(number)).await.unwrap();
    }
    django.must("work", &[json!(jobs().as_str())]).await;
    let done = django.must("worked", &[json!(20), json!(30)]).await;
    assert_eq!(done, json!((0..20).collect::<Vec<_>>()));
}

/// With pub/sub each process gets every job, and one of its consumers does it. A job for which nobody waits is refused.
#[actix_web::test]
async fn with_pubsub_each_process_does_each_job_once() {
    let server = RedisServer::start();
    let (first, second) = (pubsub(&server).await, pubsub(&server).await);
    assert_eq!(first.send(&jobs(), Generate { id: 0 }).await, Err(LayerError::NoReceiver));
    let (here, there) = (Clerk::default(), Clerk::default());
    let workers = [here.work(&first, 3), there.work(&second, 1)];
    let listening = || {
        let listeners: (String, u64) = server.run(&["PUBSUB", "NUMSUB", jobs().as_str()]);
        listeners.1 == 2
    };
    eventually("both listen", listening).await;
    let mut django = python("pubsub", &server).await;
    for id in 100..150 {
        ask(&mut django, id).await;
    }
    for clerk in [&here, &there] {
        clerk.has_done(50).await;
    }
    for worker in workers {
        assert_eq!(worker.stop().await.unwrap().jobs, 50);
    }
    for clerk in [here, there] {
        assert_eq!(clerk.done().into_iter().collect::<BTreeSet<_>>(), (100..150).collect());
    }
}
