//! A client that sends any bytes, right or wrong, and reads the answer byte by byte.

mod frame;
mod http;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use self::frame::parse;
pub use self::{
    frame::{
        BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, TEXT, close_parts, close_payload, header, masked,
    },
    http::{Request, Response},
};
use crate::PATIENCE;

/// A TCP connection to a server.
#[derive(Debug)]
pub struct Raw {
    address: SocketAddr,
    stream: TcpStream,
    /// Bytes that were read, but not yet parsed.
    read: Vec<u8>,
}

impl Raw {
    /// Opens TCP, and sends nothing.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("TCP");
        Self { address, stream, read: Vec::new() }
    }

    /// Opens TCP with a receive buffer of only this many bytes.
    pub async fn open_narrow(address: SocketAddr, buffer: u32) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(buffer).expect("TCP");
        let stream = socket.connect(address).await.expect("the server listens");
        Self { address, stream, read: Vec::new() }
    }

    /// Opens a WebSocket on `path`.
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

    /// Sends a request and more bytes in one packet.
    pub async fn request_with(&mut self, request: &Request, more: &[u8]) {
        let bytes = [&request.bytes(self.address), more].concat();
        self.send(&bytes).await;
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.expect("the server reads");
    }

    /// Sends bytes that the server may no longer read.
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
        let head: Vec<u8> = self.read.drain(..end).collect();
        let mut response = Response::of(&head);
        let length = response.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        while self.read.len() < length {
            assert!(self.more().await, "the connection ended in the body");
        }
        response.body = String::from_utf8(self.read.drain(..length).collect()).expect("a text");
        response
    }

    /// Waits for the next frame. Returns `None` at the end of TCP.
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

    /// Waits for a close frame, skips all messages before it, and does not answer it.
    pub async fn close_frame(&mut self) -> (u16, String) {
        loop {
            let frame = self.frame().await;
            if frame.first == FIN | CLOSE {
                return close_parts(&frame);
            }
        }
    }

    /// Waits for a close frame, skips all messages before it, answers it, and waits for the end of TCP.
    pub async fn closed(&mut self) -> (u16, String) {
        let (code, reason) = self.close_frame().await;
        // A server that was asked to close may already have ended TCP.
        let _ = self.try_send(&masked(FIN | CLOSE, &close_payload(code, ""))).await;
        self.ended().await;
        (code, reason)
    }

    /// Waits for the end of TCP. Nothing may come before it.
    pub async fn ended(&mut self) {
        assert_eq!(self.try_frame().await, None, "nothing may come after the close frame");
        assert!(self.read.is_empty(), "a part of a frame came: {:?}", self.read);
    }

    /// Waits for 50 ms, and says whether nothing came. No event can show that something does not happen.
    pub async fn is_silent(&mut self) -> bool {
        self.read.is_empty()
            && timeout(Duration::from_millis(50), self.stream.read_buf(&mut self.read)).await.is_err()
    }

    /// Ends the sending side of TCP. Reading goes on.
    pub async fn shut_down(&mut self) {
        self.stream.shutdown().await.expect("TCP is open");
    }

    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        // A server that drops what it has not read ends TCP by a reset.
        read.expect("an answer in time").unwrap_or(0) > 0
    }
}
