//! The keys and shards that channels_redis uses.

use crate::{ChannelName, GroupName};

/// The mark of a process' name in a group: `specific.<process>!g.<number>`.
///
/// No channel looks like this. The local part of a consumer's channel starts with a number, and that of a
/// queue has no dot.
const MARK: &str = "g.";

/// The key of a channel's queue.
///
/// It is the prefix and the name up to its `!`, with nothing between them.
pub(super) fn channel_key(prefix: &str, non_local: &str) -> String {
    format!("{prefix}{non_local}")
}

/// The key of a group's members.
pub(super) fn group_key(prefix: &str, group: &GroupName) -> String {
    format!("{prefix}:group:{group}")
}

/// The topic of a group in the pub/sub layer.
pub(super) fn group_topic(prefix: &str, group: &str) -> String {
    format!("{prefix}__group__{group}")
}

/// The topic beside that of a group, by which Greenroom's processes tell each other what is published there.
pub(super) fn side_topic(prefix: &str, group: &str) -> String {
    format!("{prefix}__greenroom__{group}")
}

/// The keys of a group's log: its state, and its entries.
///
/// No channel's queue has such a key, because a channel's name has no colon.
pub(super) fn log_keys(prefix: &str, group: &GroupName) -> [String; 2] {
    [format!("{prefix}:gr:m:{group}"), format!("{prefix}:gr:l:{group}")]
}

/// The key of the secret that the processes share.
pub(super) fn secret_key(prefix: &str) -> String {
    format!("{prefix}:gr:key")
}

/// Whether a queue belongs to a process of Greenroom: `specific.<12 letters and digits>!`.
///
/// A process of Django has 32 hexadecimal digits there.
pub(super) fn is_greenroom(non_local: &str) -> bool {
    let process = non_local.strip_prefix("specific.").and_then(|rest| rest.strip_suffix('!'));
    process.is_some_and(|text| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The shard of a name, if there are `count` shards.
pub(super) fn shard_of(name: &str, count: usize) -> usize {
    let slot = crc32fast::hash(name.as_bytes()) as usize & 0xFFF;
    // Python divides by the float 4096 / count. `slot * count / 4096` would be the same number if the
    // division is exact, and could differ by its rounding if it is not.
    ((slot as f64 / (4096.0 / count.max(1) as f64)) as usize).min(count.saturating_sub(1))
}

/// The name of a process in the group with this number.
pub(super) fn process_name(process: &str, number: u64) -> ChannelName {
    ChannelName::new(format!("{process}{MARK}{number}"))
        .expect("letters, digits, dots and a `!`, at most 60 of them")
}

/// The number in the local part of such a name. `None` if the name is of another kind.
pub(super) fn process_number(local: &str) -> Option<u64> {
    local.strip_prefix(MARK)?.parse().ok()
}

/// Whether a name in a group is the one name of a process with members.
pub(super) fn stands_for_process(name: &str) -> bool {
    name.split_once('!').is_some_and(|(_, local)| process_number(local).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_channels_redis() {
        let group = GroupName::new("chat_lobby").unwrap();
        assert_eq!(channel_key("asgi", "specific.0123!"), "asgispecific.0123!");
        assert_eq!(channel_key("asgi", "thumbnails-generate"), "asgithumbnails-generate");
        // `test_default_group_key_format`, `test_custom_group_key_format`.
        assert_eq!(group_key("asgi", &group), "asgi:group:chat_lobby");
        assert_eq!(group_key("test_prefix", &group), "test_prefix:group:chat_lobby");
        assert_eq!(group_topic("asgi", "chat_lobby"), "asgi__group__chat_lobby");
    }

    #[test]
    fn the_queues_of_greenroom_are_told_from_those_of_django() {
        let ours = crate::names::random_text();
        assert!(is_greenroom(&format!("specific.{ours}!")));
        for other in ["specific.0123456789abcdef0123456789abcdef!", "specific.!", "jobs", "abc.0123456789ab!"]
        {
            assert!(!is_greenroom(other), "{other}");
        }
    }

    /// `test_consistent_hash_result`, and the results of Python for more names.
    #[test]
    fn shards_are_those_of_channels_redis() {
        let process = "specific.0123456789abcdef0123456789abcdef!";
        let full = format!("{process}{}", "a".repeat(32));
        let vectors: [(&str, [usize; 6]); 7] = [
            ("chat_lobby", [0, 1, 1, 2, 2, 5]),
            ("asgi__group__chat_lobby", [0, 0, 0, 0, 0, 0]),
            (process, [0, 0, 1, 1, 1, 3]),
            (&full, [0, 1, 2, 3, 3, 7]),
            ("key_one", [0, 1, 2, 2, 3, 6]),
            ("key_two", [0, 0, 1, 1, 2, 4]),
            ("é", [0, 1, 2, 3, 4, 8]),
        ];
        for (name, shards) in vectors {
            let found = [1, 2, 3, 4, 5, 10].map(|count| shard_of(name, count));
            assert_eq!(found, shards, "{name}");
        }
        assert_eq!(shard_of("anything", 0), 0);
    }
}
