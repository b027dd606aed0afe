//! One person in the room, over one transport. `framework/docs/protocol.md` describes the transports.

use std::{cell::Cell, fmt::Write as _, io, rc::Rc};

use tokio::{sync::mpsc, time};

use crowd::wire::{Wire, bad};

use crate::{Crowd, POLL, Transport};

/// The headers that a browser sends with each request to its own site.
const HEADERS: &str = "Connection: keep-alive\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\", \"Google Chrome\";v=\"140\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    Accept: */*\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Dest: empty\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    Cookie: sessionid=8f2k1m0q9x7c5v3b1n6m4z2l0k8j6h4g\r\n";

pub(crate) struct Person {
    crowd: Rc<Crowd>,
    number: usize,
    wire: Wire,
    /// The connection's id. Empty for a WebSocket.
    id: String,
    /// The number of the last batch, and of the last message.
    batch: Cell<u64>,
    last: Cell<u64>,
}

impl Person {
    /// Connects to the room. Does not receive messages yet.
    pub(crate) async fn join(crowd: Rc<Crowd>, number: usize) -> io::Result<Self> {
        let mut wire = Wire::connect(crowd.port, &crowd.tally).await?;
        let mut id = String::new();
        if crowd.transport == Transport::Websocket {
            let request = format!(
                "GET /room/crowd/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n\
                 {}Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                HEADERS.replacen("keep-alive", "Upgrade", 1),
                port = crowd.port
            );
            let head = wire.ask(&request).await?;
            if head.status != 101 {
                return Err(bad(format!("the handshake was answered {}", head.status)));
            }
        } else {
            let (status, body) = wire.request(&crowd.post("greenroom=open", "")).await?;
            let body = String::from_utf8_lossy(&body);
            let found = body.split_once("\"id\":\"").and_then(|(_, rest)| rest.split_once('"'));
            let (found, _) = found.ok_or_else(|| bad(format!("open was answered {status}: {body}")))?;
            id.push_str(found);
        }
        Ok(Self { crowd, number, wire, id, batch: Cell::new(0), last: Cell::new(0) })
    }

    /// Receives messages, and sends those of `say`, until the end.
    pub(crate) async fn stay(self, mut say: mpsc::Receiver<String>) -> io::Result<()> {
        if self.crowd.transport == Transport::Websocket {
            return self.websocket(say).await;
        }
        let Self { crowd, number, mut wire, id, batch, last } = self;
        let batch = Rc::new(batch);
        let speaker = {
            let (crowd, id, batch) = (Rc::clone(&crowd), id.clone(), Rc::clone(&batch));
            async move {
                let mut seq = 0;
                while let Some(message) = say.recv().await {
                    seq += 1;
                    let mut body = String::from("[");
                    quote(&mut body, &message);
                    body.push(']');
                    let what = format!("greenroom=send&id={id}&seq={seq}&ack={}", batch.get());
                    // Each send has a new TCP connection: turns are rare, so the last one is long closed.
                    let mut wire = Wire::connect(crowd.port, &crowd.tally).await?;
                    let (status, body) = wire.request(&crowd.post(&what, &body)).await?;
                    if status != 204 {
                        return Err(bad(format!("send: {status} {}", String::from_utf8_lossy(&body))));
                    }
                }
                Ok(())
            }
        };
        let listener = async move {
            match crowd.transport {
                Transport::Sse => crowd.events(&mut wire, &id, &batch, &last).await,
                Transport::LongPoll => loop {
                    crowd.poll(&mut wire, &id, 20, &batch, &last).await?;
                },
                Transport::Poll | Transport::Websocket => {
                    // People poll at different moments of the two seconds.
                    time::sleep(POLL.mul_f64(number as f64 / crowd.people as f64)).await;
                    let mut moments = time::interval(POLL);
                    loop {
                        moments.tick().await;
                        crowd.poll(&mut wire, &id, 0, &batch, &last).await?;
                    }
                }
            }
        };
        tokio::task::spawn_local(async move {
            if let Err::<(), io::Error>(error) = speaker.await {
                eprintln!("a message was not sent: {error}");
                std::process::exit(1);
            }
        });
        listener.await
    }

    async fn websocket(mut self, mut say: mpsc::Receiver<String>) -> io::Result<()> {
        enum Next {
            Frame(u8, Vec<u8>),
            Say(Option<String>),
        }
        loop {
            let next = {
                let mut frame = std::pin::pin!(self.wire.frame());
                std::future::poll_fn(|cx| {
                    if let std::task::Poll::Ready(frame) = frame.as_mut().poll(cx) {
                        return std::task::Poll::Ready(
                            frame.map(|(opcode, payload)| Next::Frame(opcode, payload)),
                        );
                    }
                    say.poll_recv(cx).map(|message| Ok(Next::Say(message)))
                })
                .await?
            };
            match next {
                Next::Frame(1, payload) => self.crowd.look(&payload, &self.last),
                Next::Frame(9, payload) => self.wire.send_frame(10, &payload).await?,
                Next::Frame(opcode, _) => return Err(bad(format!("a frame of type {opcode}"))),
                Next::Say(Some(message)) => self.wire.send_frame(1, message.as_bytes()).await?,
                Next::Say(None) => return Ok(()),
            }
        }
    }
}

impl Crowd {
    fn get(&self, what: &str) -> String {
        format!("GET /room/crowd/?{what} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{HEADERS}\r\n", self.port)
    }

    fn post(&self, what: &str, body: &str) -> String {
        format!(
            "POST /room/crowd/?{what} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n\
             {HEADERS}Greenroom-Client: 1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len(),
            port = self.port
        )
    }

    async fn poll(
        &self,
        wire: &mut Wire,
        id: &str,
        wait: u32,
        batch: &Cell<u64>,
        last: &Cell<u64>,
    ) -> io::Result<()> {
        let what = format!("greenroom=poll&id={id}&ack={}&wait={wait}", batch.get());
        match wire.request(&self.get(&what)).await? {
            (200, body) => {
                batch.set(batch_number(&body)?);
                self.look(&body, last);
                Ok(())
            }
            (204, _) => Ok(()),
            (status, body) => Err(bad(format!("poll: {status} {}", String::from_utf8_lossy(&body)))),
        }
    }

    async fn events(&self, wire: &mut Wire, id: &str, batch: &Cell<u64>, last: &Cell<u64>) -> io::Result<()> {
        let what = format!("greenroom=events&id={id}&ack=0");
        let head = wire.ask(&self.get(&what)).await?;
        if head.status != 200 {
            return Err(bad(format!("events: {}", head.status)));
        }
        let (mut events, mut acknowledged) = (Vec::new(), 0);
        loop {
            events.extend(wire.chunk().await?);
            while let Some(end) = events.windows(2).position(|bytes| bytes == b"\n\n") {
                let event: Vec<u8> = events.drain(..end + 2).collect();
                if event.starts_with(b":") {
                    continue;
                }
                batch.set(batch_number(&event)?);
                self.look(&event, last);
            }
            if batch.get() >= acknowledged + 32 {
                acknowledged = batch.get();
                let mut post = Wire::connect(self.port, &self.tally).await?;
                let what = format!("greenroom=ack&id={id}&ack={acknowledged}");
                let (status, _) = post.request(&self.post(&what, "")).await?;
                if status != 204 {
                    return Err(bad(format!("ack: {status}")));
                }
            }
        }
    }
}

/// The number of the batch in a body or an event.
fn batch_number(text: &[u8]) -> io::Result<u64> {
    let text = String::from_utf8_lossy(text);
    let found = text.split_once("\"batch\":").map(|(_, rest)| rest.trim_start());
    let digits = found.and_then(|rest| rest.split(|letter: char| !letter.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| bad(format!("no batch: {text}")))
}

/// Writes a text without control characters as a JSON string.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            out.push('\\');
        }
        let _ = out.write_char(letter);
    }
    out.push('"');
}
