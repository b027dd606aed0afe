//! The router of a worker: which consumer does the jobs of which channel.

use std::{collections::HashSet, fmt, sync::Arc};

use super::{WorkerContext, limits::JobLimits, starter::JobStarter};
use crate::{
    ChannelName, EventHandlers, NameError, Result,
    names::MAX_NAME_LENGTH,
    routing::{RouteError, RouteErrors, endpoint::Maker},
};

/// Maps channel names to background consumers: Channels' `ChannelNameRouter`.
///
/// A [`Worker`](crate::Worker) runs it. The events that are sent to a channel are the jobs of its consumer, whose
/// handlers take a [`WorkerContext`].
///
/// ```
/// use greenroom::{ChannelNameRouter, Layer, MemoryLayer, Worker, WorkerContext, prelude::*};
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// #[event("thumbnail.generate")]
/// struct Generate {
///     id: u64,
/// }
///
/// struct Thumbnails {
///     made: u64,
/// }
///
/// #[event_handlers]
/// impl Thumbnails {
///     async fn thumbnail_generate(&mut self, job: &Generate, ctx: &mut WorkerContext) -> Result<()> {
///         let id = job.id;
///         ctx.run_blocking(move || println!("the thumbnail of {id}")).await?;
///         self.made += 1;
///         Ok(())
///     }
/// }
///
/// let router = ChannelNameRouter::new().channel("thumbnails-generate", |_| Ok(Thumbnails { made: 0 }));
/// let worker = Worker::new(MemoryLayer::new(), router)?;
/// # Ok::<(), greenroom::Error>(())
/// ```
#[derive(Default)]
#[must_use]
pub struct ChannelNameRouter {
    entries: Vec<ChannelEntry>,
}

struct ChannelEntry {
    channel: String,
    limits: Option<JobLimits>,
    starter: Arc<dyn JobStarter>,
}

/// A channel of a checked router.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: ChannelName,
    /// The channel's own limits, if it has any.
    pub(crate) limits: Option<JobLimits>,
    pub(crate) starter: Arc<dyn JobStarter>,
}

impl ChannelNameRouter {
    /// A router without channels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a channel: `make` makes the consumers for its jobs.
    ///
    /// `make` is called for each consumer when the worker starts, and again after a job has failed, so that the
    /// next job has a new instance. If `make` fails, the error is logged, at most once a minute, and no job is
    /// taken. `make` is then called again, first after 100 ms, later at longer intervals of up to 5 s.
    pub fn channel<C, F>(self, name: impl Into<String>, make: F) -> Self
    where
        C: EventHandlers<WorkerContext>,
        F: Fn(&WorkerContext) -> Result<C> + Send + Sync + 'static,
    {
        self.add(name.into(), None, Arc::new(Maker::new(make)))
    }

    /// As [`channel`](Self::channel), with limits for this channel instead of those of the worker.
    pub fn channel_with<C, F>(self, name: impl Into<String>, limits: JobLimits, make: F) -> Self
    where
        C: EventHandlers<WorkerContext>,
        F: Fn(&WorkerContext) -> Result<C> + Send + Sync + 'static,
    {
        self.add(name.into(), Some(limits), Arc::new(Maker::new(make)))
    }

    fn add(mut self, channel: String, limits: Option<JobLimits>, starter: Arc<dyn JobStarter>) -> Self {
        self.entries.push(ChannelEntry { channel, limits, starter });
        self
    }

    /// Checks the channels. [`Worker::new`](crate::Worker::new) calls it.
    pub(crate) fn build(self) -> Result<Vec<Channel>, RouteErrors> {
        let mut errors = Vec::new();
        let mut channels = Vec::new();
        if self.entries.is_empty() {
            errors.push(RouteError::NoChannels);
        }
        let (mut known, mut twice) = (HashSet::new(), HashSet::new());
        for ChannelEntry { channel, limits, starter } in self.entries {
            if !known.insert(channel.clone()) {
                if twice.insert(channel.clone()) {
                    errors.push(RouteError::DuplicateChannel { channel });
                }
                continue;
            }
            match check(&channel) {
                Ok(name) => channels.push(Channel { name, limits, starter }),
                Err(reason) => errors.push(RouteError::BadChannel { channel, reason }),
            }
        }
        if errors.is_empty() { Ok(channels) } else { Err(RouteErrors(errors)) }
    }
}

/// Checks that a name is valid, and that any process may receive from the channel.
fn check(channel: &str) -> Result<ChannelName, String> {
    if channel.contains('!') {
        return Err("a name with `!` belongs to a single process or consumer: use one without it".to_owned());
    }
    ChannelName::new(channel).map_err(|error| match error {
        NameError::Empty { .. } => "give it a name".to_owned(),
        NameError::Forbidden { character, .. } => {
            format!("it contains {character:?}: use ASCII letters, digits, `-`, `_` and `.`")
        }
        NameError::TooLong { length, .. } => {
            format!("it has {length} bytes: use at most {MAX_NAME_LENGTH}")
        }
    })
}

/// Shows the channels and their consumers.
impl fmt::Debug for ChannelNameRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.entries.iter().map(|entry| (&entry.channel, entry.starter.describe())))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Envelope, Handled, Outgoing};

    struct Nothing;

    impl EventHandlers<WorkerContext> for Nothing {
        fn events() -> Vec<&'static str> {
            Vec::new()
        }

        async fn handle_event(&mut self, _: &Envelope, _: &mut WorkerContext) -> Result<Handled> {
            Ok(Handled::Unknown)
        }

        fn relay(_: &Envelope) -> Option<Result<Outgoing>> {
            None
        }
    }

    fn router(channels: &[&str]) -> ChannelNameRouter {
        channels
            .iter()
            .fold(ChannelNameRouter::new(), |router, &channel| router.channel(channel, |_| Ok(Nothing)))
    }

    /// Channels' `test_channel_name_router`. There a wrong channel is an error when a message comes.
    #[test]
    fn upstream_channel_name_router() {
        let built = router(&["test", "other.channel_1"]).build().unwrap();
        let names: Vec<_> = built.iter().map(|channel| channel.name.as_str()).collect();
        assert_eq!(names, ["test", "other.channel_1"]);
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let long = "x".repeat(100);
        let errors =
            router(&["fine", "with space", "", "mine!1", "fine", "fine", &long, "é"]).build().unwrap_err();
        let text = errors.to_string();
        let expected = [
            "no worker can take jobs from the channel \"with space\": it contains ' ': use ASCII letters, digits, `-`, `_` and `.`"
                .to_owned(),
            "no worker can take jobs from the channel \"\": give it a name".to_owned(),
            "no worker can take jobs from the channel \"mine!1\": a name with `!` belongs to a single process or consumer: use one without it"
                .to_owned(),
            "the channel \"fine\" was added twice: give one consumer the handlers of both, or rename one; to do more jobs at once, raise its concurrency"
                .to_owned(),
            format!("no worker can take jobs from the channel {long:?}: it has 100 bytes: use at most 99"),
            "no worker can take jobs from the channel \"é\": it contains 'é': use ASCII letters, digits, `-`, `_` and `.`"
                .to_owned(),
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        assert_eq!(errors.iter().count(), 6);
    }

    #[test]
    fn a_router_without_channels_is_an_error() {
        assert_eq!(router(&[]).build().unwrap_err(), RouteErrors(vec![RouteError::NoChannels]));
    }

    #[test]
    fn debug_shows_where_channels_lead() {
        assert!(format!("{:?}", router(&["jobs"])).contains("Nothing"));
    }
}
