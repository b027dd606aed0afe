//! CPU time and memory of a process, from `/proc`.

use std::fs;

/// The CPU time of a process' threads, in nanoseconds.
pub fn cpu(pid: u32) -> std::io::Result<u64> {
    schedstat(pid, 0)
}

/// How long a process' threads could run but had no CPU, in nanoseconds. This shows how busy the machine was.
pub fn waited(pid: u32) -> std::io::Result<u64> {
    schedstat(pid, 1)
}

fn schedstat(pid: u32, field: usize) -> std::io::Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += stat.split_whitespace().nth(field).and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// The memory of a process, in bytes.
pub fn memory(pid: u32) -> std::io::Result<u64> {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    Ok(4096 * pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0))
}
