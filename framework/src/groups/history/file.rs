//! Keeps the logs of a process in a file, from its clean end to the next start.
//!
//! While a process runs, its *claim* stands in the file. At a clean end the process writes its logs there, if its claim
//! is still the one in the file. The next process takes the logs, and its own claim takes their place, before it uses
//! them. So a state is used once at most, and only by the process that starts next: what a process sent that was killed,
//! or that ran meanwhile, can never be missed without a word.

mod form;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, BufWriter, ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use self::form::{CLAIM_LENGTH, Content, KeptEntry, KeptLog, Out, State, Unreadable};
use super::{
    entry::Draft,
    log::{Log, envelope_of},
    logs::Logs,
    token::Secret,
};
use crate::{Result as HookResult, event::Format, groups::config::LayerConfig, guard::guard};

/// How long a process waits for another one that reads or writes the file.
const PATIENCE: Duration = Duration::from_secs(5);
/// So far a file may seem to come from the future, because the clock was set back.
const SKEW: Duration = Duration::from_secs(300);

/// The file in which the logs of this process are kept.
#[derive(Debug)]
pub(crate) struct HistoryFile {
    path: PathBuf,
    claim: [u8; 16],
    is_saved: AtomicBool,
}

/// Why the logs of the last process are not used.
#[derive(Debug)]
enum Unused {
    Claimed,
    Form(Unreadable),
    Io(io::Error),
    Mode,
    Owner,
    Old,
    Future,
    TooLarge(u64),
}

impl std::fmt::Display for Unused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Claimed => {
                f.write_str("the last process that used it has not ended cleanly, or still runs")
            }
            Self::Form(Unreadable::Damaged) => f.write_str("it is damaged, or is no history file"),
            Self::Form(Unreadable::Version(version)) => {
                write!(f, "it has the version {version}, which this version of the library does not read")
            }
            Self::Io(error) => write!(f, "it cannot be read: {error}"),
            Self::Mode => f.write_str("others may read or write it"),
            Self::Owner => f.write_str("it belongs to another user"),
            Self::Old => f.write_str("it is older than the groups keep their events"),
            Self::Future => f.write_str("it was written in the future: the clock was set back"),
            Self::TooLarge(bytes) => {
                write!(f, "its {bytes} bytes are more than LayerConfig::history_memory allows")
            }
        }
    }
}

impl HistoryFile {
    /// Takes over the logs of the last process, and claims the file for this one.
    ///
    /// What can pass is logged, and all groups begin anew.
    ///
    /// # Errors
    /// If the path can never work: if its folder does not exist or cannot be written to, or if something else than a
    /// file has this name. Also if what is there cannot be taken away: a later process would take it for all there was.
    pub(crate) fn open(path: &Path, logs: &Logs, config: &LayerConfig) -> io::Result<Option<Self>> {
        let fault = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("the history file {} cannot be used: {error}", path.display()),
            )
        };
        let path = std::path::absolute(path).map_err(fault)?;
        let folder = folder_of(&path).map_err(fault)?;
        let mut claim = [0; 16];
        getrandom::fill(&mut claim).map_err(|error| fault(io::Error::other(error)))?;
        let lock = match Lock::take(folder) {
            Ok(lock) => Ok(lock),
            Err(error) if is_hopeless(&error) => return Err(fault(error)),
            Err(error) => Err(error),
        };
        let known = match fs::symlink_metadata(&path) {
            Ok(known) if known.is_file() => Some(known),
            Ok(_) => {
                let text = "it is a link, a folder or a device: name a file";
                return Err(fault(io::Error::new(ErrorKind::InvalidInput, text)));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(fault(error)),
        };
        if let Err(error) = &lock {
            // What is there must not be used twice, and this process cannot claim it.
            remove(&path).map_err(fault)?;
            tracing::warn!(?path, %error, "the folder of the history file cannot be locked: this process keeps nothing in it, and all groups begin anew");
            return Ok(None);
        }
        let last = known.as_ref().map(|known| take(&path, known, config));
        let claimed = replace(&path, |file| file.write_all(&form::claim(&claim)), || true);
        if let Err(error) = &claimed {
            if is_hopeless(error) {
                return Err(fault(io::Error::new(error.kind(), error.to_string())));
            }
            tracing::warn!(?path, %error, "the history file cannot be written: this process will keep nothing in it");
            // What is there must not be used twice.
            remove(&path).map_err(fault)?;
        }
        let last = last.map(|last| last.and_then(|(state, owner)| state_of(state, owner, &path, config)));
        match last {
            None => tracing::info!(?path, "there is no history file yet: all groups begin anew"),
            Some(Err(reason)) => {
                tracing::warn!(?path, %reason, "the history file is not used: all groups begin anew")
            }
            Some(Ok((state, gap))) => restore(&path, state, gap, logs, config),
        }
        Ok(claimed.is_ok().then_some(Self { path, claim, is_saved: AtomicBool::new(false) }))
    }

    /// Writes the logs, once. Nothing is added to them any more. It blocks the thread.
    pub(crate) fn save(&self, logs: &Logs) {
        if self.is_saved.swap(true, Relaxed) {
            return;
        }
        let path = &self.path;
        logs.freeze();
        match self.write(logs) {
            Ok(Some(events)) => tracing::info!(?path, events, "the history is kept for the next start"),
            Ok(None) => {
                tracing::warn!(
                    ?path,
                    "another process has begun with this history file: nothing is written to it"
                )
            }
            Err(error) => {
                tracing::warn!(?path, %error, "the history cannot be written: at the next start all groups begin anew")
            }
        }
    }

    fn write(&self, logs: &Logs) -> io::Result<Option<usize>> {
        let _lock = Lock::take(folder_of(&self.path)?)?;
        if !self.is_ours() {
            return Ok(None);
        }
        let Some(secret) = logs.secret() else { return Err(io::Error::other("there are no random bytes")) };
        let kept: Vec<_> = logs.kept().iter().map(|log| kept(log)).collect();
        let events = kept.iter().map(|log| log.entries.len()).sum();
        let write = |file: &mut File| {
            let mut out = Out::state(BufWriter::new(file), now(), secret.bytes(), kept.len())?;
            kept.iter().try_for_each(|log| out.log(log))?;
            out.end().map(drop)
        };
        // Somebody may have gone on without the lock, because the disk was so slow.
        Ok(replace(&self.path, write, || self.is_ours())?.then_some(events))
    }

    /// Whether the file still has the claim of this process.
    fn is_ours(&self) -> bool {
        let mut bytes = Vec::with_capacity(CLAIM_LENGTH + 1);
        let file = File::open(&self.path);
        let read = file.and_then(|file| file.take(CLAIM_LENGTH as u64 + 1).read_to_end(&mut bytes));
        read.is_ok() && bytes == form::claim(&self.claim)
    }
}

/// The folder of a file.
fn folder_of(path: &Path) -> io::Result<&Path> {
    match (path.file_name(), path.parent()) {
        (Some(_), Some(folder)) => Ok(folder),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, "it has no name")),
    }
}

/// Whether an error will come again at each start.
fn is_hopeless(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
    )
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Reads what the last process has left. The file stays as it is.
fn take(path: &Path, known: &Metadata, config: &LayerConfig) -> Result<(State, Metadata), Unused> {
    let file = File::open(path).map_err(Unused::Io)?;
    let about = file.metadata().map_err(Unused::Io)?;
    if !is_same(&about, known) {
        return Err(Unused::Io(io::Error::other("it was exchanged this moment")));
    }
    if !is_private(&about) {
        return Err(Unused::Mode);
    }
    // The budget counts more for each entry than stands here. It may be exceeded for a moment.
    let most = (config.history_memory as u64).saturating_mul(2).saturating_add(1 << 20);
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(Unused::Io)?;
    if bytes.len() as u64 > most {
        return Err(Unused::TooLarge(about.len()));
    }
    match form::read(&bytes.into()) {
        Ok(Content::Claim) => Err(Unused::Claimed),
        Ok(Content::State(state)) => Ok((state, about)),
        Err(error) => Err(Unused::Form(error)),
    }
}

/// The state with the time since it was written, if it can be used by this process, whose claim is at the path now.
fn state_of(
    state: State,
    about: Metadata,
    path: &Path,
    config: &LayerConfig,
) -> Result<(State, Duration), Unused> {
    // Without a claim there is nothing to compare with, and then the file itself was removed.
    if let Ok(own) = fs::metadata(path)
        && !has_same_owner(&about, &own)
    {
        return Err(Unused::Owner);
    }
    // A clock that was set back makes the entries younger than they are. They are complete all the same.
    let now = now();
    let gap = match now.checked_sub(state.written) {
        Some(gap) => gap,
        None if state.written.saturating_sub(now) <= SKEW => Duration::ZERO,
        None => return Err(Unused::Future),
    };
    let longest = config.history.iter().map(|(_, policy)| policy.time()).max().unwrap_or_default();
    if gap >= longest { Err(Unused::Old) } else { Ok((state, gap)) }
}

/// Makes the logs of the last process those of this one.
fn restore(path: &Path, state: State, gap: Duration, logs: &Logs, config: &LayerConfig) {
    logs.set_secret(Secret::from(state.secret));
    let (mut groups, mut events, mut left) = (0, 0, 0);
    for log in state.logs {
        let Some(policy) = config.history_of(&log.group).filter(|policy| gap < policy.time()) else {
            left += 1;
            continue;
        };
        groups += 1;
        events += log.entries.len();
        let entries = log.entries.into_iter().map(|KeptEntry { position, age, left_out, payload }| {
            let draft = Draft::new(envelope_of(payload), &left_out).aged(age.saturating_add(gap));
            draft.at(position)
        });
        let entries: Vec<_> = entries.collect();
        logs.put(log.group, policy, log.base, entries);
    }
    tracing::info!(?path, groups, events, left, ?gap, "the history of the last run goes on");
}

/// What is written of a log.
fn kept(log: &Log) -> KeptLog {
    let (mut base, entries) = log.content();
    let mut kept = Vec::with_capacity(entries.len());
    for entry in entries {
        let write = || -> HookResult<_> { Ok(entry.envelope.to_wire(Format::MsgPack)?) };
        match guard(write) {
            Ok(payload) => kept.push(KeptEntry {
                position: entry.position,
                age: entry.since.elapsed(),
                left_out: entry.left_out.to_vec(),
                payload,
            }),
            Err(error) => {
                // The log must not have a gap. So it begins behind this one.
                tracing::warn!(group = %log.group, %error, "an event cannot be written: those before it are not kept");
                kept.clear();
                base = entry.position;
            }
        }
    }
    KeptLog { group: log.group.clone(), base, entries: kept }
}

/// Puts a new file in the place of the old one, in one step that survives a loss of power. Returns whether it `may`.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
    may: impl FnOnce() -> bool,
) -> io::Result<bool> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // A process was killed while it wrote.
    let _ = fs::remove_file(&new);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    let written = write(&mut file).and_then(|()| file.sync_all()).and_then(|()| {
        let may = may();
        if may { fs::rename(&new, path).map(|()| may) } else { Ok(may) }
    });
    if !matches!(written, Ok(true)) {
        let _ = fs::remove_file(&new);
    }
    let written = written?;
    sync_folder(path)?;
    Ok(written)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => sync_folder(path),
    }
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path)?)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The lock of a folder: one process at a time looks at a file in it and changes the file.
struct Lock {
    #[cfg(unix)]
    _folder: File,
}

impl Lock {
    #[cfg(unix)]
    fn take(folder: &Path) -> io::Result<Self> {
        Ok(Self { _folder: crate::sync::lock_folder(folder, PATIENCE)? })
    }

    #[cfg(not(unix))]
    fn take(folder: &Path) -> io::Result<Self> {
        fs::metadata(folder).map(|_| Self {})
    }
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(unix)]
fn is_private(about: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    about.mode() & 0o077 == 0
}

#[cfg(unix)]
fn has_same_owner(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    one.uid() == other.uid()
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(not(unix))]
fn is_private(_: &Metadata) -> bool {
    true
}

#[cfg(not(unix))]
fn has_same_owner(_: &Metadata, _: &Metadata) -> bool {
    true
}
