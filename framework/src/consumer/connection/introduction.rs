//! How a client comes into the logs of its groups: as a new one, or where it was on an earlier connection.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::{
    Connection,
    named::NamedPlace,
    places::{Asked, Places},
};
use crate::{
    ChannelName, GroupName, Message,
    close::{Cause, CloseCode},
    groups::{
        history::{
            log::Log,
            lost::{LostReason, Outcome},
            since::{EventId, Since},
            token::{Gid, read_connection_id},
        },
        member::Member as _,
    },
    shown::Shown,
    wire::history::{
        resume::{BadResume, ResumeRequest, is_ping},
        up::Up,
    },
};

/// How long the server waits for a client to name its places.
const PATIENCE: Duration = Duration::from_secs(2);
/// A client that is accepted is greeted within this time, also if `connect` goes on, or a hook waits for the client.
pub(super) const GREETING: Duration = Duration::from_millis(500);
/// So many places of groups that the client is not in yet are kept.
const KEPT: usize = 64;

/// What became of the places of one connection.
pub(crate) struct Introduced {
    /// The logs in which the members wait to go on.
    pub(crate) logs: Vec<Arc<Log>>,
    /// What became of each place, if the client came back.
    pub(crate) outcomes: Option<Vec<(GroupName, Outcome)>>,
    /// The channels of the client's earlier connections. Those that still live are to end.
    pub(crate) was: Vec<ChannelName>,
}

impl Connection {
    /// Notes how the client's introduction begins. Called once, before the consumer starts.
    pub(crate) fn keep_places(&self, places: Places) {
        let _ = self.places.set(Box::new(places));
    }

    /// Whether the client is told its places.
    pub(super) fn has_places(&self) -> bool {
        self.places.get().is_some()
    }

    /// Whether the client is to be greeted, and is not yet.
    pub(super) fn waits_for_greeting(&self) -> bool {
        self.places.get().is_some_and(|places| !places.is_greeted())
    }

    /// Runs `connect`. If that goes on for long after its accept, the client is greeted meanwhile.
    pub(crate) async fn greeted_during<T>(&self, connect: impl Future<Output = T>) -> T {
        let mut connect = pin!(connect);
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            let done = connect.as_mut().poll(cx);
            if done.is_pending() && !self.is_connecting() && self.waits_for_greeting() {
                let timer = timer.get_or_insert_with(|| Box::pin(sleep(GREETING)));
                if timer.as_mut().poll(cx).is_ready() {
                    self.greet_early();
                }
            }
            done
        })
        .await
    }

    /// Waits for the places of a client that comes back, for a while.
    pub(crate) fn await_places(self: &Rc<Self>) {
        if self.places.get().is_some_and(|places| places.is_awaited()) {
            let connection = Rc::downgrade(self);
            actix_rt::spawn(async move {
                sleep(PATIENCE).await;
                if let Some(connection) = connection.upgrade() {
                    connection.ask(Asked::TooLate);
                }
            });
        }
    }

    /// Has the client introduced. Returns false if it has asked for something before.
    fn ask(&self, asked: Asked) -> bool {
        let is_first = self.places.get().is_some_and(|places| places.note_asked(asked));
        if is_first {
            self.wake_task();
        }
        is_first
    }

    /// Takes a message of a client that marks its messages. Returns it if it is one for the consumer.
    pub(super) fn unmarked(&self, message: Message) -> Option<Message> {
        match Up::read(message) {
            Up::Message(message) if message.payload().len() <= self.limits.message_size => {
                return Some(message);
            }
            Up::Message(_) => self.end(Cause::Protocol, CloseCode::TOO_BIG, "the message is too large"),
            Up::Control(text) => match ResumeRequest::read(&text) {
                Ok(Some(request)) => {
                    if !self.ask(Asked::Resume(request)) {
                        tracing::debug!(channel = %self.channel_name(), "a client named its places twice or too late");
                    }
                }
                Ok(None) if is_ping(&text) => self.answer_ping(),
                // A later version may say more.
                Ok(None) => {}
                Err(BadResume::TooManyLogs | BadResume::TooManyWas) => {
                    self.ask(Asked::TooMany);
                }
                Err(BadResume::TooLarge) => {
                    self.end(Cause::Protocol, CloseCode::TOO_BIG, "the request to resume is too large");
                }
                Err(error) => {
                    tracing::debug!(channel = %self.channel_name(), error = %Shown(&error), "a client's control frame cannot be read");
                    self.end(Cause::Protocol, CloseCode::INVALID_DATA, "the control frame cannot be read");
                }
            },
            Up::Unknown => {
                self.end(Cause::Protocol, CloseCode::PROTOCOL, "a message must begin with its kind")
            }
        }
        None
    }

    /// Lets a new member begin in a log: where the client has named its place, or as `since` says.
    pub(crate) async fn begin(&self, log: &Arc<Log>, since: Since) -> Outcome {
        let directory = Arc::clone(self.hub.directory());
        directory.open(log).await;
        let named = match since {
            Since::Now | Since::Last(_) => None,
            // The program names it, and it does not say which events of no log came before.
            Since::Position(place) => Some(NamedPlace::Proven(place, f64::INFINITY)),
            Since::EventId(EventId(Ok((place, foreign)))) => {
                Some(NamedPlace::Proven(place, f64::from_bits(foreign)))
            }
            Since::EventId(EventId(Err(reason))) => Some(NamedPlace::Refused(reason)),
        };
        let (start, outcome) = match (named, since) {
            (Some(named), _) => {
                let found = self.find(log, named).await;
                (found.ok(), Outcome::of(&found))
            }
            (None, Since::Last(count)) if count > 0 => directory.before_last(log, count).await,
            (None, _) => (None, Outcome::Recovered),
        };
        let cursor = start.or_else(|| self.hub.place_of(self, log));
        let Some(places) = self.places.get() else {
            if since != Since::Now {
                self.hub.go_on(self, log, cursor);
            }
            return outcome;
        };
        if let Some(cursor) = cursor {
            self.hub.hold_at(self, log, cursor);
        }
        if !places.is_introduced() {
            // The introduction says where it goes on.
            return outcome;
        }
        let gid = Gid::of(&log.group);
        let outcome = match places.named_in(gid) {
            Some(named) => {
                let outcome = self.find_and_hold(log, named).await;
                // Not before: if this call is given up, the next one needs the place.
                places.forget_named(gid);
                self.tell_starts(std::slice::from_ref(log), Some(&[(log.group.clone(), outcome)]));
                outcome
            }
            None => {
                self.tell_starts(std::slice::from_ref(log), None);
                outcome
            }
        };
        self.hub.go_on(self, log, None);
        outcome
    }

    /// Decides where each member goes on, and tells the client. The members go on after [`go_on`](Self::go_on).
    pub(crate) async fn introduce_client(&self) -> Introduced {
        let mut introduced = Introduced { logs: Vec::new(), outcomes: None, was: Vec::new() };
        let Some(places) = self.places.get() else { return introduced };
        let asked = places.begin_introduction();
        let directory = Arc::clone(self.hub.directory());
        introduced.logs = self.logs().collect();
        for log in &introduced.logs {
            directory.open(log).await;
        }
        let all_lost = |reason| {
            let lost = |log: &Arc<Log>| {
                directory.counters.lost(reason);
                (log.group.clone(), Outcome::Lost(reason))
            };
            Some(introduced.logs.iter().map(lost).collect())
        };
        let (mut named, mut are_signed) = (BTreeMap::new(), true);
        introduced.outcomes = match asked {
            Asked::Nothing => None,
            Asked::TooLate => all_lost(LostReason::Late),
            Asked::TooMany => all_lost(LostReason::TooMany),
            Asked::Resume(request) => {
                introduced.was = self.note_was(places, &request.was);
                (named, are_signed) = self.check(places, request.logs);
                let mut outcomes = Vec::new();
                for log in &introduced.logs {
                    if let Some(place) = named.remove(&Gid::of(&log.group)) {
                        outcomes.push((log.group.clone(), self.find_and_hold(log, place).await));
                    }
                }
                Some(outcomes)
            }
        };
        while named.len() > KEPT {
            named.pop_last();
        }
        places.end_introduction(named);
        self.greet(&introduced.logs, introduced.outcomes.as_deref(), are_signed);
        introduced
    }

    /// Notes the client's earlier connections, and returns their channels.
    ///
    /// Not only the newest may still live: an attempt in between may have got no further than its greeting.
    fn note_was(&self, places: &Places, was: &[String]) -> Vec<ChannelName> {
        let Some(secret) = self.hub.directory().logs.secret() else { return Vec::new() };
        let before: Vec<_> = was.iter().filter_map(|id| read_connection_id(secret, id)).collect();
        places.note_before(before.clone());
        before
    }

    /// Lets the members go on that have waited.
    pub(crate) fn go_on(&self, logs: &[Arc<Log>]) {
        for log in logs {
            self.hub.go_on(self, log, None);
        }
    }

    /// Introduces a member that another program has put into a group.
    pub(super) fn introduce_member(&self, log: &Arc<Log>) {
        if self.places.get().is_none_or(|places| places.is_introduced()) {
            if self.has_places() {
                self.tell_starts(std::slice::from_ref(log), None);
            }
            self.hub.go_on(self, log, None);
        }
    }

    /// Whether a frame that is dropped would be taken for one that has arrived.
    ///
    /// The client of a member of a group with a log names its last place when it comes back. So such a connection ends
    /// rather than lose the oldest frames. The client comes back, and gets those of its logs.
    #[cold]
    pub(super) fn counts_on_each_frame(&self) -> bool {
        self.has_places() && self.logs().next().is_some()
    }

    /// Whether an entry leaves this client out, on this connection or an earlier one.
    pub(super) fn is_left_out_of(&self, left_out: &[ChannelName]) -> bool {
        !left_out.is_empty()
            && (self.was_one_of(left_out) || left_out.binary_search(&self.channel_name()).is_ok())
    }
}
