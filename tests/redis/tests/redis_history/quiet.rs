//! Rooms in which nothing is said.

use redis_tests::eventually;

use super::*;

both! {
    /// A room with members keeps its log, however long it is quiet.
    a_quiet_room_keeps_its_log,
}

async fn a_quiet_room_keeps_its_log<K: Kind>() {
    let server = RedisServer::start();
    let first = Process::start::<K>(config(&server.url())).await;
    let mut here = first.join("/room/").await;
    first.send([1]).await;
    assert_eq!(here.text().await, "1");
    // The entries are gone long before the state is near its end. It would end before the test gives up.
    server.run::<u64>(&["DEL", ENTRIES]);
    server.run::<u64>(&["EXPIRE", STATE, "30"]);
    eventually("it lives on", || server.run::<i64>(&["TTL", STATE]) > 3_000).await;
    let mut back = first.back("/room/", here.cut()).await;
    assert_eq!(back.outcome(), "recovered", "nothing was sent meanwhile");
    first.send([2]).await;
    assert_eq!(back.text().await, "2");
}
