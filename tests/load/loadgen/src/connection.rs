//! A client: its socket, and the frames that it receives.

use crate::MIN_PAYLOAD;

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum St {
    Connecting,
    Handshake,
    Open,
    Closing,
    Closed,
}

pub(crate) struct Conn {
    pub(crate) fd: i32,
    pub(crate) st: St,
    pub(crate) room: u32,
    pub(crate) sender: i32,
    pub(crate) hbuf: [u8; 144],
    pub(crate) hlen: usize,
    pub(crate) skip: u64,
    pub(crate) fin: bool,
    pub(crate) op: u8,
    pub(crate) msglen: u64,
    pub(crate) cur: (u32, u32, u32, u64), // room, sender, seq, ts
    pub(crate) hs: Vec<u8>,
    pub(crate) out: Vec<u8>,
    pub(crate) out_pos: usize,
    pub(crate) next_seq: u32,
    pub(crate) acked: u32,
    pub(crate) last_send: u64,
    pub(crate) t0: u64,
}
impl Conn {
    pub(crate) fn new(fd: i32, room: u32, sender: i32, t0: u64) -> Self {
        Conn {
            fd,
            st: St::Connecting,
            room,
            sender,
            hbuf: [0; 144],
            hlen: 0,
            skip: 0,
            fin: true,
            op: 0,
            msglen: 0,
            cur: (u32::MAX, 0, 0, 0),
            hs: Vec::new(),
            out: Vec::new(),
            out_pos: 0,
            next_seq: 0,
            acked: 0,
            last_send: 0,
            t0,
        }
    }
    /// Sends now. Queues the bytes that the kernel does not take.
    pub(crate) fn send(&mut self, b: &[u8]) {
        if self.st == St::Closed {
            return;
        }
        if !self.out.is_empty() {
            self.out.extend_from_slice(b);
            return;
        }
        let n = unsafe { libc::send(self.fd, b.as_ptr().cast(), b.len(), libc::MSG_NOSIGNAL) };
        let n = if n < 0 { 0 } else { n as usize };
        if n < b.len() {
            self.out.extend_from_slice(&b[n..]);
        }
    }
    pub(crate) fn flush(&mut self) {
        while self.out_pos < self.out.len() {
            let s = &self.out[self.out_pos..];
            let n = unsafe { libc::send(self.fd, s.as_ptr().cast(), s.len(), libc::MSG_NOSIGNAL) };
            if n <= 0 {
                return;
            }
            self.out_pos += n as usize;
        }
        self.out.clear();
        self.out_pos = 0;
    }
}

#[inline]
pub(crate) fn hex(b: &[u8]) -> Option<u64> {
    let mut v = 0u64;
    for &c in b {
        let d = match c {
            b'0'..=b'9' => c - b'0',
            b'a'..=b'f' => c - b'a' + 10,
            _ => return None,
        };
        v = v << 4 | d as u64;
    }
    Some(v)
}
/// Parses the head of a message: `R{8}S{4}Q{8}T{16};`, in hexadecimal digits.
#[inline]
pub(crate) fn parse_payload(p: &[u8]) -> Option<(u32, u32, u32, u64)> {
    if p.len() < MIN_PAYLOAD
        || p[0] != b'R'
        || p[9] != b'S'
        || p[14] != b'Q'
        || p[23] != b'T'
        || p[40] != b';'
    {
        return None;
    }
    Some((hex(&p[1..9])? as u32, hex(&p[10..14])? as u32, hex(&p[15..23])? as u32, hex(&p[24..40])?))
}

pub(crate) enum Ev {
    Msg,
    Ping(usize),
    Close,
}

/// Returns the bytes of the header with the inspected prefix, the length of the header, and the length of the payload.
///
/// `None` while the header is incomplete.
#[inline]
pub(crate) fn need(h: &[u8]) -> Option<(usize, usize, u64)> {
    if h.len() < 2 {
        return None;
    }
    let (hl, len) = match h[1] & 127 {
        126 => {
            if h.len() < 4 {
                return None;
            }
            (4, u16::from_be_bytes([h[2], h[3]]) as u64)
        }
        127 => {
            if h.len() < 10 {
                return None;
            }
            (10, u64::from_be_bytes(h[2..10].try_into().unwrap()))
        }
        n => (2, n as u64),
    };
    let cap = if h[0] & 8 != 0 { 125 } else { MIN_PAYLOAD as u64 };
    Some((hl + len.min(cap) as usize, hl, len))
}

impl Conn {
    /// Consumes input up to the next event: a complete message, a ping, or a close.
    #[inline]
    pub(crate) fn feed(&mut self, b: &mut &[u8], bad: &mut u64) -> Option<Ev> {
        loop {
            if self.skip > 0 {
                let n = self.skip.min(b.len() as u64);
                self.skip -= n;
                *b = &b[n as usize..];
                if self.skip > 0 {
                    return None;
                }
                if self.fin {
                    return Some(Ev::Msg);
                }
                continue;
            }
            if b.is_empty() {
                return None;
            }
            let r = if self.hlen == 0 {
                match need(b) {
                    Some((n, hl, len)) if b.len() >= n => {
                        let pre: &[u8] = &b[..n];
                        let r = Self::frame(
                            &mut self.op,
                            &mut self.fin,
                            &mut self.cur,
                            &mut self.msglen,
                            pre,
                            hl,
                            len,
                            bad,
                        );
                        if let Some(Ev::Ping(k)) = r {
                            self.hbuf[..k].copy_from_slice(&pre[hl..]);
                        }
                        *b = &b[n..];
                        self.skip = len - (n - hl) as u64;
                        r
                    }
                    _ => {
                        self.hlen = b.len();
                        self.hbuf[..b.len()].copy_from_slice(b);
                        *b = &b[b.len()..];
                        return None;
                    }
                }
            } else {
                match need(&self.hbuf[..self.hlen]) {
                    Some((n, hl, len)) if self.hlen >= n => {
                        let tmp = self.hbuf;
                        let r = Self::frame(
                            &mut self.op,
                            &mut self.fin,
                            &mut self.cur,
                            &mut self.msglen,
                            &tmp[..n],
                            hl,
                            len,
                            bad,
                        );
                        self.hbuf[..n - hl].copy_from_slice(&tmp[hl..n]);
                        self.hlen = 0;
                        self.skip = len - (n - hl) as u64;
                        r
                    }
                    x => {
                        let want = x.map_or(self.hlen + 1, |v| v.0);
                        let k = (want - self.hlen).min(b.len());
                        self.hbuf[self.hlen..self.hlen + k].copy_from_slice(&b[..k]);
                        self.hlen += k;
                        *b = &b[k..];
                        // A buffer that is filled exactly is handled even if the input is used up.
                        match need(&self.hbuf[..self.hlen]) {
                            Some((n, hl, len)) if self.hlen >= n => {
                                let tmp = self.hbuf;
                                let r = Self::frame(
                                    &mut self.op,
                                    &mut self.fin,
                                    &mut self.cur,
                                    &mut self.msglen,
                                    &tmp[..n],
                                    hl,
                                    len,
                                    bad,
                                );
                                self.hbuf[..n - hl].copy_from_slice(&tmp[hl..n]);
                                self.hlen = 0;
                                self.skip = len - (n - hl) as u64;
                                r
                            }
                            _ => continue,
                        }
                    }
                }
            };
            match r {
                Some(Ev::Msg) if self.skip > 0 || !self.fin => continue,
                Some(e) => return Some(e),
                None => continue,
            }
        }
    }
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the caller has borrowed the rest of the connection")]
    fn frame(
        op: &mut u8,
        fin: &mut bool,
        cur: &mut (u32, u32, u32, u64),
        msglen: &mut u64,
        pre: &[u8],
        hl: usize,
        len: u64,
        bad: &mut u64,
    ) -> Option<Ev> {
        if pre[0] & 0x70 != 0 || pre[1] & 0x80 != 0 {
            *bad += 1;
        }
        let o = pre[0] & 15;
        match o {
            9 => return Some(Ev::Ping(pre.len() - hl)),
            10 => return None,
            8 => return Some(Ev::Close),
            0 => {
                *msglen += len;
            }
            1 | 2 => {
                *op = o;
                *msglen = len;
                match parse_payload(&pre[hl..]) {
                    Some(c) => *cur = c,
                    None => {
                        *bad += 1;
                        *cur = (u32::MAX, 0, 0, 0);
                    }
                }
            }
            _ => {
                *bad += 1;
                return None;
            }
        }
        *fin = pre[0] & 0x80 != 0;
        Some(Ev::Msg)
    }
}
