//! The log of this process, for tests of what an operator reads in it.

use std::{
    io,
    sync::{Mutex, OnceLock, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

use crate::eventually;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Begins to capture the log. All tests of a process share the log, so look for text that only one of them writes.
pub fn capture() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_ansi(false)
            .with_writer(Lines)
            .init();
    });
}

/// Waits for a line with all of these parts.
pub async fn logged(parts: &[&str]) {
    eventually(&format!("a line of the log with {parts:?}"), || !lines(parts).is_empty()).await;
}

/// The lines so far that have all of these parts.
#[must_use]
pub fn lines(parts: &[&str]) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).cloned().collect()
}

/// Each event of the log comes as one write.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line).into_owned();
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}
