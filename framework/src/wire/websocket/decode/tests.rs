use super::*;
use crate::{
    Outgoing as Out,
    wire::websocket::{
        encode::{self, masked},
        frame::write,
    },
};

const LIMIT: usize = 1 << 20;
const MASK: [u8; 4] = [0xa1, 0x00, 0x3c, 0xff];

/// What came out, and how it ended.
type ItemsAndError = (Vec<Item>, Option<ProtocolError>);

fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    masked(fin, opcode, MASK, payload).to_vec()
}

/// Everything that `decoder` makes of one chunk.
fn feed(decoder: &mut Decoder, mut input: Chunk<'_>) -> ItemsAndError {
    let mut items = Vec::new();
    loop {
        match decoder.decode(&mut input) {
            Ok(Some(item)) => items.push(item),
            Ok(None) => {
                assert!(input.is_empty(), "it stops only when it has taken everything");
                return (items, None);
            }
            Err(error) => return (items, Some(error)),
        }
    }
}

fn run<'a>(role: Role, chunks: impl IntoIterator<Item = Chunk<'a>>) -> ItemsAndError {
    let mut decoder = Decoder::new(role, LIMIT);
    let mut all = Vec::new();
    let mut ended = None;
    for chunk in chunks {
        let (items, error) = feed(&mut decoder, chunk);
        assert!(ended.is_none() || items.is_empty(), "nothing comes after the end");
        all.extend(items);
        ended = ended.or(error);
    }
    (all, ended)
}

/// Decodes bytes as one chunk of each kind, byte by byte, and cut in two at each place. All must agree.
fn decoded_as(role: Role, bytes: &[u8]) -> ItemsAndError {
    let whole = run(role, [Chunk::from(bytes)]);
    let unique = Bytes::copy_from_slice(bytes);
    assert_eq!(run(role, [Chunk::from(unique)]), whole);
    let shared = Bytes::copy_from_slice(bytes);
    assert_eq!(run(role, [Chunk::from(shared.clone())]), whole);
    assert_eq!(run(role, bytes.chunks(1).map(Chunk::from)), whole);
    // Long input is cut at each place near the start, and at some places behind it.
    let step = 1.max(bytes.len() / 512);
    for at in (0..bytes.len().min(32)).chain((32..bytes.len()).step_by(step)) {
        let (left, right) = bytes.split_at(at);
        assert_eq!(run(role, [Chunk::from(left), Chunk::from(right)]), whole, "cut at {at}");
    }
    whole
}

fn decoded(bytes: &[u8]) -> ItemsAndError {
    decoded_as(Role::Server, bytes)
}

fn text(text: &str) -> Item {
    Item::Text(text.into())
}

fn close_frame(payload: &[u8]) -> Vec<u8> {
    frame(true, Opcode::Close, payload)
}

/// The error must come with the last byte of `header`, whatever follows it.
#[track_caller]
fn refused_at(header: &[u8], error: ProtocolError) {
    let mut decoder = Decoder::new(Role::Server, LIMIT);
    let (last, before) = header.split_last().unwrap();
    assert_eq!(feed(&mut decoder, Chunk::from(before)), (vec![], None));
    assert_eq!(feed(&mut decoder, Chunk::from(&[*last][..])), (vec![], Some(error)));
    assert_eq!(decoder.buffer.capacity(), 0);
    let mut more = header.to_vec();
    more.extend(frame(true, Opcode::Text, b"later"));
    assert_eq!(decoded(&more), (vec![], Some(error)));
}

mod messages {
    use super::*;

    #[test]
    fn of_every_size_arrive() {
        for length in [0, 1, 125, 126, 127, 1023, 1024, 1025, 65535, 65536] {
            let bytes = frame(true, Opcode::Text, "x".repeat(length).as_bytes());
            assert_eq!(decoded(&bytes), (vec![text(&"x".repeat(length))], None), "{length}");
            let bytes = frame(true, Opcode::Binary, &vec![0xff; length]);
            assert_eq!(decoded(&bytes), (vec![Item::Binary(vec![0xff; length].into())], None), "{length}");
        }
    }

    #[test]
    fn follow_one_another_in_a_chunk() {
        let bytes = [
            frame(true, Opcode::Text, b"a"),
            frame(true, Opcode::Binary, b""),
            frame(true, Opcode::Ping, b"?"),
            frame(true, Opcode::Pong, b""),
            frame(true, Opcode::Text, "é€𝄞".as_bytes()),
        ]
        .concat();
        let items = vec![
            text("a"),
            Item::Binary(Bytes::new()),
            Item::Ping("?".into()),
            Item::Pong(Bytes::new()),
            text("é€𝄞"),
        ];
        assert_eq!(decoded(&bytes), (items, None));
    }

    #[test]
    fn in_fragments_are_joined_around_control_frames() {
        let bytes = [
            frame(false, Opcode::Text, b"\xe2"),
            frame(true, Opcode::Ping, b"1"),
            frame(false, Opcode::Continuation, b""),
            frame(true, Opcode::Pong, b"2"),
            frame(true, Opcode::Continuation, b"\x82\xac"),
            frame(false, Opcode::Binary, b""),
            frame(true, Opcode::Continuation, b""),
        ]
        .concat();
        let items =
            vec![Item::Ping("1".into()), Item::Pong("2".into()), text("€"), Item::Binary(Bytes::new())];
        assert_eq!(decoded(&bytes), (items, None));
    }

    #[test]
    fn before_a_bad_frame_come_first() {
        let mut bytes = frame(true, Opcode::Text, b"good");
        bytes.extend([0xf1, 0x80]);
        assert_eq!(decoded(&bytes), (vec![text("good")], Some(ProtocolError::ReservedBits)));
    }

    #[test]
    fn with_any_mask_are_unmasked() {
        for mask in [[0; 4], [1, 2, 3, 4], [0xff; 4], [0, 0, 0, 9]] {
            for length in 0..70 {
                let payload: Vec<u8> = (0..length).collect();
                let bytes = masked(true, Opcode::Binary, mask, &payload);
                assert_eq!(decoded(&bytes), (vec![Item::Binary(payload.into())], None));
            }
        }
    }
}

mod headers {
    use super::*;

    #[test]
    fn with_reserved_bits_are_refused_at_the_first_byte() {
        for bit in [0x40, 0x20, 0x10] {
            refused_at(&[0x81 | bit], ProtocolError::ReservedBits);
        }
    }

    #[test]
    fn with_unknown_opcodes_are_refused_at_the_first_byte() {
        for opcode in (0x3..0x8).chain(0xb..=0xf) {
            refused_at(&[0x80 | opcode], ProtocolError::UnknownOpcode(opcode));
        }
    }

    #[test]
    fn without_a_mask_are_refused_at_the_second_byte() {
        refused_at(&[0x81, 0x05], ProtocolError::Unmasked);
        refused_at(&[0x88, 0x00], ProtocolError::Unmasked);
    }

    #[test]
    fn of_long_or_fragmented_control_frames_are_refused_before_the_payload() {
        for opcode in [0x8, 0x9, 0xa] {
            refused_at(&[opcode], ProtocolError::FragmentedControl);
            refused_at(&[0x80 | opcode, 0x80 | 126], ProtocolError::ControlTooLong);
            refused_at(&[0x80 | opcode, 0x80 | 127], ProtocolError::ControlTooLong);
        }
    }

    #[test]
    fn with_lengths_in_too_many_bytes_are_refused() {
        for length in [0u16, 1, 125] {
            let [a, b] = length.to_be_bytes();
            refused_at(&[0x82, 0x80 | 126, a, b], ProtocolError::LengthNotMinimal);
        }
        for length in [0u64, 125, 126, 65535] {
            let header = [&[0x82, 0x80 | 127][..], &length.to_be_bytes()].concat();
            refused_at(&header, ProtocolError::LengthNotMinimal);
        }
    }

    #[test]
    fn with_the_top_bit_of_the_length_are_refused() {
        for length in [1u64 << 63, u64::MAX] {
            let header = [&[0x82, 0x80 | 127][..], &length.to_be_bytes()].concat();
            refused_at(&header, ProtocolError::LengthTopBit);
        }
    }

    #[test]
    fn of_continuations_without_a_start_are_refused() {
        refused_at(&[0x80, 0x80, 1, 2, 3, 4], ProtocolError::StrayContinuation);
        // A finished message is not continued either.
        let bytes = [frame(true, Opcode::Text, b"done"), frame(true, Opcode::Continuation, b"more")].concat();
        assert_eq!(decoded(&bytes), (vec![text("done")], Some(ProtocolError::StrayContinuation)));
    }

    #[test]
    fn of_a_new_message_inside_one_are_refused() {
        for opcode in [Opcode::Text, Opcode::Binary] {
            for fin in [false, true] {
                let bytes = [frame(false, Opcode::Text, b""), frame(fin, opcode, b"new")].concat();
                assert_eq!(decoded(&bytes), (vec![], Some(ProtocolError::UnfinishedMessage)));
            }
        }
    }

    #[test]
    fn of_a_server_must_not_be_masked() {
        let client = |bytes: &[u8]| decoded_as(Role::Client, bytes);
        assert_eq!(client(&frame(true, Opcode::Text, b"x")), (vec![], Some(ProtocolError::Masked)));
        assert_eq!(client(&encode::encode(&Out::text("x"))), (vec![text("x")], None));
    }
}

mod limits {
    use super::*;

    fn announced(opcode: u8, length: u64) -> Vec<u8> {
        [&[0x80 | opcode, 0x80 | 127][..], &length.to_be_bytes(), &MASK].concat()
    }

    #[test]
    fn are_held_at_the_header() {
        refused_at(&announced(2, 1 << 40), ProtocolError::TooBig(LIMIT));
        refused_at(&announced(1, (1 << 63) - 1), ProtocolError::TooBig(LIMIT));
        refused_at(&announced(2, LIMIT as u64 + 1), ProtocolError::TooBig(LIMIT));
        assert_eq!(decoded(&announced(2, LIMIT as u64)), (vec![], None));
    }

    #[test]
    fn count_all_fragments() {
        let mut bytes = frame(false, Opcode::Binary, &[0; 1000]);
        bytes.extend(announced(0, LIMIT as u64 - 999));
        assert_eq!(decoded(&bytes), (vec![], Some(ProtocolError::TooBig(LIMIT))));

        let mut decoder = Decoder::new(Role::Server, 4);
        let fitting = [frame(false, Opcode::Text, b"ab"), frame(true, Opcode::Continuation, b"cd")].concat();
        assert_eq!(feed(&mut decoder, Chunk::from(&fitting[..])), (vec![text("abcd")], None));
        let again = frame(true, Opcode::Text, b"abcde");
        assert_eq!(
            feed(&mut decoder, Chunk::from(&again[..])),
            (vec![], Some(ProtocolError::TooBig(4))),
            "the sum starts anew with each message, the limit stays"
        );
    }

    #[test]
    fn of_zero_bytes_still_allow_empty_messages_and_control_frames() {
        let mut decoder = Decoder::new(Role::Server, 0);
        let bytes = [frame(true, Opcode::Ping, &[1; 125]), frame(true, Opcode::Text, b"")].concat();
        let items = vec![Item::Ping(vec![1; 125].into()), text("")];
        assert_eq!(feed(&mut decoder, Chunk::from(&bytes[..])), (items, None));
    }
}

mod memory {
    use super::*;

    #[test]
    fn an_idle_decoder_is_at_rest_and_keeps_24_bytes_of_settings() {
        assert!(size_of::<DecoderSettings>() <= 24, "{}", size_of::<DecoderSettings>());
        let mut decoder = Decoder::new(Role::Server, LIMIT);
        let bytes = [
            frame(false, Opcode::Text, &[b'x'; 5000]),
            frame(true, Opcode::Ping, b"?"),
            frame(true, Opcode::Continuation, b"y"),
            frame(true, Opcode::Ping, b"?"),
        ]
        .concat();
        for chunk in bytes.chunks(3) {
            feed(&mut decoder, Chunk::from(chunk));
        }
        assert!(decoder.is_at_rest());
        assert_eq!(decoder.buffer.capacity(), 0);
        feed(&mut decoder, Chunk::from(&bytes[..1]));
        assert!(!decoder.is_at_rest(), "a header has begun");
    }

    #[test]
    fn a_partial_header_needs_no_heap() {
        let mut decoder = Decoder::new(Role::Server, LIMIT);
        feed(&mut decoder, Chunk::from(&frame(true, Opcode::Binary, &[0; 70_000])[..13]));
        assert_eq!(decoder.buffer.capacity(), 0);
    }

    #[test]
    fn what_is_announced_is_not_allocated() {
        let mut decoder = Decoder::new(Role::Server, usize::MAX);
        let header = [&[0x82, 0x80 | 127][..], &(1u64 << 40).to_be_bytes(), &MASK, &[7; 10]].concat();
        assert_eq!(feed(&mut decoder, Chunk::from(&header[..])), (vec![], None));
        assert_eq!(decoder.buffer.capacity(), 10);
        for _ in 0..1000 {
            feed(&mut decoder, Chunk::from(&[7; 10][..]));
        }
        assert!(decoder.buffer.capacity() <= 2 * decoder.buffer.len());
    }

    #[test]
    fn a_message_in_chunks_ends_exactly_sized() {
        let bytes = frame(true, Opcode::Binary, &[7; 100_000]);
        let mut items = Vec::new();
        let mut decoder = Decoder::new(Role::Server, LIMIT);
        for chunk in bytes.chunks(4096) {
            items.extend(feed(&mut decoder, Chunk::from(chunk)).0);
        }
        assert_eq!(items.len(), 1);
        let Some(Item::Binary(message)) = items.pop() else { panic!("a binary message") };
        let message = message.try_into_mut().unwrap();
        assert_eq!((message.len(), message.capacity()), (100_000, 100_000));
    }

    #[test]
    fn a_flood_of_fragments_costs_its_bytes() {
        let mut decoder = Decoder::new(Role::Server, LIMIT);
        feed(&mut decoder, Chunk::from(&frame(false, Opcode::Text, b"")[..]));
        let fragment = frame(false, Opcode::Continuation, b"x");
        for _ in 0..100_000 {
            assert_eq!(feed(&mut decoder, Chunk::from(&fragment[..])), (vec![], None));
        }
        assert!(decoder.buffer.capacity() <= 2 * 100_000);
        let empty = frame(false, Opcode::Continuation, b"");
        for _ in 0..100_000 {
            feed(&mut decoder, Chunk::from(&empty[..]));
        }
        assert!(decoder.buffer.capacity() <= 2 * 100_000);
        let last = frame(true, Opcode::Continuation, b"");
        let (items, _) = feed(&mut decoder, Chunk::from(&last[..]));
        assert_eq!(items, [text(&"x".repeat(100_000))]);
    }

    #[test]
    fn the_end_releases_what_was_held() {
        let bytes = [frame(false, Opcode::Text, &[b'x'; 5000]), close_frame(&[])].concat();
        let mut decoder = Decoder::new(Role::Server, LIMIT);
        assert_eq!(feed(&mut decoder, Chunk::from(&bytes[..])), (vec![Item::Close(None)], None));
        assert_eq!(decoder.buffer.capacity(), 0);
    }
}

mod text_is_checked {
    use super::*;

    const BAD: Option<ProtocolError> = Some(ProtocolError::InvalidUtf8);

    #[test]
    fn in_a_whole_frame() {
        assert_eq!(decoded(&frame(true, Opcode::Text, b"ok\xff")), (vec![], BAD));
        assert_eq!(decoded(&frame(true, Opcode::Text, b"cut \xe2\x82")), (vec![], BAD));
    }

    #[test]
    fn over_fragments() {
        let fragments = |first: &[u8], last: &[u8]| {
            decoded(&[frame(false, Opcode::Text, first), frame(true, Opcode::Continuation, last)].concat())
        };
        assert_eq!(fragments(b"\xf0\x9d", b"\x84\x9e"), (vec![text("𝄞")], None));
        assert_eq!(fragments(b"\xf0\x9d", b"\x84"), (vec![], BAD));
        assert_eq!(fragments(b"\xf0\x9d", b"a"), (vec![], BAD));
    }

    #[test]
    fn at_the_end_of_a_fragment_that_is_not_the_last() {
        // Autobahn 6.4.1 and 6.4.2.
        let mut decoder = Decoder::new(Role::Server, LIMIT);
        let good = frame(false, Opcode::Text, "κόσμε".as_bytes());
        assert_eq!(feed(&mut decoder, Chunk::from(&good[..])), (vec![], None));
        let bad = frame(false, Opcode::Continuation, b"\xf4\x90\x80\x80");
        assert_eq!(feed(&mut decoder, Chunk::from(&bad[..])), (vec![], BAD));
    }

    #[test]
    fn inside_an_unfinished_frame() {
        // Autobahn 6.4.3 and 6.4.4: one frame, cut before and after the byte that can never become valid.
        let bytes = frame(true, Opcode::Text, b"\xce\xba\xf4\x90\x80\x80edited");
        let mut decoder = Decoder::new(Role::Server, LIMIT);
        assert_eq!(feed(&mut decoder, Chunk::from(&bytes[..9])), (vec![], None));
        assert_eq!(feed(&mut decoder, Chunk::from(&bytes[9..10])), (vec![], BAD));
    }

    #[test]
    fn but_binary_is_not() {
        let bytes =
            [frame(false, Opcode::Binary, b"\xff"), frame(true, Opcode::Continuation, b"\xff")].concat();
        assert_eq!(decoded(&bytes), (vec![Item::Binary(vec![0xff; 2].into())], None));
    }

    #[test]
    fn without_the_control_frames_between() {
        let bytes = [
            frame(false, Opcode::Text, b"\xe2\x82"),
            frame(true, Opcode::Ping, b"\xff\xff"),
            frame(true, Opcode::Continuation, b"\xac"),
        ]
        .concat();
        assert_eq!(decoded(&bytes), (vec![Item::Ping(vec![0xff; 2].into()), text("€")], None));
    }
}

mod close_frames {
    use super::*;

    #[test]
    fn with_and_without_a_code_end_the_stream() {
        let closed = |payload: &[u8]| {
            let mut bytes = close_frame(payload);
            bytes.extend(frame(true, Opcode::Text, b"nobody reads this"));
            bytes.extend([0xff; 20]);
            decoded(&bytes)
        };
        let item = |code: u16, reason: &str| (vec![Item::Close(Some((code.into(), reason.into())))], None);
        assert_eq!(closed(b""), (vec![Item::Close(None)], None));
        assert_eq!(closed(b"\x03\xe8"), item(1000, ""));
        assert_eq!(closed(b"\x0f\xa1b\xc3\xa9"), item(4001, "bé"));
        let reason = "x".repeat(123);
        assert_eq!(closed(&[b"\x03\xe8", reason.as_bytes()].concat()), item(1000, &reason));
    }

    #[test]
    fn may_stand_inside_a_message() {
        let bytes = [frame(false, Opcode::Text, b"never fin"), close_frame(b"\x03\xe9")].concat();
        assert_eq!(decoded(&bytes), (vec![Item::Close(Some((CloseCode::GOING_AWAY, "".into())))], None));
    }

    #[test]
    fn with_half_a_code_a_bad_code_or_a_bad_reason_are_refused() {
        assert_eq!(decoded(&close_frame(b"\x03")), (vec![], Some(ProtocolError::CloseTooShort)));
        for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            let refused = decoded(&close_frame(&code.to_be_bytes()));
            assert_eq!(refused, (vec![], Some(ProtocolError::BadCloseCode(code))));
        }
        let refused = decoded(&close_frame(b"\x03\xe8\xce\xba\xff"));
        assert_eq!(refused, (vec![], Some(ProtocolError::InvalidUtf8)));
    }
}

mod deflate;
mod random;
