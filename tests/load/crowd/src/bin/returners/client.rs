//! One client: it loses its connection, comes back, and names its places.

use std::{rc::Rc, time::Duration};

use crowd::wire::Wire;
use tokio::{
    task::spawn_local,
    time::{self, Instant},
};

use crate::{
    Crowd, Form,
    check::Fit,
    places::{Heard, Places},
    wire,
};

/// How long a connection that another one has replaced may stay open.
const SUPERSEDED: Duration = Duration::from_secs(5);

pub struct Client {
    crowd: Rc<Crowd>,
    number: usize,
    places: Places,
    /// The server that it asks next.
    server: usize,
    /// When it began to open this connection, and when the connection was open, in microseconds.
    begun: u64,
    opened: u64,
    /// When the last connection was lost, if the server ended it.
    ended: Option<u64>,
    /// The server ended it, and said when to come back.
    restarts: bool,
    /// The number of the last message that was sent before it was back. `None` once it has that.
    owed: Option<u64>,
    /// It had missed messages when it came back.
    missed: bool,
    /// The connection has had its first answer.
    greeted: bool,
    /// The connection that broke in silence, until the next one is greeted.
    silent: Option<Wire>,
}

/// How a connection ended.
enum Ended {
    /// The client cut it.
    Cut,
    /// The server or the network did: the code, and the time that the server asks for.
    Gone(u16, Option<Duration>),
}

impl Client {
    pub fn new(crowd: Rc<Crowd>, number: usize) -> Self {
        let server = (number / crowd.options.rooms.max(1) + number) % crowd.options.port.len();
        Self {
            crowd,
            number,
            places: Places::default(),
            server,
            begun: 0,
            opened: 0,
            ended: None,
            restarts: false,
            owed: None,
            missed: false,
            greeted: false,
            silent: None,
        }
    }

    /// Opens a connection, as often as it takes, and names its places on it.
    pub async fn open(&mut self) -> Wire {
        let crowd = Rc::clone(&self.crowd);
        let (room, servers) = (crowd.room_of(self.number), crowd.options.port.len());
        self.begun = crowd.now();
        for attempt in 0_u32.. {
            let is_marked = crowd.options.form == Form::Marked;
            let resumes = is_marked && self.places.any();
            let query = match (is_marked, resumes) {
                (false, _) => "",
                (true, false) => "?greenroom=socket&v=1",
                (true, true) => "?greenroom=socket&v=1&resume=1",
            };
            let server = self.server;
            // The next one is another one, whether this one works or not.
            self.server = (self.server + 1) % servers;
            let path = format!("{}{query}", crowd.options.path);
            if let Ok(mut wire) = wire::open(&crowd, server, room, &path).await {
                self.opened = crowd.now();
                let owed = crowd.rooms[room].acked.get();
                self.missed = !crowd.checks[self.number].borrow().has(owed);
                self.owed = Some(owed);
                self.greeted = !is_marked;
                if resumes {
                    let frame = self.places.resume();
                    if wire.send_frame(1, frame.as_bytes()).await.is_err() {
                        continue;
                    }
                } else {
                    self.settle();
                }
                return wire;
            }
            crowd.count("refused");
            time::sleep(self.longest_delay(attempt).mul_f64(crowd.random())).await;
        }
        unreachable!("there are enough attempts")
    }

    /// The longest time until the next attempt. As greenroom.js does: 2 s after the first one that follows a delay, then
    /// twice as long each time, up to 30 s. But no longer than a server has been away that restarts, or than 1 s.
    fn longest_delay(&self, attempt: u32) -> Duration {
        let second = Duration::from_secs(1);
        let longest = (second * (2 << attempt.min(4))).min(second * 30);
        match self.ended.filter(|_| self.restarts) {
            Some(ended) => longest.min(second.max(Duration::from_micros(self.crowd.now() - ended))),
            None => longest,
        }
    }

    /// Lives with its connections until the program ends.
    pub async fn live(mut self, mut wire: Wire) {
        let crowd = Rc::clone(&self.crowd);
        let mut first = true;
        loop {
            let ended = self.listen(&mut wire, crowd.next_cut(first)).await;
            first = false;
            match ended {
                Ended::Cut => {
                    crowd.count("cuts");
                    if crowd.random() * 100.0 < f64::from(crowd.options.silent) && self.greeted {
                        self.silent = Some(wire);
                    } else {
                        drop(wire);
                    }
                    time::sleep(Duration::from_secs_f64(crowd.options.away)).await;
                }
                Ended::Gone(code, hint) => {
                    drop(wire);
                    crowd.ending(code);
                    // If it was not quite back yet, it is still away from the first end on.
                    if self.ended.is_none() {
                        self.ended = Some(crowd.now());
                        crowd.gone.set(crowd.gone.get() + 1);
                    }
                    self.restarts = hint.is_some();
                    let back = hint.unwrap_or_else(|| Duration::from_secs(1).mul_f64(crowd.random()));
                    time::sleep(back).await;
                }
            }
            wire = self.open().await;
        }
    }

    /// Listens until the connection ends, or until it is cut.
    async fn listen(&mut self, wire: &mut Wire, cut: Option<Instant>) -> Ended {
        let far = Instant::now() + Duration::from_secs(86_400);
        let cut = time::sleep_until(cut.unwrap_or(far));
        tokio::pin!(cut);
        loop {
            tokio::select! {
                biased;
                frame = wire.frame() => match frame {
                    Ok((8, body)) => return closed(&body),
                    Ok((9, body)) => if wire.send_frame(10, &body).await.is_err() {
                        return Ended::Gone(1006, None);
                    },
                    Ok((_, body)) => self.hear(&body),
                    Err(_) => return Ended::Gone(1006, None),
                },
                () = &mut cut => {
                    if self.crowd.cutting.get() {
                        return Ended::Cut;
                    }
                    cut.as_mut().reset(far);
                }
            }
        }
    }

    /// Listens until it has all that it had missed.
    pub async fn catch_up(&mut self, wire: &mut Wire) {
        while self.owed.is_some() {
            match wire.frame().await {
                Ok((1 | 2, body)) => self.hear(&body),
                Ok((9, body)) if wire.send_frame(10, &body).await.is_ok() => {}
                _ => return self.crowd.count("cut_while_catching_up"),
            }
        }
    }

    fn hear(&mut self, body: &[u8]) {
        let crowd = Rc::clone(&self.crowd);
        let Ok(text) = std::str::from_utf8(body) else {
            return crowd.wrong("a message that is no text");
        };
        if crowd.options.form == Form::Plain {
            self.take(text);
            return self.settle();
        }
        match self.places.hear(text) {
            Heard::Message(payload) => self.take(payload),
            Heard::Repeated => crowd.count("dropped_by_client"),
            Heard::Hello(outcomes) => {
                self.greeted = true;
                for outcome in outcomes {
                    match outcome {
                        None => crowd.count("recovered"),
                        Some(reason) => {
                            crowd.outcome(&reason);
                            crowd.checks[self.number].borrow_mut().tell();
                        }
                    }
                }
                if let Some(old) = self.silent.take() {
                    spawn_local(superseded(Rc::clone(&crowd), old));
                }
            }
            Heard::Lost(reasons) => {
                for reason in reasons {
                    crowd.outcome(&format!("{reason}, while connected"));
                    crowd.checks[self.number].borrow_mut().tell();
                }
            }
            Heard::Nothing => {}
            Heard::Wrong(what) => crowd.wrong(what),
        }
        self.settle();
    }

    /// Checks a message of the room.
    fn take(&mut self, text: &str) {
        let crowd = &self.crowd;
        let now = crowd.now();
        let mut check = crowd.checks[self.number].borrow_mut();
        let Some((room, number, sent)) = Crowd::read(text) else {
            return crowd.wrong("a message of another form");
        };
        if room != check.room {
            return crowd.wrong("a message of another room");
        }
        match check.take(number) {
            Fit::New => crowd.delivered(now, sent, self.begun),
            Fit::Doubled => crowd.count("doubled"),
            // The room's next messages went to another server before this one had an answer: they have no order.
            Fit::OutOfOrder if crowd.rooms[room].doubtful.borrow().contains(&number) => {
                crowd.count("doubtful_late")
            }
            Fit::OutOfOrder => crowd.count("out_of_order"),
        }
    }

    /// Notes when it has all that was sent before it was back.
    fn settle(&mut self) {
        let Some(owed) = self.owed.filter(|_| self.greeted) else {
            return;
        };
        if !self.crowd.checks[self.number].borrow().has(owed) {
            return;
        }
        self.owed = None;
        let now = self.crowd.now();
        self.crowd.caught_up(now - self.opened, self.missed);
        if let Some(ended) = self.ended.take() {
            self.crowd.gone.set(self.crowd.gone.get() - 1);
            self.crowd.absences.borrow_mut().push((ended, now));
        }
    }
}

/// The old connection must be ended by the server, since a new one has taken its place.
async fn superseded(crowd: Rc<Crowd>, mut old: Wire) {
    let end = async {
        loop {
            match old.frame().await {
                Ok((8, body)) => return Some(closed(&body)),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    };
    match time::timeout(SUPERSEDED, end).await {
        Ok(Some(Ended::Gone(1000, _))) => crowd.count("superseded"),
        Ok(_) => crowd.count("superseded_otherwise"),
        Err(_) => crowd.count("not_superseded"),
    }
}

/// Reads a close frame.
fn closed(body: &[u8]) -> Ended {
    let code = body.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
    let reason = body.get(2..).and_then(|reason| std::str::from_utf8(reason).ok()).unwrap_or_default();
    let hint = reason.split_once("retry=").and_then(|(_, hint)| hint.split_once("ms"));
    let hint = hint.and_then(|(hint, _)| hint.parse().ok()).map(Duration::from_millis);
    Ended::Gone(code, hint.filter(|_| code == 1012))
}
