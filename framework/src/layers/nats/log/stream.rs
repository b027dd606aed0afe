//! The stream that has the logs of one policy's groups.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    groups::history::{policy::History, position::Epoch},
    layers::nats::{jetstream::JetStream, subjects::Subjects},
};

/// How many messages a log keeps beyond the events of its policy: the event behind which a member stands that has missed
/// all of those, and the marks.
///
/// A mark is written only if the log's last message is older than half of the policy's time. So there are at most three.
const BESIDE: usize = 4;
/// The shortest window in which the server compares message ids. Nobody sets any.
const WINDOW: Duration = Duration::from_millis(100);
/// The word in a stream's description before the number of its life.
const LIFE: &str = "; life ";

/// What a stream must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) name: String,
    subjects: [String; 3],
    pattern: String,
    pub(super) size: usize,
    pub(super) age: Duration,
    replicas: usize,
    pub(super) create: bool,
}

/// A stream as the server describes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) epoch: Epoch,
    pub(super) config: Value,
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Found {
    /// Reads the server's answer. `None` if it is none.
    pub(super) fn read(answer: &Value) -> Option<Self> {
        let (config, state) = (answer.get("config")?, answer.get("state")?);
        let created = answer.get("created")?.as_str()?;
        let number = |name: &str| state.get(name).and_then(Value::as_u64).unwrap_or_default();
        Some(Self {
            epoch: epoch_of(created, life(config)),
            config: config.clone(),
            first: number("first_seq"),
            last: number("last_seq"),
        })
    }

    /// On how many servers the stream is.
    pub(super) fn replicas(&self) -> u64 {
        self.config.get("num_replicas").and_then(Value::as_u64).unwrap_or(1)
    }

    /// The settings of the same stream in a new life, which begins a new epoch.
    pub(super) fn anew(&self) -> Value {
        let mut config = self.config.clone();
        let life = format!("{LIFE}{:016x}", Epoch::fresh().get());
        let description = config.get("description").and_then(Value::as_str).unwrap_or_default();
        let text = description.rsplit_once(LIFE).map_or(description, |(text, _)| text);
        config["description"] = Value::String(format!("{text}{life}"));
        config
    }
}

/// The epoch of a stream: as long as it was not made anew, and has lost nothing.
fn epoch_of(created: &str, life: &str) -> Epoch {
    let hash = Sha256::new().chain_update(created).chain_update([0]).chain_update(life).finalize();
    let mut number = [0; 8];
    number.copy_from_slice(&hash[..8]);
    Epoch::of(u64::from_be_bytes(number) | 1).unwrap_or_else(Epoch::fresh)
}

fn life(config: &Value) -> &str {
    let description = config.get("description").and_then(Value::as_str).unwrap_or_default();
    description.rsplit_once(LIFE).map_or("", |(_, life)| life)
}

impl Terms {
    pub(super) fn new(
        subjects: &Subjects,
        policy: usize,
        pattern: &str,
        history: History,
        settings: JetStream,
    ) -> Self {
        Self {
            name: subjects.stream(policy),
            subjects: subjects.of_stream(policy),
            pattern: pattern.to_owned(),
            size: history.size() + BESIDE,
            age: history.time(),
            replicas: settings.replicas,
            create: settings.create,
        }
    }

    /// The settings with which the stream is made.
    pub(super) fn config(&self) -> Value {
        let [log, foreign, at] = &self.subjects;
        json!({
            "name": self.name,
            "description": format!("Greenroom's history of the groups {}", self.pattern),
            "subjects": [log, foreign],
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msg_size": -1,
            "max_msgs_per_subject": self.size,
            "max_age": nanos(self.age),
            "duplicate_window": nanos(WINDOW),
            "num_replicas": self.replicas,
            "allow_direct": true,
            "republish": { "src": log, "dest": at },
        })
    }

    /// Why a stream with these settings cannot be used.
    pub(super) fn unusable(&self, found: &Value) -> Option<String> {
        let wanted = self.config();
        let same = |name: &str| found.get(name) == wanted.get(name);
        // The server leaves out what is false.
        let wrong: Vec<&str> = ["subjects", "retention", "discard", "allow_direct", "republish"]
            .into_iter()
            .filter(|name| !same(name))
            .collect();
        (!wrong.is_empty()).then(|| {
            format!(
                "the stream {} exists with another {}: delete it, and let the layer make it",
                self.name,
                wrong.join(", ")
            )
        })
    }

    /// What differs from this process' policy in the settings of a stream that can be used.
    pub(super) fn differs(&self, found: &Value) -> Option<String> {
        let number = |name: &str| found.get(name).and_then(Value::as_i64).unwrap_or_default();
        let (size, age) = (number("max_msgs_per_subject"), number("max_age"));
        if size == self.size as i64 && age == nanos(self.age) {
            return None;
        }
        Some(format!(
            "the stream {name} keeps {} messages a group for {:?}, and this process' policy for {:?} asks for {wanted} for \
             {:?}: give all processes the same policies in the same order, then run `nats stream edit {name} \
             --max-msgs-per-subject={wanted} --max-age={}s`",
            size,
            Duration::from_nanos(age.max(0) as u64),
            self.pattern,
            self.age,
            self.age.as_secs(),
            name = self.name,
            wanted = self.size,
        ))
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        let subjects = Subjects::new("greenroom", "0123456789Ab");
        Terms::new(&subjects, 0, "chat_*", History::last(100), JetStream::new())
    }

    fn found(config: Value, created: &str) -> Found {
        let state = json!({ "first_seq": 3, "last_seq": 9 });
        Found::read(&json!({ "config": config, "created": created, "state": state })).unwrap()
    }

    #[test]
    fn a_stream_that_was_made_anew_has_another_epoch() {
        let (first, second) = ("2026-11-29T21:30:27.316Z", "2026-11-29T21:30:28.316Z");
        let stream = found(terms().config(), first);
        assert_eq!(stream.epoch, found(terms().config(), first).epoch);
        assert_ne!(stream.epoch, found(terms().config(), second).epoch);
        assert_eq!((stream.first, stream.last, stream.replicas()), (3, 9, 1));
        let anew = found(stream.anew(), first);
        assert_ne!(anew.epoch, stream.epoch, "it lives anew");
        let again = found(anew.anew(), first);
        assert_ne!(again.epoch, anew.epoch);
        assert_eq!(
            again.config["description"].as_str().map(str::len),
            anew.config["description"].as_str().map(str::len)
        );
        assert_eq!(terms().unusable(&again.config), None);
    }

    #[test]
    fn other_settings_are_found() {
        let mut config = terms().config();
        assert_eq!((terms().unusable(&config), terms().differs(&config)), (None, None));
        config["max_msgs_per_subject"] = json!(54);
        let text = terms().differs(&config).unwrap();
        assert!(text.contains("GR_greenroom_0") && text.contains("--max-msgs-per-subject=104"), "{text}");
        config["republish"] = Value::Null;
        assert!(terms().unusable(&config).unwrap().contains("republish"));
    }
}
