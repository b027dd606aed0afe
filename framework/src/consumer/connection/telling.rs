//! Tells a client its name, its places in the logs, and what it has missed.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use bytes::Bytes;

use super::{Connection, places::Early};
use crate::{
    GroupName, Outgoing,
    error::Closed,
    groups::history::{
        log::Log,
        lost::{LostReason, Outcome},
        position::Position,
        token::{FloorToken, Gid, TOKEN_LIFE, connection_id, unix_seconds},
    },
    wire::{
        history::{
            control::{Control, Hello, LogStart, Place, Resumption},
            down::Head,
        },
        limits::Ticks,
    },
};

impl Connection {
    /// What the client is told of this connection. Its name is empty if nobody can check it.
    fn hello(&self, over_requests: bool) -> Hello {
        let secret = self.hub.directory().logs.secret();
        let id = secret.map(|secret| connection_id(secret, &self.channel_name())).unwrap_or_default();
        // While the server does not read, its own pings take the place of answers. Without them there is no promise.
        let interval = self.limits.ping_interval.filter(|_| !over_requests);
        let longest =
            interval.map(|interval| interval.0.max(self.limits.pong_timeout.map_or(0, |time| time.0)));
        Hello { id, ping: longest.map(|ticks| Ticks(ticks).time().as_secs_f64().ceil() as u32) }
    }

    /// Answers a ping of a client that cannot see those of its WebSocket.
    pub(super) fn answer_ping(&self) {
        let Some(pong) = self.encode_pong() else { return };
        self.catch_up();
        // What waits comes behind the ping, and is an answer too. So pings never cost a client another message.
        let few = self.limits.read_ahead.min(self.limits.outbox_size / 2);
        if self.outbox.borrow().has_few(few, &self.limits) && self.has_room(pong.len()) {
            // It fails after the end, when the client is told nothing more.
            let _ = self.push_frame(pong.into());
        }
    }

    /// A sign of life that the client can see. `None` if its form of messages has none.
    pub(super) fn encode_pong(&self) -> Option<Bytes> {
        let pong = Control { pong: true, ..Control::default() };
        self.class.wire().encode_control(&pong.to_json(), self.counters())
    }

    /// Greets the client with all that it is told first: its name, where it begins in each log, and what became of its
    /// places. Then it gets what has waited for that.
    pub(super) fn greet(
        &self,
        logs: &[Arc<Log>],
        outcomes: Option<&[(GroupName, Outcome)]>,
        are_signed: bool,
    ) {
        let mut starts = self.starts(logs, outcomes);
        // A place whose proof this layer does not know is in a group that nobody can name.
        starts.recovered = starts.recovered.map(|recovered| recovered && are_signed);
        // What large sends owe the client waits for the greeting too.
        self.catch_up();
        match self.places.get().and_then(|places| places.take_early()) {
            Some(early) => self.greet_with(starts, *early),
            // It had its name before, because `connect` took long.
            None => self.tell(&starts),
        }
    }

    /// Tells the client its name before it is introduced, so that it gets what has waited for that.
    ///
    /// For a `connect` that goes on long after the accept, or ends the connection.
    pub(super) fn greet_early(&self) {
        if self.waits_for_greeting() {
            self.catch_up();
        }
        if let Some(early) = self.places.get().and_then(|places| places.take_early()) {
            self.greet_with(Control { logs: Some(BTreeMap::new()), ..Control::default() }, *early);
        }
    }

    fn greet_with(&self, control: Control, early: Early) {
        let control = Control { hello: Some(self.hello(early.answer.is_some())), ..control };
        match early.answer {
            // It fails if the request is gone, and then its client too.
            Some(answer) => drop(answer.send(control.to_json())),
            None => self.tell(&control),
        }
        if let Some(early) = early.outbox {
            self.push_early(early);
        }
        // Less waits now than before, perhaps nothing.
        self.note_taken();
    }

    /// Tells the client where it begins in some logs, and what became of the places that it has named.
    pub(super) fn tell_starts(&self, logs: &[Arc<Log>], outcomes: Option<&[(GroupName, Outcome)]>) {
        self.tell(&self.starts(logs, outcomes));
    }

    fn starts(&self, logs: &[Arc<Log>], outcomes: Option<&[(GroupName, Outcome)]>) -> Control {
        let start_in = |log: &Arc<Log>| {
            // A log that is not open has no place yet.
            Some((log.alias, self.start_at(log, self.hub.place_of(self, log)?)?))
        };
        let told = |(group, outcome): &(GroupName, Outcome)| {
            let told = match outcome {
                Outcome::Recovered => Resumption::Recovered,
                Outcome::Lost(reason) => Resumption::Lost(reason.as_str()),
            };
            (Gid::of(group).to_string(), told)
        };
        Control {
            logs: Some(logs.iter().filter_map(start_in).collect()),
            resumed: outcomes.map(|outcomes| outcomes.iter().map(told).collect()),
            recovered: outcomes
                .map(|outcomes| outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Recovered)),
            ..Control::default()
        }
    }

    /// A place where the client begins in a log, with the proof.
    fn start_at(&self, log: &Log, place: Position) -> Option<LogStart> {
        let gid = Gid::of(&log.group);
        let expires = unix_seconds(SystemTime::now() + TOKEN_LIFE);
        let user = self.places.get()?.user;
        let token = FloorToken { gid, epoch: place.epoch, floor: place.offset, user, expires };
        let token = self.hub.directory().logs.secret().map(|secret| token.sign(secret)).unwrap_or_default();
        Some(LogStart { gid: gid.to_string(), place: place_of(place), token, foreign: log.foreign() })
    }

    /// Tells the client that it has left a group with a log.
    pub(crate) fn tell_left(&self, group: &GroupName) {
        if self.knows_its_places() && self.hub.directory().logs.find(group).is_some() {
            self.tell(&Control { left: vec![Gid::of(group).to_string()], ..Control::default() });
        }
    }

    /// Tells the client that it has an event of a group with a log that is in no log.
    pub(crate) fn tell_foreign(&self, alias: u32, mark: f64) {
        self.tell(&Control { foreign: BTreeMap::from([(alias, mark)]), ..Control::default() });
    }

    /// Tells the client that it may have missed events, and where it goes on.
    pub(super) fn tell_lost(&self, log: &Log, reason: LostReason, from: Position) {
        if !self.knows_its_places() {
            return;
        }
        let gid = Gid::of(&log.group).to_string();
        let lost = BTreeMap::from([(gid.clone(), reason.as_str())]);
        let at = BTreeMap::from([(gid, place_of(from))]);
        // The proof that the client has may be of another epoch.
        let logs = self.start_at(log, from).map(|start| BTreeMap::from([(log.alias, start)]));
        self.tell(&Control { logs, lost, at, ..Control::default() });
    }

    fn knows_its_places(&self) -> bool {
        self.places.get().is_some_and(|places| places.is_introduced())
    }

    /// Queues a control frame.
    fn tell(&self, control: &Control) {
        if let Some(frame) = self.class.wire().encode_control(&control.to_json(), self.counters()) {
            // It fails after the end, when the client is told nothing more.
            if self.write(frame) == Ok(false) {
                // Without this frame the client would misread what follows. It comes back, and goes on where it was.
                self.too_slow();
            }
        }
    }

    /// Notes that the handler of an event of a log runs.
    pub(crate) fn begin_logged(&self, alias: u32, position: Position) {
        if let Some(places) = self.places.get() {
            places.begin_logged(alias, position);
        }
    }

    /// Notes that the handler has ended, and tells the client that it has all of the event.
    pub(crate) fn end_logged(&self) {
        let at = self.places.get().and_then(|places| places.end_logged());
        if let Some(mark) = at.and_then(|at| self.class.wire().encode_mark(at)) {
            let _ = self.write(mark);
        }
    }

    /// Queues a message that a hook sends. If the hook handles an event of a log, the message is marked with its place.
    pub(crate) fn send_from_hook(&self, message: &Outgoing) -> Result<(), Closed> {
        match self.places.get().and_then(|places| places.next_part()) {
            Some(at) => self.send_headed(Head::Logged(at), message),
            None => self.send(message),
        }
    }
}

fn place_of(position: Position) -> Place {
    Place { epoch: position.epoch.get(), offset: position.offset, tag: position.tag.get() }
}
