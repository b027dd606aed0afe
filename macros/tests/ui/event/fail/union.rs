use greenroom::Event;

#[derive(Clone, Copy, Event)]
union Bits {
    whole: u32,
    part: u8,
}

fn main() {}
