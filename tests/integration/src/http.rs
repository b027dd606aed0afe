//! An HTTP/1.1 client that sees when each part of an answer comes, and how it ends.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::PATIENCE;

/// A TCP connection to a server, with one request after the other.
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    stream: TcpStream,
    read: Vec<u8>,
}

/// The head of an answer.
#[derive(Debug, Clone)]
pub struct Head {
    /// The status.
    pub status: u16,
    headers: Vec<(String, String)>,
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The connection was cut before the end of the body.
    Cut,
    /// The whole body came.
    Whole,
}

impl Head {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl Http {
    /// Opens TCP.
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

    /// Sends bytes as they are. Returns false if the server takes no more.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server reads in time").is_ok()
    }

    /// Sends a request with a body, and with a `content-length` if the body is not empty.
    pub async fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            text += &format!("content-length: {}\r\n", body.len());
        }
        self.send(&[(text + "\r\n").as_bytes(), body].concat()).await;
    }

    /// Asks for a page, and waits for the head of the answer.
    pub async fn get(&mut self, path: &str) -> Head {
        self.request("GET", path, &[], b"").await;
        self.head().await
    }

    /// Sends a request and waits for the whole answer.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (Head, String) {
        self.request(method, path, headers, body).await;
        let head = self.head().await;
        if method == "HEAD" {
            return (head, String::new());
        }
        let (body, end) = self.body(&head).await;
        assert_eq!(end, End::Whole, "{head:?} {body}");
        (head, body)
    }

    /// Waits for the head of an answer.
    pub async fn head(&mut self) -> Head {
        self.try_head().await.expect("the connection ended without an answer")
    }

    /// Waits for the head of an answer. Returns `None` if the connection ends first.
    pub async fn try_head(&mut self) -> Option<Head> {
        let text = self.until(b"\r\n\r\n").await?;
        let mut lines = text.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        Some(Head {
            status,
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        })
    }

    /// Waits for the next chunk. The end of the body is an error.
    pub async fn chunk(&mut self) -> Result<String, End> {
        let Some(size) = self.until(b"\r\n").await else { return Err(End::Cut) };
        let size = usize::from_str_radix(&size, 16).expect("the size of a chunk");
        let Some(chunk) = self.take(size + 2).await else { return Err(End::Cut) };
        if size == 0 {
            Err(End::Whole)
        } else {
            Ok(String::from_utf8(chunk[..size].to_vec()).expect("UTF-8"))
        }
    }

    /// Waits for the rest of a body, and says how it ended.
    pub async fn body(&mut self, head: &Head) -> (String, End) {
        if matches!(head.status, 204 | 304) {
            return (String::new(), End::Whole);
        }
        if let Some(length) = head.header("content-length") {
            return match self.take(length.parse().expect("a length")).await {
                Some(bytes) => (String::from_utf8(bytes).expect("UTF-8"), End::Whole),
                None => (String::from_utf8(std::mem::take(&mut self.read)).expect("UTF-8"), End::Cut),
            };
        }
        let mut body = String::new();
        loop {
            match self.chunk().await {
                Ok(chunk) => body += &chunk,
                Err(end) => return (body, end),
            }
        }
    }

    /// Waits for 50 ms, and says whether nothing came. No event can show that something does not happen.
    pub async fn is_silent(&mut self) -> bool {
        self.read.is_empty()
            && timeout(Duration::from_millis(50), self.stream.read_buf(&mut self.read)).await.is_err()
    }

    async fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|bytes| bytes == end) {
                let text: Vec<u8> = self.read.drain(..at + end.len()).collect();
                return Some(String::from_utf8_lossy(&text[..at]).into_owned());
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.read.len() < count {
            self.more().await?;
        }
        Some(self.read.drain(..count).collect())
    }

    /// Reads more bytes. Returns `None` at the end of TCP.
    async fn more(&mut self) -> Option<()> {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await.expect("an answer in time");
        read.is_ok_and(|count| count > 0).then_some(())
    }
}
