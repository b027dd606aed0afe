//! The header of a map in MessagePack, which says how many entries follow.

/// How many entries a map announces, and the length of its header.
pub(super) fn read(bytes: &[u8]) -> Option<(u32, usize)> {
    match *bytes {
        [first @ 0x80..=0x8f, ..] => Some((u32::from(first & 0x0f), 1)),
        [0xde, high, low, ..] => Some((u32::from(u16::from_be_bytes([high, low])), 3)),
        [0xdf, a, b, c, d, ..] => Some((u32::from_be_bytes([a, b, c, d]), 5)),
        _ => None,
    }
}

pub(super) fn write(entries: u32, to: &mut Vec<u8>) {
    match (u8::try_from(entries), u16::try_from(entries)) {
        (Ok(few @ 0..=15), _) => to.push(0x80 | few),
        (_, Ok(more)) => {
            to.push(0xde);
            to.extend(more.to_be_bytes());
        }
        _ => {
            to.push(0xdf);
            to.extend(entries.to_be_bytes());
        }
    }
}
