use greenroom::{ChannelNameRouter, NoEvents};

#[derive(NoEvents)]
struct Idle;

fn main() {
    let _ = ChannelNameRouter::new().channel("idle", |_| Ok(Idle));
}
