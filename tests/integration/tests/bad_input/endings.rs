//! Control frames at any time, and all ways in which a client leaves.

use greenroom::close::{Cause, Disconnect};
use integration_tests::{
    log,
    raw::{BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, Raw, TEXT, close_payload, masked},
};

use super::Room;

fn close(code: u16, reason: &str) -> Vec<u8> {
    masked(FIN | CLOSE, &close_payload(code, reason))
}

#[actix_web::test]
async fn a_ping_is_answered_with_its_own_payload() {
    let mut room = Room::open().await;
    let (mut client, _) = room.enter().await;
    for payload in [&b""[..], b"Hello", &[0xff; 125]] {
        client.send(&masked(FIN | PING, payload)).await;
        assert_eq!(client.frame().await, Frame::pong(payload));
    }
    client.send(&masked(FIN | PONG, b"nobody asked")).await;
    let between = [masked(BINARY, b"ab"), masked(FIN | PING, b"?"), masked(FIN | CONTINUATION, b"cd")];
    client.send(&between.concat()).await;
    assert_eq!(
        client.frame().await,
        Frame::pong(b"?"),
        "a ping between the fragments of a message is answered too"
    );
    assert_eq!(client.next_text().await, "4 bytes");
    room.lives(2).await;
}

#[actix_web::test]
async fn pings_and_neighbours_do_not_wait_for_a_hook() {
    let mut room = Room::open().await;
    let (mut client, _) = room.enter().await;
    client.text("wait").await;
    client.send(&masked(FIN | PING, b"still there?")).await;
    assert_eq!(client.frame().await, Frame::pong(b"still there?"));
    room.lives(2).await;
    room.gate.notify_one();
    assert_eq!(client.next_text().await, "waited");
    assert_eq!(client.next_text().await, "to all", "the events that came meanwhile follow");
    assert_eq!(client.next_text().await, "I am here");
}

/// Rule 13: the client's code and reason arrive.
#[actix_web::test]
async fn a_close_frame_is_answered_with_its_code() {
    for (code, reason) in [(1000, ""), (1001, "the page is left"), (3000, ""), (4999, "bye")] {
        let mut room = Room::open().await;
        let (mut client, _) = room.enter().await;
        client.send(&close(code, reason)).await;
        assert_eq!(client.close_frame().await.0, code);
        client.ended().await;
        assert_eq!(room.ended().await, Disconnect::new(code, reason, Cause::Client));
        room.lives(1).await;
    }
}

/// Rule 13: the code is 1005, as the specification says. Daphne gives `None`.
#[actix_web::test]
async fn a_close_frame_without_a_code_is_answered_without_one() {
    let mut room = Room::open().await;
    let (mut client, _) = room.enter().await;
    client.send(&masked(FIN | CLOSE, b"")).await;
    assert_eq!(client.frame().await, Frame { first: FIN | CLOSE, payload: Vec::new() });
    client.ended().await;
    assert_eq!(room.ended().await, Disconnect::new(1005, "", Cause::Client));
    room.lives(1).await;
}

/// Rule 17, mended: the client does not wait for the hook, and `disconnect` runs after the hook.
#[actix_web::test]
async fn a_close_frame_is_answered_while_a_hook_waits() {
    let mut room = Room::open().await;
    let (mut client, _) = room.enter().await;
    client.text("wait").await;
    client.send(&close(4001, "impatient")).await;
    assert_eq!(client.close_frame().await.0, 4001);
    client.ended().await;
    assert!(room.ended.try_recv().is_err(), "the hook still runs");
    room.gate.notify_one();
    assert_eq!(room.ended().await, Disconnect::new(4001, "impatient", Cause::Client));
    room.lives(1).await;
}

#[actix_web::test]
async fn messages_after_a_close_frame_are_not_heard() {
    let mut room = Room::open().await;
    let (mut client, _) = room.enter().await;
    let bytes = [masked(FIN | TEXT, b"before"), close(1000, ""), masked(FIN | TEXT, b"after")].concat();
    client.send(&bytes).await;
    assert_eq!(client.close_frame().await.0, 1000);
    assert_eq!(room.neighbour.text().await, "before");
    assert_eq!(room.ended().await.code.0, 1000);
    room.lives(1).await;
}

/// Rule 14: nothing is handled or sent once the consumer has closed.
#[actix_web::test]
async fn messages_after_the_consumers_close_are_not_heard() {
    let mut room = Room::open().await;
    let (mut client, _) = room.enter().await;
    client.send(&[masked(FIN | TEXT, b"close"), masked(FIN | TEXT, b"after")].concat()).await;
    assert_eq!(client.close_frame().await, (1000, String::new()));
    client.send(&[masked(FIN | TEXT, b"later"), masked(FIN | PING, b"?"), close(1000, "")].concat()).await;
    client.ended().await;
    assert_eq!(room.ended().await, Disconnect::new(1000, "", Cause::Consumer));
    room.lives(1).await;
}

/// Rule 13: every end without a close frame has the code 1006.
#[actix_web::test]
async fn tcp_that_ends_anywhere_in_a_frame_is_1006() {
    let frame = masked(FIN | TEXT, b"a message that is cut");
    for cut in [0, 1, 3, 6, frame.len() - 1] {
        let mut room = Room::open().await;
        let (mut client, _) = room.enter().await;
        client.send(&frame[..cut]).await;
        drop(client);
        assert_eq!(room.ended().await, Disconnect::new(1006, "", Cause::Gone), "after {cut} bytes");
        room.lives(1).await;
    }
}

#[actix_web::test]
async fn a_client_that_closes_its_sending_side_is_gone() {
    let mut room = Room::open().await;
    let (mut client, _) = room.enter().await;
    client.shut_down().await;
    assert_eq!(room.ended().await, Disconnect::new(1006, "", Cause::Gone));
    client.ended().await;
    room.lives(1).await;
}

/// Rules 15 and 16: the connection ends with 1011, and unlike in Channels `disconnect` runs.
#[actix_web::test]
async fn a_hook_that_fails_on_a_message_closes_with_1011() {
    for word in ["fail", "panic"] {
        let mut room = Room::open().await;
        let (mut client, channel): (Raw, String) = room.enter().await;
        client.text(word).await;
        assert_eq!(client.closed().await, (1011, String::new()), "{word}: the client is not told why");
        assert_eq!(room.ended().await, Disconnect::new(1011, "", Cause::Error));
        log::logged(&["ERROR", &channel, "on purpose"]).await;
        room.lives(1).await;
    }
}
