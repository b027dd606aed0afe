//! Opens the WebSockets of clients and tellers.

use std::{cell::Cell, io, time::Duration};

use crowd::wire::{Wire, bad};
use tokio::time;

use crate::Crowd;

/// How long the opening of a connection may take.
const OPENING: Duration = Duration::from_secs(10);

thread_local! {
    static OPENED: Cell<usize> = const { Cell::new(0) };
}

/// Opens a WebSocket to one of the servers. `{}` in the path stands for the room.
pub async fn open(crowd: &Crowd, server: usize, room: usize, path: &str) -> io::Result<Wire> {
    let port = crowd.options.port[server];
    let number = OPENED.replace(OPENED.get() + 1);
    let opening = async {
        let mut wire = Wire::connect_from(number, port, &crowd.tally).await?;
        let path = path.replace("{}", &format!("r{room}"));
        let head = wire
            .ask(&format!(
                "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ))
            .await?;
        if head.status == 101 { Ok(wire) } else { Err(bad(format!("the server answered {}", head.status))) }
    };
    time::timeout(OPENING, opening).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
