//! Messages that are too large. Mirrors daphne's tests of message and frame sizes. Daphne drops TCP instead.

use greenroom::close::{Cause, Disconnect};
use integration_tests::raw::{BINARY, CONTINUATION, FIN, PING, TEXT, header, masked};

use super::{Room, SMALL, refused};

const MIB: u64 = 1 << 20;

/// Only the header is sent. The server reads nothing of a message that it will not take, and keeps no memory for it.
#[actix_web::test]
async fn a_message_over_the_limit_is_refused_at_its_header() {
    for length in [MIB + 1, 1 << 32, i64::MAX as u64] {
        let reason = "the message has more than 1048576 bytes (Limits::message_size)";
        refused(&header(FIN | TEXT, length), 1009, reason).await;
        refused(&header(BINARY, length), 1009, reason).await;
    }
}

#[actix_web::test]
async fn fragments_over_the_limit_are_refused_at_the_last_header() {
    let bytes = [masked(TEXT, &[b'x'; 600]), masked(FIN | PING, b""), header(CONTINUATION, 401)].concat();
    let room = Room::open().await;
    room.refuses("/small/", &bytes, 1009, "the message has more than 1000 bytes (Limits::message_size)")
        .await;
}

#[actix_web::test]
async fn a_route_has_its_own_limit() {
    let room = Room::open().await;
    let reason = "the message has more than 1000 bytes (Limits::message_size)";
    room.refuses("/small/", &header(FIN | TEXT, SMALL as u64 + 1), 1009, reason).await;
}

/// Mirrors daphne's test_websocket_max_message_size_allows_under_limit.
#[actix_web::test]
async fn a_message_of_exactly_the_limit_is_taken() {
    let mut room = Room::open().await;
    let (mut small, _) = room.enter_by("/small/").await;
    small.send(&masked(FIN | BINARY, &[7; SMALL])).await;
    assert_eq!(small.next_text().await, "1000 bytes");
    small.send(&[masked(BINARY, &[7; 600]), masked(FIN | CONTINUATION, &[7; 400])].concat()).await;
    assert_eq!(small.next_text().await, "1000 bytes");

    let (mut large, _) = room.enter().await;
    large.send(&masked(FIN | BINARY, &vec![7; MIB as usize])).await;
    assert_eq!(large.next_text().await, "1048576 bytes");
    room.lives(3).await;
}

/// A client that does not wait for the answer still gets the answer, and not only a reset.
#[actix_web::test]
async fn a_client_that_sends_a_whole_message_over_the_limit_gets_1009() {
    let mut room = Room::open().await;
    let (mut client, _) = room.enter().await;
    // The server refuses the message before it has come whole.
    let _ = client.try_send(&masked(FIN | BINARY, &vec![7; 8 * MIB as usize])).await;
    let reason = "the message has more than 1048576 bytes (Limits::message_size)";
    assert_eq!(client.close_frame().await, (1009, reason.to_owned()));
    assert_eq!(room.ended().await, Disconnect::new(1009, reason, Cause::Protocol));
    room.lives(1).await;
}
