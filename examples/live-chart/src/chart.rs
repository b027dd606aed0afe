//! The data of the chart, the job that changes it, and the consumer that shows it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use greenroom::{Layer, prelude::*};

/// How many names the chart can show: one for each colour.
const NAMES: usize = 8;
/// How many characters a name may have.
const NAME: usize = 24;
/// How many orders the job reads in all.
const ORDERS: u64 = 2_000;

/// All that the pages show. Each change sends all of it, so a page that missed a change is right again with the next.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("chart.changed")]
pub(crate) struct ChartChanged {
    /// Goes up with every change, so that a page can ignore data older than what it shows.
    version: u64,
    job: Job,
    bars: Vec<Bar>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Job {
    running: bool,
    done: u64,
    total: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Bar {
    name: String,
    value: u64,
}

/// The chart that everyone sees. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Chart {
    data: Arc<Mutex<ChartChanged>>,
    group: GroupName,
    layer: Layer,
}

impl Chart {
    pub(crate) fn new(layer: Layer) -> Self {
        let bars =
            ["Shop", "App", "Phone", "Partner", "Letter"].map(|name| Bar { name: name.into(), value: 0 });
        let job = Job { running: true, done: 0, total: ORDERS };
        let data = ChartChanged { version: 1, job, bars: bars.into() };
        let group =
            GroupName::new("chart").expect("the letters of the alphabet are allowed in a group's name");
        Self { data: Arc::new(Mutex::new(data)), group, layer }
    }

    /// Adds to the bar of this name. Makes the bar if it is missing.
    pub(crate) async fn add(&self, name: &str, add: u32) -> Result<(), BadData> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME {
            return Err(BadData::Name);
        }
        self.change(|data| data.add(name, add.into())).await
    }

    /// Lets the job run, or pauses it. A job that is done starts again.
    pub(crate) async fn run(&self, running: bool) -> Result<(), BadData> {
        self.change(|data| {
            if running && data.job.done == data.job.total {
                data.job.done = 0;
                data.bars.iter_mut().for_each(|bar| bar.value = 0);
            }
            data.job.running = running;
            Ok(())
        })
        .await
    }

    /// Changes the data, and sends it to every open page.
    async fn change(
        &self,
        change: impl FnOnce(&mut ChartChanged) -> Result<(), BadData>,
    ) -> Result<(), BadData> {
        let now = {
            let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut data)?;
            data.version += 1;
            data.clone()
        };
        if let Err(error) = self.layer.group_send(&self.group, now).await {
            tracing::warn!(%error, "the pages see a change only with the next one");
        }
        Ok(())
    }

    fn now(&self) -> ChartChanged {
        self.data.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ChartChanged {
    fn add(&mut self, name: &str, add: u64) -> Result<(), BadData> {
        if let Some(bar) = self.bars.iter_mut().find(|bar| bar.name == name) {
            bar.value = bar.value.saturating_add(add);
        } else if self.bars.len() < NAMES {
            self.bars.push(Bar { name: name.to_owned(), value: add });
        } else {
            return Err(BadData::Full);
        }
        Ok(())
    }
}

/// Why data is refused.
#[derive(Debug, PartialEq)]
pub(crate) enum BadData {
    /// The chart has no room for another name.
    Full,
    /// The name is empty or too long.
    Name,
}

impl std::fmt::Display for BadData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => write!(f, "the chart has {NAMES} names already: add to one of them"),
            Self::Name => write!(f, "a name has 1 to {NAME} characters"),
        }
    }
}

/// The job: reads a batch of orders at every tick, until all are read or a person pauses it.
pub(crate) async fn job(chart: Chart, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    // Random-looking numbers, in place of the orders that a real job would read.
    let mut dice: u64 = 1;
    loop {
        ticks.tick().await;
        if !chart.now().job.running {
            continue;
        }
        let batch = chart.change(|data| {
            for number in 0..data.bars.len().min(5) {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let most = 16 >> number;
                let read = ((dice >> 33) % (most + 1)).min(data.job.total - data.job.done);
                data.bars[number].value += read;
                data.job.done += read;
            }
            data.job.running = data.job.running && data.job.done < data.job.total;
            Ok(())
        });
        if let Err(error) = batch.await {
            tracing::warn!(%error, "a batch was not counted");
        }
    }
}

/// One open page.
pub(crate) struct Viewer {
    chart: Chart,
}

impl Viewer {
    pub(crate) fn new(chart: &Chart) -> Self {
        Self { chart: chart.clone() }
    }
}

impl Consumer for Viewer {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        // Joins first: a later change comes as an event, and an earlier one is in `now`.
        ctx.group_add(&self.chart.group).await?;
        ctx.accept()?;
        ctx.send_event(&self.chart.now())
    }
}

#[event_handlers]
impl Viewer {
    /// Writes the message once for all pages.
    #[relay]
    fn chart_changed(event: &ChartChanged) -> Result<Outgoing> {
        Outgoing::event(event)
    }
}
