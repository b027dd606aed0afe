//! A crowd in one room of the load server, over one transport. Each second another person sends a message.
//!
//! Prints one line of JSON: requests, bytes, the server's CPU time and memory, and the delay from sending to arrival.
//!
//! `crowd --port 8000 --pid 1234 --transport long-poll --people 20 --seconds 16`

mod person;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use tokio::{sync::mpsc, task::LocalSet, time};

use crowd::{
    process::{cpu, memory},
    wire::Tally,
};

use crate::person::Person;

#[derive(Parser)]
struct Options {
    /// The server's port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// The server's process, whose CPU time and memory are read.
    #[arg(long)]
    pid: u32,
    #[arg(long, value_enum)]
    transport: Transport,
    #[arg(long)]
    people: usize,
    /// How many seconds are measured.
    #[arg(long, default_value_t = 16)]
    seconds: usize,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Transport {
    Poll,
    LongPoll,
    Sse,
    Websocket,
}

/// How often a person polls.
const POLL: Duration = Duration::from_secs(2);
/// How many seconds the crowd talks before it is measured, so that all have joined and all polls have their rhythm.
const SETTLE: usize = 4;
/// How long the crowd waits for the last messages at the end.
const LATE: Duration = Duration::from_secs(10);
/// How many people join at once.
const DOORS: usize = 50;

/// The data that all people share.
struct Crowd {
    port: u16,
    transport: Transport,
    people: usize,
    start: Instant,
    tally: Rc<Tally>,
    /// The delay of each message that arrived, in microseconds.
    delays: RefCell<Vec<u32>>,
    /// The number of the first message that is measured, and of the first one after the last.
    measured: Cell<(u64, u64)>,
    /// How often a person got a message twice, out of order, or missed some.
    wrong: Cell<u64>,
}

impl Crowd {
    /// A message in the form of the chat example. Its number and its time are marked, so that `look` finds them in any wire
    /// form.
    fn message(&self, number: u64) -> String {
        let since = self.start.elapsed().as_micros();
        let text = format!("@{number}:{since}@ I am on my way, ten more minutes.");
        format!(r#"{{"type":"chat.message","user":"person","text":"{text}","at":1790000000000}}"#)
    }

    /// Looks for messages in the bytes that arrived at one person. `last` is the number of the person's last message.
    fn look(&self, arrived: &[u8], last: &Cell<u64>) {
        let mut parts = arrived.split(|byte| *byte == b'@');
        parts.next();
        while let (Some(mark), Some(_)) = (parts.next(), parts.next()) {
            let mark = std::str::from_utf8(mark).ok().and_then(|mark| mark.split_once(':'));
            let Some((Ok(number), Ok(sent))) = mark.map(|(a, b)| (a.parse::<u64>(), b.parse::<u64>())) else {
                self.wrong.set(self.wrong.get() + 1);
                continue;
            };
            if number != last.get() + 1 {
                self.wrong.set(self.wrong.get() + 1);
            }
            last.set(number);
            let (first, end) = self.measured.get();
            if (first..end).contains(&number) {
                let delay = self.start.elapsed().as_micros() as u64 - sent;
                self.delays.borrow_mut().push(delay as u32);
            }
        }
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

async fn measure(options: Options) -> std::io::Result<String> {
    let crowd = Rc::new(Crowd {
        port: options.port,
        transport: options.transport,
        people: options.people,
        start: Instant::now(),
        tally: Rc::default(),
        delays: RefCell::default(),
        measured: Cell::new((u64::MAX, u64::MAX)),
        wrong: Cell::new(0),
    });
    let empty = memory(options.pid)?;
    let mut people = Vec::new();
    while people.len() < options.people {
        let next = people.len()..options.people.min(people.len() + DOORS);
        let joining: Vec<_> =
            next.map(|number| tokio::task::spawn_local(Person::join(Rc::clone(&crowd), number))).collect();
        for person in joining {
            people.push(person.await??);
        }
    }
    let mut mouths = Vec::new();
    for person in people {
        let (say, said) = mpsc::channel(4);
        mouths.push(say);
        tokio::task::spawn_local(async move {
            if let Err(error) = person.stay(said).await {
                eprintln!("a person lost the connection: {error}");
                std::process::exit(1);
            }
        });
    }

    let mut seconds = time::interval(Duration::from_secs(1));
    let mut number = 0;
    let (first, end) = (SETTLE as u64 + 1, (SETTLE + options.seconds) as u64 + 1);
    let mut before = Snapshot::default();
    loop {
        seconds.tick().await;
        number += 1;
        if number == first {
            before = Snapshot::take(&crowd, options.pid)?;
            crowd.measured.set((first, end));
        }
        if number == end {
            break;
        }
        // 7 has no divisor in common with the usual numbers of people, so everyone gets a turn.
        let mouth = &mouths[(number as usize * 7) % mouths.len()];
        mouth.send(crowd.message(number)).await.map_err(std::io::Error::other)?;
    }
    let after = Snapshot::take(&crowd, options.pid)?;
    let expected = options.seconds * options.people;
    let enough = async {
        while crowd.delays.borrow().len() < expected {
            time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = time::timeout(LATE, enough).await;

    let mut delays = crowd.delays.take();
    delays.sort_unstable();
    let delay = |part: f64| match delays.len() {
        0 => 0.0,
        count => f64::from(delays[(count as f64 * part) as usize]) / 1000.0,
    };
    let seconds = (after.at - before.at).as_secs_f64();
    let each = |before: u64, after: u64| (after - before) as f64 / seconds;
    let person = |before, after| each(before, after) / options.people as f64;
    Ok(format!(
        r#"{{"requests":{:.2},"in":{:.1},"out":{:.1},"cpu_ms":{:.3},"own_cpu_ms":{:.1},"rss_empty":{empty},"rss":{},"p50":{:.3},"p99":{:.3},"lost":{},"wrong":{}}}"#,
        each(before.requests, after.requests),
        person(before.received, after.received),
        person(before.sent, after.sent),
        each(before.cpu, after.cpu) / 1e6,
        each(before.own_cpu, after.own_cpu) / 1e6,
        after.memory,
        delay(0.5),
        delay(0.99),
        expected - delays.len().min(expected),
        crowd.wrong.get(),
    ))
}

struct Snapshot {
    at: Instant,
    requests: u64,
    received: u64,
    sent: u64,
    cpu: u64,
    own_cpu: u64,
    memory: u64,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { at: Instant::now(), requests: 0, received: 0, sent: 0, cpu: 0, own_cpu: 0, memory: 0 }
    }
}

impl Snapshot {
    fn take(crowd: &Crowd, pid: u32) -> std::io::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            requests: crowd.tally.requests.get(),
            received: crowd.tally.received.get(),
            sent: crowd.tally.sent.get(),
            cpu: cpu(pid)?,
            own_cpu: cpu(std::process::id())?,
            memory: memory(pid)?,
        })
    }
}
