//! Members that join while the server hangs or is away.

use std::time::Duration;

use integration_tests::{Client, history::Reader};
use tokio::time::timeout;

use super::{
    LogServer, Process,
    faults::{beside_a_proxy, cut_off, heard_until, on},
    texts,
};
use crate::faulty::{eventually, is_away};

/// How long to listen before more is said.
const AGAIN: Duration = Duration::from_millis(50);

/// Tells two clients' consumers to join the group `room`. Returns what they say.
async fn join_room(reader: &mut Reader, plain: &mut Client) -> [String; 2] {
    reader.say("room").await;
    plain.send("room").await;
    [reader.text().await, plain.text().await]
}

/// A join is given up while the server hangs, and made again later. Then the consumer is a member like all others.
pub async fn a_join_that_is_given_up_can_be_made_again<S: LogServer>() {
    let mut server = S::start();
    let process: Process = on::<S>(server.process().port(), |_| {}).await;
    let (mut reader, mut plain) = (process.join("/lobby/").await, process.plain("/lobby/").await);
    server.process().pause();
    assert_eq!(join_room(&mut reader, &mut plain).await, ["gave up", "gave up"]);
    server.process().resume();
    // On a busy machine it may take long once more.
    while join_room(&mut reader, &mut plain).await != ["joined", "joined"] {}
    eventually("it is back", || !is_away(&process.layer)).await;
    process.send(1..=3).await;
    assert_eq!(reader.texts(3).await, texts(1..=3));
    for number in texts(1..=3) {
        assert_eq!(plain.text().await, number);
    }
}

/// Who wants the last events while the server is away is told that they cannot be had, and gets all that follow.
pub async fn last_events_that_cannot_be_read_are_said<S: LogServer>() {
    let (_server, proxy, here, there) = beside_a_proxy::<S>().await;
    there.send(1..=2).await;
    cut_off(&proxy, &here).await;
    let mut late = here.join("/room/?last=5").await;
    assert_eq!(late.text().await, "lost unlogged");
    assert_eq!(here.layer.metrics().lost_unlogged, 1);
    proxy.mend();
    eventually("it is back", || !is_away(&here.layer)).await;
    // It begins where the log ends when its process opens it, which is a moment later.
    let mut number = 3;
    there.send([number]).await;
    while timeout(AGAIN, late.text()).await.map_or(true, |text| text.parse::<u64>().is_err()) {
        number += 1;
        there.send([number]).await;
    }
    there.send([number + 1]).await;
    heard_until(&mut late, number + 1).await;
}
