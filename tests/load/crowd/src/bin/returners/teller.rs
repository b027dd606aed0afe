//! Who sends the messages: one teller for each room. It takes the servers in turn, and waits for each answer.

use std::{io, rc::Rc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_local,
    time::{self, Instant},
};

use crate::{Crowd, Mode, wire};
use crowd::wire::Wire;

/// How long a message may wait for the server's answer.
const ANSWER: Duration = Duration::from_secs(20);

/// What became of a message.
enum Told {
    Sent,
    /// The server says that it could not send it.
    Refused,
    /// The connection ended before the answer.
    Unknown,
}

type Order = (String, oneshot::Sender<Told>);

/// Sends so many messages to a room, one every `pause`, the first one after a time that differs from room to room.
pub async fn tell(crowd: Rc<Crowd>, room: usize, messages: u64, pause: Duration) {
    let count = crowd.options.rooms.max(1) as f64;
    let start = Instant::now() + pause.mul_f64(room as f64 / count);
    let mut mouths: Vec<Option<mpsc::Sender<Order>>> = vec![None; crowd.options.port.len()];
    for turn in 0..messages {
        let due = start + pause.mul_f64(turn as f64);
        time::sleep_until(due).await;
        let number = crowd.rooms[room].sent.get() + 1;
        crowd.rooms[room].sent.set(number);
        // While all clients are away, only the servers that they were at hear of their rooms.
        let turn = if crowd.options.mode == Mode::CatchUp { 0 } else { turn as usize };
        let mut server = (turn + room) % mouths.len();
        loop {
            let mouth = match mouths[server].take().filter(|mouth| !mouth.is_closed()) {
                Some(mouth) => mouth,
                None => match wire::open(&crowd, server, room, "/send/").await {
                    Ok(wire) => {
                        let (mouth, orders) = mpsc::channel(1);
                        spawn_local(speak(wire, orders));
                        mouth
                    }
                    // It is down, or being replaced: the next one. Nothing was sent yet.
                    Err(_) => {
                        crowd.count("teller_refused");
                        time::sleep(Duration::from_millis(20)).await;
                        server = (server + 1) % mouths.len();
                        continue;
                    }
                },
            };
            let text = crowd.message(room, number);
            let (answer, told) = oneshot::channel();
            if mouth.send((text, answer)).await.is_err() {
                continue;
            }
            match told.await.unwrap_or(Told::Unknown) {
                Told::Sent => {
                    crowd.rooms[room].acked.set(number);
                    mouths[server] = Some(mouth);
                }
                doubt => {
                    crowd.rooms[room].doubtful.borrow_mut().insert(number);
                    if let Told::Refused = doubt {
                        crowd.count("send_refused");
                        mouths[server] = Some(mouth);
                    }
                }
            }
            break;
        }
    }
}

/// Carries one message after the other over a connection, and keeps it alive between them.
async fn speak(mut wire: Wire, mut orders: mpsc::Receiver<Order>) {
    loop {
        let (text, answer) = tokio::select! {
            biased;
            frame = wire.frame() => match frame {
                Ok((9, body)) if wire.send_frame(10, &body).await.is_ok() => continue,
                Ok((1, _)) => continue,
                _ => return,
            },
            order = orders.recv() => match order {
                Some(order) => order,
                None => return,
            },
        };
        let said = time::timeout(ANSWER, say(&mut wire, &text)).await;
        let gone = !matches!(said, Ok(Ok(_)));
        let told = match said {
            Ok(Ok(true)) => Told::Sent,
            Ok(Ok(false)) => Told::Refused,
            _ => Told::Unknown,
        };
        // If the teller has gone, the measurement is over.
        let _ = answer.send(told);
        if gone {
            return;
        }
    }
}

async fn say(wire: &mut Wire, text: &str) -> io::Result<bool> {
    wire.send_frame(1, text.as_bytes()).await?;
    loop {
        match wire.frame().await? {
            (1, body) => return Ok(body == b"ok"),
            (9, body) => wire.send_frame(10, &body).await?,
            (8, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}
