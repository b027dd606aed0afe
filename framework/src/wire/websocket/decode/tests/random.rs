//! Streams made by a small generator with a fixed seed, so that a failure repeats.

use super::*;

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    fn text(&mut self, length: usize) -> String {
        (0..length).map(|_| ['a', '\0', 'é', '€', '𝄞'][self.below(5)]).collect()
    }

    fn length(&mut self) -> usize {
        match self.below(8) {
            0 => 0,
            1 => 120 + self.below(12),
            2 => self.below(3000),
            _ => self.below(40),
        }
    }

    /// Appends one frame as the other side of `role` would send it.
    fn frame(&mut self, role: Role, out: &mut Vec<u8>, fin: bool, opcode: Opcode, payload: &[u8]) {
        let mask = (role == Role::Server).then(|| (self.next() as u32).to_be_bytes());
        write(out, fin, opcode, mask, payload);
    }

    fn ping(&mut self, role: Role, out: &mut Vec<u8>) -> Item {
        let length = self.below(126);
        let payload = self.bytes(length);
        self.frame(role, out, true, Opcode::Ping, &payload);
        Item::Ping(payload.into())
    }

    /// A valid stream, and what it must become.
    fn stream(&mut self, role: Role) -> (Vec<u8>, Vec<Item>) {
        let (mut out, mut items) = (Vec::new(), Vec::new());
        for _ in 0..1 + self.below(5) {
            let length = self.length();
            let (first, payload) = if self.below(2) == 0 {
                (Opcode::Text, self.text(length).into_bytes())
            } else {
                (Opcode::Binary, self.bytes(length))
            };
            let mut rest = &payload[..];
            let mut opcode = first;
            while self.below(3) == 0 {
                let (fragment, after) = rest.split_at(self.below(rest.len() + 1));
                self.frame(role, &mut out, false, opcode, fragment);
                (rest, opcode) = (after, Opcode::Continuation);
                if self.below(2) == 0 {
                    items.push(self.ping(role, &mut out));
                }
            }
            self.frame(role, &mut out, true, opcode, rest);
            items.push(match first {
                Opcode::Text => Item::Text(String::from_utf8(payload).unwrap().into()),
                _ => Item::Binary(payload.into()),
            });
        }
        (out, items)
    }

    /// Decodes in chunks of random sizes and kinds.
    fn run_in_chunks(&mut self, role: Role, bytes: &[u8]) -> ItemsAndError {
        let mut chunks = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(1 + self.below(rest.len()));
            rest = after;
            chunks.push(if self.below(2) == 0 {
                Chunk::from(chunk)
            } else {
                Chunk::from(Bytes::copy_from_slice(chunk))
            });
        }
        run(role, chunks)
    }
}

#[test]
fn valid_streams_round_trip_in_both_directions() {
    let mut random = Random(1);
    for role in [Role::Server, Role::Client] {
        for _ in 0..3000 {
            let (bytes, items) = random.stream(role);
            assert_eq!(random.run_in_chunks(role, &bytes), (items, None));
        }
    }
}

#[test]
fn spoiled_streams_end_the_same_however_they_are_cut() {
    let mut random = Random(2);
    for _ in 0..100_000 {
        let (mut bytes, _) = random.stream(Role::Server);
        bytes.truncate(400);
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        let whole = run(Role::Server, [Chunk::from(&bytes[..])]);
        assert_eq!(random.run_in_chunks(Role::Server, &bytes), whole);
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random(3);
    for _ in 0..100_000 {
        let length = 1 + random.below(40);
        let mut bytes = random.bytes(length);
        // Most random first bytes are refused at once, so half of them are made valid.
        if random.below(2) == 0 {
            bytes[0] &= 0x8a;
        }
        if let Some(second) = bytes.get_mut(1) {
            *second |= 0x80;
        }
        let whole = run(Role::Server, [Chunk::from(&bytes[..])]);
        assert_eq!(random.run_in_chunks(Role::Server, &bytes), whole);
    }
}
