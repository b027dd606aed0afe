//! Frames that break RFC 6455. The connection ends as soon as the fault is seen.

use integration_tests::raw::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, close_payload, header, masked,
};

use super::refused;

#[actix_web::test]
async fn an_unmasked_frame_is_refused() {
    refused(b"\x81\x05Hello", 1002, "a frame from the client is not masked").await;
}

#[actix_web::test]
async fn reserved_bits_are_refused() {
    for bit in [0x40, 0x20, 0x10] {
        let reason = "a reserved bit is set, but no agreed extension uses it in this frame";
        refused(&masked(FIN | bit | TEXT, b"Hello"), 1002, reason).await;
    }
}

#[actix_web::test]
async fn undefined_opcodes_are_refused() {
    for opcode in [0x3, 0x7, 0xb, 0xf] {
        let reason = format!("the opcode {opcode:#x} is not defined");
        refused(&masked(FIN | opcode, b""), 1002, &reason).await;
    }
}

#[actix_web::test]
async fn control_frames_of_more_than_125_bytes_are_refused() {
    for opcode in [PING, PONG, CLOSE] {
        refused(&header(FIN | opcode, 126), 1002, "a control frame has more than 125 bytes").await;
    }
}

#[actix_web::test]
async fn fragmented_control_frames_are_refused() {
    for opcode in [PING, PONG, CLOSE] {
        refused(&masked(opcode, b""), 1002, "a control frame is fragmented").await;
    }
}

#[actix_web::test]
async fn a_continuation_frame_without_a_message_is_refused() {
    refused(&masked(FIN | CONTINUATION, b"Hello"), 1002, "a continuation frame continues no message").await;
}

#[actix_web::test]
async fn a_message_that_begins_within_another_is_refused() {
    let bytes = [masked(TEXT, b"Hel"), masked(FIN | TEXT, b"lo")].concat();
    refused(&bytes, 1002, "a message begins before the last one has ended").await;
}

#[actix_web::test]
async fn a_length_in_too_many_bytes_is_refused() {
    for length in [&[0x81, 0xfe, 0, 125][..], &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]] {
        refused(length, 1002, "the frame's length is written in too many bytes").await;
    }
    let top = [0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0];
    refused(&top, 1002, "the frame's length has its highest bit set").await;
}

const NOT_UTF8: &str = "the text is not valid UTF-8";

#[actix_web::test]
async fn text_that_is_not_utf8_is_refused() {
    for text in [&b"\xff"[..], b"a\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"cut \xe2\x82"] {
        refused(&masked(FIN | TEXT, text), 1007, NOT_UTF8).await;
    }
}

/// The rest of the message is never sent.
#[actix_web::test]
async fn bad_utf8_is_refused_before_the_message_is_complete() {
    let frame = masked(FIN | TEXT, b"bad \xff and a rest that does not come");
    refused(&frame[..6 + 5], 1007, NOT_UTF8).await;
    refused(&masked(TEXT, b"bad \xff"), 1007, NOT_UTF8).await;
    // The first fragment ends with a part of a good character, and the second one makes it bad.
    let bytes = [masked(TEXT, b"\xe2\x82"), masked(CONTINUATION, b"\x41")].concat();
    refused(&bytes, 1007, NOT_UTF8).await;
}

#[actix_web::test]
async fn close_frames_with_forbidden_codes_are_refused() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let reason = format!("a close frame must not have the code {code}");
        refused(&masked(FIN | CLOSE, &close_payload(code, "")), 1002, &reason).await;
    }
}

#[actix_web::test]
async fn a_close_frame_with_half_a_code_is_refused() {
    refused(&masked(FIN | CLOSE, &[3]), 1002, "the close frame has one byte, but a code has two").await;
}

#[actix_web::test]
async fn a_close_reason_that_is_not_utf8_is_refused() {
    refused(&masked(FIN | CLOSE, b"\x03\xe8\xff"), 1007, NOT_UTF8).await;
}

/// The frame before the fault was good, and the frame after it is not read.
#[actix_web::test]
async fn a_faulty_frame_between_good_frames_is_refused() {
    let bytes = [masked(FIN | BINARY, b"good"), masked(FIN | 0x3, b""), masked(FIN | TEXT, b"late")].concat();
    refused(&bytes, 1002, "the opcode 0x3 is not defined").await;
}
