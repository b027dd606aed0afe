use super::*;
use crate::Message;
use crate::wire::websocket::{
    Chunk, Decoder, Item, Role,
    deflate::{Deflate, InflateParams},
    encode::{close, encode, pong},
};

fn params(bits: u8, level: u8) -> CompressParams {
    CompressParams { bits, level, threshold: NonZeroU32::new(Deflate::new().threshold).unwrap() }
}

/// Text that differs from line to line, as a chat's does.
fn lines(length: usize) -> String {
    let mut text = String::new();
    let mut number = 12345_u32;
    while text.len() < length {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(&format!("{{\"user\":\"user{}\",\"text\":\"hello {number}\"}}\n", number % 37));
    }
    text.truncate(length);
    text
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut number = 1_u64;
    let next = || {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn decoder(takeover: bool) -> Decoder {
    Decoder::new(Role::Client, 1 << 24).with_deflate(Some(InflateParams { limit: 1 << 24, takeover }))
}

fn decoded(decoder: &mut Decoder, frame: &[u8]) -> Item {
    decoder.decode(&mut Chunk::from(frame)).expect("valid").expect("whole")
}

fn is_compressed(frame: &[u8]) -> bool {
    frame[0] & 0x40 != 0
}

#[test]
fn messages_round_trip_and_get_smaller() {
    let counters = Counters::default();
    for length in [256, 300, 4_000, 70_000, 1 << 20] {
        for level in [1, 2, 6, 9] {
            let text = lines(length);
            let frame = params(15, level).encode(&Outgoing::text(text.clone()), &counters).expect("it pays");
            assert!(is_compressed(&frame) && frame.len() < length, "{} of {length}", frame.len());
            assert_eq!(decoded(&mut decoder(false), &frame), Item::Text(text.clone().into()));
            let bytes = Bytes::from(text);
            let frame =
                params(15, level).encode(&Outgoing::binary(bytes.clone()), &counters).expect("it pays");
            assert_eq!(decoded(&mut decoder(false), &frame), Item::Binary(bytes));
        }
    }
}

#[test]
fn no_message_refers_further_back_than_its_window() {
    // The same noise twice: the second half can only be compressed by a reference to the first.
    for bits in 9..=14 {
        let mut bytes = noise((1 << bits) + 1);
        bytes.extend_from_within(..);
        let message = Outgoing::binary(bytes);
        for level in 1..=9 {
            let encoded = |bits| params(bits, level).encode(&message, &Counters::default());
            assert_eq!(encoded(bits), None, "{bits} bits do not reach back, level {level}");
            assert!(encoded(bits + 1).is_some(), "one more does, level {level}");
        }
    }
}

#[test]
fn messages_that_are_short_or_get_no_smaller_are_not_compressed() {
    let counters = Counters::default();
    let small = Outgoing::text("x".repeat(255));
    assert_eq!(params(15, 2).encode(&small, &counters), None);
    for length in [256, 4_096, 70_000] {
        assert_eq!(params(15, 2).encode(&Outgoing::binary(noise(length)), &counters), None, "{length}");
    }
    assert_eq!(counters.read().compressed, 0);
    assert!(params(15, 2).encode(&Outgoing::text("x".repeat(256)), &counters).is_some());
    let metrics = counters.read();
    assert_eq!((metrics.compressed, metrics.compressed_from_bytes), (1, 256));
    assert!((1..256).contains(&metrics.compressed_to_bytes));
}

#[test]
fn a_message_takes_nothing_over_from_the_one_before() {
    let message = Outgoing::text(lines(1_000));
    let first = params(15, 2).encode(&message, &Counters::default());
    params(15, 2).encode(&Outgoing::text("y".repeat(5_000)), &Counters::default());
    assert_eq!(params(15, 2).encode(&message, &Counters::default()), first);
}

#[test]
fn a_thread_keeps_a_few_compressors_and_little_scratch() {
    for bits in 9..=15 {
        for level in [1, 2] {
            params(bits, level)
                .encode(&Outgoing::text(lines(1 << 20)), &Counters::default())
                .expect("it pays");
        }
    }
    POOL.with_borrow(|pool| {
        assert_eq!(pool.compressors.len(), KEPT);
        assert!(pool.scratch.capacity() <= SCRATCH);
    });
}

#[test]
fn a_packer_keeps_its_window() {
    let (mut packer, mut decoder) = (Packer::new(params(15, 2)), decoder(true));
    let counters = Counters::default();
    let message = Outgoing::text(lines(1_000));
    let first = packer.pack(encode(&message), &counters);
    let second = packer.pack(encode(&message), &counters);
    assert!(
        is_compressed(&second) && second.len() < first.len() / 5,
        "{} after {}",
        second.len(),
        first.len()
    );
    for frame in [first, second] {
        assert_eq!(decoded(&mut decoder, &frame), Item::Text(lines(1_000).into()));
    }
    assert_eq!(counters.read().compressed, 2);
}

#[test]
fn a_packer_begins_anew_after_what_it_could_not_compress() {
    let (mut packer, mut decoder) = (Packer::new(params(15, 2)), decoder(true));
    let counters = Counters::default();
    let bytes = noise(2_000);
    for message in [Outgoing::text(lines(1_000)), Outgoing::binary(bytes), Outgoing::text(lines(1_000))] {
        let frame = packer.pack(encode(&message), &counters);
        let item = decoded(&mut decoder, &frame);
        match message.message().clone() {
            Message::Text(text) => assert_eq!(item, Item::Text(text)),
            Message::Binary(bytes) => {
                assert!(!is_compressed(&frame));
                assert_eq!(item, Item::Binary(bytes));
            }
        }
    }
    let again = Outgoing::text(lines(1_000));
    assert!(packer.pack(encode(&again), &counters).len() < 200, "the window is kept again");
}

#[test]
fn a_packer_leaves_control_frames_and_small_messages_as_they_are() {
    let mut packer =
        Packer::new(CompressParams { threshold: NonZeroU32::new(100).unwrap(), ..params(15, 2) });
    for frame in [
        encode(&Outgoing::text("x".repeat(99))),
        encode(&Outgoing::text("")),
        pong(&[b'x'; 125]),
        close(crate::close::CloseCode::NORMAL, &"x".repeat(123)),
    ] {
        assert_eq!(packer.pack(frame.clone(), &Counters::default()), frame);
    }
    assert!(packer.compressor.is_none(), "a packer that never compressed holds no compressor");
}
