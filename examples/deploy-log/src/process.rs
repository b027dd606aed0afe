//! Runs a child process, and reads the lines of its output.

use std::{pin::pin, process::Stdio, time::Duration};

use greenroom::prelude::*;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::Command,
    sync::{Notify, mpsc},
    time::timeout,
};

/// How many bytes a line may have. The rest of a longer line becomes the next line.
const LINE: usize = 400;
/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// The output that a line comes from.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    Stdout,
    Stderr,
}

/// How a process ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Ending {
    /// By itself, with this exit code. `None` if a signal ended it, it took too long, or it could not be started.
    Exit(Option<i32>),
    Cancelled,
}

/// Runs a script by `sh`, and passes each line of its output to `tell`.
///
/// While `tell` is busy, the process waits. If it is cancelled or takes longer than `longest`, the process is ended, with
/// all processes that it has started.
pub(crate) async fn run(
    script: &str,
    longest: Duration,
    cancel: &Notify,
    mut tell: impl AsyncFnMut(Source, String),
) -> Ending {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.process_group(0).kill_on_drop(true).spawn() {
        Ok(child) => child,
        Err(error) => {
            tell(Source::Stderr, format!("sh cannot be started: {error}")).await;
            return Ending::Exit(None);
        }
    };
    let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (lines, mut said) = mpsc::channel(16);

    let why = {
        let mut work = pin!(async {
            let telling = async {
                while let Some((source, text)) = said.recv().await {
                    tell(source, text).await;
                }
            };
            tokio::join!(
                read_lines(stdout, Source::Stdout, lines.clone()),
                read_lines(stderr, Source::Stderr, lines),
                telling
            );
            child.wait().await
        });
        let why = tokio::select! {
            status = &mut work => return Ending::Exit(status.ok().and_then(|status| status.code())),
            () = cancel.notified() => Ending::Cancelled,
            () = tokio::time::sleep(longest) => Ending::Exit(None),
        };
        // First SIGTERM, so that the process can tidy up; then SIGKILL.
        for signal in [Signal::TERM, Signal::KILL] {
            if let Some(group) = group {
                // An error means that no process of the group is left.
                let _ = kill_process_group(group, signal);
            }
            if timeout(GRACE, &mut work).await.is_ok() {
                break;
            }
        }
        why
    };
    let text = match why {
        Ending::Cancelled => "[cancelled]".to_owned(),
        Ending::Exit(_) => format!("[ended: it took longer than {} s]", longest.as_secs()),
    };
    tell(Source::Stderr, text).await;
    why
}

/// Reads a pipe to its end, in lines of at most [`LINE`] bytes.
async fn read_lines(
    pipe: Option<impl AsyncRead + Unpin>,
    source: Source,
    lines: mpsc::Sender<(Source, String)>,
) {
    let Some(pipe) = pipe else { return };
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::with_capacity(LINE);
    loop {
        let room = LINE - line.len();
        // An error on the pipe counts as its end.
        let ended = !matches!((&mut pipe).take(room as u64).read_until(b'\n', &mut line).await, Ok(1..));
        if ended && line.is_empty() {
            return;
        }
        let end = if ended { line.len() } else { whole_letters(&line) };
        if end == 0 {
            continue; // only the first bytes of a letter are there
        }
        let text = String::from_utf8_lossy(&line[..end])
            .replace(|letter: char| letter.is_control() && letter != '\t', "");
        line.drain(..end);
        if lines.send((source, text)).await.is_err() || ended {
            return;
        }
    }
}

/// How many bytes of a line are whole letters of UTF-8, so that a long line is not cut inside a letter.
fn whole_letters(line: &[u8]) -> usize {
    match std::str::from_utf8(line) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => line.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(script: &str, longest: Duration) -> (Ending, Vec<(Source, String)>) {
        let mut lines = Vec::new();
        let ending =
            run(script, longest, &Notify::new(), async |source, text| lines.push((source, text))).await;
        (ending, lines)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[actix_web::test]
    async fn both_outputs_are_read_and_the_exit_code_is_known() {
        let (ending, mut lines) = said("echo one; echo two >&2; printf 'no newline'; exit 7", MINUTE).await;
        assert_eq!(ending, Ending::Exit(Some(7)));
        lines.sort_by_key(|(source, _)| *source == Source::Stderr);
        let texts: Vec<_> = lines.iter().map(|(source, text)| (*source, text.as_str())).collect();
        use Source::{Stderr, Stdout};
        assert_eq!(texts, [(Stdout, "one"), (Stdout, "no newline"), (Stderr, "two")]);
    }

    #[actix_web::test]
    async fn a_long_line_goes_on_in_the_next_and_no_letter_is_cut() {
        let letters = "格".repeat(300);
        let (_, lines) = said(&format!("echo {letters}"), MINUTE).await;
        assert!(lines.iter().all(|(_, text)| text.len() <= LINE), "{lines:?}");
        assert_eq!(lines.iter().map(|(_, text)| text.as_str()).collect::<String>(), letters);
    }

    #[actix_web::test]
    async fn bytes_that_are_not_text_become_text() {
        let (_, lines) = said(r"printf 'a\377b\033[1mc\r\n'; printf '\346'", MINUTE).await;
        let texts: Vec<_> = lines.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["a\u{fffd}b[1mc", "\u{fffd}"]);
    }

    #[actix_web::test]
    async fn a_process_that_takes_too_long_is_ended_with_its_children() {
        // If only `sh` were ended, the `sleep` in the background would keep the output open.
        let (ending, lines) = said("sleep 1000 & sleep 1000", Duration::from_millis(20)).await;
        assert_eq!(ending, Ending::Exit(None));
        assert_eq!(lines.last().unwrap().1, "[ended: it took longer than 0 s]");
    }
}
