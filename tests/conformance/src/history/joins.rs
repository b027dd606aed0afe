//! Members that join while the server hangs or is away.

use integration_tests::{Client, history::Reader};

use super::{LogServer, Process, faults::on, texts};
use crate::faulty::{eventually, is_away};

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
