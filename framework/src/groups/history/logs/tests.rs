use std::time::Duration;

use super::*;
use crate::{
    Event, LayerConfig,
    groups::history::{
        log::{News, ReadPart, TakenIn},
        position::{Position, Tag},
        store::{Arrival, LogRead, StoredEntry},
    },
    history::History,
    metrics::Counters,
};

#[derive(Clone, serde::Serialize, serde::Deserialize, Event)]
struct Said {
    text: String,
}

fn said(bytes: usize) -> Envelope {
    Envelope::new(Said { text: "x".repeat(bytes) })
}

fn group(number: usize) -> GroupName {
    GroupName::new(format!("room-{number}")).unwrap()
}

fn config(history: History, memory: usize) -> LayerConfig {
    LayerConfig::new().history("*", history).history_memory(memory)
}

/// The bytes of all logs, as they say it.
fn sum(logs: &Logs) -> isize {
    logs.all().iter().map(|log| log.bytes() as isize).sum()
}

/// Appends an event that members may get.
fn append(logs: &Logs, log: &Log, bytes: usize) {
    let entry = logs.append(log, said(bytes), &[]).expect("the log is open");
    entry.form(log.alias, "process", [].iter(), &Counters::default());
    assert!(log.note_formed(&entry));
}

#[tokio::test(start_paused = true)]
async fn the_count_of_bytes_is_that_of_the_logs() {
    let config = config(History::last(10).within(Duration::from_secs(60)), 1 << 20);
    let logs = Logs::new(&config);
    let log = logs.of(&config, &group(0)).unwrap();
    for _ in 0..30 {
        append(&logs, &log, 100);
        assert_eq!(logs.bytes.load(Relaxed), sum(&logs));
    }
    tokio::time::advance(Duration::from_secs(61)).await;
    // A look-up that finds old entries drops them.
    assert_eq!(log.before_last(5).1, 0);
    assert_eq!(logs.bytes.load(Relaxed), sum(&logs));
    assert_eq!(sum(&logs), LOG_BYTES as isize);
}

#[tokio::test(start_paused = true)]
async fn a_log_stays_for_its_time_after_its_members_have_left() {
    let config = config(History::last(10).within(Duration::from_secs(60)), 1 << 20);
    let logs = Logs::new(&config);
    // Nothing was ever said in it. Who comes back in time has missed nothing.
    let place = logs.of(&config, &group(0)).unwrap().seen();
    let sweep = |from: usize| {
        for number in from..from + 1_000 {
            logs.of(&config, &group(number));
        }
    };
    sweep(1);
    assert_eq!(logs.of(&config, &group(0)).unwrap().seen(), place);
    let log = logs.find(&group(0)).unwrap();
    log.open_thread(1);
    tokio::time::advance(Duration::from_secs(61)).await;
    drop(log);
    sweep(1_001);
    assert!(logs.all().len() <= 1_100, "what nobody can come back to is forgotten");
    let log = logs.find(&group(0)).expect("a thread has members in it");
    log.forget_thread(1);
    drop(log);
    sweep(2_001);
    assert!(logs.find(&group(0)).is_some());
    tokio::time::advance(Duration::from_secs(61)).await;
    sweep(3_001);
    assert!(logs.find(&group(0)).is_none());
    assert_eq!(logs.bytes.load(Relaxed), sum(&logs));
}

#[tokio::test(start_paused = true)]
async fn far_too_many_logs_are_forgotten_with_the_oldest_first() {
    let config = config(History::last(10), 64 << 10);
    let logs = Logs::new(&config);
    for number in 0..1_000 {
        let log = logs.of(&config, &group(number)).unwrap();
        append(&logs, &log, 100);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(logs.bytes.load(Relaxed) <= (64 << 10) + 1_000);
    }
    assert_eq!(logs.bytes.load(Relaxed), sum(&logs));
    assert!(logs.find(&group(999)).is_some_and(|log| log.before_last(1).1 == 1));
    assert!(logs.find(&group(0)).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_thread_has_yet_to_hand_out_is_kept_though_there_are_too_many_logs() {
    let config = config(History::last(10), 64 << 10);
    let logs = Logs::new(&config);
    // Each has a member, so none can be forgotten, and all together are more than the limit.
    let members: Vec<_> = (0..300).map(|number| logs.of(&config, &group(number)).unwrap()).collect();
    for log in &members {
        log.open_thread(1);
    }
    let log = &members[0];
    let place = log.seen().unwrap();
    for _ in 0..20 {
        append(&logs, log, 100);
    }
    assert!(matches!(log.after(place, 100), News::Entries(entries) if entries.len() == 20));
    log.after_all_of(1, log.seen().unwrap(), 0);
    append(&logs, log, 100);
    append(&logs, log, 10_000);
    assert!(matches!(log.after(place, 100), News::Lost { .. }), "the log is short now");
    // A thread that does not come to its members cannot hold everything.
    for _ in 0..100 {
        append(&logs, log, 10_000);
    }
    assert!(logs.bytes.load(Relaxed) < 4 * (64 << 10) + (300 * LOG_BYTES) as isize);
    assert_eq!(logs.bytes.load(Relaxed), sum(&logs));
}

/// A server of a cluster that lags behind knows the place, and not yet what came after it.
#[tokio::test]
async fn what_a_read_lacks_is_missed_when_the_next_entry_comes() {
    let log = Log::new(group(0), History::last(10), None, &Arc::default());
    let place = Position { epoch: Epoch::fresh(), offset: 10, tag: Tag::fresh() };
    let top = Position { offset: 15, tag: Tag::fresh(), ..place };
    let read = LogRead { top, anchor: Some(place.tag), entries: Vec::new(), foreign: 0. };
    let (new, found) = log.absorb(Some(place), ReadPart::new(read));
    assert_eq!((new.len(), found), (0, Ok(place)));
    let entry =
        StoredEntry { offset: 16, tag: Tag::fresh(), except: Vec::new(), payload: bytes::Bytes::new() };
    let arrival = Arrival { epoch: place.epoch, entry, prev: 15, prev_tag: None };
    assert!(matches!(log.take_in(arrival, said(1)), TakenIn::Gap));
}

/// An event whose code looks at its group's log, when it is written and when it is dropped.
#[derive(Clone, Event)]
#[event("nosy")]
struct Nosy {
    log: std::sync::Weak<Log>,
}

impl Nosy {
    fn look(&self) {
        if let Some(log) = self.log.upgrade() {
            log.seen();
        }
    }
}

impl serde::Serialize for Nosy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.look();
        serializer.serialize_unit()
    }
}

impl<'de> serde::Deserialize<'de> for Nosy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self { log: std::sync::Weak::new() })
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.look();
    }
}

#[tokio::test]
async fn the_code_of_an_event_never_runs_with_its_log_locked() {
    let config = config(History::last(1), 1 << 20);
    let logs = Logs::new(&config);
    let log = logs.of(&config, &group(0)).unwrap();
    for _ in 0..3 {
        let nosy = Envelope::new(Nosy { log: Arc::downgrade(&log) });
        let entry = logs.append(&log, nosy, &[]).expect("the log is open");
        entry.form(log.alias, "process", [].iter(), &Counters::default());
        log.note_formed(&entry);
    }
    // Those before the last one were dropped on the way.
    assert_eq!(log.page(u64::MAX, 5).0.len(), 1);
    logs.freeze();
    assert!(logs.append(&log, Envelope::new(Nosy { log: Arc::downgrade(&log) }), &[]).is_none());
    // What comes aside, twice or from another log.
    let log = Log::of_test(group(1), History::last(1), log.seen().unwrap());
    let log = Arc::new(log);
    let end = log.seen().unwrap();
    let arrive = |epoch: Epoch, offset: u64, prev: u64| {
        let entry =
            StoredEntry { offset, tag: Tag::fresh(), except: Vec::new(), payload: bytes::Bytes::new() };
        let envelope = Envelope::new(Nosy { log: Arc::downgrade(&log) });
        log.take_in(Arrival { epoch, entry, prev, prev_tag: None }, envelope)
    };
    assert!(matches!(arrive(end.epoch, end.offset + 2, end.offset + 1), TakenIn::Gap));
    assert!(matches!(arrive(end.epoch, end.offset + 2, end.offset + 1), TakenIn::Gap));
    assert!(matches!(arrive(end.epoch, end.offset, end.offset - 1), TakenIn::Known));
    assert!(matches!(arrive(Epoch::fresh(), 1, 0), TakenIn::Other));
    assert!(matches!(arrive(end.epoch, end.offset + 9, end.offset), TakenIn::New(_)));
}
