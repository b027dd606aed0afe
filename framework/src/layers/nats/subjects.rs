//! The subjects of groups, channels and processes.
//!
//! A `.` separates the tokens of a subject. Names of groups and channels may contain a `.`: in a subject it
//! is written as a `:`, which names cannot contain.

use crate::{ChannelName, GroupName, groups::key::is_of};

/// The NATS queue group of the processes that read a channel. They share its messages.
pub(super) const READERS: &str = "readers";
/// How many characters identify a process. They are the last ones before the `!` of its channels.
const PROCESS_LENGTH: usize = 12;

/// The subjects of one process.
#[derive(Debug)]
pub(super) struct Subjects {
    prefix: String,
    process: String,
}

/// A request to a process, about one of its own channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    /// Hand a message to the channel.
    Send,
    /// Put the channel into a group.
    Join(GroupName),
    /// Take the channel out of a group.
    Leave(GroupName),
}

impl Subjects {
    pub(super) fn new(prefix: &str, process: &str) -> Self {
        Self { prefix: prefix.to_owned(), process: process.to_owned() }
    }

    pub(super) fn group(&self, group: &GroupName) -> String {
        format!("{}.group.{}", self.prefix, token(group))
    }

    /// The reply subject of the events that this process publishes. Nobody subscribes to it.
    ///
    /// By this subject a process recognizes its own events. The server does not send a connection the events
    /// that came by it, but it may send the events that came by the previous connection.
    pub(super) fn from(&self) -> String {
        format!("{}.from.{}", self.prefix, self.process)
    }

    /// The reply subject of the transient events that this process publishes to groups with a log.
    ///
    /// By it the other processes tell them from events that should be in the log and are not.
    pub(super) fn transient(&self) -> String {
        format!("{}.transient.{}", self.prefix, self.process)
    }

    /// Whether a reply subject is that of another process' transient events.
    pub(super) fn is_transient(&self, reply: &str) -> bool {
        let rest = reply.strip_prefix(self.prefix.as_str());
        rest.is_some_and(|rest| rest.starts_with(".transient."))
    }

    /// The subject of a group's log. `policy` is the number of the policy that holds for it.
    pub(super) fn log(&self, policy: usize, group: &GroupName) -> String {
        format!("{}.log.{policy}.{}", self.prefix, token(group))
    }

    /// Where a process tells that an event came to a group which is in no log.
    pub(super) fn foreign(&self, policy: usize, group: &GroupName) -> String {
        format!("{}.foreign.{policy}.{}", self.prefix, token(group))
    }

    /// The subjects of a policy's stream: of the logs, of the foreign marks, and where new entries are told.
    pub(super) fn of_stream(&self, policy: usize) -> [String; 3] {
        ["log", "foreign", "at"].map(|kind| format!("{}.{kind}.{policy}.>", self.prefix))
    }

    /// Where new entries of a group are told, by the stream of any policy.
    ///
    /// A process with other policies may put a group's events into another stream. That must not go unseen.
    pub(super) fn at(&self, group: &GroupName) -> String {
        format!("{}.at.*.{}", self.prefix, token(group))
    }

    /// Where the stream of a policy tells of a group's new entries.
    pub(super) fn at_policy(&self, policy: usize, group: &GroupName) -> String {
        format!("{}.at.{policy}.{}", self.prefix, token(group))
    }

    /// The number of the policy in a subject of [`at`](Self::at).
    pub(super) fn policy_at(&self, subject: &str) -> Option<usize> {
        let rest = subject.strip_prefix(self.prefix.as_str())?.strip_prefix(".at.")?;
        rest.split('.').next()?.parse().ok()
    }

    /// The name of a policy's stream. A name of a stream has no dots: they, and other special bytes, are written as
    /// `_` and two hexadecimal digits.
    pub(super) fn stream(&self, what: impl std::fmt::Display) -> String {
        let mut name = "GR_".to_owned();
        for byte in self.prefix.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'-' {
                name.push(char::from(byte));
            } else {
                name.push_str(&format!("_{byte:02x}"));
            }
        }
        format!("{name}_{what}")
    }

    /// The subject of the secret that signs the places which clients name.
    pub(super) fn key(&self) -> String {
        format!("{}.key", self.prefix)
    }

    /// Where this process gets what it reads from a log. `number` tells the reads apart.
    pub(super) fn pull(&self, number: u64) -> String {
        format!("{}.pull.{}.{number}", self.prefix, self.process)
    }

    /// Whether a channel with a `!` belongs to this process.
    pub(super) fn is_own(&self, channel: &ChannelName) -> bool {
        is_of(&self.process, channel)
    }

    /// The subject of a channel of any process.
    pub(super) fn channel(&self, channel: &ChannelName) -> String {
        format!("{}.channel.{}", self.prefix, token(channel))
    }

    /// The subject of a request to the owner of a channel with a `!`. `None` if the name has no owner.
    pub(super) fn task(&self, task: &Task, channel: &ChannelName) -> Option<String> {
        let name = channel.non_local().strip_suffix('!')?;
        let process = name.get(name.len().checked_sub(PROCESS_LENGTH)?..)?;
        if !process.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let (prefix, channel) = (&self.prefix, token(channel));
        Some(match task {
            Task::Send => format!("{prefix}.send.{process}.{channel}"),
            Task::Join(group) => format!("{prefix}.join.{process}.{channel}.{}", token(group)),
            Task::Leave(group) => format!("{prefix}.leave.{process}.{channel}.{}", token(group)),
        })
    }

    /// The subjects on which this process gets requests.
    pub(super) fn own_tasks(&self) -> [String; 3] {
        let (prefix, process) = (&self.prefix, &self.process);
        [
            format!("{prefix}.send.{process}.*"),
            format!("{prefix}.join.{process}.*.*"),
            format!("{prefix}.leave.{process}.*.*"),
        ]
    }

    /// Reads the request in a subject of [`own_tasks`](Self::own_tasks). `None` if the subject is invalid.
    pub(super) fn read_task(&self, subject: &str) -> Option<(Task, ChannelName)> {
        let mut tokens = subject.strip_prefix(&self.prefix)?.strip_prefix('.')?.split('.');
        let (kind, process, channel) = (tokens.next()?, tokens.next()?, tokens.next()?);
        let (group, end) = (tokens.next(), tokens.next());
        if process != self.process || end.is_some() {
            return None;
        }
        let channel = ChannelName::new(channel.replace(':', ".")).ok()?;
        let group = group.and_then(|group| GroupName::new(group.replace(':', ".")).ok());
        let task = match (kind, group) {
            ("send", None) => Task::Send,
            ("join", Some(group)) => Task::Join(group),
            ("leave", Some(group)) => Task::Leave(group),
            _ => return None,
        };
        Some((task, channel))
    }

    /// The subject of an answer that comes by one of the connections. With `*` as `number`, that of all
    /// answers.
    pub(super) fn reply(&self, connection: usize, number: impl std::fmt::Display) -> String {
        format!("{}.reply.{}.{connection}.{number}", self.prefix, self.process)
    }
}

/// Whether a prefix consists of valid tokens.
pub(super) fn is_prefix(prefix: &str) -> bool {
    let is_token = |token: &str| {
        !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic() && !b"*>".contains(&byte))
    };
    prefix.len() <= 256 && prefix.split('.').all(is_token)
}

/// Writes a name as one token.
fn token(name: &str) -> String {
    name.replace('.', ":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects() -> Subjects {
        Subjects::new("greenroom", "0123456789Ab")
    }

    fn channel(name: &str) -> ChannelName {
        ChannelName::new(name).unwrap()
    }

    #[test]
    fn a_name_is_one_token() {
        let group = GroupName::new("a.B-c_9..d.").unwrap();
        assert_eq!(subjects().group(&group), "greenroom.group.a:B-c_9::d:");
        assert_eq!(subjects().channel(&channel("jobs.fast")), "greenroom.channel.jobs:fast");
    }

    #[test]
    fn a_log_has_its_own_subjects() {
        let group = GroupName::new("room.1").unwrap();
        let subjects = Subjects::new("shop.eu", "0123456789Ab");
        assert_eq!(subjects.log(2, &group), "shop.eu.log.2.room:1");
        assert_eq!(subjects.at(&group), "shop.eu.at.*.room:1");
        assert_eq!(subjects.policy_at("shop.eu.at.2.room:1"), Some(2));
        for strange in ["shop.eu.at.x.room:1", "shop.eu.log.2.room:1", "shop.at.2.room:1", ""] {
            assert_eq!(subjects.policy_at(strange), None, "{strange}");
        }
        assert_eq!(subjects.stream(2), "GR_shop_2eeu_2");
        assert!(subjects.is_transient("shop.eu.transient.another12345"));
        assert!(!subjects.is_transient("shop.eu.from.another12345"));
    }

    #[test]
    fn a_task_goes_to_the_owner_and_is_read_there() {
        let room = GroupName::new("room.1").unwrap();
        let others = Subjects::new("greenroom", "another12345");
        let own = channel("specific.0123456789Ab!1.0.7");
        let tasks = [
            (Task::Send, "greenroom.send.0123456789Ab.specific:0123456789Ab!1:0:7"),
            (Task::Join(room.clone()), "greenroom.join.0123456789Ab.specific:0123456789Ab!1:0:7.room:1"),
            (Task::Leave(room), "greenroom.leave.0123456789Ab.specific:0123456789Ab!1:0:7.room:1"),
        ];
        for (task, subject) in tasks {
            assert_eq!(others.task(&task, &own).unwrap(), subject);
            assert_eq!(subjects().read_task(subject), Some((task, own.clone())));
            assert_eq!(others.read_task(subject), None);
        }
        for ownerless in ["jobs", "short!x", "with-dashes-in!x"] {
            assert_eq!(others.task(&Task::Send, &channel(ownerless)), None, "{ownerless}");
        }
    }

    #[test]
    fn an_invalid_subject_is_not_a_task() {
        for strange in [
            "greenroom.send.0123456789Ab.é",
            "greenroom.send.0123456789Ab.a!b!c",
            "greenroom.send.0123456789Ab",
            "greenroom.send.0123456789Ab.a.room",
            "greenroom.join.0123456789Ab.a",
            "greenroom.join.0123456789Ab.a.b.c",
            "greenroom.join.0123456789Ab.a.*",
            "other.send.0123456789Ab.a",
            "",
        ] {
            assert_eq!(subjects().read_task(strange), None, "{strange}");
        }
    }

    #[test]
    fn a_prefix_is_made_of_tokens() {
        for good in ["greenroom", "prod.greenroom", "a-b_c:1"] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a\r\nb", "*", "a.>", &"x".repeat(300)] {
            assert!(!is_prefix(bad), "{bad}");
        }
    }
}
