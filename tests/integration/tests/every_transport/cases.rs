//! The cases. Each is a function over a client, and cites the rule of Channels that it checks.

use std::time::Duration;

use greenroom::{Fallback, Limits};
use integration_tests::{
    PATIENCE,
    clients::{Heard, Opened, Refused, Said, TestClient},
    eventually,
};
use tokio::time::timeout;

use super::subject::Fixture;

/// Rule 10: a message is a text or bytes, and may be empty.
pub(crate) async fn messages_arrive_as_they_were_sent<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let mut client: C = it.open().await;
    let texts =
        ["hello", "", "\u{1f600} \"quoted\" \\ \n\n data: x\r\n\u{2028}\0", "{\"binary\":\"AA==\"}", "[1]"];
    for text in texts {
        client.say(text).await;
        assert_eq!(client.text().await, text);
    }
    for bytes in [&b""[..], &[0, 159, 146, 150], &[0xff; 3]] {
        assert!(client.send(Said::Binary(bytes.to_vec())).await);
        assert_eq!(client.receive().await, Heard::Message(Said::Binary(bytes.to_vec())));
    }
    client.close(Some(1000), "").await;
}

pub(crate) async fn large_messages_arrive_whole<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let mut client: C = it.open().await;
    for size in [1_000, 70_000, 700_000] {
        let text: String = (0..size).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
        client.say(&text).await;
        assert!(client.text().await == text, "{size} bytes of text");
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        assert!(client.send(Said::Binary(bytes.clone())).await);
        assert!(client.receive().await == Heard::Message(Said::Binary(bytes)), "{size} bytes");
    }
    client.close(Some(1000), "").await;
}

/// Rule 9: each source is first in, first out.
pub(crate) async fn rule_9_messages_keep_their_order<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let mut client: C = it.open().await;
    for round in 0..10 {
        for number in 0..10 {
            client.say(&format!("{round} {number}")).await;
        }
        for number in 0..10 {
            assert_eq!(client.text().await, format!("{round} {number}"));
        }
    }
    client.close(Some(1000), "").await;
}

/// The application does not see what the transport adds to a request.
pub(crate) async fn the_scope_hides_what_the_transport_adds<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let mut client: C = it.try_open("/s/a%20b?x=1&y=%41&x=2", &[]).await.unwrap().client;
    client.say("scope").await;
    assert_eq!(client.text().await, r#"["/s/a b","x=1&y=%41&x=2","a b"]"#);
    client.close(Some(1000), "").await;
}

pub(crate) async fn rule_22_each_connection_has_a_consumer_of_its_own<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let (mut first, mut second): (C, C) = (it.open().await, it.open().await);
    for expected in ["1", "2", "3"] {
        first.say("count").await;
        assert_eq!(first.text().await, expected);
    }
    second.say("count").await;
    assert_eq!(second.text().await, "1");
    first.close(Some(1000), "").await;
    second.close(Some(1000), "").await;
}

pub(crate) async fn a_subprotocol_is_chosen_from_those_offered<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let opened: Opened<C> = it.try_open("/s/x?connect=subprotocol", &["v1", "v2"]).await.unwrap();
    assert_eq!(opened.protocol.as_deref(), Some("v2"));
    opened.client.close(Some(1000), "").await;
    let refused = it.try_open::<C>("/s/x?connect=subprotocol", &["v1"]).await.err().unwrap();
    assert_eq!(refused.status, 500, "the subprotocol was not offered");
}

/// Rules 11, 12 and 15: a rejection, a missing accept and an error each have a status.
pub(crate) async fn refusals_have_a_status_and_a_body<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    for (path, status, body) in [
        ("/s/x?connect=reject", 402, "pay first"),
        ("/s/x?connect=deny", 403, "forbidden"),
        ("/s/x?connect=nothing", 403, "forbidden"),
        ("/s/x?connect=error", 500, "internal server error"),
        ("/s/x?connect=panic", 500, "internal server error"),
    ] {
        let refused = it.try_open::<C>(path, &[]).await.err().unwrap();
        assert_eq!(refused, Refused { status, body: body.to_owned() }, "{path}");
    }
    assert_eq!(it.try_open::<C>("/nowhere", &[]).await.err().unwrap().status, 404);
    assert_eq!(it.ended().await, ["1006 Rejected \"\""; 5]);
}

pub(crate) async fn events_sent_while_connecting_come_after_the_accept<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let opening = async {
        let mut client: C = it.try_open("/s/x?connect=slowly", &[]).await.unwrap().client;
        for expected in ["first", "relayed", "told"] {
            assert_eq!(client.text().await, expected);
        }
        client.close(Some(1000), "").await;
    };
    let sending = async {
        it.gate.visited().await;
        it.relay("relayed").await;
        it.tell("told").await;
        it.gate.open();
    };
    tokio::join!(opening, sending);
}

pub(crate) async fn events_and_relays_of_a_group_keep_their_order<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let mut client: C = it.open().await;
    for number in 0..30 {
        it.tell(&format!("told {number}")).await;
        it.relay(&format!("relayed {number}")).await;
    }
    for number in 0..30 {
        assert_eq!(client.text().await, format!("told {number}"));
        assert_eq!(client.text().await, format!("relayed {number}"));
    }
    client.close(Some(1000), "").await;
}

pub(crate) async fn a_relay_does_not_overtake_an_event<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let mut client: C = it.open().await;
    client.say("hang").await;
    it.gate.visited().await;
    it.tell("1").await;
    it.relay("2").await;
    it.gate.open();
    assert_eq!((client.text().await, client.text().await), ("1".to_owned(), "2".to_owned()));
    client.close(Some(1000), "").await;
}

pub(crate) async fn clients_of_a_group_hear_one_another<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let mut clients: Vec<C> = Vec::new();
    for _ in 0..3 {
        clients.push(it.open().await);
    }
    for from in 0..3 {
        clients[from].say(&format!("group:from {from}")).await;
        for client in &mut clients {
            assert_eq!(client.text().await, format!("from {from}"));
        }
    }
    for client in clients {
        client.close(Some(1000), "").await;
    }
    assert_eq!(it.ended().await, ["1000 Client \"\""; 3]);
}

pub(crate) async fn what_a_client_sends_to_others_does_not_come_back<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let (mut one, mut other): (C, C) = (it.open().await, it.open().await);
    one.say("others:1").await;
    assert_eq!(other.text().await, "1");
    one.say("group:2").await;
    assert_eq!((one.text().await, other.text().await), ("2".to_owned(), "2".to_owned()));
    other.say("others:3").await;
    assert_eq!(one.text().await, "3");
    other.close(Some(1000), "").await;
    // It is alone now.
    one.say("others:4").await;
    one.say("5").await;
    assert_eq!(one.text().await, "5");
    one.close(Some(1000), "").await;
}

pub(crate) async fn an_event_is_heard_by_a_client_that_waits_for_it<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let mut client: C = it.open().await;
    for round in 0..3 {
        let sending = async {
            // Long enough for the request of the client to arrive. The test also passes without it.
            tokio::time::sleep(Duration::from_millis(30)).await;
            it.relay(&format!("{round}")).await;
        };
        let (heard, ()) = tokio::join!(client.text(), sending);
        assert_eq!(heard, format!("{round}"));
    }
    client.close(Some(1000), "").await;
}

pub(crate) async fn rule_14_messages_sent_before_a_close_arrive<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let mut client: C = it.open().await;
    for text in ["one", "two"] {
        client.say(text).await;
    }
    client.say("close:4001").await;
    assert_eq!((client.text().await, client.text().await), ("one".to_owned(), "two".to_owned()));
    assert_eq!(client.receive().await, Heard::Closed { code: 4001, reason: "as asked".to_owned() });
    assert_eq!(it.ended().await, ["4001 Consumer \"as asked\""]);
}

pub(crate) async fn rules_13_15_and_16_cleanup_runs_exactly_once_on_every_way_out<C: TestClient>() {
    let cases = [
        ("close", 1000, "1000 Consumer \"\""),
        ("close:4001", 4001, "4001 Consumer \"as asked\""),
        ("send behind the close", 1000, "1000 Consumer \"\""),
        ("error", 1011, "1011 Error \"\""),
        ("panic", 1011, "1011 Error \"\""),
        ("stop", 1000, "1000 Consumer \"\""),
        (
            "json:x",
            1007,
            "1007 Error \"the message is not the expected JSON: expected value at line 1 column 1\"",
        ),
    ];
    for by_event in [false, true] {
        let it = Fixture::new(Limits::new());
        let mut noted = Vec::new();
        for (what, code, expected) in cases {
            let mut client: C = it.open().await;
            if by_event {
                it.tell(what).await;
            } else {
                client.say(what).await;
            }
            match client.receive().await {
                Heard::Closed { code: got, .. } => assert_eq!(got, code, "{what}"),
                other @ Heard::Message(_) => panic!("{what}: {other:?}"),
            }
            noted.push(expected);
            assert_eq!(it.ended().await, noted, "{what}");
        }
    }
}

pub(crate) async fn rule_13_disconnect_gets_the_clients_close_code<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let mut noted = Vec::new();
    for (code, expected) in [
        (Some(1000), "1000 Client \"bye\""),
        (Some(4002), "4002 Client \"bye\""),
        (Some(1001), "1001 Client \"bye\""),
        (None, "1005 Client \"\""),
    ] {
        let client: C = it.open().await;
        client.close(code, if code.is_some() { "bye" } else { "" }).await;
        noted.push(expected);
        assert_eq!(it.ended().await, noted);
    }
}

pub(crate) async fn messages_sent_before_a_client_closed_are_heard<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let mut client: C = it.open().await;
    client.say("hang").await;
    it.gate.visited().await;
    for text in ["note:one", "note:two"] {
        client.say(text).await;
    }
    let closing = client.close(Some(1000), "");
    // The close is answered before the hook has ended.
    let opening = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        it.gate.open();
    };
    tokio::join!(closing, opening);
    assert_eq!(it.ended().await, ["one", "two", "1000 Client \"\""]);
}

pub(crate) async fn a_client_that_vanishes_is_1006<C: TestClient>() {
    // Long enough between two requests on a machine that is busy with other tests.
    let expires = Duration::from_secs(2);
    let it = Fixture::with(Limits::new(), Fallback::new().expires(expires));
    let mut client: C = it.open().await;
    client.say("hello").await;
    assert_eq!(client.text().await, "hello");
    let vanished = tokio::time::Instant::now();
    client.vanish().await;
    assert_eq!(it.ended().await, ["1006 Gone \"\""]);
    assert!(
        C::IS_SEEN_TO_VANISH || vanished.elapsed() >= expires / 2,
        "the server gave the client up too early"
    );
}

pub(crate) async fn a_message_over_the_limit_is_1009<C: TestClient>() {
    let it = Fixture::new(Limits::new().message_size(1_000));
    let mut client: C = it.open().await;
    client.say(&"x".repeat(1_000)).await;
    assert_eq!(client.text().await.len(), 1_000, "a message of exactly the limit is taken");
    // The send may be refused at once, or the end that follows refuses it.
    client.send(Said::Text("x".repeat(1_001))).await;
    assert_eq!(client.ended().await.0, 1009);
    let lines = it.ended().await;
    assert!(lines.len() == 1 && lines[0].starts_with("1009 Protocol"), "{lines:?}");
}

pub(crate) async fn input_that_does_not_parse_is_answered_and_the_connection_lives<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let mut client: C = it.try_open("/doubler", &[]).await.unwrap().client;
    client.say("\"x\"").await;
    assert!(client.text().await.starts_with(r#"{"type":"error","reason":"#));
    assert!(client.send(Said::Binary(vec![1])).await);
    assert!(client.text().await.starts_with(r#"{"type":"error","reason":"#));
    client.say("21").await;
    assert_eq!(client.text().await, "42");
    client.close(Some(1000), "").await;
}

pub(crate) async fn a_client_that_does_not_read_is_1013<C: TestClient>() {
    let it = Fixture::new(Limits::new().outbox_size(100_000));
    let mut client: C = it.open().await;
    // The events first fill the buffers on the way, such as the buffers of a socket.
    let filling = async {
        while it.log.lines().is_empty() {
            it.tell("much:90000").await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, filling).await.expect("the client is closed");
    let (code, _) = client.ended().await;
    assert_eq!(code, 1013);
    let lines = it.ended().await;
    assert!(lines.len() == 1 && lines[0].starts_with("1013 TooSlow"), "{lines:?}");
}

/// The parts are six times what the outbox holds. Without the waits, the client would be closed.
pub(crate) async fn a_stream_that_waits_arrives_whole<C: TestClient>() {
    const PARTS: usize = 30;
    let it = Fixture::new(Limits::new().outbox_size(100_000));
    for how in ["stream", "stream in a task"] {
        let mut client: C = it.open().await;
        client.say(&format!("{how}:{PARTS}")).await;
        for number in 0..PARTS {
            let text = client.text().await;
            assert!(text == format!("{number:020000}"), "{number} came whole");
        }
        client.close(Some(1000), "").await;
    }
    assert_eq!(it.ended().await, ["1000 Client \"\""; 2]);
}

pub(crate) async fn rule_18_a_shutdown_is_1012_with_a_hint<C: TestClient>() {
    let it = Fixture::new(Limits::new());
    let mut client: C = it.open().await;
    client.say("last").await;
    assert_eq!(client.text().await, "last");
    let (left, (code, reason)) = tokio::join!(it.server.drain(PATIENCE), client.ended());
    assert_eq!((left, code), (0, 1012));
    assert!(reason.starts_with("retry="), "{reason}");
    eventually("its consumer has ended", || it.log.lines().len() == 1).await;
    assert_eq!(it.log.lines(), [format!("1012 Shutdown {reason:?}")]);
}
