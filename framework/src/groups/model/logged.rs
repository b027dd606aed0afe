//! The same for a group with a log: members that come back on other threads, are slow, and join beside sends.

use super::{
    super::{
        catching_up::catch_up,
        history::{log::Log, position::Position},
    },
    *,
};
use crate::{consumer::connection::Next, groups::inbox::Mail, history::History};

fn logged(size: usize) -> Arc<Directory> {
    Directory::new(LayerConfig::new().history("room", History::last(size)))
}

/// As [`run_thread`], with the task that serves members that are behind.
fn run<F: Future<Output = ()>>(directory: &Arc<Directory>, script: impl FnOnce(Rc<Hub>) -> F) {
    run_thread(directory, |hub| {
        let script = script(Rc::clone(&hub));
        async move {
            match future::select(pin!(script), pin!(catch_up(hub))).await {
                Either::Left(((), _tasks)) => {}
                Either::Right(_) => unreachable!("the task runs as long as the thread"),
            }
        }
    });
}

/// A member whose outbox takes one frame at a time.
fn slow(hub: &Rc<Hub>) -> Rc<Connection> {
    member_with(hub, Limits::new().outbox_size(1))
}

fn log(directory: &Directory) -> Arc<Log> {
    directory.logs.of(&directory.config, &room()).unwrap()
}

/// The texts of the log, in its order, each with the place behind it.
fn whole(log: &Log) -> Vec<(String, Position)> {
    let (entries, _) = log.page(u64::MAX, usize::MAX);
    let text = |event: &Envelope| event.event::<Said>().unwrap().text.clone();
    entries.iter().map(|entry| (text(&entry.envelope), entry.position)).collect()
}

/// Checks that a member got events one behind the other as they stand in the log, and each once. Returns their offsets.
fn in_order(whole: &[(String, Position)], got: &[String]) -> Vec<u64> {
    let offsets: Vec<_> = got
        .iter()
        .map(|text| whole.iter().find(|(known, _)| known == text).expect("it is in the log").1.offset)
        .collect();
    let is_whole = offsets.windows(2).all(|pair| pair[1] == pair[0] + 1);
    assert!(is_whole, "out of order, missing or twice: {offsets:?}");
    offsets
}

/// What waits in the inbox of a member: texts, and `lost` where something may be missing.
fn mail(connection: &Connection) -> Vec<String> {
    let cx = Context::from_waker(Waker::noop());
    connection.begin_turn(&cx);
    std::iter::from_fn(|| match connection.poll_next(&cx) {
        Poll::Ready(Next::Mail(Mail::Lost(..))) => Some("lost".to_owned()),
        Poll::Ready(Next::Mail(Mail::Packet(packet))) => {
            Some(String::from_utf8(packet.bytes[2..].to_vec()).unwrap())
        }
        _ => None,
    })
    .collect()
}

#[test]
fn two_threads_that_send_agree_on_one_order() {
    const SENDS: usize = 2;
    explore(|| {
        let directory = logged(10);
        let (joined, through) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let run_one = |name: &'static str, members: usize| {
            let (directory, joined, through) =
                (Arc::clone(&directory), Arc::clone(&joined), Arc::clone(&through));
            move || {
                run(&Arc::clone(&directory), |hub| async move {
                    let members: Vec<_> = (0..members).map(|_| member(&hub)).collect();
                    for member in &members {
                        hub.join(Rc::clone(member) as _, &room()).unwrap();
                    }
                    joined.fetch_add(1, SeqCst);
                    until(|| joined.load(SeqCst) == 2).await;
                    for number in 0..SENDS {
                        let delivery = send(&directory, format!("{name}{number}"), true).await;
                        assert_eq!((delivery.delivered, delivery.dropped), (3, 0));
                    }
                    through.fetch_add(1, SeqCst);
                    until(|| through.load(SeqCst) == 2).await;
                    let whole = whole(&log(&directory));
                    for member in &members {
                        assert_eq!(in_order(&whole, &texts(member)).len(), 2 * SENDS);
                        drop(member.leave_all());
                    }
                });
            }
        };
        let other = thread::spawn(run_one("a", 1));
        run_one("b", 2)();
        other.join().unwrap();
        assert_eq!(directory.group_count(), 0);
    });
}

/// A member joins and leaves on one thread, while another thread sends.
fn joins_and_leaves_are_exact_in_a_log(others: usize) {
    const SENDS: usize = 3;
    explore(move || {
        let directory = logged(10);
        let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let membership = thread::spawn({
            let directory = Arc::clone(&directory);
            let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
            move || {
                run(&directory, |hub| async move {
                    let others: Vec<_> = (0..others).map(|_| member(&hub)).collect();
                    for other in &others {
                        hub.join(Rc::clone(other) as _, &room()).unwrap();
                    }
                    let one = member(&hub);
                    let before = ended.load(SeqCst);
                    hub.join(Rc::clone(&one) as _, &room()).unwrap();
                    // The sends below `before` ended before the join, and those from `first` on began after it.
                    let first = begun.load(SeqCst);
                    shuttle::future::yield_now().await;
                    let last = ended.load(SeqCst);
                    hub.leave(&*one, &room());
                    let beyond = begun.load(SeqCst);
                    until(|| ended.load(SeqCst) == SENDS).await;
                    let got = numbers(&one);
                    assert!(got.windows(2).all(|pair| pair[1] == pair[0] + 1), "{got:?}");
                    assert!(got.iter().all(|number| (before..beyond).contains(number)), "{before}: {got:?}");
                    for number in first..last {
                        assert!(got.contains(&number), "{number} of {first}..{last} is missing in {got:?}");
                    }
                    for connection in others.iter().chain([&one]) {
                        drop(connection.leave_all());
                    }
                });
            }
        });
        for number in 0..SENDS {
            begun.store(number + 1, SeqCst);
            block_on(send(&directory, number.to_string(), true));
            ended.store(number + 1, SeqCst);
        }
        membership.join().unwrap();
        assert_eq!(directory.group_count(), 0);
    });
}

#[test]
fn joining_and_leaving_are_exact_in_a_log() {
    joins_and_leaves_are_exact_in_a_log(0);
}

#[test]
fn joining_and_leaving_are_exact_in_a_log_with_a_large_group() {
    joins_and_leaves_are_exact_in_a_log(2);
}

/// A client leaves one thread and comes back on another, while both send.
///
/// `others` members stay in the group on the second thread.
fn a_client_misses_nothing_across_threads(others: usize) {
    const SENDS: usize = 2;
    explore(move || {
        let directory = logged(10);
        let through = Arc::new(AtomicUsize::new(0));
        let place = Arc::new(std::sync::OnceLock::new());
        let first = thread::spawn({
            let (directory, through, place) =
                (Arc::clone(&directory), Arc::clone(&through), Arc::clone(&place));
            move || {
                run(&Arc::clone(&directory), |hub| async move {
                    let one = member(&hub);
                    hub.join(Rc::clone(&one) as _, &room()).unwrap();
                    let start = hub.place_of(&*one, &log(&directory)).unwrap();
                    for number in 0..SENDS {
                        send(&directory, format!("a{number}"), number == 0).await;
                    }
                    let got = texts(&one);
                    drop(one.leave_all());
                    place.set((start, got)).unwrap();
                    through.fetch_add(1, SeqCst);
                    until(|| through.load(SeqCst) == 2).await;
                });
            }
        });
        run(&Arc::clone(&directory), |hub| {
            let directory = Arc::clone(&directory);
            async move {
                let others: Vec<_> = (0..others).map(|_| member(&hub)).collect();
                for other in &others {
                    hub.join(Rc::clone(other) as _, &room()).unwrap();
                }
                send(&directory, "b0".to_owned(), false).await;
                until(|| place.get().is_some()).await;
                let (start, mut got) = place.get().unwrap().clone();
                let log = log(&directory);
                let seen = got.last().and_then(|last| {
                    whole(&log).into_iter().find(|(text, _)| text == last).map(|(_, place)| place)
                });
                let back = member(&hub);
                hub.join_held(Rc::clone(&back) as _, &room(), true).unwrap();
                let reached = directory.reach(&log, seen.unwrap_or(start)).await.unwrap();
                hub.hold_at(&*back, &log, reached);
                hub.go_on(&*back, &log, None);
                send(&directory, "b1".to_owned(), true).await;
                through.fetch_add(1, SeqCst);
                until(|| through.load(SeqCst) == 2).await;
                let whole = whole(&log);
                until(|| {
                    got.extend(texts(&back));
                    got.last() == whole.last().map(|(text, _)| text)
                })
                .await;
                let offsets = in_order(&whole, &got);
                assert_eq!(offsets.first(), Some(&(start.offset + 1)));
                for other in &others {
                    assert_eq!(in_order(&whole, &texts(other)).last(), offsets.last());
                }
                for connection in others.iter().chain([&back]) {
                    drop(connection.leave_all());
                }
            }
        });
        first.join().unwrap();
        assert_eq!(directory.group_count(), 0);
    });
}

#[test]
fn a_client_that_comes_back_on_another_thread_misses_nothing() {
    a_client_misses_nothing_across_threads(0);
}

#[test]
fn a_client_that_comes_back_to_a_large_group_misses_nothing() {
    a_client_misses_nothing_across_threads(2);
}

/// A member whose client reads one frame at a time gets everything, as long as the log has it.
fn a_slow_member_misses_nothing(others: usize) {
    const SENDS: usize = 4;
    explore(move || {
        let directory = logged(10);
        let (joined, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let reading = thread::spawn({
            let (directory, joined, ended) =
                (Arc::clone(&directory), Arc::clone(&joined), Arc::clone(&ended));
            move || {
                run(&Arc::clone(&directory), |hub| async move {
                    let others: Vec<_> = (0..others).map(|_| member(&hub)).collect();
                    let slow = slow(&hub);
                    for member in others.iter().chain([&slow]) {
                        hub.join(Rc::clone(member) as _, &room()).unwrap();
                    }
                    joined.store(1, SeqCst);
                    let mut got = Vec::new();
                    until(|| {
                        got.extend(texts(&slow));
                        got.len() == SENDS
                    })
                    .await;
                    assert!(got.is_sorted());
                    until(|| ended.load(SeqCst) == 1).await;
                    for other in &others {
                        assert_eq!(numbers(other), (0..SENDS).collect::<Vec<_>>());
                    }
                    assert!(texts(&slow).is_empty());
                    for connection in others.iter().chain([&slow]) {
                        drop(connection.leave_all());
                    }
                });
            }
        });
        block_on(until(|| joined.load(SeqCst) == 1));
        for number in 0..SENDS {
            block_on(send(&directory, number.to_string(), number % 2 == 1));
        }
        ended.store(1, SeqCst);
        reading.join().unwrap();
        assert_eq!(directory.group_count(), 0);
    });
}

#[test]
fn a_slow_member_of_a_log_misses_nothing() {
    a_slow_member_misses_nothing(0);
}

#[test]
fn a_slow_member_of_a_large_group_with_a_log_misses_nothing() {
    a_slow_member_misses_nothing(2);
}

/// A sender gives up at any of its waits. What it has put into the log reaches the members all the same.
#[test]
fn a_sender_that_gives_up_delays_nobody() {
    explore(|| {
        let directory = logged(10);
        let (joined, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let reading = thread::spawn({
            let (directory, joined, ended) =
                (Arc::clone(&directory), Arc::clone(&joined), Arc::clone(&ended));
            move || {
                run(&Arc::clone(&directory), |hub| async move {
                    let members = [member(&hub), member(&hub)];
                    for member in &members {
                        hub.join(Rc::clone(member) as _, &room()).unwrap();
                    }
                    joined.store(1, SeqCst);
                    until(|| ended.load(SeqCst) == 2).await;
                    let whole = whole(&log(&directory));
                    for member in &members {
                        let mut got = Vec::new();
                        until(|| {
                            got.extend(texts(member));
                            got.len() == whole.len()
                        })
                        .await;
                        in_order(&whole, &got);
                        drop(member.leave_all());
                    }
                });
            }
        });
        block_on(until(|| joined.load(SeqCst) == 1));
        let giving_up = thread::spawn({
            let (directory, ended) = (Arc::clone(&directory), Arc::clone(&ended));
            move || {
                let sending = pin!(send(&directory, "x".to_owned(), true));
                // It is polled once.
                let _ = futures_util::FutureExt::now_or_never(sending);
                ended.fetch_add(1, SeqCst);
            }
        });
        block_on(send(&directory, "y".to_owned(), true));
        ended.fetch_add(1, SeqCst);
        giving_up.join().unwrap();
        reading.join().unwrap();
    });
}

/// A log begins anew beside joins and sends. Nobody gets an event twice, and all go on.
#[test]
fn a_log_that_begins_anew_goes_on_for_all() {
    use super::super::history::fake::FakeServer;

    explore(|| {
        let directory = logged(10);
        let server = FakeServer::new(10);
        directory.logs.keep_in(Arc::clone(&server) as _);
        let (joined, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let reading = thread::spawn({
            let (directory, joined, ended) =
                (Arc::clone(&directory), Arc::clone(&joined), Arc::clone(&ended));
            move || {
                run(&Arc::clone(&directory), |hub| async move {
                    let members = [member(&hub), member(&hub)];
                    hub.join(Rc::clone(&members[0]) as _, &room()).unwrap();
                    directory.open(&log(&directory)).await;
                    joined.store(1, SeqCst);
                    shuttle::future::yield_now().await;
                    hub.join(Rc::clone(&members[1]) as _, &room()).unwrap();
                    joined.store(2, SeqCst);
                    let got = members.each_ref().map(|member| {
                        let mut got = Vec::new();
                        (member, move || {
                            got.extend(texts(member));
                            got.extend(mail(member));
                            got.clone()
                        })
                    });
                    for (number, (member, mut got)) in got.into_iter().enumerate() {
                        until(|| got().last().is_some_and(|last| last == "5")).await;
                        let mut got = got();
                        if number == 0 {
                            // What was sent after the new beginning is there, and the loss before it is told.
                            assert!(got.ends_with(&["lost", "3", "4", "5"].map(str::to_owned)), "{got:?}");
                        }
                        got.retain(|text| text != "lost");
                        assert!(got.is_sorted_by(|earlier, later| earlier < later), "{got:?}");
                        drop(member.leave_all());
                    }
                    until(|| ended.load(SeqCst) == 1).await;
                });
            }
        });
        block_on(until(|| joined.load(SeqCst) > 0));
        let bring = |number: usize| {
            let envelope = Envelope::new(Said { text: number.to_string() });
            let arrival = server.append(envelope.to_wire(crate::event::Format::MsgPack).unwrap());
            block_on(directory.arrive(&room(), arrival));
        };
        bring(1);
        bring(2);
        server.flush();
        bring(3);
        bring(4);
        block_on(until(|| joined.load(SeqCst) == 2));
        bring(5);
        ended.store(1, SeqCst);
        reading.join().unwrap();
    });
}
