//! CPU time and memory of the servers' processes and their children, from `/proc`.
use std::fs;

pub struct Sampler {
    roots: Vec<i32>,
}
#[derive(Default, Clone)]
pub struct Sample {
    pub run_ns: u64,
    pub utime: u64,
    pub stime: u64,
    pub rss_kb: u64,
    pub cpu0_busy: u64,
    pub wait_ns: u64,
}

/// How long the threads of a process could run but had no CPU. This shows how busy the machine was.
pub fn wait_ns(pid: &str) -> u64 {
    let mut w = 0;
    if let Ok(rd) = fs::read_dir(format!("/proc/{pid}/task")) {
        for t in rd.flatten() {
            if let Ok(s) = fs::read_to_string(t.path().join("schedstat")) {
                w += s.split_whitespace().nth(1).and_then(|x| x.parse::<u64>().ok()).unwrap_or(0);
            }
        }
    }
    w
}

fn tree(roots: &[i32]) -> Vec<i32> {
    let mut all = roots.to_vec();
    let mut i = 0;
    while i < all.len() {
        let p = all[i];
        if let Ok(rd) = fs::read_dir(format!("/proc/{p}/task")) {
            for t in rd.flatten() {
                if let Ok(s) = fs::read_to_string(t.path().join("children")) {
                    for c in s.split_whitespace() {
                        if let Ok(c) = c.parse()
                            && !all.contains(&c)
                        {
                            all.push(c);
                        }
                    }
                }
            }
        }
        i += 1;
    }
    all
}
pub fn self_cpu() -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}
/// CPU time of another process in ns, its ended threads included. The clock is that of `clock_getcpuclockid(3)`.
fn proc_cpu_ns(pid: i32) -> u64 {
    let clk: libc::clockid_t = ((!pid) << 3) | 2; // CPUCLOCK_SCHED, whole process
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    if unsafe { libc::clock_gettime(clk, &mut ts) } != 0 {
        return 0;
    }
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}
impl Sampler {
    pub fn new(roots: Vec<i32>) -> Self {
        Sampler { roots }
    }
    pub fn sample(&self) -> Sample {
        let mut s = Sample::default();
        for p in tree(&self.roots) {
            s.run_ns += proc_cpu_ns(p);
            s.wait_ns += wait_ns(&p.to_string());
            if let Ok(st) = fs::read_to_string(format!("/proc/{p}/stat"))
                && let Some(k) = st.rfind(')')
            {
                let f: Vec<&str> = st[k + 2..].split_whitespace().collect();
                s.utime += f[11].parse::<u64>().unwrap_or(0);
                s.stime += f[12].parse::<u64>().unwrap_or(0);
            }
            if let Ok(m) = fs::read_to_string(format!("/proc/{p}/statm")) {
                s.rss_kb += m.split_whitespace().nth(1).and_then(|x| x.parse::<u64>().ok()).unwrap_or(0) * 4;
            }
        }
        if let Ok(st) = fs::read_to_string("/proc/stat")
            && let Some(l) = st.lines().find(|l| l.starts_with("cpu0 "))
        {
            let v: Vec<u64> = l.split_whitespace().skip(1).map(|x| x.parse().unwrap_or(0)).collect();
            s.cpu0_busy = v[0] + v[1] + v[2] + v[5] + v[6] + v[7];
        }
        s
    }
}
