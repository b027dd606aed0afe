//! A WebSocket load generator: one thread on epoll, pinned to one CPU. It checks each message, and prints one line of JSON.
//!
//! `loadgen fanout|echo|idle|churn --port P[,P] [--path --pid P[,P] --beside P[,P] --rooms --members --senders --payload --duration --warmup
//! --rate (0: closed loop) --window --ack all --conns --hold --header H]`

mod connection;
mod engine;
mod histogram;
mod modes;
mod options;
mod procstat;

use crate::{engine::Lg, options::parse_opts, procstat::Sampler};

/// The bytes that each message needs for its room, sender, number and time: `R{8}S{4}Q{8}T{16};`.
pub(crate) const MIN_PAYLOAD: usize = 41;

fn main() {
    let o = parse_opts();
    if o.cpu >= 0 {
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(o.cpu as usize, &mut set);
            libc::sched_setaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &set);
        }
    }
    unsafe {
        let mut r: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut r);
        r.rlim_cur = r.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &r);
    }
    let mode = o.mode.clone();
    let mut j = String::new();
    let sampler = Sampler::new(o.pids.clone());
    let mut lg = Lg::new(o);
    match mode.as_str() {
        "fanout" | "echo" => modes::traffic(&mut lg, &sampler, &mut j),
        "idle" => modes::idle(&mut lg, &sampler, &mut j),
        "churn" => modes::churn(&mut lg, &sampler, &mut j),
        m => panic!("unknown mode {m}"),
    }
    println!("{{\"mode\":\"{}\",\"label\":\"{}\",{}}}", mode, lg.o.label, j.trim_end_matches(','));
    for i in 0..lg.conns.len() {
        lg.close_conn(i, true);
    }
}

pub(crate) fn now_ns() -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}
