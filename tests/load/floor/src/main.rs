//! The floor, a minimal server: one thread on epoll, each frame encoded once, one write for each member in a turn.
//!
//! `floor PORT`
use base64::Engine;
use sha1::{Digest, Sha1};
use std::collections::HashMap;

const EPOLLET: u32 = libc::EPOLLET as u32;

struct Conn {
    open: bool,
    used: bool,
    room: usize,
    slot: usize,
    inb: Vec<u8>,
    out: Vec<u8>,
    out_pos: usize,
    frag: Vec<u8>,
    ev_out: bool,
}
struct Room {
    members: Vec<i32>,
    pending: Vec<u8>,
    dirty: bool,
}
const ECHO: usize = usize::MAX;

struct Srv {
    ep: i32,
    conns: Vec<Option<Box<Conn>>>,
    rooms: Vec<Room>,
    names: HashMap<String, usize>,
    dirty: Vec<usize>,
    enc: Vec<u8>,
}

fn frame_into(v: &mut Vec<u8>, op: u8, p: &[u8]) {
    v.push(0x80 | op);
    let n = p.len();
    if n < 126 {
        v.push(n as u8)
    } else if n < 65536 {
        v.push(126);
        v.extend_from_slice(&(n as u16).to_be_bytes())
    } else {
        v.push(127);
        v.extend_from_slice(&(n as u64).to_be_bytes())
    }
    v.extend_from_slice(p);
}
fn unmask(p: &mut [u8], m: [u8; 4]) {
    let m8 = u64::from_ne_bytes([m[0], m[1], m[2], m[3], m[0], m[1], m[2], m[3]]);
    let mut it = p.chunks_exact_mut(8);
    for ch in &mut it {
        let v = u64::from_ne_bytes((&*ch).try_into().unwrap()) ^ m8;
        ch.copy_from_slice(&v.to_ne_bytes());
    }
    for (i, x) in it.into_remainder().iter_mut().enumerate() {
        *x ^= m[i & 3];
    }
}

impl Srv {
    fn write(&mut self, fd: i32, b: &[u8]) {
        let Some(c) = self.conns[fd as usize].as_mut() else { return };
        if c.out_pos < c.out.len() {
            c.out.extend_from_slice(b);
            return;
        }
        let n = unsafe { libc::send(fd, b.as_ptr().cast(), b.len(), libc::MSG_NOSIGNAL) };
        let n = if n < 0 { 0 } else { n as usize };
        if n < b.len() {
            c.out.clear();
            c.out_pos = 0;
            c.out.extend_from_slice(&b[n..]);
            if !c.ev_out {
                c.ev_out = true;
                Self::interest(self.ep, fd, true);
            }
        }
    }
    fn interest(ep: i32, fd: i32, out: bool) {
        let mut ev = libc::epoll_event {
            events: libc::EPOLLIN as u32 | EPOLLET | if out { libc::EPOLLOUT as u32 } else { 0 },
            u64: fd as u64,
        };
        unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_MOD, fd, &mut ev) };
    }
    fn close(&mut self, fd: i32) {
        let Some(c) = self.conns[fd as usize].take() else { return };
        if c.used && c.room != ECHO {
            let r = &mut self.rooms[c.room];
            r.members.swap_remove(c.slot);
            if let Some(&f) = r.members.get(c.slot) {
                self.conns[f as usize].as_mut().unwrap().slot = c.slot;
            }
        }
        unsafe { libc::close(fd) };
    }
    /// Handles all complete frames in `b`. Returns the number of bytes consumed, or `None` if the connection has ended.
    fn frames(&mut self, fd: i32, b: &mut [u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let h = &b[at..];
            if h.len() < 6 {
                return Some(at);
            }
            let (hl, len) = match h[1] & 127 {
                126 => {
                    if h.len() < 8 {
                        return Some(at);
                    }
                    (4, u16::from_be_bytes([h[2], h[3]]) as usize)
                }
                127 => {
                    if h.len() < 14 {
                        return Some(at);
                    }
                    (10, u64::from_be_bytes(h[2..10].try_into().unwrap()) as usize)
                }
                n => (2, n as usize),
            };
            if h[1] & 128 == 0 || len > 16 << 20 {
                self.close(fd);
                return None;
            }
            if h.len() < hl + 4 + len {
                return Some(at);
            }
            let (op, fin) = (h[0] & 15, h[0] & 128 != 0);
            let m: [u8; 4] = h[hl..hl + 4].try_into().unwrap();
            let p = &mut b[at + hl + 4..at + hl + 4 + len];
            unmask(p, m);
            at += hl + 4 + len;
            match op {
                8 => {
                    let mut f = Vec::new();
                    frame_into(&mut f, 8, &p[..p.len().min(2)]);
                    self.write(fd, &f);
                    self.close(fd);
                    return None;
                }
                9 => {
                    let mut f = Vec::new();
                    frame_into(&mut f, 10, p);
                    self.write(fd, &f);
                }
                10 => {}
                _ => {
                    let c = self.conns[fd as usize].as_mut().unwrap();
                    if !fin || op == 0 {
                        c.frag.extend_from_slice(p);
                        if !fin {
                            continue;
                        }
                        let v = std::mem::take(&mut c.frag);
                        self.message(fd, &v);
                    } else {
                        self.message(fd, p);
                    }
                }
            }
        }
    }
    fn message(&mut self, fd: i32, p: &[u8]) {
        let room = self.conns[fd as usize].as_ref().unwrap().room;
        if room == ECHO {
            let mut e = std::mem::take(&mut self.enc);
            e.clear();
            frame_into(&mut e, 1, p);
            self.write(fd, &e);
            self.enc = e;
        } else {
            let r = &mut self.rooms[room];
            frame_into(&mut r.pending, 1, p);
            if !r.dirty {
                r.dirty = true;
                self.dirty.push(room);
            }
        }
    }
    fn flush(&mut self) {
        while let Some(r) = self.dirty.pop() {
            let p = std::mem::take(&mut self.rooms[r].pending);
            let m = std::mem::take(&mut self.rooms[r].members);
            for &fd in &m {
                self.write(fd, &p);
            }
            let room = &mut self.rooms[r];
            room.members = m;
            room.pending = p;
            room.pending.clear();
            if room.pending.capacity() > 1 << 20 {
                room.pending = Vec::new();
            }
            room.dirty = false;
        }
    }
    fn upgrade(&mut self, fd: i32, head: &str) -> bool {
        let path = head.split(' ').nth(1).unwrap_or("");
        let key = head.lines().find_map(|l| {
            let (k, v) = l.split_once(':')?;
            k.eq_ignore_ascii_case("sec-websocket-key").then(|| v.trim())
        });
        let Some(key) = key else { return false };
        let room = if path.starts_with("/echo") {
            ECHO
        } else if let Some(n) = path.strip_prefix("/room/") {
            let n = n.trim_end_matches('/');
            match self.names.get(n) {
                Some(&r) => r,
                None => {
                    let r = self.rooms.len();
                    self.rooms.push(Room { members: vec![], pending: vec![], dirty: false });
                    self.names.insert(n.to_string(), r);
                    r
                }
            }
        } else {
            return false;
        };
        let mut h = Sha1::new();
        h.update(key);
        h.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let acc = base64::engine::general_purpose::STANDARD.encode(h.finalize());
        let s = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {acc}\r\n\r\n"
        );
        self.write(fd, s.as_bytes());
        let c = self.conns[fd as usize].as_mut().unwrap();
        c.open = true;
        c.used = true;
        c.room = room;
        if room != ECHO {
            c.slot = self.rooms[room].members.len();
            self.rooms[room].members.push(fd);
        }
        true
    }
    fn readable(&mut self, fd: i32, buf: &mut [u8]) {
        loop {
            let n = unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0) };
            if n < 0 {
                if std::io::Error::last_os_error().raw_os_error() != Some(libc::EAGAIN) {
                    self.close(fd);
                }
                return;
            }
            if n == 0 {
                self.close(fd);
                return;
            }
            let n = n as usize;
            let c = self.conns[fd as usize].as_mut().unwrap();
            if c.open && c.inb.is_empty() {
                let Some(k) = self.frames(fd, &mut buf[..n]) else { return };
                if k < n {
                    self.conns[fd as usize].as_mut().unwrap().inb.extend_from_slice(&buf[k..n]);
                }
            } else {
                let mut v = std::mem::take(&mut c.inb);
                v.extend_from_slice(&buf[..n]);
                if !c.open {
                    let Some(p) = v.windows(4).position(|w| w == b"\r\n\r\n") else {
                        c.inb = v;
                        return;
                    };
                    let head = String::from_utf8_lossy(&v[..p]).into_owned();
                    if !self.upgrade(fd, &head) {
                        self.close(fd);
                        return;
                    }
                    v.drain(..p + 4);
                }
                let Some(k) = self.frames(fd, &mut v) else { return };
                v.drain(..k);
                if v.is_empty() {
                    v = Vec::new();
                }
                self.conns[fd as usize].as_mut().unwrap().inb = v;
            }
            if n < buf.len() {
                return;
            }
        }
    }
}

fn main() {
    let port: u16 = std::env::args().nth(1).expect("PORT").parse().unwrap();
    unsafe {
        let mut r: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut r);
        r.rlim_cur = r.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &r);
        let l = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
        let one = 1i32;
        libc::setsockopt(l, libc::SOL_SOCKET, libc::SO_REUSEADDR, (&one as *const i32).cast(), 4);
        let mut sa: libc::sockaddr_in = std::mem::zeroed();
        sa.sin_family = libc::AF_INET as u16;
        sa.sin_port = port.to_be();
        sa.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
        assert_eq!(libc::bind(l, (&sa as *const libc::sockaddr_in).cast(), 16), 0, "bind");
        assert_eq!(libc::listen(l, 4096), 0);
        let ep = libc::epoll_create1(0);
        let mut ev = libc::epoll_event { events: libc::EPOLLIN as u32, u64: u64::MAX };
        libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, l, &mut ev);
        let mut s =
            Srv { ep, conns: Vec::new(), rooms: vec![], names: HashMap::new(), dirty: vec![], enc: vec![] };
        let mut evs = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
        let mut buf = vec![0u8; 64 * 1024];
        loop {
            let n = libc::epoll_wait(ep, evs.as_mut_ptr(), 1024, -1);
            for ev in evs.iter().take(n.max(0) as usize) {
                let (e, id) = (ev.events as i32, ev.u64);
                if id == u64::MAX {
                    loop {
                        let fd = libc::accept4(
                            l,
                            std::ptr::null_mut(),
                            std::ptr::null_mut(),
                            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
                        );
                        if fd < 0 {
                            break;
                        }
                        libc::setsockopt(
                            fd,
                            libc::IPPROTO_TCP,
                            libc::TCP_NODELAY,
                            (&one as *const i32).cast(),
                            4,
                        );
                        if s.conns.len() <= fd as usize {
                            s.conns.resize_with(fd as usize + 1, || None);
                        }
                        s.conns[fd as usize] = Some(Box::new(Conn {
                            open: false,
                            used: false,
                            room: 0,
                            slot: 0,
                            inb: vec![],
                            out: vec![],
                            out_pos: 0,
                            frag: vec![],
                            ev_out: false,
                        }));
                        let mut ev =
                            libc::epoll_event { events: libc::EPOLLIN as u32 | EPOLLET, u64: fd as u64 };
                        libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, fd, &mut ev);
                    }
                    continue;
                }
                let fd = id as i32;
                if s.conns[fd as usize].is_none() {
                    continue;
                }
                if e & libc::EPOLLOUT != 0 {
                    let c = s.conns[fd as usize].as_mut().unwrap();
                    while c.out_pos < c.out.len() {
                        let b = &c.out[c.out_pos..];
                        let n = libc::send(fd, b.as_ptr().cast(), b.len(), libc::MSG_NOSIGNAL);
                        if n <= 0 {
                            break;
                        }
                        c.out_pos += n as usize;
                    }
                    if c.out_pos >= c.out.len() {
                        c.out = Vec::new();
                        c.out_pos = 0;
                        c.ev_out = false;
                        Srv::interest(ep, fd, false);
                    }
                }
                if e & (libc::EPOLLIN | libc::EPOLLERR | libc::EPOLLHUP) != 0 {
                    s.readable(fd, &mut buf);
                }
            }
            s.flush();
        }
    }
}
