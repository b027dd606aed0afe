//! Groups that keep their events: clients that go from process to process, with nothing broken.

mod answers;
mod faults;
mod joins;
mod process;

use std::time::Duration;

use greenroom::{LayerConfig, history::History};

pub use self::{
    answers::*,
    faults::*,
    joins::*,
    process::{Hint, Process, assert_one_order, texts},
};
use crate::{
    Server,
    faulty::{Member, group, note},
};

/// What the groups `room*` keep.
pub fn policy() -> History {
    History::last(10).within(Duration::from_secs(60))
}

async fn process<S: Server>(server: &S) -> Process {
    Process::of(server.make(LayerConfig::new().history("room*", policy())).await)
}

/// Starts a server, and two processes on it.
async fn two<S: Server>() -> (S, Process, Process) {
    let server = S::start().await;
    let (first, second) = (process(&server).await, process(&server).await);
    (server, first, second)
}

/// A client goes from one process to the other, and gets what it missed, once and in order. A transient event is not kept.
pub async fn a_client_comes_back_to_another_process<S: Server>() {
    let (server, first, second) = two::<S>().await;
    let mut reader = first.join("/room/").await;
    let mut other = second.join("/room/").await;
    first.send(1..=3).await;
    assert_eq!(reader.texts(3).await, texts(1..=3));
    let memory = reader.cut();
    first.send(4..=6).await;
    first.layer.group_send(&group("room"), Hint { number: 7 }).await.unwrap();
    let mut heard = other.texts(7).await;
    heard.sort();
    assert_eq!(heard, ["1", "2", "3", "4", "5", "6", "hint 7"], "members that are there get it");
    let mut reader = second.back("/room/", memory).await;
    assert_eq!(reader.outcome(), "recovered");
    second.send(8..=9).await;
    assert_eq!(reader.texts(5).await, texts([4, 5, 6, 8, 9]));
    // A process that did not run before.
    let memory = reader.cut();
    second.send(10..=12).await;
    let mut reader = process(&server).await.back("/room/", memory).await;
    assert_eq!((reader.outcome(), reader.texts(3).await), ("recovered".to_owned(), texts(10..=12)));
}

/// A client that left before any event comes back to the same place, on another process too.
pub async fn a_place_before_the_first_event_is_a_place<S: Server>() {
    let (_server, first, second) = two::<S>().await;
    let again = second.back("/room/", first.join("/room/").await.cut()).await;
    assert_eq!(again.outcome(), "recovered");
    let memory = again.cut();
    first.send(1..=2).await;
    let mut again = second.back("/room/", memory).await;
    assert_eq!((again.outcome(), again.texts(2).await), ("recovered".to_owned(), texts(1..=2)));
}

/// A channel that an event leaves out does not get it, on the sender's process or another.
pub async fn an_event_leaves_channels_out<S: Server>() {
    let (_server, first, second) = two::<S>().await;
    let mut one = Member::of(&first.layer, &["room"]).await;
    let mut two = Member::of(&second.layer, &["room"]).await;
    for layer in [&first.layer, &second.layer] {
        layer.group_send_except(&group("room"), [one.channel()], note(1)).await.unwrap();
        layer.group_send_except(&group("room"), [two.channel()], note(2)).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!((one.hears().await, two.hears().await), ("2".to_owned(), "1".to_owned()));
    }
}

/// What a client has sent to others stays away from it when it comes back: to its process, to one that has a member in the
/// group and so the event in its memory, and to one that reads the event from the server.
pub async fn an_own_event_stays_away_from_who_comes_back<S: Server>() {
    let (server, first, second) = two::<S>().await;
    let third = process(&server).await;
    for back in [&first, &second, &third] {
        let mut other = second.join("/room/").await;
        let mut reader = first.join("/room/").await;
        second.send([1]).await;
        assert_eq!((reader.text().await, other.text().await), ("1".to_owned(), "1".to_owned()));
        reader.say("2").await;
        assert_eq!((reader.text().await, other.text().await), ("sent".to_owned(), "2".to_owned()));
        let memory = reader.cut();
        second.send([3]).await;
        assert_eq!(other.text().await, "3");
        let mut reader = back.back("/room/", memory).await;
        assert_eq!((reader.outcome(), reader.text().await), ("recovered".to_owned(), "3".to_owned()));
    }
}

/// Who comes late gets the last ones, also from a process that has not seen them.
pub async fn a_late_joiner_gets_the_last_ones<S: Server>() {
    let (_server, first, second) = two::<S>().await;
    let mut early = first.join("/room/").await;
    first.send(1..=5).await;
    assert_eq!(early.texts(5).await, texts(1..=5));
    let mut late = second.join("/room/?last=3").await;
    assert_eq!(late.texts(3).await, texts(3..=5));
    let mut all = second.join(&format!("/room/?last={}", usize::MAX)).await;
    assert_eq!(all.texts(5).await, texts(1..=5));
    second.send([6]).await;
    assert_eq!((early.text().await, late.text().await), ("6".to_owned(), "6".to_owned()));
}
