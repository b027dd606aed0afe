//! Groups that keep their events, on a server that is slow, away, frozen, or has lost what it kept.
//!
//! Whatever happens, no client hears an event twice or out of order, and none is told that it has missed nothing if it
//! has.

use std::{pin::pin, time::Duration};

use greenroom::{Layer, LayerConfig, LayerError};
use integration_tests::history::{Memory, Reader};

use super::{Process, assert_one_order, policy, texts};
use crate::faulty::{Proxy, ServerProcess, Settings, Slow, eventually, group, is_away, note, soon};

/// A server that keeps the events of groups, and what a case does to it.
#[expect(async_fn_in_trait, reason = "a case runs on one thread")]
pub trait LogServer: Sized {
    /// All that it keeps, as it was at a time.
    type Copy;

    /// Starts a server with nothing on it.
    fn start() -> Self;

    /// The process of the server.
    fn process(&mut self) -> &mut ServerProcess;

    /// Makes the layer of one more process, which is connected.
    async fn open(settings: Settings, config: LayerConfig) -> Layer;

    /// Deletes the log of the group `room`, as an operator may.
    async fn delete_log(&mut self);

    /// Deletes all entries of that log, and nothing else.
    async fn delete_entries(&mut self);

    /// Copies all that it keeps.
    async fn copy(&mut self) -> Self::Copy;

    /// Goes back to what it kept at an earlier time, as a server whose last writes are lost.
    async fn go_back(&mut self, copy: Self::Copy);

    /// Ends, and comes back with nothing.
    async fn lose_all(&mut self);
}

/// A process on the server behind this port.
pub(super) async fn on<S: LogServer>(port: u16, settings: impl FnOnce(&mut Settings)) -> Process {
    let mut of_layer = Settings::new(port);
    settings(&mut of_layer);
    Process::of(S::open(of_layer, LayerConfig::new().history("room*", policy())).await)
}

/// Starts a server, and two processes on it.
async fn two<S: LogServer>() -> (S, [Process; 2]) {
    let mut server = S::start();
    let port = server.process().port();
    let processes = [on::<S>(port, |_| {}).await, on::<S>(port, |_| {}).await];
    (server, processes)
}

/// Starts a server, a process that reaches it through a proxy, and one that does not.
pub(super) async fn beside_a_proxy<S: LogServer>() -> (S, Proxy, Process, Process) {
    let mut server = S::start();
    let port = server.process().port();
    let proxy = Proxy::start(port).await;
    let here = on::<S>(proxy.port(), |_| {}).await;
    let there = on::<S>(port, |_| {}).await;
    (server, proxy, here, there)
}

/// Cuts a process off, and waits until it has noticed.
pub(super) async fn cut_off(proxy: &Proxy, process: &Process) {
    proxy.cut_after(0);
    proxy.cut();
    eventually("it is noticed", || is_away(&process.layer)).await;
}

/// What a client hears up to this number, without the gaps that it is told of.
///
/// # Panics
/// If it hears a number twice, or after a larger one.
pub(super) async fn heard_until(reader: &mut Reader, last: u64) -> Vec<u64> {
    let mut heard = Vec::new();
    while heard.last() != Some(&last) {
        let text = reader.text().await;
        if let Ok(number) = text.parse() {
            assert!(heard.last().is_none_or(|last| *last < number), "{number} after {heard:?}");
            heard.push(number);
        }
    }
    heard
}

/// The server answers late. All is heard, once and in one order, and who was away comes back to its place.
pub async fn a_slow_server_loses_nothing<S: LogServer>() {
    let mut server = S::start();
    let slow = Slow { delay: Duration::from_millis(60), bytes_a_second: 200_000 };
    let proxy = Proxy::slow(server.process().port(), slow).await;
    let here = on::<S>(proxy.port(), |_| {}).await;
    let there = on::<S>(server.process().port(), |_| {}).await;
    assert_one_order(&here, &there, 10).await;
    let mut reader = here.join("/room/").await;
    reader.joined().await;
    let memory = reader.cut();
    there.send(20..=22).await;
    let mut back = here.back("/room/", memory).await;
    back.answered().await;
    assert_eq!((back.outcome(), back.texts(3).await), ("recovered".to_owned(), texts(20..=22)));
}

/// The server stands still while a process sends. What it has taken by then is heard once, and a client that comes back
/// hears what the others have heard.
pub async fn a_frozen_server_makes_nothing_up<S: LogServer>() {
    let mut server = S::start();
    let impatient = |settings: &mut Settings| {
        settings.must = true;
        settings.timeout = Duration::from_millis(500);
    };
    let port = server.process().port();
    let (first, second) = (on::<S>(port, impatient).await, on::<S>(port, impatient).await);
    let mut readers = [first.join("/room/").await, second.join("/room/").await];
    let mut away = first.join("/room/").await;
    first.send([1]).await;
    for reader in readers.iter_mut().chain([&mut away]) {
        assert_eq!(reader.text().await, "1");
    }
    let memory = away.cut();
    server.process().pause();
    let mut taken = Vec::new();
    for number in 2..=4 {
        match first.layer.group_send(&group("room"), note(number)).await {
            // The server may stand still a moment later than it is told.
            Ok(()) => taken.push(number),
            Err(error) => assert!(matches!(error, LayerError::Unavailable(_)), "{error:?}"),
        }
    }
    assert!(!taken.contains(&4), "it stands still");
    server.process().resume();
    for process in [&first, &second] {
        eventually("it is back", || !is_away(&process.layer)).await;
    }
    let mut last = 4;
    let mut sent = Err(());
    while sent.is_err() {
        // Each try has its own number: one that is given up may be heard all the same.
        last += 1;
        sent = second.layer.group_send(&group("room"), note(last)).await.map_err(drop);
    }
    let mut heard = Vec::new();
    for reader in &mut readers {
        heard.push(heard_until(reader, last).await);
    }
    assert_eq!(heard[0], heard[1]);
    assert!(taken.iter().all(|number| heard[0].contains(number)), "{taken:?} of {heard:?}");
    let mut back = second.back("/room/", memory).await;
    assert_eq!(
        (back.outcome(), heard_until(&mut back, last).await),
        ("recovered".to_owned(), heard.remove(0))
    );
}

/// A process is cut off while another sends. When it is back, its members get all, without a gap. If more came than is
/// kept, they are told of a gap.
pub async fn what_was_missed_is_read_without_a_gap<S: LogServer>() {
    let (_server, proxy, here, there) = beside_a_proxy::<S>().await;
    let (mut reader, mut other) = (here.join("/room/").await, here.join("/hall/").await);
    there.send([1]).await;
    assert_eq!(reader.text().await, "1");
    cut_off(&proxy, &here).await;
    there.send(2..=6).await;
    proxy.mend();
    assert_eq!(reader.texts(5).await, texts(2..=6), "nothing is missed, and so no gap is told");
    assert_eq!(other.text().await, "gap in hall", "a group without a log has one");
    there.send([7]).await;
    assert_eq!(reader.text().await, "7");
    cut_off(&proxy, &here).await;
    there.send(8..=60).await;
    proxy.mend();
    let mut heard = Vec::new();
    while !heard.contains(&"gap in room".to_owned()) || !heard.contains(&"60".to_owned()) {
        heard.push(reader.text().await);
    }
    assert!(!heard.contains(&"9".to_owned()), "{heard:?}");
    assert_eq!(here.layer.metrics().lost_trimmed, 1);
}

/// The connection breaks between a send and its answer, in each place of the answer. The sender is told whether the event
/// is in the log, and if it is, it comes once, everywhere.
pub async fn a_lost_answer_is_looked_for<S: LogServer>() {
    let (_server, proxy, _, witness) = beside_a_proxy::<S>().await;
    let mut there = witness.join("/room/").await;
    let room = group("room");
    let mut found = 0;
    // It is cut in ever later places, until the whole answer has passed.
    for bytes in (1..).step_by(40) {
        // One that was cut before would wait longer and longer until it comes back.
        let patient = |settings: &mut Settings| {
            settings.must = true;
            settings.timeout = Duration::from_secs(10);
        };
        let process = on::<S>(proxy.port(), patient).await;
        let mut here = process.join("/room/").await;
        // Behind this answer nothing is under way that would be cut instead of the next one.
        process.send([0]).await;
        assert_eq!((here.text().await, there.text().await), ("0".to_owned(), "0".to_owned()));
        proxy.cut_after(bytes);
        let mut sending = pin!(process.layer.group_send(&room, note(1)));
        let early = tokio::select! {
            sent = &mut sending => Some(sent),
            () = eventually("it is cut", || proxy.has_cut()) => None,
        };
        let is_cut = proxy.has_cut();
        proxy.mend();
        let sent = match early {
            Some(sent) => sent,
            None => sending.await,
        };
        if !is_cut {
            sent.expect("nothing was cut");
            break;
        }
        eventually("it is back", || process.layer.metrics().reconnected > 0).await;
        process.send([2]).await;
        let expected = match sent {
            Ok(()) => vec![1, 2],
            // Something else was cut before, and the event did not get there.
            Err(error) => {
                assert!(matches!(error, LayerError::Unavailable(_)), "{error:?}");
                vec![2]
            }
        };
        for reader in [&mut here, &mut there] {
            assert_eq!(heard_until(reader, 2).await, expected, "{bytes}");
        }
        found += expected.len() - 1;
    }
    assert!(found > 0, "no answer was looked for");
}

/// While the server is away, the members here get an event that is in no log. Who comes back is told that it may miss one.
pub async fn an_event_without_a_log_is_said<S: LogServer>() {
    let (_server, proxy, here, there) = beside_a_proxy::<S>().await;
    let (mut reader, mut away) = (here.join("/room/").await, here.join("/room/").await);
    here.send([1]).await;
    assert_eq!((reader.text().await, away.text().await), ("1".to_owned(), "1".to_owned()));
    let memory = away.cut();
    cut_off(&proxy, &here).await;
    here.send([2]).await;
    assert_eq!(reader.text().await, "2");
    assert_eq!(here.layer.metrics().unpublished, 1);
    proxy.mend();
    eventually("it is back", || !is_away(&here.layer)).await;
    here.send([3]).await;
    heard_until(&mut reader, 3).await;
    assert_eq!(here.back("/room/", memory.clone()).await.outcome(), "foreign");
    // The other process learns of it a moment later.
    let told = async { while there.back("/room/", memory.clone()).await.outcome() != "foreign" {} };
    soon(told).await;
}

/// If it must be published, a send fails while the server is away, and nobody gets the event.
pub async fn a_send_can_fail_instead<S: LogServer>() {
    let mut server = S::start();
    let proxy = Proxy::start(server.process().port()).await;
    let here = on::<S>(proxy.port(), |settings| settings.must = true).await;
    let mut reader = here.join("/room/").await;
    cut_off(&proxy, &here).await;
    let sent = here.layer.group_send(&group("room"), note(1)).await;
    assert!(matches!(sent, Err(LayerError::Unavailable(_))), "{sent:?}");
    proxy.mend();
    eventually("it is back", || !is_away(&here.layer)).await;
    here.send([2]).await;
    assert_eq!(heard_until(&mut reader, 2).await, [2]);
}

/// A client that has missed more than is kept is told so, and goes on. One that has missed all that is kept gets it.
pub async fn what_is_trimmed_is_said<S: LogServer>() {
    let (mut server, [first, second]) = two::<S>().await;
    let mut reader = first.join("/room/").await;
    first.send([1]).await;
    assert_eq!(reader.text().await, "1");
    let memory = reader.cut();
    first.send(2..=11).await;
    let mut back = second.back("/room/", memory.clone()).await;
    assert_eq!((back.outcome(), back.texts(10).await), ("recovered".to_owned(), texts(2..=11)));
    first.send(12..=30).await;
    for process in [&second, &on::<S>(server.process().port(), |_| {}).await] {
        let mut back = process.back("/room/", memory.clone()).await;
        assert_eq!(back.outcome(), "trimmed");
        process.send([31]).await;
        assert_eq!(back.text().await, "31");
    }
}

/// The log is deleted and begins anew. Who was away is told, and who is there gets what comes.
pub async fn a_deleted_log_is_a_new_epoch<S: LogServer>() {
    let (mut server, processes) = two::<S>().await;
    let (mut readers, memory) = two_readers_and_one_away(&processes).await;
    server.delete_log().await;
    assert_new_epoch::<S>(server, &processes, &mut readers, memory, 2).await;
}

/// The server comes back with nothing. Who was away is told, and who is there gets what comes.
pub async fn a_server_that_has_lost_all_is_a_new_epoch<S: LogServer>() {
    let (mut server, processes) = two::<S>().await;
    let (mut readers, memory) = two_readers_and_one_away(&processes).await;
    server.lose_all().await;
    for process in &processes {
        eventually("it is back", || process.layer.metrics().reconnected > 0).await;
    }
    assert_new_epoch::<S>(server, &processes, &mut readers, memory, 2).await;
}

/// A client at each process, which have heard 1 and 2, and what one knows that left after 1.
async fn two_readers_and_one_away([first, second]: &[Process; 2]) -> ([Reader; 2], Memory) {
    let mut away = first.join("/room/").await;
    let (mut here, mut there) = (first.join("/room/").await, second.join("/room/").await);
    first.send([1]).await;
    for reader in [&mut away, &mut here, &mut there] {
        assert_eq!(reader.text().await, "1");
    }
    let memory = away.cut();
    first.send([2]).await;
    assert_eq!((here.text().await, there.text().await), ("2".to_owned(), "2".to_owned()));
    ([here, there], memory)
}

/// Who is there hears what is sent after this number, sooner or later all of it, and who was away is told of a new epoch.
async fn assert_new_epoch<S: LogServer>(
    mut server: S,
    processes: &[Process],
    readers: &mut [Reader],
    memory: Memory,
    last: u64,
) {
    let mut number = last;
    for reader in readers {
        // The first event tells a process that the log is another one.
        for process in processes {
            number += 1;
            process.send([number]).await;
        }
        heard_until(reader, number).await;
        number += 1;
        processes[0].send([number]).await;
        assert_eq!(heard_until(reader, number).await, [number]);
    }
    let third = on::<S>(server.process().port(), |_| {}).await;
    for process in processes.iter().chain([&third]) {
        let mut back = process.back("/room/", memory.clone()).await;
        assert_eq!(back.outcome(), "epoch");
        number += 1;
        process.send([number]).await;
        heard_until(&mut back, number).await;
    }
}

/// The entries are deleted, and the log lives on. Who was away is told, and who is there misses nothing.
pub async fn deleted_entries_are_said<S: LogServer>() {
    let (mut server, [first, second]) = two::<S>().await;
    let (mut away, mut here) = (first.join("/room/").await, second.join("/room/").await);
    first.send([1]).await;
    assert_eq!((away.text().await, here.text().await), ("1".to_owned(), "1".to_owned()));
    let memory = away.cut();
    first.send([2]).await;
    assert_eq!(here.text().await, "2");
    server.delete_entries().await;
    // This one has not seen the log.
    let third = on::<S>(server.process().port(), |_| {}).await;
    assert_eq!(third.back("/room/", memory).await.outcome(), "trimmed");
    first.send([3]).await;
    assert_eq!(here.text().await, "3");
}

/// The server has lost its last writes, and numbers are used again. Nobody is told that it has missed nothing.
pub async fn a_log_that_goes_back_is_noticed<S: LogServer>() {
    let (mut server, [first, second]) = two::<S>().await;
    let (mut away, mut here) = (first.join("/room/").await, first.join("/room/").await);
    first.send(1..=3).await;
    assert_eq!((away.texts(3).await, here.texts(3).await), (texts(1..=3), texts(1..=3)));
    let copy = server.copy().await;
    first.send(4..=5).await;
    assert_eq!((away.texts(2).await, here.texts(2).await), (texts(4..=5), texts(4..=5)));
    let memory = away.cut();
    server.go_back(copy).await;
    for process in [&first, &second] {
        eventually("it is there", || !is_away(&process.layer)).await;
    }
    // This process has seen nothing of the log. It uses the same numbers again.
    second.send(6..=8).await;
    heard_until(&mut here, 8).await;
    let third = on::<S>(server.process().port(), |_| {}).await;
    for (number, process) in (9..).zip([&first, &second, &third]) {
        let mut back = process.back("/room/", memory.clone()).await;
        assert_ne!(back.outcome(), "recovered");
        process.send([number]).await;
        heard_until(&mut back, number).await;
    }
}
