//! The deployments, their states, and their output.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use greenroom::{Layer, prelude::*};
use tokio::sync::{Notify, Semaphore};

use crate::process::{self, Ending, Source};

/// How many deployments are kept. For one more, the oldest that has ended is removed.
const KEPT: usize = 20;
/// How many deployments may wait. One more is refused.
const QUEUED: usize = 8;
/// How many lines are kept of each deployment. For one more, the oldest is removed.
pub(crate) const LINES: usize = 500;
/// How long a deployment may take.
const LONGEST: Duration = Duration::from_secs(600);

/// Something that can be deployed.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    /// The script that `sh` runs.
    pub(crate) script: &'static str,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Queued,
    Running,
    Done,
    Failed,
    Cancelled,
}

/// A deployment as the list shows it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    id: u64,
    plan: String,
    state: State,
    /// The exit code of a deployment that failed, if it has one.
    code: Option<i32>,
    /// When it was started, in milliseconds since 1970.
    started: u64,
    /// When it came into this state, in milliseconds since 1970.
    since: u64,
}

/// All deployments, the oldest first. Each change sends all of it, so a page that missed a change is right with the next.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("deployments.changed")]
pub(crate) struct Board {
    /// Goes up with every change, so that a page can ignore a list older than what it shows.
    change: u64,
    plans: Vec<String>,
    deployments: Vec<Entry>,
}

/// One line of a deployment's output, for those who watch it.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("deployment.line")]
pub(crate) struct Line {
    id: u64,
    /// Counts from 1, without gaps.
    number: u64,
    source: Source,
    text: String,
}

/// The output of a deployment so far, for a page that begins to watch. Lines before the first one are no longer kept.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("deployment.log")]
pub(crate) struct Log {
    id: u64,
    lines: Vec<Line>,
}

/// All deployments of the program. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Deployments(Arc<Shared>);

struct Shared {
    layer: Layer,
    plans: &'static [Plan],
    /// Has one permit for each queued deployment that no runner has taken yet.
    queued: Semaphore,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    change: u64,
    last_id: u64,
    list: VecDeque<Deployment>,
}

struct Deployment {
    entry: Entry,
    script: &'static str,
    lines: VecDeque<Line>,
    cancel: Arc<Notify>,
}

impl Deployments {
    pub(crate) fn new(layer: Layer, plans: &'static [Plan]) -> Self {
        Self(Arc::new(Shared { layer, plans, queued: Semaphore::new(0), all: Mutex::default() }))
    }

    /// The group of all pages that show the list.
    pub(crate) fn group() -> Result<GroupName> {
        Ok(GroupName::new("deployments")?)
    }

    /// The group of all pages that watch this deployment.
    pub(crate) fn group_of(id: u64) -> Result<GroupName> {
        Ok(GroupName::new(format!("deployment_{id}"))?)
    }

    /// The list as it is now.
    pub(crate) fn board(&self) -> Board {
        self.0.board(&self.lock())
    }

    /// The output of a deployment so far. `None` if no deployment has this number.
    pub(crate) fn log(&self, id: u64) -> Option<Log> {
        let lines = self.lock().find(id)?.lines.iter().cloned().collect();
        Some(Log { id, lines })
    }

    /// Queues a deployment. Returns its number, or the reason for a refusal.
    pub(crate) async fn start(&self, plan: &str) -> Result<u64, String> {
        let plan = self.0.plans.iter().find(|known| known.name == plan);
        let plan = plan.ok_or("there is no plan of this name")?;
        let (id, board) = {
            let mut all = self.lock();
            if all.list.iter().filter(|one| one.entry.state == State::Queued).count() >= QUEUED {
                return Err(format!("{QUEUED} deployments wait already: cancel one, or try again later"));
            }
            all.last_id += 1;
            let id = all.last_id;
            let now = now();
            let (name, state) = (plan.name.to_owned(), State::Queued);
            let entry = Entry { id, plan: name, state, code: None, started: now, since: now };
            let (lines, cancel) = (VecDeque::new(), Arc::default());
            all.list.push_back(Deployment { entry, script: plan.script, lines, cancel });
            let ended = |one: &Deployment| !matches!(one.entry.state, State::Queued | State::Running);
            if all.list.len() > KEPT
                && let Some(oldest) = all.list.iter().position(ended)
            {
                all.list.remove(oldest);
            }
            all.change += 1;
            (id, self.0.board(&all))
        };
        self.0.queued.add_permits(1);
        self.tell(board).await;
        Ok(id)
    }

    /// Takes a deployment out of the queue, or ends its process. Does nothing if it has ended.
    pub(crate) async fn cancel(&self, id: u64) {
        let board = {
            let mut all = self.lock();
            let Some(one) = all.find(id) else { return };
            one.cancel.notify_one();
            if one.entry.state != State::Queued {
                return;
            }
            one.enter(State::Cancelled, None);
            all.change += 1;
            self.0.board(&all)
        };
        self.tell(board).await;
    }

    /// Runs one queued deployment after the other, until [`end`](Self::end).
    ///
    /// Several tasks may run this. Each of them runs one deployment at a time.
    pub(crate) async fn run_queue(self) {
        while let Ok(permit) = self.0.queued.acquire().await {
            permit.forget();
            // `None` if the deployment was cancelled while it waited.
            let Some((id, script, cancel, board)) = self.take() else { continue };
            self.tell(board).await;
            let ending =
                process::run(script, LONGEST, &cancel, async |source, text| self.say(id, source, text).await);
            let (state, code) = match ending.await {
                Ending::Exit(Some(0)) => (State::Done, None),
                Ending::Exit(code) => (State::Failed, code),
                Ending::Cancelled => (State::Cancelled, None),
            };
            self.ended(id, state, code).await;
        }
    }

    /// Cancels all deployments. No other one starts afterwards.
    pub(crate) fn end(&self) {
        self.0.queued.close();
        self.lock().list.iter().for_each(|one| one.cancel.notify_one());
    }

    /// Takes the next deployment out of the queue. From now on its state is running.
    fn take(&self) -> Option<(u64, &'static str, Arc<Notify>, Board)> {
        let mut all = self.lock();
        let next = all.list.iter_mut().find(|one| one.entry.state == State::Queued)?;
        next.enter(State::Running, None);
        let (id, script, cancel) = (next.entry.id, next.script, Arc::clone(&next.cancel));
        all.change += 1;
        Some((id, script, cancel, self.0.board(&all)))
    }

    async fn ended(&self, id: u64, state: State, code: Option<i32>) {
        let board = {
            let mut all = self.lock();
            let Some(one) = all.find(id) else { return };
            one.enter(state, code);
            all.change += 1;
            self.0.board(&all)
        };
        self.tell(board).await;
    }

    /// Keeps a line, and sends it to everyone who watches.
    async fn say(&self, id: u64, source: Source, text: String) {
        let line = {
            let mut all = self.lock();
            let Some(one) = all.find(id) else { return };
            let line = Line { id, number: one.lines.back().map_or(1, |last| last.number + 1), source, text };
            if one.lines.len() == LINES {
                one.lines.pop_front();
            }
            one.lines.push_back(line.clone());
            line
        };
        let told =
            async { Ok::<_, greenroom::Error>(self.0.layer.group_send(&Self::group_of(id)?, line).await?) };
        if let Err(error) = told.await {
            tracing::warn!(%error, id, "a line did not reach the pages that watch");
        }
    }

    async fn tell(&self, board: Board) {
        let told =
            async { Ok::<_, greenroom::Error>(self.0.layer.group_send(&Self::group()?, board).await?) };
        if let Err(error) = told.await {
            tracing::warn!(%error, "the pages see a change only with the next one");
        }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    fn find(&mut self, id: u64) -> Option<&mut Deployment> {
        self.list.iter_mut().find(|one| one.entry.id == id)
    }
}

impl Deployment {
    fn enter(&mut self, state: State, code: Option<i32>) {
        self.entry = Entry { state, code, since: now(), ..self.entry.clone() };
    }
}

impl Shared {
    fn board(&self, all: &All) -> Board {
        Board {
            change: all.change,
            plans: self.plans.iter().map(|plan| plan.name.to_owned()).collect(),
            deployments: all.list.iter().map(|one| one.entry.clone()).collect(),
        }
    }
}

fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
