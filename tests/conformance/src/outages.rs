//! Servers that end, freeze, or are cut off: no client's connection ends, and every member is told.

use std::{
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use greenroom::{
    ChannelName, Envelope, LayerError, Mount, layers::LayerGap, prelude::*, testing::WebsocketCommunicator,
};

use crate::faulty::Member;
use crate::faulty::{
    FaultyServer, Note, Proxy, Settings, all_hear, eventually, group, is_away, layer, members, note, on,
};

/// A note with this many extra bytes.
fn large(number: u64, bytes: usize) -> Envelope {
    let text = format!(r#"{{"type":"note","number":{number},"more":"{}"}}"#, "x".repeat(bytes));
    Envelope::from_json(text).expect("an event")
}

/// The server is killed, is away for a while, and comes back empty. No client's connection ends. All members join again
/// and are told.
pub async fn a_restart_closes_no_connection<S: FaultyServer>() {
    let mut server = S::start();
    let proxy = Proxy::start(server.process().port()).await;
    let here = layer::<S>(Settings::new(proxy.port())).await;
    let other = layer::<S>(on(&mut server)).await;
    let mut members = members(&here, 20).await;
    server.process().kill();
    eventually("the outage is noticed", || is_away(&here) && is_away(&other)).await;
    let before = proxy.accepted();
    eventually("the layer tries again and again", || proxy.accepted() >= before + 4).await;
    here.group_send(&group("room"), &note(1)).await.unwrap();
    all_hear(&mut members, "1").await;
    assert_eq!(here.metrics().unpublished, 1);
    other.group_send(&group("room"), &note(2)).await.unwrap();
    assert_eq!(other.metrics().unpublished, 1);
    server.process().restart();
    all_hear(&mut members, "gap in room").await;
    eventually("the other layer is back", || other.metrics().reconnected == 1).await;
    other.group_send(&group("room"), &note(3)).await.unwrap();
    all_hear(&mut members, "3").await;
    assert_eq!((here.metrics().reconnected, here.metrics().unhandled), (1, 0));
}

/// Members of the sender's process get an event once, whether or not the end of the server is noticed yet.
pub async fn a_send_while_the_server_ends_is_heard_once<S: FaultyServer>() {
    let mut server = S::start();
    let layer = layer::<S>(on(&mut server)).await;
    let mut members = members(&layer, 5).await;
    server.process().kill();
    layer.group_send(&group("room"), &note(1)).await.unwrap();
    all_hear(&mut members, "1").await;
    eventually("the outage is noticed", || is_away(&layer)).await;
    layer.group_send(&group("room"), &note(2)).await.unwrap();
    all_hear(&mut members, "2").await;
    server.process().restart();
    all_hear(&mut members, "gap in room").await;
    layer.group_send(&group("room"), &note(3)).await.unwrap();
    all_hear(&mut members, "3").await;
}

/// If a send must reach the server, it fails at once while the server is away, and nobody gets the event.
pub async fn a_send_can_fail_while_the_server_is_away<S: FaultyServer>() {
    let mut server = S::start();
    let port = server.process().port().to_string();
    let layer = layer::<S>(Settings { must: true, ..on(&mut server) }).await;
    let mut member = Member::of(&layer, &["room"]).await;
    layer.group_send(&group("room"), &note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
    server.process().kill();
    eventually("the outage is noticed", || is_away(&layer)).await;
    let error = layer.group_send(&group("room"), &note(2)).await.unwrap_err();
    let LayerError::Unavailable(reason) = &error else { panic!("{error:?}") };
    assert!(reason.contains(&port), "the reason names the port: {reason}");
    server.process().restart();
    assert_eq!(member.hears().await, "gap in room", "and not 2");
    layer.group_send(&group("room"), &note(3)).await.unwrap();
    assert_eq!(member.hears().await, "3");
}

/// A frozen server blocks nobody for long. When the server goes on, everything works again.
pub async fn a_frozen_server_blocks_nobody_for_long<S: FaultyServer>() {
    let count = if S::ECHOES { 1 } else { 1_000 };
    let mut server = S::start();
    let here = layer::<S>(on(&mut server)).await;
    let strict = layer::<S>(Settings { must: true, ..on(&mut server) }).await;
    let mut member = Member::of(&here, &["room"]).await;
    let mut strict_member = Member::of(&strict, &["yard"]).await;
    server.process().pause();
    let begun = Instant::now();
    // All events arrive while the server does not answer.
    for number in 0..count {
        here.group_send(&group("room"), &note(number)).await.unwrap();
        assert_eq!(member.hears().await, number.to_string());
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "nothing waited for the server");
    // A call that needs an answer from the server fails in time.
    let sent = here.send(&ChannelName::new("jobs").unwrap(), &note(0)).await;
    assert!(matches!(sent, Err(LayerError::Unavailable(_))), "{sent:?}");
    let sent = strict.group_send(&group("yard"), &note(2)).await;
    assert!(matches!(sent, Err(LayerError::Unavailable(_))), "{sent:?}");
    // A member that joins now does not wait for long, and hears the events of its process.
    let mut late = Member::of(&here, &["hall"]).await;
    here.group_send(&group("hall"), &note(1)).await.unwrap();
    assert_eq!(late.hears().await, "1");
    eventually("the outage is noticed", || is_away(&here) && is_away(&strict)).await;
    server.process().resume();
    assert_eq!(member.hears().await, "gap in room");
    assert_eq!(late.hears().await, "gap in hall");
    // The member may have got the event before the send failed.
    while strict_member.hears().await != "gap in yard" {}
    let other = layer::<S>(on(&mut server)).await;
    for name in ["room", "hall", "yard"] {
        other.group_send(&group(name), &note(7)).await.unwrap();
    }
    for member in [&mut member, &mut late, &mut strict_member] {
        assert_eq!(member.hears().await, "7");
    }
}

/// At the bound on bytes to write, a sender waits as long as a server may take to answer. Then the event is counted.
pub async fn a_sender_waits_for_room_only_until_the_timeout<S: FaultyServer>() {
    const COUNT: u64 = 400;
    let mut server = S::start();
    let here = layer::<S>(Settings { queue_bytes: 64 << 10, ..on(&mut server) }).await;
    let mut member = Member::of(&here, &["room"]).await;
    server.process().pause();
    // More than the sockets and the bound take together.
    for number in 0..COUNT {
        here.group_send(&group("room"), large(number, 60_000)).await.unwrap();
        assert_eq!(member.hears().await, number.to_string());
    }
    let missed = here.metrics().unpublished;
    assert!(missed > 0 && missed <= COUNT, "{missed}");
    server.process().resume();
    // The server now publishes to the new connection what its socket held. The members here already had these events.
    assert_eq!(member.hears().await, "gap in room");
    let other = layer::<S>(on(&mut server)).await;
    other.group_send(&group("room"), &note(COUNT)).await.unwrap();
    assert_eq!(member.hears().await, COUNT.to_string());
}

/// The connections are cut in the middle of a message. No client's connection ends, and later events arrive.
pub async fn a_cut_connection_comes_back<S: FaultyServer>() {
    let mut server = S::start();
    let proxy = Proxy::start(server.process().port()).await;
    let here = layer::<S>(Settings::new(proxy.port())).await;
    let other = layer::<S>(on(&mut server)).await;
    let mut member = Member::of(&here, &["room"]).await;
    proxy.cut_after(10_000);
    // Far longer than the bytes that may pass.
    other.group_send(&group("room"), large(1, 20_000)).await.unwrap();
    eventually("the connection is cut", || proxy.has_cut()).await;
    proxy.mend();
    assert_eq!(member.hears().await, "gap in room");
    other.group_send(&group("room"), &note(2)).await.unwrap();
    assert_eq!(member.hears().await, "2");
    assert_eq!(here.metrics().reconnected, 1);
}

/// While 600 members come and go, the members that stay lose no event and get none twice.
pub async fn members_that_come_and_go_cost_others_no_events<S: FaultyServer>() {
    const COUNT: u64 = 300;
    let mut server = S::start();
    let (here, other) = (layer::<S>(on(&mut server)).await, layer::<S>(on(&mut server)).await);
    let mut steady = members(&here, 5).await;
    let churn = async {
        for number in 0..300_u64 {
            Member::of(&here, &["room"]).await.leave().await;
            // The only member of its group, so the process joins the group and leaves it again and again.
            let mut alone = Member::of(&here, &["hall"]).await;
            other.group_send(&group("hall"), &note(number)).await.unwrap();
            assert_eq!(alone.hears().await, number.to_string());
            alone.leave().await;
        }
    };
    let send = async {
        for number in 0..COUNT {
            other.group_send_counted(&group("room"), &note(number)).await.unwrap();
        }
    };
    tokio::join!(churn, send);
    for member in &mut steady {
        for number in 0..COUNT {
            assert_eq!(member.hears().await, number.to_string());
        }
    }
    assert_eq!(here.metrics().undecodable, 0);
}

/// A member that has joined hears the very next send of another process.
pub async fn a_join_is_in_force_when_it_returns<S: FaultyServer>() {
    let mut server = S::start();
    let (here, other) = (layer::<S>(on(&mut server)).await, layer::<S>(on(&mut server)).await);
    for number in 0..200_u64 {
        let name = format!("room.{number}");
        let mut member = Member::of(&here, &[&name]).await;
        other.group_send(&group(&name), &note(number)).await.unwrap();
        assert_eq!(member.hears().await, number.to_string());
    }
}

/// Holds the relays of a test back until it is opened. All tests of a process share one, because relays have no state.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

static GATE: Gate = Gate(Mutex::new(true), Condvar::new());
static RELAYED: AtomicU64 = AtomicU64::new(0);

impl Gate {
    fn set(&self, open: bool) {
        *self.0.lock().unwrap() = open;
        self.1.notify_all();
    }

    fn pass(&self) {
        let open = self.0.lock().unwrap();
        drop(self.1.wait_while(open, |open| !*open).unwrap());
    }
}

struct Slow;

impl Consumer for Slow {
    fn groups(&self) -> Vec<GroupName> {
        vec![group("slow")]
    }
}

#[event_handlers]
impl Slow {
    #[relay]
    fn note(note: &Note) -> Result<Outgoing> {
        GATE.pass();
        RELAYED.fetch_add(1, Relaxed);
        Ok(Outgoing::text(note.number.to_string()))
    }

    async fn layer_gap(&mut self, gap: &LayerGap, ctx: &mut Context) -> Result<()> {
        ctx.send_text(format!("gap in {}", gap.group))
    }
}

/// If events come faster than members take them, events beyond the bound are dropped and counted. The connection stays.
pub async fn events_beyond_the_bound_are_dropped_and_counted<S: FaultyServer>() {
    const COUNT: u64 = 2_000;
    const ROOM: usize = 64 << 10;
    let mut server = S::start();
    let here = layer::<S>(Settings { queue_bytes: ROOM, ..on(&mut server) }).await;
    let other = layer::<S>(on(&mut server)).await;
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Slow))).unwrap().layer(here.clone());
    let mut client = WebsocketCommunicator::new(&mount, "/");
    client.connect().await.unwrap();
    GATE.set(false);
    for number in 0..COUNT {
        other.group_send(&group("slow"), &note(number)).await.unwrap();
    }
    // Each event counts 256 bytes more than its length. None is finished while the gate holds the first one.
    let mut room = ROOM;
    let taken = (0..COUNT).take_while(|&number| {
        let written = Envelope::new(note(number)).to_wire(greenroom::event::Format::MsgPack).unwrap();
        let left = room.checked_sub(written.len() + 256);
        room = left.unwrap_or_default();
        left.is_some()
    });
    let missed = COUNT - taken.count() as u64;
    eventually("all events have come", || here.metrics().inbound_full == missed).await;
    GATE.set(true);
    let mut heard = 0;
    if S::TELLS_DROPS {
        while client.receive_text().await.unwrap() != "gap in slow" {
            heard += 1;
        }
    } else {
        eventually("there is room again", || RELAYED.load(Relaxed) + missed == COUNT).await;
    }
    other.group_send(&group("slow"), &note(COUNT)).await.unwrap();
    while client.receive_text().await.unwrap() != COUNT.to_string() {
        heard += 1;
    }
    let metrics = here.metrics();
    assert_eq!(heard + metrics.inbound_full, COUNT, "each was heard or counted");
    assert_eq!(RELAYED.load(Relaxed), heard + 1);
    assert_eq!(metrics.reconnected, 0);
    client.disconnect().await;
}
