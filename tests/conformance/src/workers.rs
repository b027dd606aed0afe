//! Background work: the jobs of a channel, and the consumers of one worker or of several.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use greenroom::{
    ChannelNameRouter, Error, Layer, LayerConfig, LayerError, Worker, WorkerContext, prelude::*,
    worker::RunningWorker,
};
use integration_tests::{Gate, PATIENCE, eventually};
use tokio::time::{sleep, timeout};

use crate::{
    Server,
    common::{Members, assert_holds, channel, note, one},
};

/// The jobs of the cases.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
enum Job {
    /// Sends a note to a group, and one to a channel.
    #[event("job.announce")]
    Announce { group: String, channel: String },
    #[event("job.block")]
    Block { number: u64 },
    #[event("job.count")]
    Count { number: u64 },
    #[event("job.fail")]
    Fail { number: u64 },
    /// Waits at the gate.
    #[event("job.hold")]
    Hold { number: u64 },
    #[event("job.panic")]
    Panic { number: u64 },
}

/// A job that was done, and the clerk that did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Done {
    number: u64,
    /// The number of the instance that did it.
    clerk: u64,
    /// How many jobs this instance has done, with this one.
    count: u64,
}

/// The jobs that were done, in order. All clerks of a test share it.
#[derive(Debug, Clone, Default)]
struct Desk {
    done: Arc<Mutex<Vec<Done>>>,
    clerks: Arc<AtomicU64>,
    gate: Gate,
}

impl Desk {
    /// Starts a worker with this many clerks.
    fn open(&self, layer: &Layer, clerks: usize) -> RunningWorker {
        let desk = self.clone();
        let clerk = move |_: &WorkerContext| {
            Ok(Clerk { number: desk.clerks.fetch_add(1, SeqCst), count: 0, desk: desk.clone() })
        };
        let router = ChannelNameRouter::new().channel("jobs", clerk);
        let worker = Worker::new(layer.clone(), router).expect("a valid channel").grace(PATIENCE);
        worker.concurrency(clerks).start().expect("threads")
    }

    fn done(&self) -> Vec<Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn numbers(&self) -> Vec<u64> {
        self.done().iter().map(|done| done.number).collect()
    }

    async fn has_done(&self, count: usize) {
        eventually(&format!("{count} jobs are done"), || self.done().len() >= count).await;
    }
}

struct Clerk {
    number: u64,
    count: u64,
    desk: Desk,
}

#[event_handlers]
impl Clerk {
    async fn job(&mut self, job: Job, ctx: &mut WorkerContext) -> Result<()> {
        assert_eq!(ctx.channel_name().as_str(), "jobs");
        let number = match job {
            Job::Announce { group, channel } => {
                ctx.group_send(&GroupName::new(group)?, note(1)).await?;
                ctx.send(&greenroom::ChannelName::new(channel)?, note(2)).await?;
                3
            }
            Job::Block { number } => {
                assert_eq!(
                    ctx.layer().send_blocking(ctx.channel_name(), note(0)),
                    Err(LayerError::WouldBlock)
                );
                ctx.run_blocking(move || number + 1).await?
            }
            Job::Count { number } => number,
            Job::Fail { number } => return Err(Error::msg(format!("job {number} fails, as asked"))),
            Job::Hold { number } => {
                self.desk.gate.pass().await;
                number
            }
            Job::Panic { number } => panic!("job {number} panics, as asked"),
        };
        self.count += 1;
        let done = Done { number, clerk: self.number, count: self.count };
        self.desk.done.lock().unwrap_or_else(PoisonError::into_inner).push(done);
        Ok(())
    }
}

/// Sends a job. If the layer does not store messages, this waits until a worker can take the job.
async fn order<S: Server>(layer: &Layer, job: Job) {
    let jobs = channel("jobs");
    let sent = async {
        loop {
            match layer.send(&jobs, &job).await {
                Err(LayerError::NoReceiver) if !S::STORES => sleep(Duration::from_millis(2)).await,
                sent => return sent,
            }
        }
    };
    timeout(PATIENCE, sent).await.expect("somebody waits for jobs").expect("the job is sent");
}

fn roomy() -> LayerConfig {
    LayerConfig::new().capacity(1_000)
}

/// `ch/worker.py`: one consumer does its jobs in order, and keeps its state in `self`.
pub async fn jobs_are_done_in_order<S: Server>() {
    let (_server, layer) = one::<S>(roomy()).await;
    let desk = Desk::default();
    let worker = desk.open(&layer, 1);
    for number in 0..100 {
        order::<S>(&layer, Job::Count { number }).await;
    }
    desk.has_done(100).await;
    let expected: Vec<_> = (0..100).map(|number| Done { number, clerk: 0, count: number + 1 }).collect();
    assert_eq!(desk.done(), expected);
    let summary = worker.stop().await.unwrap();
    assert_eq!((summary.jobs, summary.failed, summary.cancelled), (100, 0, Vec::new()));
    assert_eq!(layer.metrics().jobs, 100);
}

/// In Channels, all queued jobs are lost when one raises.
pub async fn a_failed_job_loses_no_other_job<S: Server>() {
    let (_server, layer) = one::<S>(roomy()).await;
    let desk = Desk::default();
    let worker = desk.open(&layer, 1);
    // All other jobs are sent before the first is done.
    order::<S>(&layer, Job::Hold { number: 1 }).await;
    desk.gate.visited().await;
    for job in [
        Job::Fail { number: 2 },
        Job::Count { number: 3 },
        Job::Panic { number: 4 },
        Job::Count { number: 5 },
        Job::Count { number: 6 },
    ] {
        order::<S>(&layer, job).await;
    }
    desk.gate.open();
    desk.has_done(4).await;
    let expected = [(1, 0, 1), (3, 1, 1), (5, 2, 1), (6, 2, 2)].map(|(number, clerk, count)| Done {
        number,
        clerk,
        count,
    });
    assert_eq!(desk.done(), expected, "a new instance follows each failed job");
    let summary = worker.stop().await.unwrap();
    assert_eq!((summary.jobs, summary.failed), (6, 2));
    assert_eq!(layer.metrics().jobs_failed, 2);
}

/// As many jobs run at once as there are consumers, each in a different consumer.
pub async fn as_many_jobs_run_at_once_as_there_are_consumers<S: Server>() {
    let (_server, layer) = one::<S>(roomy()).await;
    let desk = Desk::default();
    let worker = desk.open(&layer, 4);
    for number in 0..8 {
        order::<S>(&layer, Job::Hold { number }).await;
    }
    for _ in 0..4 {
        desk.gate.visited().await;
    }
    assert_eq!(layer.metrics().jobs, 4, "the others wait in the layer");
    for _ in 0..8 {
        desk.gate.open();
    }
    desk.has_done(8).await;
    let mut numbers = desk.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..8).collect::<Vec<_>>());
    let mut firsts: Vec<_> =
        desk.done().iter().filter(|done| done.count == 1).map(|done| done.clerk).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, [0, 1, 2, 3], "each of the four did one");
    worker.stop().await.unwrap();
}

/// A stop waits until the running job has ended.
pub async fn a_stop_waits_for_the_running_job<S: Server>() {
    let (_server, layer) = one::<S>(roomy()).await;
    let desk = Desk::default();
    let mut worker = desk.open(&layer, 1);
    order::<S>(&layer, Job::Hold { number: 1 }).await;
    desk.gate.visited().await;
    worker.handle().stop();
    assert!(futures_util::FutureExt::now_or_never(worker.wait()).is_none(), "the job runs");
    desk.gate.open();
    let summary = timeout(PATIENCE, worker.wait()).await.expect("the worker ends").unwrap();
    assert_eq!((summary.jobs, summary.cancelled, desk.numbers()), (1, Vec::new(), vec![1]));
}

/// A stop at once waits for nothing, and says which job it cancelled.
pub async fn a_stop_at_once_names_the_job_that_it_cancels<S: Server>() {
    let (_server, layer) = one::<S>(roomy()).await;
    let desk = Desk::default();
    let mut worker = desk.open(&layer, 1);
    order::<S>(&layer, Job::Hold { number: 1 }).await;
    desk.gate.visited().await;
    worker.handle().stop_at_once();
    let summary = timeout(PATIENCE, worker.wait()).await.expect("the worker ends").unwrap();
    let [cancelled] = &summary.cancelled[..] else { panic!("one job: {summary:?}") };
    assert_eq!((cancelled.channel.as_str(), cancelled.event.as_str()), ("jobs", "job.hold"));
    assert_eq!((desk.numbers(), layer.metrics().jobs_cancelled), (Vec::new(), 1));
}

/// A job can send to a group and to a consumer, which `send` of Channels cannot. Blocking work runs on another thread.
pub async fn a_job_can_send_and_run_blocking_work<S: Server>() {
    let (_server, layer) = one::<S>(roomy()).await;
    let mut member = Members::new(&layer).of("room").await;
    let desk = Desk::default();
    let worker = desk.open(&layer, 1);
    let job = Job::Announce { group: "room".to_owned(), channel: member.channel().to_string() };
    order::<S>(&layer, job).await;
    member.assert_hears(&[1, 2]).await;
    order::<S>(&layer, Job::Block { number: 6 }).await;
    desk.has_done(2).await;
    assert_eq!(desk.numbers(), [3, 7]);
    worker.stop().await.unwrap();
    member.leave().await;
}

/// A worker does the jobs that were sent before it started.
pub async fn jobs_wait_for_their_worker<S: Server>() {
    let (_server, layer) = one::<S>(roomy()).await;
    for number in 0..10 {
        layer.send(&channel("jobs"), Job::Count { number }).await.unwrap();
    }
    let desk = Desk::default();
    let worker = desk.open(&layer, 1);
    desk.has_done(10).await;
    assert_eq!(desk.numbers(), (0..10).collect::<Vec<_>>());
    worker.stop().await.unwrap();
}

/// Jobs that a worker has not taken when it stops stay in the layer, in order.
pub async fn jobs_that_a_stopped_worker_did_not_take_stay_in_the_layer<S: Server>() {
    let (_server, layer) = one::<S>(roomy()).await;
    let desk = Desk::default();
    let worker = desk.open(&layer, 2);
    for number in 0..2 {
        order::<S>(&layer, Job::Hold { number }).await;
        desk.gate.visited().await;
    }
    for number in 2..5 {
        layer.send(&channel("jobs"), note(number)).await.unwrap();
    }
    // The stop comes before the gate opens, so no clerk takes another job.
    worker.handle().stop();
    desk.gate.open();
    desk.gate.open();
    let summary = worker.stop().await.unwrap();
    assert_eq!((summary.jobs, summary.unhandled, summary.cancelled), (2, 0, Vec::new()));
    assert_eq!(desk.done().len(), 2);
    assert_holds(&layer, &channel("jobs"), &[2, 3, 4]).await;
}

/// Rule 24: one of several workers does each job, and does it once. Channels does up to one job in five twice.
pub async fn rule_24_workers_share_the_jobs<S: Server>() {
    const JOBS: u64 = 300;
    let server = S::start().await;
    let sender = server.make(roomy()).await;
    let desk = Desk::default();
    let mut workers = Vec::new();
    for _ in 0..2 {
        workers.push(desk.open(&server.make(roomy()).await, 2));
    }
    for number in 0..JOBS {
        order::<S>(&sender, Job::Count { number }).await;
    }
    desk.has_done(JOBS as usize).await;
    let mut jobs = 0;
    for worker in workers {
        jobs += worker.stop().await.unwrap().jobs;
    }
    assert_eq!(jobs, JOBS, "each was taken once");
    let mut numbers = desk.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..JOBS).collect::<Vec<_>>());
    let mut shares: HashMap<_, u64> = HashMap::new();
    for done in desk.done() {
        *shares.entry(done.clerk).or_default() += 1;
    }
    assert!(shares.len() > 1, "more than one clerk did them: {shares:?}");
}

/// While workers come and go, no job is lost and no job is done twice.
pub async fn workers_that_come_and_go_lose_no_job<S: Server>() {
    const JOBS: u64 = 200;
    let server = S::start().await;
    let sender = server.make(roomy()).await;
    let (coming, staying) = (server.make(roomy()).await, server.make(roomy()).await);
    let desk = Desk::default();
    let stays = desk.open(&staying, 1);
    let mut jobs = 0;
    for number in 0..JOBS {
        if number % 20 == 0 {
            let comes = desk.open(&coming, 2);
            order::<S>(&sender, Job::Count { number }).await;
            jobs += comes.stop().await.unwrap().jobs;
        } else {
            order::<S>(&sender, Job::Count { number }).await;
        }
    }
    desk.has_done(JOBS as usize).await;
    jobs += stays.stop().await.unwrap().jobs;
    assert_eq!(jobs, JOBS);
    let mut numbers = desk.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..JOBS).collect::<Vec<_>>());
}
