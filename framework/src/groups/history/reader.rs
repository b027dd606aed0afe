//! Pages of a group's events, for programs that show what was said before.

use std::{fmt, sync::Arc};

use super::{
    entry::Entry,
    log::{Log, News, envelope_of},
    policy::History,
    position::{Position, Tag},
    store::{LogRead, LogStore, Part, StoredEntry},
};
use crate::{Envelope, GroupName, Result, error::MisuseError, groups::directory::Directory};

/// How many events a page has if the program does not say it.
const PAGE: usize = 50;

/// Reads the events that a group keeps: page by page, from the newest or from a place on.
///
/// [`Layer::history`](crate::Layer::history) and [`LayerContext::history`](crate::LayerContext::history) make one. It
/// reads what the group keeps, whoever asks: the program decides who may see it.
///
/// | Asked for | Which events, at most [`limit`](Self::limit) |
/// |---|---|
/// | nothing | the newest |
/// | [`before`](Self::before) | the last ones up to that place |
/// | [`after`](Self::after) | the first ones behind that place |
/// | both | the first ones behind `after`, up to `before` |
///
/// A transient event is in no page, nor is an event that a program without Greenroom has sent. A page has an event also
/// for those whom its sender left out.
///
/// ```
/// use greenroom::{Layer, LayerConfig, MemoryLayer, history::History, prelude::*};
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// struct Said { text: String }
///
/// # #[actix_web::main]
/// # async fn main() -> greenroom::Result<()> {
/// let config = LayerConfig::new().history("chat_*", History::last(100));
/// let layer = Layer::from(MemoryLayer::with_config(config));
/// let room = GroupName::new("chat_1")?;
/// for number in 0..60 {
///     layer.group_send(&room, Said { text: number.to_string() }).await?;
/// }
/// let newest = layer.history(&room).limit(20).read().await?;
/// let text = |at: usize| newest.events[at].envelope.event::<Said>().map(|said| said.text.clone());
/// assert_eq!((newest.events.len(), text(0)?, text(19)?), (20, "40".into(), "59".into()));
/// // The page before that one, as when a reader scrolls up.
/// let older = layer.history(&room).before(newest.first).limit(20).read().await?;
/// assert_eq!(older.events[0].envelope.event::<Said>()?.text, "20");
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is read before `read` or `position`"]
pub struct HistoryReader {
    directory: Arc<Directory>,
    group: GroupName,
    before: Option<Position>,
    after: Option<Position>,
    limit: usize,
}

/// A part of a group's history.
///
/// [`HistoryReader`] has an example.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Page {
    /// The events, the oldest first. None of the log is missing between two of them.
    pub events: Vec<PageEvent>,
    /// The place before the first event: [`before`](HistoryReader::before) this place are the older ones.
    pub first: Position,
    /// The end of the log when the page was read: what is sent later stands behind it.
    pub top: Position,
    /// Whether nothing is missing: the page has every event behind `after`, or every event of the log if `after` was not
    /// said, up to `before` or the end.
    ///
    /// It is false if there are more than [`limit`](HistoryReader::limit), if the group no longer keeps some of them, and
    /// if the log does not know the place that was named, because it has begun anew.
    pub complete: bool,
}

/// One event of a [`Page`].
///
/// [`HistoryReader`] has an example.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PageEvent {
    /// The place behind the event.
    pub position: Position,
    /// The event. If its bytes cannot be read, it has the name `greenroom.unreadable`.
    pub envelope: Envelope,
}

/// What was read, and what is known of the place before it.
struct Found {
    top: Position,
    events: Vec<PageEvent>,
    /// The place before the first event; `None` if the log does not say it.
    before: Option<Position>,
    /// Whether the log knows the place that was named.
    knows: bool,
}

/// What a server has answered.
struct Read {
    top: Position,
    anchor: Option<Tag>,
    events: Vec<PageEvent>,
}

impl HistoryReader {
    pub(crate) fn new(directory: &Arc<Directory>, group: &GroupName) -> Self {
        Self {
            directory: Arc::clone(directory),
            group: group.clone(),
            before: None,
            after: None,
            limit: PAGE,
        }
    }

    /// Reads only events up to this place: the event behind which it is, and older ones.
    pub fn before(mut self, position: Position) -> Self {
        self.before = Some(position);
        self
    }

    /// Reads only events behind this place.
    pub fn after(mut self, position: Position) -> Self {
        self.after = Some(position);
        self
    }

    /// How many events a page has at most. Default 50, at least 1, at most as many as the group keeps.
    pub fn limit(mut self, events: usize) -> Self {
        self.limit = events;
        self
    }

    /// Reads a page, as it is at one moment. On a layer with a server it asks the server.
    ///
    /// If there is no log yet, this begins it, on the server too: a client may take [`Page::top`] before the first event, and
    /// come back to it later. On Redis that is a key which lives for an hour at least. So check a name that a client has
    /// chosen before you read its history, as you check who may see it.
    ///
    /// # Errors
    /// [`MisuseError::NoHistory`] if the group keeps no events, [`LayerError`](crate::LayerError) if the layer's server
    /// does not answer.
    pub async fn read(self) -> Result<Page> {
        let policy = self.policy()?;
        let most = self.limit.clamp(1, policy.size());
        let found = match self.directory.logs.store() {
            Some(store) => match self.instead_of(&**store) {
                Some(log) => self.look(&log, most),
                None => self.ask(&**store, most).await?,
            },
            None => self.look(&*self.log()?, most),
        };
        Ok(self.page(found, most))
    }

    /// The end of the log now: what is sent later stands behind it.
    ///
    /// For a page that an HTTP handler renders, and that goes on live from there. Read the position *first*, then the
    /// data: so an event that comes between the two is in the data, and comes again, and none is missed. The consumer
    /// begins at the position by [`Since::Position`](super::since::Since::Position).
    ///
    /// A position proves nothing of who names it: whoever has one, for example from a page, can have the events behind it.
    /// So the consumer that takes it from a client checks the client's rights as ever. It can be invented only for the
    /// very start of a log: every other place has 24 random bits.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// ```
    /// use actix_web::{HttpResponse, web};
    /// use greenroom::{Layer, history::{Position, Since}, prelude::*};
    ///
    /// # async fn rows_of_the_board() -> String { String::new() }
    /// async fn page(layer: web::Data<Layer>) -> Result<HttpResponse> {
    ///     let position = layer.history(&GroupName::new("board")?).position().await?;
    ///     let rows = rows_of_the_board().await;
    ///     Ok(HttpResponse::Ok().body(format!(r#"<table data-since="{position}">{rows}</table>"#)))
    /// }
    ///
    /// /// Its page connects to `/board/?since=…`.
    /// #[derive(NoEvents)]
    /// struct Board { since: Option<Position> }
    ///
    /// impl Consumer for Board {
    ///     async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
    ///         ctx.accept()?;
    ///         let since = self.since.map_or(Since::Now, Since::Position);
    ///         ctx.group_add_since(&GroupName::new("board")?, since).await?;
    ///         Ok(())
    ///     }
    /// }
    /// # let _ = page;
    /// ```
    pub async fn position(self) -> Result<Position> {
        // Also where no log is made.
        let _ = self.policy()?;
        let logs = &self.directory.logs;
        match logs.store() {
            Some(store) => Ok(store.read(&self.group, Part::Newest, 0, self.seen()).await?.top),
            // It is made here, if need be: its epoch must be the one that a client finds later.
            None => Ok(self.log()?.end()),
        }
    }

    fn policy(&self) -> Result<History> {
        let policy = self.directory.logs.policy(&self.directory.config, &self.group);
        policy.ok_or_else(|| MisuseError::NoHistory(self.group.to_string()).into())
    }

    fn log(&self) -> Result<Arc<Log>> {
        let log = self.directory.logs.of(&self.directory.config, &self.group);
        log.ok_or_else(|| MisuseError::NoHistory(self.group.to_string()).into())
    }

    /// The log that this process keeps, because its server does not.
    fn instead_of(&self, store: &dyn LogStore) -> Option<Arc<Log>> {
        let log = self.directory.logs.find(&self.group).filter(|_| !store.keeps(&self.group))?;
        log.opened().is_some().then_some(log)
    }

    /// The newest place of the group that this process has seen.
    fn seen(&self) -> Option<Position> {
        self.directory.logs.find(&self.group).and_then(|log| log.seen())
    }

    /// Reads a log of this process.
    fn look(&self, log: &Log, most: usize) -> Found {
        let top = log.end();
        let named = |place: Position| matches!(log.reach(place, false), Some(Ok(_)));
        if let Some(after) = self.after {
            let (place, knows) = if named(after) { (after, true) } else { (log.page(0, 0).1, false) };
            let entries = match log.after(place, most + 1) {
                News::Entries(entries) => entries,
                // It was trimmed this moment.
                News::Lost { .. } => Vec::new(),
            };
            return Found { top, events: events_of(entries), before: Some(place), knows };
        }
        let from = match self.before {
            Some(place) if !named(place) => {
                return Found { top, events: Vec::new(), before: Some(place), knows: false };
            }
            Some(place) => place.offset.saturating_add(1),
            None => u64::MAX,
        };
        let (entries, base) = log.page(from, most + 1);
        Found { top, events: events_of(entries), before: Some(base), knows: true }
    }

    /// Asks the layer's server.
    async fn ask(&self, store: &dyn LogStore, most: usize) -> Result<Found> {
        let seen = self.seen();
        let read = async |part| store.read(&self.group, part, most + 1, seen).await.map(Read::new);
        if let Some(after) = self.after {
            let found = read(Part::After(after)).await?;
            if found.top.epoch == after.epoch && found.anchor == Some(after.tag) {
                return Ok(Found { top: found.top, events: found.events, before: Some(after), knows: true });
            }
            let start = Position::start(found.top.epoch);
            let found = read(Part::After(start)).await?;
            return Ok(Found { before: found.start(), top: found.top, events: found.events, knows: false });
        }
        let Some(place) = self.before else {
            let found = read(Part::Newest).await?;
            return Ok(Found { before: found.start(), top: found.top, events: found.events, knows: true });
        };
        let found = read(Part::Before(place.offset.saturating_add(1))).await?;
        if found.events.last().is_some_and(|last| last.position == place) {
            return Ok(Found { before: found.start(), top: found.top, events: found.events, knows: true });
        }
        // Nothing is before the start. What stands before any other place may be of another log, if the place is gone.
        let knows = place == Position::start(found.top.epoch);
        Ok(Found { top: found.top, events: Vec::new(), before: Some(place), knows })
    }

    /// Makes the page of what was read: up to one event more than it may have.
    fn page(&self, found: Found, most: usize) -> Page {
        let Found { top, mut events, mut before, mut knows } = found;
        if self.after.is_some() {
            if let Some(end) = self.before {
                // An end of another epoch is in another log.
                knows &= end.epoch == top.epoch;
                events.retain(|event| end.epoch == top.epoch && event.position.offset <= end.offset);
            }
            knows &= events.len() <= most;
            events.truncate(most);
        } else {
            if events.len() > most {
                before = Some(events.remove(0).position);
            }
            knows &= before.is_some_and(|place| place.offset == 0);
        }
        let first = before.unwrap_or_else(|| match events.first() {
            // What was there is not kept, and nobody needs its tag.
            Some(PageEvent { position, .. }) => {
                Position { offset: position.offset.saturating_sub(1), tag: Tag::NONE, ..*position }
            }
            None => top,
        });
        Page { events, first, top, complete: knows }
    }
}

impl Read {
    fn new(read: LogRead) -> Self {
        let LogRead { top, anchor, entries, .. } = read;
        let event = |entry: StoredEntry| PageEvent {
            position: Position { epoch: top.epoch, offset: entry.offset, tag: entry.tag },
            envelope: envelope_of(entry.payload),
        };
        Self { top, anchor, events: entries.into_iter().map(event).collect() }
    }

    /// The place before the first event, if there the log began.
    fn start(&self) -> Option<Position> {
        (self.anchor == Some(Tag::NONE)).then(|| Position::start(self.top.epoch))
    }
}

fn events_of(entries: Vec<Arc<Entry>>) -> Vec<PageEvent> {
    let event = |entry: Arc<Entry>| PageEvent { position: entry.position, envelope: entry.envelope.clone() };
    entries.into_iter().map(event).collect()
}

impl fmt::Debug for HistoryReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryReader")
            .field("group", &self.group)
            .field("before", &self.before)
            .field("after", &self.after)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
