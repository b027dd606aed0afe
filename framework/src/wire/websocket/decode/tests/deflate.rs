use super::*;

const TAKEN: InflateParams = InflateParams { limit: LIMIT, takeover: false };
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

fn decoder(inflate: InflateParams) -> Decoder {
    Decoder::new(Role::Server, LIMIT).with_deflate(Some(inflate))
}

/// The first frame of a compressed message.
fn first(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame(fin, opcode, payload);
    frame[0] |= 0x40;
    frame
}

/// Compresses a payload, and takes off the end as RFC 7692 says.
fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 1024);
    flate2::Compress::new(flate2::Compression::best(), false)
        .compress_vec(payload, &mut out, flate2::FlushCompress::Sync)
        .unwrap();
    out.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap().to_vec()
}

/// Decodes bytes whole, byte by byte and cut in two at each place. All must agree, and hold nothing afterwards.
fn inflated(bytes: &[u8]) -> ItemsAndError {
    let run = |chunks: &mut dyn Iterator<Item = &[u8]>| {
        let mut decoder = decoder(TAKEN);
        let (mut all, mut ended) = (Vec::new(), None);
        for chunk in chunks {
            let (items, error) = feed(&mut decoder, Chunk::from(chunk));
            all.extend(items);
            ended = ended.or(error);
        }
        assert!(decoder.inflater.is_none() && decoder.buffer.capacity() == 0, "it is idle");
        (all, ended)
    };
    let whole = run(&mut [bytes].into_iter());
    assert_eq!(run(&mut bytes.chunks(1)), whole);
    let step = 1.max(bytes.len() / 512);
    for at in (0..bytes.len()).step_by(step) {
        let (left, right) = bytes.split_at(at);
        assert_eq!(run(&mut [left, right].into_iter()), whole, "cut at {at}");
    }
    whole
}

#[test]
fn compressed_messages_arrive() {
    assert_eq!(inflated(&first(true, Opcode::Text, &HELLO)), (vec![text("Hello")], None));
    for length in [0, 1, 5_000, 100_000] {
        let long: String = ('a'..='z').cycle().take(length).collect();
        let bytes = first(true, Opcode::Text, &compressed(long.as_bytes()));
        assert_eq!(inflated(&bytes), (vec![text(&long)], None), "{length}");
        let bytes = first(true, Opcode::Binary, &compressed(&vec![0xff; length]));
        assert_eq!(inflated(&bytes), (vec![Item::Binary(vec![0xff; length].into())], None), "{length}");
    }
}

#[test]
fn compressed_and_plain_messages_may_alternate() {
    let bytes = [
        first(true, Opcode::Text, &HELLO),
        frame(true, Opcode::Text, b"plain"),
        first(true, Opcode::Text, &[]),
        first(true, Opcode::Text, &[0x00]),
        frame(true, Opcode::Ping, b"?"),
        first(true, Opcode::Binary, &HELLO),
    ]
    .concat();
    let items = vec![
        text("Hello"),
        text("plain"),
        text(""),
        text(""),
        Item::Ping("?".into()),
        Item::Binary("Hello".into()),
    ];
    assert_eq!(inflated(&bytes), (items, None));
}

#[test]
fn fragments_are_one_message_with_control_frames_between() {
    // The cut of RFC 7692, section 7.2.3.1.
    let bytes = [
        first(false, Opcode::Text, &HELLO[..3]),
        frame(true, Opcode::Ping, b"between"),
        frame(false, Opcode::Continuation, &[]),
        frame(true, Opcode::Continuation, &HELLO[3..]),
        frame(false, Opcode::Text, b"pl"),
        frame(true, Opcode::Continuation, b"ain"),
    ]
    .concat();
    let items = vec![Item::Ping("between".into()), text("Hello"), text("plain")];
    assert_eq!(inflated(&bytes), (items, None));
    let last_is_empty = [first(false, Opcode::Text, &HELLO), frame(true, Opcode::Continuation, &[])].concat();
    assert_eq!(inflated(&last_is_empty), (vec![text("Hello")], None));
}

#[test]
fn the_bit_stands_on_the_first_frame_of_a_message_only() {
    let begun = first(false, Opcode::Text, &HELLO[..3]);
    let begun_plain = frame(false, Opcode::Text, b"a");
    for bad in [
        first(true, Opcode::Ping, b""),
        first(true, Opcode::Pong, b""),
        first(true, Opcode::Close, b""),
        [begun.clone(), first(true, Opcode::Continuation, &HELLO[3..])].concat(),
        [begun_plain, first(true, Opcode::Continuation, b"b")].concat(),
    ] {
        assert_eq!(inflated(&bad), (vec![], Some(ProtocolError::ReservedBits)), "{bad:?}");
    }
    for other in [0x20, 0x10, 0x60, 0x70] {
        let mut bad = frame(true, Opcode::Text, &HELLO);
        bad[0] |= other;
        assert_eq!(inflated(&bad), (vec![], Some(ProtocolError::ReservedBits)));
    }
    let not_agreed = decoded(&first(true, Opcode::Text, &HELLO));
    assert_eq!(not_agreed, (vec![], Some(ProtocolError::ReservedBits)));
}

#[test]
fn bytes_that_cannot_be_inflated_are_refused() {
    for bad in [&[0xff, 0xff][..], &HELLO[..6], b"Hello"] {
        let bytes = first(true, Opcode::Binary, bad);
        assert_eq!(inflated(&bytes), (vec![], Some(ProtocolError::BadDeflate)), "{bad:?}");
    }
}

#[test]
fn bad_text_is_refused() {
    for bad in [&b"first half \xff second half"[..], b"\xff"] {
        let bytes = first(true, Opcode::Text, &compressed(bad));
        assert_eq!(inflated(&bytes), (vec![], Some(ProtocolError::InvalidUtf8)), "{bad:?}");
    }
}

/// A kilobyte can become a megabyte. A client that leaves its message unfinished must not have it held.
#[test]
fn an_unfinished_message_is_held_as_it_came() {
    let payload = compressed(&vec![0; LIMIT]);
    let frame = first(true, Opcode::Binary, &payload);
    let (most, last) = payload.split_at(payload.len() - 1);
    let fragments =
        [first(false, Opcode::Binary, most), super::frame(true, Opcode::Continuation, last)].concat();
    for message in [frame, fragments] {
        let mut decoder = decoder(TAKEN);
        let (unfinished, last) = message.split_at(message.len() - 1);
        assert_eq!(feed(&mut decoder, Chunk::from(unfinished)), (vec![], None));
        assert_eq!(decoder.held(), most.len(), "deadlines count what came");
        assert!(decoder.buffer.capacity() <= 2 * payload.len() && decoder.inflater.is_none());
        let whole = vec![Item::Binary(vec![0; LIMIT].into())];
        assert_eq!(feed(&mut decoder, Chunk::from(last)), (whole, None));
    }
}

#[test]
fn a_character_may_be_cut_by_fragments() {
    let all = compressed("é€𝄞".repeat(9).as_bytes());
    for at in 0..all.len() {
        let (left, right) = all.split_at(at);
        let bytes = [first(false, Opcode::Text, left), frame(true, Opcode::Continuation, right)].concat();
        assert_eq!(run_once(&bytes), (vec![text(&"é€𝄞".repeat(9))], None), "cut at {at}");
    }
}

fn run_once(bytes: &[u8]) -> ItemsAndError {
    feed(&mut decoder(TAKEN), Chunk::from(bytes))
}

#[test]
fn a_bomb_costs_no_more_than_the_limit() {
    let bomb = compressed(&vec![0; 32 << 20]);
    let frame = first(true, Opcode::Binary, &bomb);
    assert!(frame.len() * 900 < 32 << 20);
    let mut decoder = decoder(TAKEN);
    for chunk in frame.chunks(64) {
        let (items, error) = feed(&mut decoder, Chunk::from(chunk));
        assert_eq!(items, []);
        assert!(decoder.buffer.capacity() <= frame.len());
        if let Some(error) = error {
            assert_eq!(error, ProtocolError::InflatedTooBig(LIMIT));
            assert!(decoder.inflater.is_none() && decoder.buffer.capacity() == 0, "it is given back");
            return;
        }
    }
    panic!("the bomb was taken");
}

#[test]
fn the_inflated_size_has_a_limit_of_its_own() {
    let bytes = first(true, Opcode::Binary, &compressed(&[7; 1_000]));
    let limited =
        |limit| feed(&mut decoder(InflateParams { limit, takeover: false }), Chunk::from(&bytes[..]));
    assert_eq!(limited(1_000), (vec![Item::Binary(vec![7; 1_000].into())], None));
    assert_eq!(limited(999), (vec![], Some(ProtocolError::InflatedTooBig(999))));
}

#[test]
fn the_bytes_that_arrive_are_limited_too() {
    // Empty blocks, which inflate to nothing.
    let nothing = [0, 0, 0, 0xff, 0xff].repeat(LIMIT / 10);
    let announced = first(true, Opcode::Binary, &[0, 0, 0, 0xff, 0xff].repeat(LIMIT / 4));
    assert_eq!(run_once(&announced[..14]), (vec![], Some(ProtocolError::TooBig(LIMIT))), "at the header");
    let mut bytes = first(false, Opcode::Binary, &nothing);
    bytes.extend(frame(false, Opcode::Continuation, &nothing));
    assert_eq!(run_once(&bytes), (vec![], None));
    bytes.extend(frame(true, Opcode::Continuation, &nothing));
    assert_eq!(run_once(&bytes), (vec![], Some(ProtocolError::TooBig(LIMIT))));
}

#[test]
fn a_message_at_the_limit_that_does_not_compress_is_taken() {
    let mut number = 1_u64;
    let next = || {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number as u8
    };
    let noise: Vec<u8> = std::iter::repeat_with(next).take(LIMIT).collect();
    let payload = compressed(&noise);
    assert!(payload.len() > LIMIT);
    assert_eq!(run_once(&first(true, Opcode::Binary, &payload)), (vec![Item::Binary(noise.into())], None));
}

#[test]
fn a_window_that_is_kept_serves_the_next_message() {
    let bytes =
        [first(true, Opcode::Text, &HELLO), first(true, Opcode::Text, &[0xf2, 0x00, 0x11, 0x00, 0x00])]
            .concat();
    let mut kept = decoder(InflateParams { takeover: true, ..TAKEN });
    assert_eq!(feed(&mut kept, Chunk::from(&bytes[..])), (vec![text("Hello"), text("Hello")], None));
    assert!(kept.inflater.is_some());
    assert_eq!(inflated(&bytes), (vec![text("Hello")], Some(ProtocolError::BadDeflate)));
}

#[test]
fn messages_of_several_connections_are_inflated_at_once() {
    let mut decoders: Vec<_> = (0..9).map(|_| decoder(TAKEN)).collect();
    let (start, end) = HELLO.split_at(3);
    for decoder in &mut decoders {
        assert_eq!(feed(decoder, Chunk::from(&first(false, Opcode::Text, start)[..])), (vec![], None));
    }
    for decoder in &mut decoders {
        let rest = frame(true, Opcode::Continuation, end);
        assert_eq!(feed(decoder, Chunk::from(&rest[..])), (vec![text("Hello")], None));
    }
}
