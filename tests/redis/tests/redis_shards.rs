//! Several Redis servers, one of which hangs: what does not need it goes on.

use actix_web::rt;
use greenroom::{
    Layer,
    layers::{Away, redis::RedisConfig},
};
use integration_tests::PATIENCE;
use redis_tests::{
    Member, RedisServer, group,
    kinds::{Connections, Core, Kind, PubSub},
    note,
};
use tokio::time::timeout;

/// The shard of a name, as in channels_redis, if there are two.
fn shard_of(name: &str) -> usize {
    (crc32(name.as_bytes()) as usize & 0xFFF) / 2048
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, &byte| (0..8).fold(sum ^ u32::from(byte), step))
}

/// A name whose group has its key, or its topic, on this shard.
fn name_on<K: Kind>(start: &str, shard: usize) -> String {
    let place = |name: &str| if K::IS_PUBSUB { format!("asgi__group__{name}") } else { name.to_owned() };
    let mut names = (0..1_000).map(|number| format!("{start}.{number}"));
    names.find(|name| shard_of(&place(name)) == shard).expect("a name for each shard")
}

/// A layer whose process has its queue on the first shard. The servers may take longer to answer than the test lasts.
async fn on_first<K: Kind>(servers: &[RedisServer; 2]) -> Layer {
    loop {
        let config = RedisConfig::new(servers[0].url())
            .and_host(RedisConfig::new(servers[1].url()))
            .away(Away::Error)
            .timeout(PATIENCE * 4);
        let (layer, ready) = K::open(config).await;
        ready.unwrap();
        let own = layer.new_channel().await.unwrap();
        if K::IS_PUBSUB || shard_of(own.non_local()) == 0 {
            return layer;
        }
    }
}

async fn a_shard_that_hangs_holds_no_other<K: Kind>() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let (here, there) = (on_first::<K>(&servers).await, on_first::<K>(&servers).await);
    let (well, hung) = (name_on::<K>("room", 0), name_on::<K>("room", 1));
    let (mut ours, mut theirs) = (Member::of(&here, &[&well]).await, Member::of(&there, &[&well]).await);
    servers[1].pause();
    // These wait for the shard that hangs.
    let joins = rt::spawn({
        let (here, hung) = (here.clone(), hung.clone());
        async move { Member::of(&here, &[&hung]).await }
    });
    let sends = rt::spawn({
        let here = here.clone();
        async move { here.group_send(&group(&hung), note(0)).await }
    });
    let works = async {
        for number in 1..4 {
            here.group_send(&group(&well), note(number)).await.unwrap();
            assert_eq!((ours.hears().await, theirs.hears().await), (number.to_string(), number.to_string()));
        }
        for number in 0..3 {
            let name = name_on::<K>(&format!("more{number}"), 0);
            let mut late = Member::of(&here, &[&name]).await;
            there.group_send(&group(&name), note(7)).await.unwrap();
            assert_eq!(late.hears().await, "7");
            late.leave().await;
        }
    };
    timeout(PATIENCE, works).await.expect("the other shard does not wait");
    assert!(!sends.is_finished(), "the send waits for the shard that hangs");
    servers[1].resume();
    sends.await.unwrap().unwrap();
    joins.await.unwrap().leave().await;
}

#[actix_web::test]
async fn a_core_layer_waits_for_each_shard_alone() {
    a_shard_that_hangs_holds_no_other::<Core>().await;
}

#[actix_web::test]
async fn a_core_layer_with_names_for_connections_waits_for_each_shard_alone() {
    a_shard_that_hangs_holds_no_other::<Connections>().await;
}

#[actix_web::test]
async fn a_pubsub_layer_waits_for_each_shard_alone() {
    a_shard_that_hangs_holds_no_other::<PubSub>().await;
}
