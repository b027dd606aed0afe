//! NATS servers that refuse, and foreign clients on them.
//!
//! The conformance suite has the faults that a server of any kind may have.

use std::time::Duration;

use greenroom::{
    ChannelName, Envelope, Layer, LayerError,
    layers::nats::{NatsConfig, NatsLayer},
};
use nats_tests::NatsServer;
use redis_tests::{Member, group, note};

async fn ready(config: NatsConfig) -> Layer {
    let layer = NatsLayer::new(config).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

fn config(server: &NatsServer) -> NatsConfig {
    NatsConfig::new(server.url()).timeout(Duration::from_secs(1))
}

/// A note as it is sent to NATS.
fn written(number: u64) -> Vec<u8> {
    Envelope::new(note(number)).to_wire(greenroom::event::Format::MsgPack).unwrap().to_vec()
}

/// A process subscribes to a group once, however many members the group has there. The last member's leaving unsubscribes.
#[actix_web::test]
async fn a_process_subscribes_to_a_group_once() {
    let server = NatsServer::watched();
    let layer = ready(config(&server)).await;
    let before = server.subscriptions().await;
    let mut many = Vec::new();
    for _ in 0..100 {
        many.push(Member::of(&layer, &["room"]).await);
    }
    assert_eq!(server.subscriptions().await, before + 1, "one subscription for all members");
    for member in many {
        member.leave().await;
    }
    while server.subscriptions().await > before {}
    let _again = Member::of(&layer, &["room"]).await;
    assert_eq!(server.subscriptions().await, before + 1);
    drop(layer);
}

/// Garbage under our subjects is counted and answered, and disturbs no member.
#[actix_web::test]
async fn garbage_is_counted_and_disturbs_nobody() {
    let server = NatsServer::start();
    let layer = ready(config(&server)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let stranger = server.connect().await;
    for garbage in [&b""[..], b"\xff\x00", b"{\"type\":\"note\"}", b"\x91\xa4type", b"\x81\xa4type\xa2_x"] {
        stranger.publish("greenroom.group.room", garbage.to_vec().into()).await.unwrap();
    }
    stranger.publish("greenroom.group.room", written(1).into()).await.unwrap();
    assert_eq!(member.hears().await, "1");
    assert_eq!(layer.metrics().undecodable, 5);

    let channel = member.channel();
    let process = channel.non_local().trim_start_matches("specific.").trim_end_matches('!').to_owned();
    let ask = async |subject: String, payload: Vec<u8>| {
        let answer = stranger.request(subject, payload.into()).await.unwrap();
        String::from_utf8(answer.payload.to_vec()).unwrap()
    };
    let own = channel.replace('.', ":");
    assert_eq!(ask(format!("greenroom.send.{process}.{own}"), written(2)).await, "ok");
    assert_eq!(member.hears().await, "2");
    assert_eq!(ask(format!("greenroom.join.{process}.{own}.hall"), Vec::new()).await, "ok");
    stranger.publish("greenroom.group.hall", written(3).into()).await.unwrap();
    assert_eq!(member.hears().await, "3");
    assert!(
        ask(format!("greenroom.send.{process}.{own}"), b"garbage".to_vec()).await.starts_with("refused ")
    );
    for strange in ["é", "a!b!c", "..."] {
        let strange = strange.replace('.', ":");
        let answer = ask(format!("greenroom.send.{process}.{strange}"), written(4)).await;
        assert!(answer == "none" || answer.starts_with("refused "), "{answer}");
    }
    assert!(ask(format!("greenroom.join.{process}.{own}.é"), Vec::new()).await.starts_with("refused "));
    let gone = format!("specific:{process}!1:99:99");
    assert_eq!(ask(format!("greenroom.send.{process}.{gone}"), written(4)).await, "none");
    assert_eq!(layer.metrics().undecodable, 6);
    assert_eq!(layer.metrics().reconnected, 0);
}

/// A message above the server's limit is refused before any member gets it. The error names the limit.
#[actix_web::test]
async fn a_message_that_is_too_large_is_refused() {
    let server = NatsServer::configured("max_payload: 5000");
    let layer = ready(config(&server)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let event = |size: usize| {
        let text = format!(r#"{{"type":"note","number":1,"more":"{}"}}"#, "x".repeat(size));
        Envelope::from_json(text).unwrap()
    };
    let refused = |sent: Result<(), LayerError>| {
        assert!(matches!(sent, Err(LayerError::MessageTooLarge { limit: 5000, .. })), "{sent:?}");
    };
    refused(layer.group_send(&group("room"), event(5_000)).await);
    refused(layer.send(&ChannelName::new("jobs").unwrap(), event(5_000)).await);
    layer.group_send(&group("room"), event(4_000)).await.unwrap();
    assert_eq!(member.hears().await, "1");
    assert_eq!(layer.metrics().reconnected, 0);
}

/// If the server's access list forbids a subject, the error says which permission is missing.
#[actix_web::test]
async fn a_missing_permission_is_reported() {
    let server = NatsServer::configured(
        r#"authorization: { users: [ {
            user: ann, password: secret, permissions: { publish: "other.>", subscribe: "greenroom.>" }
        } ] }"#,
    );
    let url = format!("nats://ann:secret@127.0.0.1:{}", server.port());
    let layer = NatsLayer::new(NatsConfig::new(url).timeout(Duration::from_secs(1))).unwrap();
    let error = layer.ready().await.unwrap_err().to_string();
    assert!(error.contains("Permissions Violation") && error.contains("greenroom."), "{error}");
}
