use std::{
    fs::Permissions,
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::atomic::AtomicU64,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{form::claim, *};
use crate::{
    ChannelLayer as _, ChannelName, Envelope, Event, GroupName, LayerConfig, LayerError, MemoryLayer,
    groups::history::{
        lost::LostReason,
        policy::History,
        position::{Epoch, Position, Tag},
    },
};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

/// A folder of its own for each test, which is deleted at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("greenroom-history-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("history")
    }

    fn start(&self) -> MemoryLayer {
        MemoryLayer::with_config(config()).history_file(self.file()).unwrap()
    }

    fn put(&self, bytes: &[u8]) {
        fs::write(self.file(), bytes).unwrap();
        fs::set_permissions(self.file(), Permissions::from_mode(0o600)).unwrap();
    }

    /// A state that was written so long after now, in milliseconds.
    fn put_state(&self, after: i64) -> Position {
        let place = |offset| Position { epoch: Epoch::of(7).unwrap(), offset, tag: Tag::of(5).unwrap() };
        let now = i64::try_from(now().as_millis()).unwrap();
        let written = Duration::from_millis(u64::try_from(now + after).unwrap());
        let log = KeptLog { group: room(), base: place(3), entries: vec![entry(place(4))] };
        let mut out = Out::state(Vec::new(), written, &[9; 32], 1).unwrap();
        out.log(&log).unwrap();
        self.put(&out.end().unwrap());
        place(4)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(position: Position) -> KeptEntry {
    let payload = Envelope::new(Said { text: "kept".into() }).to_wire(Format::MsgPack).unwrap();
    let left_out = vec![ChannelName::new("specific.a!b").unwrap()];
    KeptEntry { position, age: Duration::from_secs(1), left_out, payload }
}

fn config() -> LayerConfig {
    LayerConfig::new().history("room*", History::last(5).within(Duration::from_secs(100)))
}

fn room() -> GroupName {
    GroupName::new("room").unwrap()
}

async fn say(layer: &MemoryLayer, text: &str) {
    layer.group_send(&room(), Envelope::new(Said { text: text.into() })).await.unwrap();
}

/// The end of the room's log, and what a client at this place is told.
fn top(layer: &MemoryLayer) -> Position {
    let directory = layer.groups().directory();
    directory.logs.of(&directory.config, &room()).unwrap().end()
}

fn reach(layer: &MemoryLayer, place: Position) -> Result<(), LostReason> {
    let directory = layer.groups().directory();
    let log = directory.logs.of(&directory.config, &room()).unwrap();
    log.reach(place, false).expect("there is no server to ask").map(drop)
}

fn texts(layer: &MemoryLayer) -> Vec<String> {
    let directory = layer.groups().directory();
    let (_, entries) = directory.logs.find(&room()).map(|log| log.content()).unwrap();
    entries.iter().map(|entry| entry.envelope.event::<Said>().unwrap().text.clone()).collect()
}

#[tokio::test]
async fn a_log_goes_on_after_a_clean_end() {
    let folder = Folder::new();
    let layer = folder.start();
    for number in 0..7 {
        say(&layer, &number.to_string()).await;
    }
    let (before, secret) = (top(&layer), *layer.groups().directory().logs.secret().unwrap().bytes());
    layer.close().await;
    // What would come behind what is written is refused. Other groups, and what is not kept, go on.
    let refused = layer.group_send(&room(), Envelope::new(Said { text: "late".into() })).await;
    assert_eq!(refused, Err(LayerError::Closed));
    let other = GroupName::new("other").unwrap();
    layer.group_send(&other, Envelope::new(Said { text: "late".into() })).await.unwrap();
    drop(layer);
    assert_eq!(fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);

    let layer = folder.start();
    assert_eq!((top(&layer), before.offset), (before, 7));
    assert_eq!(*layer.groups().directory().logs.secret().unwrap().bytes(), secret);
    assert_eq!(texts(&layer), ["2", "3", "4", "5", "6"]);
    say(&layer, "7").await;
    assert_eq!((top(&layer).offset, reach(&layer, before)), (8, Ok(())));
    // Once more, this time without `close`.
    drop(layer);
    assert_eq!(texts(&folder.start()), ["3", "4", "5", "6", "7"]);
}

/// The channels that one send leaves out have no limit of their own.
#[tokio::test]
async fn an_event_for_few_of_many_is_kept() {
    let folder = Folder::new();
    let layer = folder.start();
    say(&layer, "1").await;
    let others: Vec<_> =
        (0..=65_535).map(|number| ChannelName::new(format!("specific.a!{number}")).unwrap()).collect();
    let event = Envelope::new(Said { text: "2".into() });
    layer.group_send_except(&room(), &others, event, false).await.unwrap();
    layer.close().await;
    drop(layer);
    assert_eq!(texts(&folder.start()), ["1", "2"]);
}

/// Version 1 has 2 bytes for the number of channels left out, which here is 1.
#[test]
fn a_file_of_the_version_before_is_read() {
    let folder = Folder::new();
    let place = folder.put_state(0);
    let mut bytes = fs::read(folder.file()).unwrap();
    let entry = entry(place);
    let number = bytes.len() - 32 - entry.payload.len() - 4 - entry.left_out[0].len() - 2 - 4;
    assert_eq!(bytes.splice(number..number + 4, [1, 0]).collect::<Vec<_>>(), [1, 0, 0, 0]);
    bytes[18] = 1;
    bytes.truncate(bytes.len() - 32);
    let sum = Sha256::digest(&bytes);
    bytes.extend(sum);
    folder.put(&bytes);
    let layer = folder.start();
    assert_eq!((texts(&layer), reach(&layer, place)), (vec!["kept".to_owned()], Ok(())));
}

#[tokio::test]
async fn a_state_is_used_once() {
    let folder = Folder::new();
    let layer = folder.start();
    say(&layer, "1").await;
    let before = top(&layer);
    drop(layer);
    let layer = folder.start();
    assert_eq!(reach(&layer, before), Ok(()));
    say(&layer, "2").await;
    // It is killed: nothing runs at its end.
    let _ = std::mem::ManuallyDrop::new(layer);
    let layer = folder.start();
    assert_eq!(reach(&layer, before), Err(LostReason::Epoch));
}

#[tokio::test]
async fn a_process_that_ran_meanwhile_is_not_forgotten() {
    let folder = Folder::new();
    let old = folder.start();
    say(&old, "1").await;
    let before = top(&old);
    let new = folder.start();
    say(&new, "missed").await;
    // The old one ends after the new one has begun: what it knows is no longer all.
    drop(old);
    // As after a crash: nothing is written at the end.
    let _ = std::mem::ManuallyDrop::new(new);
    let last = folder.start();
    assert_eq!(reach(&last, before), Err(LostReason::Epoch));
}

#[tokio::test]
async fn a_clock_that_moves_makes_no_lie() {
    for (after, recovered) in
        [(30_000, true), (-30_000, true), (299_000, true), (400_000, false), (-100_001, false)]
    {
        let folder = Folder::new();
        let place = folder.put_state(after);
        let layer = folder.start();
        let expected = if recovered { Ok(()) } else { Err(LostReason::Epoch) };
        assert_eq!(reach(&layer, place), expected, "{after}");
        if recovered {
            assert_eq!(texts(&layer), ["kept"]);
        }
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_used_makes_all_groups_begin_anew() {
    let folder = Folder::new();
    let place = folder.put_state(0);
    let good = fs::read(folder.file()).unwrap();
    let mut other_version = good.clone();
    other_version[18] += 1;
    let mut large = good.clone();
    large.resize(130 << 20, 0);
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let bad = [Vec::new(), b"hello".to_vec(), other_version, large, claim(&[1; 16])];
    let cut = (0..good.len()).step_by(11).map(|length| good[..length].to_vec());
    for bytes in bad.into_iter().chain(cut).chain((0..good.len()).step_by(7).map(flipped)) {
        folder.put(&bytes);
        let layer = folder.start();
        assert_eq!(reach(&layer, place), Err(LostReason::Epoch), "{} bytes", bytes.len());
        // As after a crash: nothing is written at the end.
        let _ = std::mem::ManuallyDrop::new(layer);
    }
    // Others may have read the secret, or written it.
    folder.put(&good);
    fs::set_permissions(folder.file(), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(reach(&folder.start(), place), Err(LostReason::Epoch));
    // A group without a policy is forgotten.
    folder.put_state(0);
    let none = MemoryLayer::with_config(LayerConfig::new().history("hall", History::last(5)));
    let none = none.history_file(folder.file()).unwrap();
    assert!(none.groups().directory().logs.all().is_empty());
    drop(none);
    // The same bytes are good if nothing is wrong.
    folder.put(&good);
    assert_eq!(reach(&folder.start(), place), Ok(()));
}

#[test]
fn a_path_that_can_never_work_is_an_error() {
    let folder = Folder::new();
    let start = |path: PathBuf| {
        let error = MemoryLayer::with_config(config()).history_file(path).unwrap_err();
        assert!(error.to_string().starts_with("the history file /"), "{error}");
        error.kind()
    };
    assert_eq!(start(folder.0.join("none/history")), ErrorKind::NotFound);
    assert_eq!(start(folder.0.clone()), ErrorKind::InvalidInput);
    fs::write(folder.0.join("plain"), "").unwrap();
    assert_eq!(start(folder.0.join("plain/history")), ErrorKind::NotADirectory);
    fs::write(folder.0.join("elsewhere"), "untouched").unwrap();
    symlink(folder.0.join("elsewhere"), folder.file()).unwrap();
    assert_eq!(start(folder.file()), ErrorKind::InvalidInput);
    assert_eq!(fs::read(folder.0.join("elsewhere")).unwrap(), b"untouched");
    assert_eq!(start("/".into()), ErrorKind::InvalidInput);
}

#[test]
fn a_folder_that_is_locked_for_too_long_means_no_file() {
    // Another program has the lock. The start does not fail.
    let folder = Folder::new();
    let place = folder.put_state(0);
    let lock = Lock::take(&folder.0).unwrap();
    let layer = folder.start();
    assert_eq!(reach(&layer, place), Err(LostReason::Epoch));
    drop(layer);
    drop(lock);
    // What was there is not used by a later process either: it does not know what this one sent.
    assert_eq!(reach(&folder.start(), place), Err(LostReason::Epoch));
}
