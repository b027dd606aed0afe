//! The model test: threads join, leave, send and end in the orders that `shuttle` chooses. Run by `tests/run model`.
//!
//! The directory, the queues and the hubs are the real ones. Each test runs in some thousand orders, chosen at random
//! and by priorities. `shuttle` changes threads at each lock and each atomic; an operation on one of tokio's semaphores
//! or channels counts as one step. In this test two members on a thread are a large group, and a slice has one member.

mod logged;

use std::{
    future::Future,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures_util::future::{self, Either};
use shuttle::{
    Config, Runner,
    future::block_on,
    scheduler::{PctScheduler, RandomScheduler},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};
use tokio::sync::oneshot;

use super::{
    Delivery, budget::Budget, directory::Directory, hub::Hub, hubs::Registered, thread::run_calls, walk,
};
use crate::{
    ChannelName, Drain, Envelope, Event, GroupName, LayerConfig, Limits, Outgoing,
    consumer::{
        connection::{Accepted, Connection, RequestAnswer},
        start::class_of,
    },
    wire::Wire,
};

/// How many orders each test tries, half of them at random, half by priorities.
const ORDERS: usize = 4_000;

#[derive(Clone, serde::Serialize, serde::Deserialize, Event)]
struct Said {
    text: String,
}

struct Member;

#[crate::event_handlers]
impl Member {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

/// Tries a scenario in many orders.
fn explore(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    let config = || {
        let mut config = Config::default();
        // A send is a deep call, more so without optimization.
        config.stack_size = 256 << 10;
        config
    };
    Runner::new(RandomScheduler::new(ORDERS / 2), config()).run(scenario.clone());
    Runner::new(PctScheduler::new(3, ORDERS / 2), config()).run(scenario);
}

fn directory() -> Arc<Directory> {
    Directory::new(LayerConfig::new())
}

fn room() -> GroupName {
    GroupName::new("room").unwrap()
}

/// Runs one of the server's threads: its tasks, until the script has ended.
fn run_thread<F: Future<Output = ()>>(directory: &Arc<Directory>, script: impl FnOnce(Rc<Hub>) -> F) {
    let registered = Registered::new(directory);
    let hub = Rc::clone(&registered.0);
    let tasks = future::join(run_calls(registered), walk::walk(Rc::clone(&hub)));
    let script = script(Rc::clone(&hub));
    block_on(async {
        match future::select(pin!(script), pin!(tasks)).await {
            Either::Left(((), _tasks)) => {}
            Either::Right(_) => unreachable!("the tasks run as long as the thread"),
        }
    });
}

/// An accepted member without a client.
fn member(hub: &Rc<Hub>) -> Rc<Connection> {
    member_with(hub, Limits::new())
}

fn member_with(hub: &Rc<Hub>, limits: Limits) -> Rc<Connection> {
    let guard = Drain::new().reserve(1).unwrap().enter(hub.queue()).unwrap();
    let (sender, answer) = oneshot::channel();
    let class = class_of::<Member, crate::Context>(Wire::WebSocket(None));
    let budget = Budget::new(Budget::DEFAULT);
    let connection = Connection::new(hub, class, Arc::new(limits), &budget, guard, sender, None);
    connection.answer(RequestAnswer::Accept(Accepted::default()));
    drop(answer);
    connection.set_busy(false);
    connection
}

/// The texts that a member got, in order.
fn texts(connection: &Connection) -> Vec<String> {
    let cx = Context::from_waker(Waker::noop());
    std::iter::from_fn(|| match connection.poll_outbox(&cx) {
        Poll::Ready(Some(frame)) => Some(String::from_utf8(frame[2..].to_vec()).unwrap()),
        _ => None,
    })
    .collect()
}

async fn send(directory: &Directory, text: String, count: bool) -> Delivery {
    send_except(directory, &[], text, count).await
}

async fn send_except(directory: &Directory, except: &[ChannelName], text: String, count: bool) -> Delivery {
    directory.publish(&room(), except, Envelope::new(Said { text }), count).await
}

/// Lets the tasks of this thread go on until `done` is true.
async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        shuttle::future::yield_now().await;
    }
}

/// The numbers that a member got. Each was sent once, and in ascending order.
fn numbers(connection: &Connection) -> Vec<usize> {
    let numbers: Vec<usize> = texts(connection).iter().map(|text| text.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|earlier, later| earlier < later), "out of order, or twice: {numbers:?}");
    numbers
}

/// A member joins and leaves on one thread, while another thread sends.
///
/// `others` members stay in the group.
fn joins_and_leaves_are_exact(others: usize) {
    const SENDS: usize = 3;
    explore(move || {
        let directory = directory();
        // The member's step; how many sends have begun; how many have ended.
        let (step, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let ended = Arc::new(AtomicUsize::new(0));
        let membership = thread::spawn({
            let (directory, step) = (Arc::clone(&directory), Arc::clone(&step));
            let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
            move || {
                run_thread(&directory, |hub| async move {
                    let others: Vec<_> = (0..others).map(|_| member(&hub)).collect();
                    for other in &others {
                        hub.join(Rc::clone(&other) as _, &room()).unwrap();
                    }
                    let one = member(&hub);
                    hub.join(Rc::clone(&one) as _, &room()).unwrap();
                    step.store(1, SeqCst);
                    let first = begun.load(SeqCst);
                    // The sends from `first` on began after the join. The sends below `last` ended before the leave.
                    shuttle::future::yield_now().await;
                    let last = ended.load(SeqCst);
                    hub.leave(&*one, &room());
                    let beyond = begun.load(SeqCst);
                    until(|| ended.load(SeqCst) == SENDS).await;
                    let got = numbers(&one);
                    for number in first..last {
                        assert!(got.contains(&number), "{number} of {first}..{last} is missing in {got:?}");
                    }
                    assert!(got.iter().all(|number| *number < beyond), "{got:?} after leaving at {beyond}");
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
fn joining_and_leaving_are_exact_for_other_threads() {
    joins_and_leaves_are_exact(0);
}

#[test]
fn joining_and_leaving_are_exact_in_a_large_group() {
    joins_and_leaves_are_exact(2);
}

#[test]
fn two_threads_that_send_to_each_other_lose_nothing_and_keep_the_order() {
    const SENDS: usize = 2;
    explore(|| {
        let directory = directory();
        let joined = Arc::new(AtomicUsize::new(0));
        let through = Arc::new(AtomicUsize::new(0));
        let run = |name: &'static str, members: usize| {
            let (directory, joined, through) =
                (Arc::clone(&directory), Arc::clone(&joined), Arc::clone(&through));
            move || {
                run_thread(&Arc::clone(&directory), |hub| async move {
                    let members: Vec<_> = (0..members).map(|_| member(&hub)).collect();
                    for member in &members {
                        hub.join(Rc::clone(&member) as _, &room()).unwrap();
                    }
                    joined.fetch_add(1, SeqCst);
                    until(|| joined.load(SeqCst) == 2).await;
                    for number in 0..SENDS {
                        let delivery = send(&directory, format!("{name}{number}"), true).await;
                        assert_eq!((delivery.delivered, delivery.dropped), (3, 0));
                    }
                    through.fetch_add(1, SeqCst);
                    until(|| through.load(SeqCst) == 2).await;
                    for member in &members {
                        let texts = texts(member);
                        assert_eq!(texts.len(), 2 * SENDS, "{texts:?}");
                        for sender in ["a", "b"] {
                            let of: Vec<_> = texts.iter().filter(|text| text.starts_with(sender)).collect();
                            assert!(of.is_sorted(), "{texts:?}");
                        }
                        drop(member.leave_all());
                    }
                });
            }
        };
        let other = thread::spawn(run("a", 1));
        run("b", 2)();
        other.join().unwrap();
        assert_eq!(directory.group_count(), 0);
    });
}

/// A member leaves and joins again, while another thread sends every second event to all but this member.
///
/// `others` members stay in the group.
fn a_member_that_is_left_out_gets_nothing(others: usize) {
    const SENDS: usize = 4;
    explore(move || {
        let directory = directory();
        let name = Arc::new(std::sync::OnceLock::new());
        let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let membership = thread::spawn({
            let (directory, name) = (Arc::clone(&directory), Arc::clone(&name));
            let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
            move || {
                run_thread(&directory, |hub| async move {
                    let others: Vec<_> = (0..others).map(|_| member(&hub)).collect();
                    let one = member(&hub);
                    for member in others.iter().chain([&one]) {
                        hub.join(Rc::clone(member) as _, &room()).unwrap();
                    }
                    name.set(hub.channel_of(one.key())).unwrap();
                    begun.store(1, SeqCst);
                    shuttle::future::yield_now().await;
                    hub.leave(&*one, &room());
                    shuttle::future::yield_now().await;
                    hub.join(Rc::clone(&one) as _, &room()).unwrap();
                    until(|| ended.load(SeqCst) == SENDS).await;
                    let got = numbers(&one);
                    assert!(got.iter().all(|number| number % 2 == 0), "{got:?}");
                    for other in &others {
                        assert_eq!(numbers(other), (0..SENDS).collect::<Vec<_>>());
                    }
                    for connection in others.iter().chain([&one]) {
                        drop(connection.leave_all());
                    }
                });
            }
        });
        block_on(until(|| begun.load(SeqCst) == 1));
        let name = name.get().cloned().unwrap();
        for number in 0..SENDS {
            let except = if number % 2 == 0 { &[][..] } else { std::slice::from_ref(&name) };
            let delivery = block_on(send_except(&directory, except, number.to_string(), number != 1));
            let most = if except.is_empty() { others + 1 } else { others };
            assert!(delivery.delivered <= most as u64 && delivery.dropped == 0, "{delivery:?}");
            ended.store(number + 1, SeqCst);
        }
        membership.join().unwrap();
        assert_eq!(directory.group_count(), 0);
    });
}

#[test]
fn a_member_that_is_left_out_gets_nothing_from_other_threads() {
    a_member_that_is_left_out_gets_nothing(0);
}

#[test]
fn a_member_that_is_left_out_gets_nothing_in_a_large_group() {
    a_member_that_is_left_out_gets_nothing(2);
}

/// A thread ends while its members are in the group.
fn a_thread_ends(members: usize) {
    const SENDS: usize = 3;
    explore(move || {
        let directory = directory();
        let ending = thread::spawn({
            let directory = Arc::clone(&directory);
            move || {
                let mut left = Vec::new();
                run_thread(&directory, |hub| {
                    for _ in 0..members {
                        let member = member(&hub);
                        hub.join(Rc::clone(&member) as _, &room()).unwrap();
                        left.push(member);
                    }
                    async {
                        shuttle::future::yield_now().await;
                    }
                });
                // Its tasks are gone, and its queue is closed, as when a runtime ends before its connections.
                for member in left {
                    drop(numbers(&member));
                    drop(member.leave_all());
                }
            }
        });
        for number in 0..SENDS {
            // Counted or not, the send returns, also if the other thread ends meanwhile.
            let delivery = block_on(send(&directory, number.to_string(), number != 1));
            assert!(delivery.delivered <= members as u64 && delivery.threads_behind == 0, "{delivery:?}");
        }
        ending.join().unwrap();
        assert_eq!(block_on(send(&directory, "9".to_owned(), true)), Delivery::default());
        assert_eq!(directory.group_count(), 0);
    });
}

#[test]
fn a_thread_that_ends_leaves_no_sender_waiting_and_no_group() {
    a_thread_ends(1);
}

#[test]
fn a_thread_that_ends_beside_a_walk_leaves_no_sender_waiting_and_no_group() {
    a_thread_ends(2);
}
