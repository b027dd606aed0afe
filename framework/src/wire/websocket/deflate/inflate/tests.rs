use super::*;

const LIMIT: usize = 1 << 20;

/// Inflates one message that arrives in these pieces.
fn message(inflater: &mut Inflater, takeover: bool, pieces: &[&[u8]]) -> Result<Vec<u8>, ProtocolError> {
    let mut message = Vec::new();
    for piece in pieces {
        inflater.inflate(piece, &mut message, LIMIT)?;
    }
    inflater.finish(takeover)?;
    Ok(message)
}

/// Inflates a message by itself: whole, cut in two at each place, and byte by byte. All must agree.
fn inflated(compressed: &[u8]) -> Result<String, ProtocolError> {
    let whole = message(&mut Inflater::take(), false, &[compressed]);
    for at in 0..compressed.len() {
        let (left, right) = compressed.split_at(at);
        assert_eq!(message(&mut Inflater::take(), false, &[left, right]), whole, "cut at {at}");
    }
    let bytes: Vec<&[u8]> = compressed.chunks(1).collect();
    assert_eq!(message(&mut Inflater::take(), false, &bytes), whole);
    whole.map(|message| String::from_utf8(message).unwrap())
}

#[test]
fn the_examples_of_rfc_7692_section_7_2_3() {
    let hello = Ok("Hello".to_owned());
    assert_eq!(inflated(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]), hello, "7.2.3.1: one block");
    assert_eq!(
        inflated(&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00]),
        hello,
        "7.2.3.3: a block without compression"
    );
    assert_eq!(inflated(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]), hello, "7.2.3.4: BFINAL");
    assert_eq!(
        inflated(&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]),
        hello,
        "7.2.3.5: two blocks"
    );
    assert_eq!(inflated(&[0x00]), Ok(String::new()), "7.2.3.6: an empty message");
}

#[test]
fn the_window_is_shared_as_in_section_7_2_3_2() {
    let mut inflater = Inflater::take();
    let first: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let second: &[u8] = &[0xf2, 0x00, 0x11, 0x00, 0x00];
    assert_eq!(message(&mut inflater, true, &[first]).unwrap(), b"Hello");
    assert_eq!(message(&mut inflater, true, &[second]).unwrap(), b"Hello");
    assert_eq!(message(&mut Inflater::take(), false, &[second]), Err(ProtocolError::BadDeflate), "no window");
}

#[test]
fn a_stream_may_end_and_a_new_one_begin() {
    let ended: &[u8] = &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflated(ended), Ok("Hello".to_owned()), "without the byte that RFC 7692 adds");
    let twice = [ended, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]].concat();
    assert_eq!(inflated(&twice), Ok("HelloHello".to_owned()));

    let mut inflater = Inflater::take();
    for _ in 0..2 {
        assert_eq!(message(&mut inflater, true, &[ended]).unwrap(), b"Hello");
        assert_eq!(message(&mut inflater, true, &[ended, &[0x00]]).unwrap(), b"Hello");
    }
}

#[test]
fn a_message_without_bytes_is_empty() {
    for takeover in [false, true] {
        let mut inflater = Inflater::take();
        assert_eq!(message(&mut inflater, takeover, &[]).unwrap(), b"");
        assert_eq!(message(&mut inflater, takeover, &[&[]]).unwrap(), b"");
        assert_eq!(message(&mut inflater, takeover, &[&[0x00]]).unwrap(), b"");
    }
}

#[test]
fn messages_that_are_cut_off_are_refused() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    for end in 1..hello.len() {
        assert_eq!(inflated(&hello[..end]), Err(ProtocolError::BadDeflate), "after {end} bytes");
    }
    let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    // One byte is an empty block.
    for end in 2..stored.len() - 1 {
        assert_eq!(inflated(&stored[..end]), Err(ProtocolError::BadDeflate), "after {end} bytes");
    }
}

#[test]
fn bytes_that_are_not_compressed_data_are_refused() {
    for bad in [
        &[0xff, 0xff, 0xff][..],
        b"Hello",
        &[0x00, 0x05, 0x00, 0x00, 0x00, 0x48],
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff, 0x07],
    ] {
        assert_eq!(inflated(bad), Err(ProtocolError::BadDeflate), "{bad:?}");
    }
}

#[test]
fn a_bomb_is_refused_at_the_limit_and_holds_no_more() {
    let zeroes = vec![0; 64 << 20];
    let mut bomb = Vec::with_capacity(1 << 20);
    flate2::Compress::new(flate2::Compression::best(), false)
        .compress_vec(&zeroes, &mut bomb, flate2::FlushCompress::Sync)
        .unwrap();
    assert!(bomb.len() * 1000 < zeroes.len());
    let mut message = Vec::new();
    let mut inflater = Inflater::take();
    let refused = bomb.chunks(100).find_map(|piece| inflater.inflate(piece, &mut message, LIMIT).err());
    assert_eq!(refused, Some(ProtocolError::InflatedTooBig(LIMIT)));
    assert!(message.capacity() <= LIMIT, "{} bytes are held", message.capacity());
    assert!(inflater.received() < 2 * LIMIT / 1000, "{} bytes were looked at", inflater.received());
}

#[test]
fn a_message_at_the_limit_is_taken_and_one_byte_more_is_not() {
    let mut compressed = Vec::with_capacity(1 << 10);
    flate2::Compress::new(flate2::Compression::fast(), false)
        .compress_vec(&[7; 100], &mut compressed, flate2::FlushCompress::Sync)
        .unwrap();
    let mut message = Vec::new();
    assert_eq!(Inflater::take().inflate(&compressed, &mut message, 100), Ok(()));
    assert_eq!((message.len(), message.capacity()), (100, 100));
    let refused = Inflater::take().inflate(&compressed, &mut Vec::new(), 99);
    assert_eq!(refused, Err(ProtocolError::InflatedTooBig(99)));
}

#[test]
fn a_thread_keeps_one() {
    let kept = || POOL.with_borrow(|pool| pool.inflater.is_some());
    let taken: Vec<_> = (0..3).map(|_| Inflater::take()).collect();
    assert!(!kept());
    for mut inflater in taken {
        // A begun message is forgotten.
        inflater.inflate(&[0xf2, 0x48], &mut Vec::new(), LIMIT).unwrap();
        inflater.give_back();
    }
    assert!(kept());
    assert_eq!(inflated(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]), Ok("Hello".to_owned()));
}
