//! The event loop: opens connections, sends, and checks what arrives.

use std::{collections::HashSet, io};

use crate::{
    connection::{Conn, Ev, St},
    histogram::Hist,
    now_ns,
    options::Opt,
};

pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The `Sec-WebSocket-Accept` of a server for `KEY`.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub(crate) struct Lg {
    pub(crate) o: Opt,
    pub(crate) ep: i32,
    pub(crate) conns: Vec<Conn>,
    pub(crate) rbuf: Vec<u8>,
    pub(crate) frame: Vec<u8>,
    pub(crate) rng: u64,
    pub(crate) exp: Vec<u32>,
    pub(crate) missing: HashSet<(u32, u32)>,
    pub(crate) sent: u64,
    pub(crate) deliv_total: u64,
    pub(crate) deliv: u64,
    pub(crate) measuring: bool,
    pub(crate) hist: Hist,
    pub(crate) dup: u64,
    pub(crate) ooo: u64,
    pub(crate) misrouted: u64,
    pub(crate) bad: u64,
    pub(crate) stalls: u64,
    pub(crate) pings: u64,
    pub(crate) peer_closed: u64,
    pub(crate) conn_err: u64,
    pub(crate) sending: bool,
    pub(crate) closed_loop: bool,
    pub(crate) sender_conns: Vec<u32>,
    pub(crate) open: usize,
    pub(crate) churn_done: u64,
    pub(crate) churn_forced: u64,
    pub(crate) events: Vec<libc::epoll_event>,
    pub(crate) hs_done: Vec<u32>,
    pub(crate) churn_msg: Vec<u32>,
    pub(crate) churn_closed: Vec<u32>,
    pub(crate) churn: bool,
    pub(crate) acks: Vec<u32>,
    pub(crate) who: Vec<u32>,
    pub(crate) closing: Vec<u32>,
}

pub(crate) fn err(s: &str) -> ! {
    panic!("{s}: {}", io::Error::last_os_error())
}

impl Lg {
    pub(crate) fn new(o: Opt) -> Self {
        let ep = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        Lg {
            o,
            ep,
            conns: Vec::new(),
            rbuf: vec![0; 256 * 1024],
            frame: Vec::new(),
            rng: now_ns() | 1,
            exp: vec![],
            missing: HashSet::new(),
            sent: 0,
            deliv_total: 0,
            deliv: 0,
            measuring: false,
            hist: Hist::new(),
            dup: 0,
            ooo: 0,
            misrouted: 0,
            bad: 0,
            stalls: 0,
            pings: 0,
            peer_closed: 0,
            conn_err: 0,
            sending: false,
            closed_loop: true,
            sender_conns: vec![],
            open: 0,
            churn_done: 0,
            churn_forced: 0,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; 1024],
            hs_done: vec![],
            churn_msg: vec![],
            churn_closed: vec![],
            churn: false,
            acks: vec![],
            who: vec![],
            closing: vec![],
        }
    }
    pub(crate) fn rnd(&mut self) -> u64 {
        let mut x = self.rng;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.rng = x;
        x
    }

    pub(crate) fn connect(&mut self, room: u32, sender: i32) -> Conn {
        unsafe {
            let fd =
                libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0);
            if fd < 0 {
                err("socket");
            }
            let one = 1i32;
            libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&one as *const i32).cast(), 4);
            let mut sa: libc::sockaddr_in = std::mem::zeroed();
            sa.sin_family = libc::AF_INET as u16;
            // The members of a room, and the first members of all rooms, take the servers in turns.
            let member = self.conns.len() / self.o.rooms.max(1);
            let server = (member + room as usize) % self.o.ports.len();
            sa.sin_port = self.o.ports[server].to_be();
            sa.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
            let r = libc::connect(fd, (&sa as *const libc::sockaddr_in).cast(), 16);
            if r < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EINPROGRESS) {
                err("connect");
            }
            Conn::new(fd, room, sender, now_ns())
        }
    }
    pub(crate) fn register(&self, id: usize) {
        let mut ev = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET | libc::EPOLLRDHUP) as u32,
            u64: id as u64,
        };
        if unsafe { libc::epoll_ctl(self.ep, libc::EPOLL_CTL_ADD, self.conns[id].fd, &mut ev) } < 0 {
            err("epoll_ctl");
        }
    }
    pub(crate) fn handshake(&mut self, id: usize) {
        let path = self.o.path.replace("{}", &format!("r{}", self.conns[id].room));
        let mut s = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n",
            self.o.ports[0]
        );
        for h in &self.o.headers {
            s.push_str(h);
            s.push_str("\r\n");
        }
        s.push_str("\r\n");
        self.conns[id].st = St::Handshake;
        self.conns[id].send(s.as_bytes());
    }
    pub(crate) fn close_conn(&mut self, id: usize, rst: bool) {
        let c = &mut self.conns[id];
        if c.st == St::Closed {
            return;
        }
        if matches!(c.st, St::Open | St::Closing) {
            self.open -= 1;
        }
        c.st = St::Closed;
        unsafe {
            if rst {
                let l = libc::linger { l_onoff: 1, l_linger: 0 };
                libc::setsockopt(
                    c.fd,
                    libc::SOL_SOCKET,
                    libc::SO_LINGER,
                    (&l as *const libc::linger).cast(),
                    8,
                );
            }
            libc::close(c.fd);
        }
    }
    pub(crate) fn enc(&mut self, op: u8, len: usize) -> (usize, [u8; 4]) {
        let m = (self.rnd() as u32).to_ne_bytes();
        let f = &mut self.frame;
        f.clear();
        f.push(0x80 | op);
        if len < 126 {
            f.push(0x80 | len as u8);
        } else if len < 65536 {
            f.push(0x80 | 126);
            f.extend_from_slice(&(len as u16).to_be_bytes());
        } else {
            f.push(0x80 | 127);
            f.extend_from_slice(&(len as u64).to_be_bytes());
        }
        f.extend_from_slice(&m);
        (f.len(), m)
    }
    pub(crate) fn send_msg(&mut self, id: usize, ts: u64) {
        let len = self.o.payload;
        let (off, m) = self.enc(1, len);
        let c = &mut self.conns[id];
        let f = &mut self.frame;
        f.resize(off + len, b'x');
        const H: &[u8; 16] = b"0123456789abcdef";
        let put = |p: &mut [u8], v: u64| {
            let n = p.len();
            for i in 0..n {
                p[n - 1 - i] = H[(v >> (4 * i)) as usize & 15];
            }
        };
        let p = &mut f[off..];
        p[0] = b'R';
        put(&mut p[1..9], c.room as u64);
        p[9] = b'S';
        put(&mut p[10..14], c.sender as u64);
        p[14] = b'Q';
        put(&mut p[15..23], c.next_seq as u64);
        p[23] = b'T';
        put(&mut p[24..40], ts);
        p[40] = b';';
        let m8 = u64::from_ne_bytes([m[0], m[1], m[2], m[3], m[0], m[1], m[2], m[3]]);
        let mut it = p.chunks_exact_mut(8);
        for ch in &mut it {
            let v = u64::from_ne_bytes(ch.try_into().unwrap()) ^ m8;
            ch.copy_from_slice(&v.to_ne_bytes());
        }
        for (i, x) in it.into_remainder().iter_mut().enumerate() {
            *x ^= m[i & 3];
        }
        c.next_seq += 1;
        c.last_send = ts;
        c.send(f);
        self.sent += 1;
    }
    pub(crate) fn send_ctl(&mut self, id: usize, op: u8, body: &[u8]) {
        let (off, m) = self.enc(op, body.len());
        self.frame.extend_from_slice(body);
        for (i, x) in self.frame[off..].iter_mut().enumerate() {
            *x ^= m[i & 3];
        }
        self.conns[id].send(&self.frame);
    }
    #[inline]
    pub(crate) fn deliver(&mut self, id: usize, now: u64) {
        let c = &self.conns[id];
        let (room, sender, seq, ts) = c.cur;
        if c.msglen != self.o.payload as u64 {
            self.bad += 1;
        }
        if self.churn {
            if c.st == St::Open
                && room == c.room
                && seq == c.next_seq.wrapping_sub(1)
                && sender == c.sender as u32
            {
                self.churn_msg.push(id as u32);
            }
            return;
        }
        if room != c.room || sender as usize >= self.o.senders {
            self.misrouted += 1;
            return;
        }
        let own = c.sender == sender as i32;
        let idx = id * self.o.senders + sender as usize;
        let e = &mut self.exp[idx];
        if seq == *e {
            *e += 1;
        } else if seq > *e {
            for s in *e..seq.min(*e + 1_000_000) {
                self.missing.insert((idx as u32, s));
            }
            *e = seq + 1;
        } else if self.missing.remove(&(idx as u32, seq)) {
            self.ooo += 1;
        } else {
            self.dup += 1;
            return;
        }
        self.deliv_total += 1;
        if self.measuring {
            self.deliv += 1;
            self.hist.add(now.saturating_sub(ts));
        }
        if self.o.ack_all {
            let k = room as usize * self.o.senders + sender as usize;
            self.acks[k] += 1;
            if self.acks[k] as usize >= self.o.members {
                self.acks[k] = 0;
                if self.sending && self.closed_loop {
                    self.send_msg(self.who[k] as usize, now);
                }
            }
        } else if own {
            self.conns[id].acked += 1;
            if self.sending && self.closed_loop {
                self.send_msg(id, now);
            }
        }
    }
    pub(crate) fn on_readable(&mut self, id: usize, eof: bool) {
        let mut rbuf = std::mem::take(&mut self.rbuf);
        loop {
            let n = unsafe { libc::recv(self.conns[id].fd, rbuf.as_mut_ptr().cast(), rbuf.len(), 0) };
            if n < 0 {
                let e = io::Error::last_os_error().raw_os_error();
                if e != Some(libc::EAGAIN) {
                    self.peer_gone(id);
                }
                break;
            }
            if n == 0 {
                self.peer_gone(id);
                break;
            }
            let now = now_ns();
            let mut b: &[u8] = &rbuf[..n as usize];
            if self.conns[id].st == St::Handshake {
                self.conns[id].hs.extend_from_slice(b);
                let hs = std::mem::take(&mut self.conns[id].hs);
                match hs.windows(4).position(|w| w == b"\r\n\r\n") {
                    None => {
                        self.conns[id].hs = hs;
                    }
                    Some(p) => {
                        let head = String::from_utf8_lossy(&hs[..p]);
                        if !head.starts_with("HTTP/1.1 101") || !head.contains(ACCEPT) {
                            if self.conn_err == 0 {
                                eprintln!("handshake refused: {}", head.lines().next().unwrap_or(""));
                            }
                            self.conn_err += 1;
                            self.conns[id].st = St::Handshake;
                            self.close_conn(id, true);
                            self.hs_done.push(id as u32);
                            break;
                        }
                        self.conns[id].st = St::Open;
                        self.open += 1;
                        self.hs_done.push(id as u32);
                        let mut rest = &hs[p + 4..];
                        self.frames(id, &mut rest, now);
                    }
                }
            } else {
                self.frames(id, &mut b, now);
            }
            if self.conns[id].st == St::Closed {
                break;
            }
            if (n as usize) < rbuf.len() && !eof {
                break;
            }
        }
        self.rbuf = rbuf;
    }
    #[inline]
    pub(crate) fn frames(&mut self, id: usize, b: &mut &[u8], now: u64) {
        loop {
            let c = &mut self.conns[id];
            let bad = &mut self.bad;
            match c.feed(b, bad) {
                None => return,
                Some(Ev::Msg) => self.deliver(id, now),
                Some(Ev::Ping(n)) => {
                    self.pings += 1;
                    let body = self.conns[id].hbuf[..n].to_vec();
                    self.send_ctl(id, 10, &body);
                }
                Some(Ev::Close) => {
                    if self.conns[id].st == St::Closing {
                        self.conns[id].last_send = now;
                        self.closing.push(id as u32);
                    } else {
                        self.peer_closed += 1;
                    }
                }
            }
        }
    }
    pub(crate) fn peer_gone(&mut self, id: usize) {
        match self.conns[id].st {
            St::Closing => {
                self.close_conn(id, false);
                self.churn_closed.push(id as u32);
            }
            St::Closed => {}
            St::Connecting | St::Handshake => {
                self.conn_err += 1;
                self.close_conn(id, true);
                self.hs_done.push(id as u32);
            }
            St::Open => {
                self.peer_closed += 1;
                self.close_conn(id, true);
                if self.churn {
                    self.churn_closed.push(id as u32);
                }
            }
        }
    }
    /// Does one turn of epoll. Waits at most `ns` nanoseconds.
    pub(crate) fn turn(&mut self, ns: u64) {
        let ts = libc::timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 };
        let mut evs = std::mem::take(&mut self.events);
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.ep,
                evs.as_mut_ptr(),
                evs.len() as i32,
                &ts as *const _,
                std::ptr::null::<libc::c_void>(),
                8usize,
            )
        };
        for ev in evs.iter().take(n.max(0) as usize) {
            let (e, id) = (ev.events as i32, ev.u64 as usize);
            let st = self.conns[id].st;
            if st == St::Closed {
                continue;
            }
            if e & libc::EPOLLOUT != 0 {
                if st == St::Connecting && e & (libc::EPOLLERR | libc::EPOLLHUP) == 0 {
                    self.handshake(id);
                } else if !self.conns[id].out.is_empty() {
                    self.conns[id].flush();
                }
            }
            if e & (libc::EPOLLIN | libc::EPOLLERR | libc::EPOLLHUP | libc::EPOLLRDHUP) != 0 {
                self.on_readable(id, e & (libc::EPOLLERR | libc::EPOLLHUP | libc::EPOLLRDHUP) != 0);
            }
        }
        self.events = evs;
    }
    /// Opens all connections of a plan of rooms and senders, a limited number at once. Returns how many seconds it took.
    pub(crate) fn open_all(&mut self, plan: &[(u32, i32)], limit_s: f64) -> f64 {
        let t0 = now_ns();
        let base = self.conns.len();
        let (mut started, mut done) = (0, 0);
        while done < plan.len() {
            while started < plan.len() && started - done < self.o.par {
                let c = self.connect(plan[started].0, plan[started].1);
                self.conns.push(c);
                self.register(base + started);
                started += 1;
            }
            self.turn(50_000_000);
            done += self.hs_done.len();
            self.hs_done.clear();
            if (now_ns() - t0) as f64 / 1e9 > limit_s {
                eprintln!("connect phase timed out: {done} of {}", plan.len());
                break;
            }
        }
        (now_ns() - t0) as f64 / 1e9
    }
    pub(crate) fn idle_for(&mut self, s: f64) {
        let end = now_ns() + (s * 1e9) as u64;
        loop {
            let n = now_ns();
            if n >= end {
                break;
            }
            self.turn((end - n).min(50_000_000));
        }
    }
    pub(crate) fn lost(&self) -> u64 {
        let s = self.o.senders;
        let mut sent_by: std::collections::HashMap<(u32, i32), u32> = Default::default();
        for &id in &self.sender_conns {
            let c = &self.conns[id as usize];
            sent_by.insert((c.room, c.sender), c.next_seq);
        }
        let mut lost = self.missing.len() as u64;
        for (i, c) in self.conns.iter().enumerate() {
            for k in 0..s {
                if let Some(&n) = sent_by.get(&(c.room, k as i32)) {
                    lost += (n - self.exp[i * s + k].min(n)) as u64;
                }
            }
        }
        lost
    }
    pub(crate) fn drain(&mut self, limit: f64) {
        let end = now_ns() + (limit * 1e9) as u64;
        let mut last = (u64::MAX, now_ns());
        loop {
            let n = now_ns();
            if n >= end {
                break;
            }
            self.turn(20_000_000);
            if self.deliv_total != last.0 {
                last = (self.deliv_total, n);
            }
            if self.lost() == 0 || n - last.1 > 4_000_000_000 {
                break;
            }
        }
    }
}
