//! Players in the arenas of `examples/game`: measures what each of them gets, and what that costs the server.
//!
//! Prints one line of JSON. `tests/load/rooms` starts this program.
//!
//! `players --port 8000 --pid 1234 --rooms 4 --players 60 --seconds 10`

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use clap::Parser;
use crowd::{
    process::{cpu, memory, waited},
    wire::{Tally, Wire, bad},
};
use tokio::{task::LocalSet, time};

#[derive(Parser)]
struct Options {
    /// The server's port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// The server's process, whose CPU time and memory are read.
    #[arg(long)]
    pid: u32,
    #[arg(long)]
    rooms: usize,
    /// How many players each room has.
    #[arg(long, default_value_t = 60)]
    players: usize,
    /// How many seconds are measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// How often a player steers.
const STEER: Duration = Duration::from_secs(2);
/// How long the players play before they are measured.
const SETTLE: Duration = Duration::from_secs(2);
/// How many players connect at once.
const DOORS: usize = 50;

/// The data that all players share.
#[derive(Default)]
struct Game {
    tally: Rc<Tally>,
    measuring: Cell<bool>,
    /// The time between two snapshots of a player, in microseconds.
    gaps: RefCell<Vec<u32>>,
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

async fn measure(options: Options) -> io::Result<String> {
    let game = Rc::new(Game::default());
    let empty = memory(options.pid)?;
    let count = options.rooms * options.players;
    let mut snapshots = Vec::new();
    while snapshots.len() < count {
        let next = snapshots.len()..count.min(snapshots.len() + DOORS);
        let entering: Vec<_> = next
            .map(|number| {
                tokio::task::spawn_local(enter(
                    Rc::clone(&game),
                    options.port,
                    number % options.rooms,
                    number,
                ))
            })
            .collect();
        for player in entering {
            let wire = player.await??;
            let got = Rc::new(Cell::new(0_u32));
            snapshots.push(Rc::clone(&got));
            let (game, number) = (Rc::clone(&game), snapshots.len());
            tokio::task::spawn_local(async move {
                if let Err(error) = play(&game, wire, number, &got).await {
                    eprintln!("player {number} lost the connection: {error}");
                    std::process::exit(1);
                }
            });
        }
    }
    time::sleep(SETTLE).await;

    let costs = |pid| Ok::<_, io::Error>((cpu(pid)?, waited(pid)?));
    let (start, received) = (Instant::now(), game.tally.received.get());
    let (before, own_before) = (costs(options.pid)?, cpu(std::process::id())?);
    game.measuring.set(true);
    time::sleep(Duration::from_secs(options.seconds)).await;
    game.measuring.set(false);
    let seconds = start.elapsed().as_secs_f64();
    let (after, own_after) = (costs(options.pid)?, cpu(std::process::id())?);

    let mut gaps = game.gaps.take();
    gaps.sort_unstable();
    let gap = |part: f64| match gaps.len() {
        0 => 0.0,
        count => f64::from(gaps[(count as f64 * part) as usize]) / 1000.0,
    };
    let each = |count: u32| f64::from(count) / seconds;
    let least = snapshots.iter().map(|got| got.get()).min().unwrap_or(0);
    let sum: u32 = snapshots.iter().map(|got| got.get()).sum();
    let share = |time: u64| time as f64 / 1e6 / seconds;
    Ok(format!(
        r#"{{"least":{:.2},"mean":{:.2},"p50":{:.1},"p99":{:.1},"cpu_ms":{:.1},"waited_ms":{:.1},"own_cpu_ms":{:.1},"bytes":{:.0},"rss_empty":{empty},"rss":{}}}"#,
        each(least),
        each(sum) / count as f64,
        gap(0.5),
        gap(0.99),
        share(after.0 - before.0),
        share(after.1 - before.1),
        share(own_after - own_before),
        (game.tally.received.get() - received) as f64 / f64::from(sum.max(1)),
        memory(options.pid)?,
    ))
}

/// Connects a player.
async fn enter(game: Rc<Game>, port: u16, room: usize, number: usize) -> io::Result<Wire> {
    let mut wire = Wire::connect(port, &game.tally).await?;
    let request = format!(
        "GET /game/load-{room}/?name=player{number} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
         Origin: http://127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let head = wire.ask(&request).await?;
    if head.status != 101 {
        return Err(bad(format!("the handshake was answered {}", head.status)));
    }
    Ok(wire)
}

/// Counts the snapshots that a player gets, and steers now and then.
async fn play(game: &Game, mut wire: Wire, number: usize, got: &Cell<u32>) -> io::Result<()> {
    let mut last: Option<Instant> = None;
    // Players steer at different moments.
    let mut steer = time::Instant::now() + STEER.mul_f64(number as f64 * 0.618 % 1.0);
    let mut turn = number as f64;
    loop {
        let Ok(frame) = time::timeout_at(steer, wire.frame()).await else {
            turn += 2.4;
            let wish = format!(r#"{{"type":"steer","x":{:.2},"y":{:.2}}}"#, turn.cos(), turn.sin());
            wire.send_frame(1, wish.as_bytes()).await?;
            steer += STEER;
            continue;
        };
        match frame? {
            (1, text) if text.starts_with(br#"{"type":"moved""#) => {
                let now = Instant::now();
                if game.measuring.get() {
                    got.set(got.get() + 1);
                    if let Some(last) = last {
                        game.gaps.borrow_mut().push((now - last).as_micros() as u32);
                    }
                }
                last = Some(now);
            }
            (9, payload) => wire.send_frame(10, &payload).await?,
            (8, payload) => {
                return Err(bad(format!(
                    "closed: {}",
                    String::from_utf8_lossy(payload.get(2..).unwrap_or(b""))
                )));
            }
            _ => {}
        }
    }
}
