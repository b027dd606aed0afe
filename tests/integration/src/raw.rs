//! A client that sends any bytes, right or wrong, and reads what comes back byte by byte.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::PATIENCE;

/// The opcode of a continuation frame.
pub const CONTINUATION: u8 = 0x0;
/// The opcode of a text frame.
pub const TEXT: u8 = 0x1;
/// The opcode of a binary frame.
pub const BINARY: u8 = 0x2;
/// The opcode of a close frame.
pub const CLOSE: u8 = 0x8;
/// The opcode of a ping.
pub const PING: u8 = 0x9;
/// The opcode of a pong.
pub const PONG: u8 = 0xa;
/// The bit of the last fragment, or only frame, of a message.
pub const FIN: u8 = 0x80;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A request, by default a good handshake with the key of RFC 6455, section 1.3.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A good handshake for `path`.
    pub fn new(path: &str) -> Self {
        let headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { method: "GET".to_owned(), path: path.to_owned(), headers }
    }

    /// With another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// Without a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// With a further header; names may repeat.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another value for a header.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("Host: {address}\r\n");
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        (text + "\r\n").into_bytes()
    }
}

/// An answer of the server.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The body, where it has a length.
    pub body: String,
    headers: Vec<(String, String)>,
}

impl Response {
    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a header that is there once, or not at all.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} is there more than once: {all:?}");
        all.first().copied()
    }
}

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub first: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// What a whole text message looks like.
    pub fn text(text: &str) -> Self {
        Self { first: FIN | TEXT, payload: text.into() }
    }

    /// What a pong looks like.
    pub fn pong(payload: &[u8]) -> Self {
        Self { first: FIN | PONG, payload: payload.into() }
    }
}

/// A TCP connection to a server.
#[derive(Debug)]
pub struct Raw {
    address: SocketAddr,
    stream: TcpStream,
    /// What was read and not looked at yet.
    read: Vec<u8>,
}

impl Raw {
    /// Opens TCP, and sends nothing.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("TCP");
        Self { address, stream, read: Vec::new() }
    }

    /// Becomes a WebSocket on `path`.
    pub async fn connect(address: SocketAddr, path: &str) -> Self {
        let mut raw = Self::open(address).await;
        let response = raw.ask(&Request::new(path)).await;
        assert_eq!(response.status, 101, "{response:?}");
        raw
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(&mut self, request: &Request) -> Response {
        self.request(request).await;
        self.response().await
    }

    /// Sends a request.
    pub async fn request(&mut self, request: &Request) {
        let bytes = request.bytes(self.address);
        self.send(&bytes).await;
    }

    /// Sends a request, and in one packet with it further bytes.
    pub async fn request_with(&mut self, request: &Request, more: &[u8]) {
        let bytes = [&request.bytes(self.address), more].concat();
        self.send(&bytes).await;
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.expect("the server reads");
    }

    /// Sends bytes that the server may not want any more.
    pub async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server reads in time")
    }

    /// Sends a whole text message.
    pub async fn text(&mut self, text: &str) {
        self.send(&masked(FIN | TEXT, text.as_bytes())).await;
    }

    /// Waits for the answer to a request.
    pub async fn response(&mut self) -> Response {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more().await, "the connection ended without an answer");
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).expect("a head in ASCII");
        let mut lines = head.trim_end().lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header");
            (name.to_owned(), value.trim().to_owned())
        };
        let mut response = Response {
            status: status.parse().expect("a status"),
            body: String::new(),
            headers: lines.map(header).collect(),
        };
        let length = response.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        while self.read.len() < length {
            assert!(self.more().await, "the connection ended in the body");
        }
        response.body = String::from_utf8(self.read.drain(..length).collect()).expect("a text");
        response
    }

    /// Waits for the next frame; `None` at the end of TCP.
    pub async fn try_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = parse(&self.read) {
                self.read.drain(..length);
                return Some(frame);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Waits for the next frame.
    pub async fn frame(&mut self) -> Frame {
        self.try_frame().await.expect("a frame, not the end of TCP")
    }

    /// Waits for the next frame, which must be a text message.
    pub async fn next_text(&mut self) -> String {
        let frame = self.frame().await;
        assert_eq!(frame.first, FIN | TEXT, "{frame:?}");
        String::from_utf8(frame.payload).expect("UTF-8")
    }

    /// Waits for a close frame, past all messages, and does not answer it.
    pub async fn close_frame(&mut self) -> (u16, String) {
        loop {
            let frame = self.frame().await;
            if frame.first == FIN | CLOSE {
                return close_parts(&frame);
            }
        }
    }

    /// Waits for a close frame, past all messages, answers it, and waits for the end of TCP.
    pub async fn closed(&mut self) -> (u16, String) {
        let (code, reason) = self.close_frame().await;
        // A server that was asked to close may have ended TCP already.
        let _ = self.try_send(&masked(FIN | CLOSE, &close_payload(code, ""))).await;
        self.ended().await;
        (code, reason)
    }

    /// Waits for the end of TCP; nothing may come before it.
    pub async fn ended(&mut self) {
        assert_eq!(self.try_frame().await, None, "nothing may come after the close frame");
        assert!(self.read.is_empty(), "no part of a frame either: {:?}", self.read);
    }

    /// Whether nothing came for 50 ms: for what must not happen, which no event can show.
    pub async fn is_silent(&mut self) -> bool {
        self.read.is_empty()
            && timeout(Duration::from_millis(50), self.stream.read_buf(&mut self.read)).await.is_err()
    }

    /// Says that nothing more will be sent, and reads on.
    pub async fn shut_down(&mut self) {
        self.stream.shutdown().await.expect("TCP is open");
    }

    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        // A server that drops what it has not read ends TCP by a reset.
        read.expect("an answer in time").unwrap_or(0) > 0
    }
}

/// The code and the reason of a close frame; 1005 where it has none.
pub fn close_parts(frame: &Frame) -> (u16, String) {
    let Some((code, reason)) = frame.payload.split_first_chunk() else { return (1005, String::new()) };
    (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("UTF-8"))
}

/// A frame as clients send it.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The header, with its mask, of a frame whose payload has this length.
pub fn header(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..=125 => header.push(0x80 | length as u8),
        126..=0xffff => {
            header.push(0x80 | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header.extend(MASK);
    header
}

/// The payload of a close frame.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// The frame at the front of `bytes`, and how many bytes it takes.
fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    assert_eq!(second & 0x80, 0, "a server must not mask (RFC 6455, section 5.1)");
    let (length, start) = match second {
        126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let payload = bytes.get(start..start + length)?.to_vec();
    Some((Frame { first, payload }, start + length))
}
