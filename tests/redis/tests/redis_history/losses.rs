//! A Redis that loses its logs, or their newest part: it is said, and who is there goes on.

use redis_tests::{Proxy, eventually};

use super::*;

both! {
    /// All keys are deleted. The log begins anew: who was away is told, and who is there gets what comes.
    a_flush_is_a_new_epoch,
    /// The state of a log is evicted, or its entries are.
    each_key_of_a_log_may_be_evicted,
    /// A replica that is behind takes over in the middle of traffic. Nobody is told that it has missed nothing, if it has.
    a_promoted_replica_that_is_behind_is_noticed,
}

async fn a_flush_is_a_new_epoch<K: Kind>() {
    let server = RedisServer::start();
    let (first, second) = two::<K>(&server).await;
    let mut away = first.join("/room/").await;
    let (mut here, mut there) = (first.join("/room/").await, second.join("/room/").await);
    first.send([1]).await;
    for reader in [&mut away, &mut here, &mut there] {
        assert_eq!(reader.text().await, "1");
    }
    let memory = away.cut();
    first.send([2]).await;
    assert_eq!((here.text().await, there.text().await), ("2".to_owned(), "2".to_owned()));
    // The memberships are written again by themselves, but later than this test waits.
    server.run::<()>(&["FLUSHALL"]);
    if !K::IS_PUBSUB {
        first.layer.flush().await.unwrap();
        second.layer.flush().await.unwrap();
    }
    first.send([3]).await;
    assert_eq!((here.text().await, there.text().await), ("3".to_owned(), "3".to_owned()));
    second.send([4]).await;
    assert_eq!((here.text().await, there.text().await), ("4".to_owned(), "4".to_owned()));
    for process in [&first, &second] {
        let mut back = process.back("/room/", memory.clone()).await;
        assert_eq!(back.outcome(), "epoch");
        process.send([5]).await;
        assert_eq!(back.text().await, "5");
    }
    // A process that starts later knows the clients of the others all the same.
    let memory = here.cut();
    let third = Process::start::<K>(config(&server.url())).await;
    assert_eq!(third.back("/room/", memory).await.outcome(), "recovered");
}

async fn each_key_of_a_log_may_be_evicted<K: Kind>() {
    let server = RedisServer::start();
    let first = Process::start::<K>(config(&server.url())).await;
    for (key, reason) in [(STATE, "epoch"), (ENTRIES, "trimmed")] {
        let (mut away, mut here) = (first.join("/room/").await, first.join("/room/").await);
        first.send([1]).await;
        assert_eq!((away.text().await, here.text().await), ("1".to_owned(), "1".to_owned()));
        let memory = away.cut();
        first.send([2]).await;
        // What a thread has not handed out yet is lost with the log, and its members are told so.
        assert_eq!(here.text().await, "2", "{key}");
        assert_eq!(server.run::<u64>(&["DEL", key]), 1);
        first.send([3]).await;
        assert_eq!(here.text().await, "3", "{key}");
        let second = Process::start::<K>(config(&server.url())).await;
        assert_eq!(second.back("/room/", memory).await.outcome(), reason, "{key}");
    }
}

async fn a_promoted_replica_that_is_behind_is_noticed<K: Kind>() {
    let mut master = RedisServer::start();
    let feed = Proxy::start(master.port()).await;
    let port = feed.port().to_string();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &port]);
    eventually("it is in step", || {
        replica.run::<String>(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    let proxy = Proxy::start(master.port()).await;
    let (first, second) =
        (Process::start::<K>(config(&proxy.url())).await, Process::start::<K>(config(&proxy.url())).await);
    let mut away = first.join("/room/").await;
    let (mut here, mut there) = (first.join("/room/").await, second.join("/room/").await);
    first.send(1..=3).await;
    for reader in [&mut away, &mut here, &mut there] {
        assert_eq!(reader.texts(3).await, texts(1..=3));
    }
    let old = first.join("/room/").await.cut();
    eventually("the replica has these", || replica.run::<u64>(&["XLEN", ENTRIES]) == 3).await;
    feed.cut_after(0);
    // The replica does not get these any more.
    first.send(4..=5).await;
    for reader in [&mut away, &mut here, &mut there] {
        assert_eq!(reader.texts(2).await, texts(4..=5));
    }
    let memory = away.cut();
    first.send([6]).await;
    assert_eq!((here.text().await, there.text().await), ("6".to_owned(), "6".to_owned()));
    replica.run::<()>(&["REPLICAOF", "NO", "ONE"]);
    proxy.lead_to(replica.port());
    master.kill();
    proxy.cut();
    eventually("both are back", || replica.run::<String>(&["CLIENT", "LIST"]).lines().count() >= 5).await;
    let mut sent = false;
    while !sent {
        sent = first
            .layer
            .group_send_counted(&group("room"), note(7))
            .await
            .is_ok_and(|delivery| delivery.delivered > 1);
    }
    for reader in [&mut here, &mut there] {
        let mut last = String::new();
        while last != "7" {
            last = reader.text().await;
        }
    }
    for process in [&first, &second] {
        let back = process.back("/room/", memory.clone()).await;
        assert_ne!(
            back.outcome(),
            "recovered",
            "4 and 5 were heard, 6 was missed, and the log has none of them"
        );
    }
    // Nothing says so of a place that is in both histories, and what came after it is gone: it is not recovered either.
    assert_ne!(second.back("/room/", old).await.outcome(), "recovered");
}
