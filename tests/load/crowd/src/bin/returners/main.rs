//! Clients that lose their connection and come back, and that check every message: each must come once and in order, or
//! the server must say that some are lost.
//!
//! Prints a line `ready` when the messages begin, and one line of JSON at the end. A line on its input marks a moment,
//! for example that a server is replaced, and is answered with `marked`. The report says when all clients were back
//! after it.
//!
//! `returners --port 8000,8001 --pid 12,13 --clients 10000 --messages 120 --rate 2 --every 15 --away 2`

mod check;
mod client;
mod places;
mod report;
mod teller;
mod wire;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io::BufRead,
    rc::Rc,
    time::Duration,
};

use clap::{Parser, ValueEnum};
use crowd::wire::{Tally, Wire, bad};
use tokio::{
    sync::mpsc,
    task::{LocalSet, spawn_local},
    time::{self, Instant},
};

use crate::{
    check::{Check, Room},
    client::Client,
};

#[derive(Parser)]
struct Options {
    /// The ports of the servers on 127.0.0.1. A client that comes back takes the next one.
    #[arg(long, value_delimiter = ',')]
    port: Vec<u16>,
    /// The processes of the servers, whose CPU time and memory are read.
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// The processes that the servers use, such as Redis.
    #[arg(long, value_delimiter = ',')]
    beside: Vec<u32>,
    #[arg(long, value_enum, default_value_t = Mode::Cuts)]
    mode: Mode,
    #[arg(long, value_enum, default_value_t = Form::Marked)]
    form: Form,
    /// The path of the clients' connections; `{}` stands for the room.
    #[arg(long, default_value = "/room/{}/")]
    path: String,
    #[arg(long)]
    clients: usize,
    #[arg(long, default_value_t = 1)]
    rooms: usize,
    /// How many messages each room gets.
    #[arg(long, default_value_t = 120)]
    messages: u64,
    /// How many messages each room gets per second.
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
    /// The bytes of a message.
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// How many seconds a connection lives, on average. 0 cuts none.
    #[arg(long, default_value_t = 0.0)]
    every: f64,
    /// For how many seconds a client stays away after a cut.
    #[arg(long, default_value_t = 2.0)]
    away: f64,
    /// How many cuts of a hundred are silent: the server does not see them.
    #[arg(long, default_value_t = 0)]
    silent: u32,
    /// After so many seconds the program does not wait any longer for messages.
    #[arg(long, default_value_t = 160.0)]
    seconds: f64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Mode {
    /// Connections are cut while messages come.
    Cuts,
    /// All are away while their messages are sent. Then one after the other comes back.
    CatchUp,
    /// Nothing happens: what a connection costs.
    Idle,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Form {
    /// As greenroom.js: the server says where a message stands in its log.
    Marked,
    /// As a plain `WebSocket`.
    Plain,
}

/// How many clients connect at once.
const DOORS: usize = 100;
/// How long the server may take to greet a client that comes for the first time.
const GREETING: Duration = Duration::from_secs(15);
/// How long a client that comes back may take until it has all that it had missed.
const CATCHING_UP: Duration = Duration::from_secs(5);

/// The data that all clients share.
struct Crowd {
    options: Options,
    tally: Rc<Tally>,
    start: Instant,
    random: Cell<u64>,
    rooms: Vec<Room>,
    checks: Vec<RefCell<Check>>,
    cutting: Cell<bool>,
    counts: RefCell<BTreeMap<&'static str, u64>>,
    /// Why messages were lost, as the server said it.
    lost: RefCell<BTreeMap<String, u64>>,
    /// The codes with which the servers ended connections.
    endings: RefCell<BTreeMap<u16, u64>>,
    wrong: RefCell<BTreeMap<&'static str, u64>>,
    /// Microseconds from sending to arrival: of all messages, beyond the time away, and beyond it of the missed ones.
    delays: RefCell<[Vec<u32>; 3]>,
    /// Microseconds from an open connection to the last missed message, and where nothing was missed to the hello.
    catching: RefCell<[Vec<u32>; 2]>,
    /// How many clients are away because a server ended their connection.
    gone: Cell<usize>,
    /// When connections were ended by a server, and when their clients were back, in microseconds.
    absences: RefCell<Vec<(u64, u64)>>,
    /// When something was done to the servers.
    marks: RefCell<Vec<u64>>,
}

impl Crowd {
    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// A random number below 1.
    fn random(&self) -> f64 {
        let mut next = self.random.get();
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        self.random.set(next);
        (next >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn room_of(&self, client: usize) -> usize {
        client % self.options.rooms.max(1)
    }

    fn count(&self, what: &'static str) {
        *self.counts.borrow_mut().entry(what).or_default() += 1;
    }

    fn outcome(&self, reason: &str) {
        *self.lost.borrow_mut().entry(reason.to_owned()).or_default() += 1;
    }

    fn ending(&self, code: u16) {
        *self.endings.borrow_mut().entry(code).or_default() += 1;
    }

    fn wrong(&self, what: &'static str) {
        *self.wrong.borrow_mut().entry(what).or_default() += 1;
    }

    fn caught_up(&self, micros: u64, had_missed: bool) {
        self.catching.borrow_mut()[usize::from(!had_missed)].push(micros as u32);
    }

    fn delivered(&self, now: u64, sent: u64, begun: u64) {
        let [all, beyond, missed] = &mut *self.delays.borrow_mut();
        all.push((now - sent) as u32);
        beyond.push((now - sent.max(begun)) as u32);
        if sent < begun {
            missed.push((now - begun) as u32);
        }
    }

    /// When a connection that begins now is cut. At first anytime, so that not all are cut together.
    fn next_cut(&self, is_first: bool) -> Option<Instant> {
        let every = Some(self.options.every).filter(|every| *every > 0.0)?;
        let share = if is_first { self.random() } else { 0.8 + 0.4 * self.random() };
        Some(Instant::now() + Duration::from_secs_f64(every * share))
    }

    /// What the teller of a room says to the server: the room, and the message.
    fn message(&self, room: usize, number: u64) -> String {
        let text = format!("r{room} @{room}:{number}:{}@", self.now());
        let width = self.options.payload + text.find('@').unwrap_or(0);
        format!("{text:x<width$}")
    }

    /// The room, the number, and the time of a message.
    fn read(text: &str) -> Option<(usize, u64, u64)> {
        let mut parts = text.strip_prefix('@')?.split('@').next()?.split(':').map(str::parse::<u64>);
        match (parts.next()?, parts.next()?, parts.next()?) {
            (Ok(room), Ok(number), Ok(sent)) => Some((room as usize, number, sent)),
            _ => None,
        }
    }

    /// Whether every client is back, and has all that was sent to its room.
    fn is_complete(&self) -> bool {
        self.gone.get() == 0
            && self.checks.iter().all(|check| {
                let check = check.borrow();
                check.last() >= self.rooms[check.room].acked.get() || check.has(u64::MAX)
            })
    }
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let found = runtime.and_then(|runtime| LocalSet::new().block_on(&runtime, measure(options)));
    match found {
        Ok(found) => println!("{found}"),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}

async fn measure(options: Options) -> std::io::Result<serde_json::Value> {
    let seed =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |now| now.as_nanos());
    let rooms = options.rooms.max(1);
    let crowd = Rc::new(Crowd {
        tally: Rc::default(),
        start: Instant::now(),
        random: Cell::new(seed as u64 | 1),
        rooms: (0..rooms).map(|_| Room::default()).collect(),
        checks: (0..options.clients).map(|client| RefCell::new(Check::of(client % rooms))).collect(),
        cutting: Cell::new(true),
        counts: RefCell::default(),
        lost: RefCell::default(),
        endings: RefCell::default(),
        wrong: RefCell::default(),
        delays: RefCell::default(),
        catching: RefCell::default(),
        gone: Cell::new(0),
        absences: RefCell::default(),
        marks: RefCell::default(),
        options,
    });
    let empty = report::Snapshot::take(&crowd);
    let mut people = Vec::new();
    while people.len() < crowd.options.clients {
        let next = people.len()..crowd.options.clients.min(people.len() + DOORS);
        let joining: Vec<_> = next
            .map(|number| {
                let crowd = Rc::clone(&crowd);
                spawn_local(async move {
                    let mut client = Client::new(crowd, number);
                    let mut wire = client.open().await;
                    // It is in its room when the server has greeted it.
                    let greeted = time::timeout(GREETING, client.catch_up(&mut wire)).await;
                    greeted.map(|()| (client, wire))
                })
            })
            .collect();
        for person in joining {
            people.push(person.await?.map_err(|_| bad("the server did not greet a client"))?);
        }
    }
    time::sleep(Duration::from_secs(1)).await;
    crowd.catching.take();
    marks(Rc::clone(&crowd));
    println!("ready");
    let joined = report::Snapshot::take(&crowd);
    let (before, after) = match crowd.options.mode {
        Mode::Cuts => cuts(&crowd, people).await?,
        Mode::CatchUp => catch_up(&crowd, people).await?,
        Mode::Idle => {
            time::sleep(Duration::from_secs_f64(crowd.options.seconds)).await;
            (joined, report::Snapshot::take(&crowd))
        }
    };
    Ok(report::report(&crowd, &empty, &before, &after))
}

/// Notes the moments that the input marks.
fn marks(crowd: Rc<Crowd>) {
    let (mark, mut marked) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() || mark.send(()).is_err() {
                return;
            }
        }
    });
    spawn_local(async move {
        while marked.recv().await.is_some() {
            crowd.marks.borrow_mut().push(crowd.now());
            println!("marked");
        }
    });
}

type Span = (report::Snapshot, report::Snapshot);

/// Starts the tellers of all rooms.
fn tell(crowd: &Rc<Crowd>) -> Vec<tokio::task::JoinHandle<()>> {
    let pause = Duration::from_secs_f64(1.0 / crowd.options.rate);
    let rooms = 0..crowd.rooms.len();
    rooms
        .map(|room| spawn_local(teller::tell(Rc::clone(crowd), room, crowd.options.messages, pause)))
        .collect()
}

async fn cuts(crowd: &Rc<Crowd>, people: Vec<(Client, Wire)>) -> std::io::Result<Span> {
    let end = Instant::now() + Duration::from_secs_f64(crowd.options.seconds);
    for (client, wire) in people {
        spawn_local(client.live(wire));
    }
    let before = report::Snapshot::take(crowd);
    for teller in tell(crowd) {
        if time::timeout_at(end, teller).await.is_err() {
            crowd.count("tellers_not_done");
        }
    }
    let after = report::Snapshot::take(crowd);
    crowd.cutting.set(false);
    while Instant::now() < end && !crowd.is_complete() {
        time::sleep(Duration::from_millis(20)).await;
    }
    // What comes once more, or late, comes now.
    time::sleep(Duration::from_secs(1)).await;
    Ok((before, after))
}

async fn catch_up(crowd: &Rc<Crowd>, people: Vec<(Client, Wire)>) -> std::io::Result<Span> {
    let clients: Vec<Client> = people.into_iter().map(|(client, _)| client).collect();
    for teller in tell(crowd) {
        teller.await?;
    }
    let before = report::Snapshot::take(crowd);
    let mut back = Vec::new();
    for mut client in clients {
        let mut wire = client.open().await;
        if time::timeout(CATCHING_UP, client.catch_up(&mut wire)).await.is_err() {
            crowd.count("not_caught_up");
        }
        back.push(wire);
    }
    Ok((before, report::Snapshot::take(crowd)))
}
