//! The scripts, and the commands that run them.

use std::cell::RefCell;

use redis::{Arg, Cmd, Value};

use super::entry::{Nonce, epoch_text, tag_bytes};
use crate::{
    GroupName,
    groups::history::{
        policy::History,
        position::{Epoch, Position, Tag},
    },
    layers::{redis::names::log_keys, server::status::Status},
    shown::Shown,
};

/// A script. It is named by its hash, if the server keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::layers::redis) enum Script {
    /// Appends, and writes to the queues of processes.
    AppendToQueues,
    /// Appends, and publishes.
    AppendToTopics,
    Begin,
    Listen,
    Note,
    /// Publishes what is not kept.
    Transient,
}

impl Script {
    /// Those that run often, so that the server keeps their text.
    const KEPT: [Self; 3] = [Self::AppendToQueues, Self::AppendToTopics, Self::Transient];

    const fn text(self) -> &'static str {
        match self {
            Self::AppendToQueues => {
                concat!(include_str!("names.lua"), include_str!("append.lua"), include_str!("queues.lua"))
            }
            Self::AppendToTopics => concat!(include_str!("append.lua"), include_str!("topics.lua")),
            Self::Begin => include_str!("begin.lua"),
            Self::Listen => include_str!("listen.lua"),
            Self::Note => include_str!("note.lua"),
            Self::Transient => include_str!("transient.lua"),
        }
    }
}

/// The hashes of the scripts that one server keeps.
#[derive(Debug, Default)]
pub(in crate::layers::redis) struct Kept(RefCell<Vec<(Script, String)>>);

impl Kept {
    /// The commands that make a server keep the scripts.
    pub(in crate::layers::redis) fn load() -> redis::Pipeline {
        let mut commands = redis::pipe();
        for script in Script::KEPT {
            commands.cmd("SCRIPT").arg("LOAD").arg(script.text());
        }
        commands
    }

    /// Notes what the server has answered. A script that it does not keep is sent in full each time.
    pub(in crate::layers::redis) fn loaded(&self, replies: Vec<Value>) {
        let named = Script::KEPT.into_iter().zip(replies);
        let hash = |(script, reply)| match reply {
            Value::BulkString(hash) => Some((script, String::from_utf8(hash).ok()?)),
            Value::SimpleString(hash) => Some((script, hash)),
            _ => None,
        };
        self.0.replace(named.filter_map(hash).collect());
    }

    /// Begins a command that runs a script. Its other arguments are added to it.
    pub(in crate::layers::redis) fn call(&self, script: Script, keys: &[impl AsRef<str>]) -> Cmd {
        let kept = self.0.borrow();
        let mut command = match kept.iter().find(|(kept, _)| *kept == script) {
            Some((_, hash)) => {
                let mut command = redis::cmd("EVALSHA");
                command.arg(hash);
                command
            }
            None => {
                let mut command = redis::cmd("EVAL");
                command.arg(script.text());
                command
            }
        };
        command.arg(keys.len());
        for key in keys {
            command.arg(key.as_ref());
        }
        command
    }

    /// The same command with the text of its script, after the server has said that it does not keep it any more.
    pub(in crate::layers::redis) fn in_full(&self, command: &Cmd) -> Option<Cmd> {
        let mut arguments = command.args_iter().filter_map(|argument| match argument {
            Arg::Simple(bytes) => Some(bytes),
            _ => None,
        });
        if arguments.next()? != b"EVALSHA" {
            return None;
        }
        let hash = arguments.next()?;
        let kept = self.0.borrow();
        let script = kept.iter().find(|(_, kept)| kept.as_bytes() == hash)?.0;
        let mut full = redis::cmd("EVAL");
        full.arg(script.text());
        for argument in arguments {
            full.arg(argument);
        }
        drop(kept);
        Some(full)
    }
}

/// How long the state of a log outlives its last use, in seconds: ten times as long as its entries, an hour at least.
pub(in crate::layers::redis) fn state_seconds(policy: History) -> u64 {
    policy.time().as_secs().saturating_mul(10).max(3_600)
}

/// An event that is to be appended.
#[derive(Debug)]
pub(in crate::layers::redis) struct Append<'a> {
    pub(in crate::layers::redis) policy: History,
    /// The newest place that this process has seen in the log.
    pub(in crate::layers::redis) seen: Option<Position>,
    pub(in crate::layers::redis) sealed: &'a [u8],
    pub(in crate::layers::redis) tag: Tag,
    pub(in crate::layers::redis) nonce: Nonce,
}

impl Append<'_> {
    /// Adds the arguments of `append.lua`.
    pub(in crate::layers::redis) fn add_to(&self, command: &mut Cmd) {
        let Self { policy, seen, sealed, tag, nonce } = self;
        // What is random for this append is random for a new epoch too. Most appends need none.
        let epoch = Epoch::of(u64::from_be_bytes(*nonce)).unwrap_or_else(Epoch::fresh);
        add_seen(command, epoch, *seen);
        let seconds = policy.time().as_secs();
        command.arg(policy.size()).arg(seconds).arg(state_seconds(*policy));
        command.arg(*sealed).arg(&tag_bytes(*tag)[..]).arg(&nonce[..]).arg(policy_text(*policy));
    }
}

/// A policy as it stands in the state of a log.
pub(in crate::layers::redis) fn policy_text(policy: History) -> String {
    format!("{}:{}", policy.size(), policy.time().as_secs())
}

/// Says that two processes keep different numbers of a group's events. This is logged at most once a minute.
///
/// Returns whether it was logged.
pub(in crate::layers::redis) fn note_other_policy(
    status: &Status,
    group: &GroupName,
    ours: History,
    other: &str,
) -> bool {
    let more = status.logs("policies");
    if let Some(more) = more {
        let ours = policy_text(ours);
        tracing::warn!(%group, ours, other = ?Shown(other), more, "two processes have different policies for the history of a group: give all of them the same (events:seconds)");
    }
    more.is_some()
}

/// Adds an epoch in case a new one begins, and the newest place that this process has seen.
fn add_seen(command: &mut Cmd, epoch: Epoch, seen: Option<Position>) {
    command.arg(epoch_text(epoch));
    match seen {
        Some(Position { epoch, offset, tag }) => {
            command.arg(epoch_text(epoch)).arg(offset).arg(&tag_bytes(tag)[..])
        }
        None => command.arg("").arg("").arg(""),
    };
}

/// The command that begins a new epoch, if the log has none or has lost entries.
pub(in crate::layers::redis) fn begin(
    prefix: &str,
    group: &GroupName,
    policy: History,
    seen: Option<Position>,
) -> Cmd {
    let mut command = Kept::default().call(Script::Begin, &log_keys(prefix, group));
    add_seen(&mut command, Epoch::fresh(), seen);
    command.arg(state_seconds(policy));
    command
}

/// The command that notes events which are in no log. `is_unlogged` says that only this process has had them.
pub(in crate::layers::redis) fn note(
    prefix: &str,
    group: &GroupName,
    policy: History,
    mark: f64,
    is_unlogged: bool,
) -> Cmd {
    let [state, _] = log_keys(prefix, group);
    let mut command = Kept::default().call(Script::Note, &[state]);
    command.arg(format!("{mark:e}")).arg(state_seconds(policy)).arg(u8::from(is_unlogged));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Cmd) -> Vec<Vec<u8>> {
        let words = command.args_iter().map(|argument| match argument {
            Arg::Simple(bytes) => bytes.to_vec(),
            _ => panic!("a cursor"),
        });
        words.collect()
    }

    #[test]
    fn a_script_that_the_server_has_forgotten_is_sent_in_full() {
        let kept = Kept::default();
        let keys = ["m", "l"];
        let mut full = kept.call(Script::AppendToTopics, &keys);
        assert_eq!(words(&full)[0], b"EVAL");
        kept.loaded(vec![Value::Nil, Value::BulkString(b"abc".to_vec()), Value::Okay]);
        let mut short = kept.call(Script::AppendToTopics, &keys);
        assert_eq!(words(&short)[..3], [&b"EVALSHA"[..], b"abc", b"2"].map(<[u8]>::to_vec));
        // The server has refused to keep this one.
        assert_eq!(words(&kept.call(Script::AppendToQueues, &keys))[0], b"EVAL");
        for command in [&mut full, &mut short] {
            command.arg(&b"\0\xff"[..]);
        }
        assert_eq!(words(&kept.in_full(&short).unwrap()), words(&full));
        assert!(kept.in_full(&full).is_none());
    }
}
