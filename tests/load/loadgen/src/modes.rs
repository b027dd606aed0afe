//! The modes of measurement: rooms and echo under traffic, idle connections, connections that come and go.

use std::fmt::Write as _;

use crate::{
    connection::St,
    engine::Lg,
    now_ns,
    procstat::{self, Sampler},
};

pub(crate) fn traffic(lg: &mut Lg, sm: &Sampler, j: &mut String) {
    let echo = lg.o.mode == "echo";
    if echo {
        lg.o.rooms = lg.o.conns;
        lg.o.members = 1;
        lg.o.senders = 1;
    }
    let (r, m, s) = (lg.o.rooms, lg.o.members, lg.o.senders);
    let before = sm.sample();
    let beside = Sampler::new(lg.o.beside.clone());
    let mut plan = Vec::new();
    // Rooms are interleaved, so that the members of a room are not adjacent in memory or in the order of their sockets.
    for k in 0..m {
        for room in 0..r {
            plan.push((room as u32, if k < s { k as i32 } else { -1 }));
        }
    }
    lg.exp = vec![0; plan.len() * s];
    let ct = lg.open_all(&plan, 120.0);
    lg.idle_for(lg.o.settle);
    lg.sender_conns = (0..lg.conns.len() as u32)
        .filter(|&i| lg.conns[i as usize].sender >= 0 && lg.conns[i as usize].st == St::Open)
        .collect();
    let senders = lg.sender_conns.clone();
    lg.acks = vec![0; r * s];
    lg.who = vec![0; r * s];
    for &id in &senders {
        let c = &lg.conns[id as usize];
        lg.who[c.room as usize * s + c.sender as usize] = id;
    }
    let start = now_ns();
    let wstart = start + (lg.o.warmup * 1e9) as u64;
    let wend = wstart + (lg.o.duration * 1e9) as u64;
    lg.closed_loop = lg.o.rate <= 0.0;
    lg.sending = true;
    let gap = if lg.closed_loop { 0.0 } else { 1e9 / (lg.o.rate * senders.len() as f64) };
    let mut k: u64 = 0;
    if senders.is_empty() {
        eprintln!("no connection opened");
        std::process::exit(3);
    }
    if lg.closed_loop {
        for &id in &senders {
            for _ in 0..lg.o.window {
                let t = now_ns();
                lg.send_msg(id as usize, t);
            }
        }
    }
    let mut s0 = None;
    let mut stall_check = start;
    let mut late_max = 0u64;

    let mut own_start = procstat::self_cpu();
    let mut sent0 = 0;
    let mut cw0 = 0;
    loop {
        let mut now = now_ns();
        if s0.is_none() && now >= wstart {
            s0 = Some((sm.sample(), beside.sample(), now_ns()));
            lg.measuring = true;
            sent0 = lg.sent;
            own_start = procstat::self_cpu();
            cw0 = procstat::wait_ns("self");
            now = now_ns();
        }
        if now >= wend {
            break;
        }
        let mut wait = 10_000_000u64;
        if !lg.closed_loop {
            loop {
                let due = start + (k as f64 * gap) as u64;
                if due > now {
                    wait = wait.min(due - now);
                    break;
                }
                late_max = late_max.max(now - due);
                let id = senders[(k % senders.len() as u64) as usize] as usize;
                lg.send_msg(id, due);
                k += 1;
            }
        } else if now - stall_check > 200_000_000 {
            stall_check = now;
            for &id in &senders {
                let c = &lg.conns[id as usize];
                if c.st == St::Open && now.saturating_sub(c.last_send) > lg.o.stall_ms * 1_000_000 {
                    lg.stalls += 1;
                    lg.send_msg(id as usize, now);
                }
            }
        }
        lg.turn(wait);
    }
    let t1 = now_ns();
    lg.measuring = false;
    lg.sending = false;
    let (e, beside) = (sm.sample(), beside.sample());
    let own1 = procstat::self_cpu();
    let cw1 = procstat::wait_ns("self");
    let own0 = own_start;
    let (b, beside_before, t0) = s0.unwrap();
    let sent = lg.sent - sent0;
    lg.drain(lg.o.drain);
    let w = (t1 - t0) as f64 / 1e9;
    let _ = write!(
        j,
        "\"server_wait\":{:.3},\"client_wait\":{:.3},",
        e.wait_ns.saturating_sub(b.wait_ns) as f64 / 1e9 / w,
        cw1.saturating_sub(cw0) as f64 / 1e9 / w
    );
    let cpu = (e.run_ns - b.run_ns) as f64 / 1e9;
    let d = lg.deliv;
    let beside_cpu = (beside.run_ns - beside_before.run_ns) as f64 / 1e3;
    let _ = write!(j, "\"beside_us_per_delivery\":{:.3},", beside_cpu / d.max(1) as f64);
    let busy0 = (e.cpu0_busy - b.cpu0_busy) as f64 / 100.0 / w;
    let _ = write!(
        j,
        "\"conns\":{},\"rooms\":{r},\"members\":{m},\"senders\":{s},\"payload\":{},\"rate\":{},\"window_s\":{w:.3},\"sent\":{sent},\"deliveries\":{d},\"per_s\":{:.0},\"p50_us\":{:.1},\"p90_us\":{:.1},\"p99_us\":{:.1},\"max_us\":{:.1},\"lost\":{},\"dup\":{},\"ooo\":{},\"misrouted\":{},\"bad\":{},\"stalls\":{},\"peer_closed\":{},\"conn_err\":{},\"server_cpu_s\":{cpu:.3},\"server_user_s\":{:.2},\"server_sys_s\":{:.2},\"cpu_us_per_delivery\":{:.3},\"server_util\":{:.2},\"client_util\":{:.2},\"cpu0_other\":{:.2},\"rss_kb\":{},\"rss_base_kb\":{},\"connect_s\":{ct:.3},\"pings\":{},\"send_late_max_us\":{:.0},",
        lg.conns.len(),
        lg.o.payload,
        lg.o.rate,
        d as f64 / w,
        lg.hist.q(0.5),
        lg.hist.q(0.9),
        lg.hist.q(0.99),
        lg.hist.max as f64 / 1e3,
        lg.lost(),
        lg.dup,
        lg.ooo,
        lg.misrouted,
        lg.bad,
        lg.stalls,
        lg.peer_closed,
        lg.conn_err,
        (e.utime - b.utime) as f64 / 100.0,
        (e.stime - b.stime) as f64 / 100.0,
        if d > 0 { cpu * 1e6 / d as f64 } else { 0.0 },
        cpu / w,
        (own1 - own0) as f64 / 1e9 / w,
        (busy0 - cpu / w).max(0.0),
        e.rss_kb,
        before.rss_kb,
        lg.pings,
        late_max as f64 / 1e3
    );
}

pub(crate) fn idle(lg: &mut Lg, sm: &Sampler, j: &mut String) {
    let (n, r) = (lg.o.conns, lg.o.rooms.max(1));
    lg.o.senders = 1;
    let b = sm.sample();
    let plan: Vec<(u32, i32)> = (0..n).map(|i| ((i % r) as u32, if i < r { 0 } else { -1 })).collect();
    lg.exp = vec![0; n];
    let ct = lg.open_all(&plan, 180.0);
    lg.idle_for(1.0);
    let opened = lg.open;
    let a = sm.sample();
    let t0 = now_ns();
    lg.idle_for(lg.o.hold);
    let e = sm.sample();
    let w = (now_ns() - t0) as f64 / 1e9;
    // One message in each room proves that every connection has joined its room.
    lg.sender_conns = (0..r.min(n) as u32).filter(|&i| lg.conns[i as usize].st == St::Open).collect();
    lg.closed_loop = false;
    for id in lg.sender_conns.clone() {
        let t = now_ns();
        lg.send_msg(id as usize, t);
        lg.turn(0);
    }
    lg.drain(20.0);
    let p = sm.sample();
    let reached = lg.deliv_total;
    let held = lg.open;
    for i in 0..lg.conns.len() {
        lg.close_conn(i, true);
    }
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let z = sm.sample();
    let _ = write!(
        j,
        "\"conns\":{n},\"rooms\":{r},\"opened\":{opened},\"held\":{held},\"reached\":{reached},\"conn_err\":{},\"connect_s\":{ct:.3},\"connects_per_s\":{:.0},\"connect_cpu_us\":{:.2},\"rss_base_kb\":{},\"rss_kb\":{},\"rss_per_conn_b\":{:.0},\"rss_after_probe_kb\":{},\"rss_after_close_kb\":{},\"hold_s\":{w:.2},\"idle_cpu_ms\":{:.2},\"idle_cpu_pct\":{:.3},\"pings\":{},\"bad\":{},\"peer_closed\":{},",
        lg.conn_err,
        opened as f64 / ct,
        (a.run_ns - b.run_ns) as f64 / 1e3 / opened.max(1) as f64,
        b.rss_kb,
        a.rss_kb,
        (a.rss_kb as f64 - b.rss_kb as f64) * 1024.0 / opened.max(1) as f64,
        p.rss_kb,
        z.rss_kb,
        (e.run_ns - a.run_ns) as f64 / 1e6,
        (e.run_ns - a.run_ns) as f64 / 1e7 / w,
        lg.pings,
        lg.bad,
        lg.peer_closed
    );
}

pub(crate) fn churn(lg: &mut Lg, sm: &Sampler, j: &mut String) {
    lg.churn = true;
    lg.o.senders = 1;
    let par = lg.o.conns;
    let r = lg.o.rooms.max(1);
    let b0 = sm.sample();
    let start = now_ns();
    let wstart = start + (lg.o.warmup * 1e9) as u64;
    let wend = wstart + (lg.o.duration * 1e9) as u64;
    for i in 0..par {
        let c = lg.connect((i % r) as u32, i as i32);
        lg.conns.push(c);
        lg.register(i);
    }
    let mut s0 = None;
    let mut done0 = 0;
    let mut own = 0;
    let mut sweep = start;
    let mut finished = 0u64;
    let mut failed = 0u64;
    loop {
        let now = now_ns();
        if s0.is_none() && now >= wstart {
            s0 = Some((sm.sample(), now_ns()));
            done0 = lg.churn_done;
            own = procstat::self_cpu();
            finished = 0;
        }
        if now >= wend {
            break;
        }
        lg.turn(if lg.closing.is_empty() { 5_000_000 } else { 1_000_000 });
        let now = now_ns();
        let hs = std::mem::take(&mut lg.hs_done);
        for &id in &hs {
            if lg.conns[id as usize].st == St::Open {
                lg.send_msg(id as usize, now);
            } else {
                failed += 1;
                lg.churn_closed.push(id);
            }
        }
        let mut hs = hs;
        hs.clear();
        lg.hs_done = hs;
        let ms = std::mem::take(&mut lg.churn_msg);
        for &id in &ms {
            if lg.conns[id as usize].st != St::Open {
                continue;
            }
            lg.conns[id as usize].st = St::Closing;
            lg.conns[id as usize].last_send = now;
            lg.send_ctl(id as usize, 8, &1000u16.to_be_bytes());
        }
        // The server has answered our close frame. It has the grace time to close the TCP connection itself.
        let grace = lg.o.close_grace_ms * 1_000_000;
        let mut closing = std::mem::take(&mut lg.closing);
        closing.retain(|&id| {
            let c = &lg.conns[id as usize];
            if c.st != St::Closing {
                return false;
            }
            if now.saturating_sub(c.last_send) <= grace {
                return true;
            }
            lg.churn_forced += 1;
            lg.close_conn(id as usize, true);
            lg.churn_closed.push(id);
            false
        });
        lg.closing = closing;
        if now - sweep > 20_000_000 {
            sweep = now;
            for id in 0..lg.conns.len() {
                let c = &lg.conns[id];
                if c.st == St::Closing && now - c.last_send > 200_000_000 {
                    lg.churn_forced += 1;
                    lg.close_conn(id, true);
                    lg.churn_closed.push(id as u32);
                } else if c.st != St::Closed && now - c.t0 > 5_000_000_000 {
                    failed += 1;
                    lg.close_conn(id, true);
                    lg.churn_closed.push(id as u32);
                }
            }
        }
        let cl = std::mem::take(&mut lg.churn_closed);
        for &id in &cl {
            let id = id as usize;
            if lg.conns[id].st != St::Closed {
                continue;
            }
            if lg.conns[id].next_seq > 0 && lg.conns[id].hlen == 0 {
                lg.churn_done += 1;
                finished += 1;
                if s0.is_some() {
                    lg.hist.add(now - lg.conns[id].t0);
                }
            }
            let room = lg.conns[id].room;
            let c = lg.connect(room, id as i32);
            lg.conns[id] = c;
            lg.register(id);
        }
    }
    let e = sm.sample();
    let own1 = procstat::self_cpu();
    let (b, t0) = s0.unwrap();
    let w = (now_ns() - t0) as f64 / 1e9;
    let n = lg.churn_done - done0;
    let _ = finished;
    let cpu = (e.run_ns - b.run_ns) as f64 / 1e9;
    let _ = write!(j, "\"server_wait\":{:.3},", e.wait_ns.saturating_sub(b.wait_ns) as f64 / 1e9 / w);
    let _ = write!(
        j,
        "\"workers\":{par},\"rooms\":{r},\"window_s\":{w:.3},\"cycles\":{n},\"per_s\":{:.0},\"p50_us\":{:.1},\"p99_us\":{:.1},\"max_us\":{:.1},\"forced\":{},\"failed\":{failed},\"bad\":{},\"peer_closed\":{},\"conn_err\":{},\"server_cpu_s\":{cpu:.3},\"cpu_us_per_cycle\":{:.2},\"server_util\":{:.2},\"client_util\":{:.2},\"rss_base_kb\":{},\"rss_kb\":{},",
        n as f64 / w,
        lg.hist.q(0.5),
        lg.hist.q(0.99),
        lg.hist.max as f64 / 1e3,
        lg.churn_forced,
        lg.bad,
        lg.peer_closed,
        lg.conn_err,
        cpu * 1e6 / n.max(1) as f64,
        cpu / w,
        (own1 - own) as f64 / 1e9 / w,
        b0.rss_kb,
        e.rss_kb
    );
}
