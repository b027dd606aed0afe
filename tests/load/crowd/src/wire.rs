//! A TCP connection that counts its bytes, and speaks as much HTTP and WebSocket as a client needs.

use std::{
    cell::Cell,
    io::{self, ErrorKind},
    rc::Rc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// The requests and bytes of all connections.
#[derive(Default)]
pub struct Tally {
    pub requests: Cell<u64>,
    pub sent: Cell<u64>,
    pub received: Cell<u64>,
}

fn add(cell: &Cell<u64>, count: usize) {
    cell.set(cell.get() + count as u64);
}

pub struct Wire {
    socket: TcpStream,
    /// Bytes that were read and not yet used.
    buffer: Vec<u8>,
    tally: Rc<Tally>,
}

/// The head of an answer.
pub struct Head {
    pub status: u16,
    length: usize,
}

impl Wire {
    pub async fn connect(port: u16, tally: &Rc<Tally>) -> io::Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: Vec::new(), tally: Rc::clone(tally) })
    }

    /// Connects from one of several addresses, since each has ports for 28,000 connections. Once dropped, the connection
    /// is reset, so its port is free at once.
    pub async fn connect_from(number: usize, port: u16, tally: &Rc<Tally>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_zero_linger()?;
        socket.bind(([127, 0, 1, 1 + (number % 100) as u8], 0).into())?;
        let socket = socket.connect(([127, 0, 0, 1], port).into()).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: Vec::new(), tally: Rc::clone(tally) })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        add(&self.tally.sent, bytes.len());
        self.socket.write_all(bytes).await
    }

    /// Sends a request and reads the head of its answer.
    pub async fn ask(&mut self, request: &str) -> io::Result<Head> {
        add(&self.tally.requests, 1);
        self.send(request.as_bytes()).await?;
        loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
                self.buffer.drain(..end + 4);
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
                return Ok(Head {
                    status: status.ok_or_else(|| bad("no status"))?,
                    length: length.and_then(|length| length.trim().parse().ok()).unwrap_or(0),
                });
            }
            self.fill().await?;
        }
    }

    /// Sends a request and reads its answer, which is not chunked.
    pub async fn request(&mut self, request: &str) -> io::Result<(u16, Vec<u8>)> {
        let head = self.ask(request).await?;
        Ok((head.status, self.take(head.length).await?))
    }

    /// The next chunk of a chunked answer.
    pub async fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let end = loop {
            match self.buffer.windows(2).position(|bytes| bytes == b"\r\n") {
                Some(end) => break end,
                None => self.fill().await?,
            }
        };
        let size = std::str::from_utf8(&self.buffer[..end]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.filter(|size| *size > 0).ok_or_else(|| bad("the stream ended"))?;
        self.buffer.drain(..end + 2);
        let mut chunk = self.take(size + 2).await?;
        chunk.truncate(size);
        Ok(chunk)
    }

    /// The opcode and the payload of the server's next frame. Dropping the future loses nothing.
    pub async fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            let (start, length): (usize, usize) = match self.buffer.get(1).copied().unwrap_or(127) {
                126 if self.buffer.len() >= 4 => {
                    (4, usize::from(u16::from_be_bytes([self.buffer[2], self.buffer[3]])))
                }
                127 if self.buffer.len() >= 10 => {
                    let bytes: [u8; 8] = self.buffer[2..10].try_into().map_err(|_| bad("a short frame"))?;
                    (10, u64::from_be_bytes(bytes) as usize)
                }
                126 | 127 => (0, usize::MAX),
                length => (2, usize::from(length)),
            };
            if let Some(end) = start.checked_add(length).filter(|end| *end <= self.buffer.len()) {
                let opcode = self.buffer[0] & 15;
                let payload = self.buffer[start..end].to_vec();
                self.buffer.drain(..end);
                return Ok((opcode, payload));
            }
            self.fill().await?;
        }
    }

    /// Sends a frame of less than 64 KiB, masked as a client must.
    pub async fn send_frame(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        const MASK: [u8; 4] = [0x1b, 0x5a, 0xc3, 0x7e];
        let mut frame = vec![0x80 | opcode];
        match u16::try_from(payload.len()) {
            Ok(length @ ..126) => frame.push(0x80 | length as u8),
            Ok(length) => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
            Err(_) => return Err(bad("a frame too long")),
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.send(&frame).await
    }

    async fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill().await?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.socket.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                add(&self.tally.received, count);
                Ok(())
            }
        }
    }
}

pub fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}
