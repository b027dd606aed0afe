//! Reads the queue of this process, and the channels for which callers wait.
//!
//! It runs one blocking command at a time, on its own connection. A command is never cancelled.

use redis::{Cmd, Value, aio::MultiplexedConnection};

use super::{
    batch::{said, words},
    link::{BLOCK, flat, score},
    names::channel_key,
    state::CoreSource,
    taking::Taking,
    writer::{CoreIo, WAKE},
};
use crate::{ChannelName, layers::server::refusal::ServerRefusal};

/// How many messages are taken at once from the queue of this process.
///
/// Other processes stop sending when the queue is at its capacity, by default 100. So it must be emptied
/// soon.
const DRAIN: usize = 100;

/// Reads from one shard until its connection fails, and says why.
pub(super) async fn read(io: &CoreIo, shard: usize, mut connection: MultiplexedConnection) -> String {
    let mut turn = 0_usize;
    loop {
        turn += 1;
        if let Err(error) = read_one(io, shard, &mut connection, turn).await {
            return error.to_string();
        }
    }
}

async fn read_one(
    io: &CoreIo,
    shard: usize,
    connection: &mut MultiplexedConnection,
    turn: usize,
) -> redis::RedisResult<()> {
    let shared = &io.shared;
    let own = shared.queue_key();
    let taking = &io.taking[shard];
    let listening = Listening { taking, channels: taking.listen(&shared.driver.demand) };
    let channels = &listening.channels;
    let mut keys: Vec<String> =
        channels.iter().map(|channel| channel_key(&shared.config.prefix, channel)).collect();
    // Redis serves the first key that has a message. The order changes each time, so that neither the queue
    // nor the channels must wait until the other is empty.
    keys.insert(if turn.is_multiple_of(2) { keys.len() } else { 0 }, own.clone());
    let mut block = redis::cmd("BZPOPMIN");
    block.arg(&keys).arg(BLOCK.as_secs());
    let mut fields = flat(ask(io, shard, connection, &block).await?).into_iter();
    let (Some(key), Some(member), Some(at)) = (fields.next(), fields.next(), fields.next()) else {
        return Ok(());
    };
    if key == own.as_bytes() {
        drop(listening);
        take(io, member, &at).await;
        return drain(io, shard, connection, &own).await;
    }
    let channel = channels.iter().find(|channel| {
        key.strip_prefix(shared.config.prefix.as_bytes()).is_some_and(|name| name == channel.as_bytes())
    });
    let channel = channel.cloned();
    drop(listening);
    if let Some(channel) = channel {
        shared.popped(channel.clone(), member.into(), score(&at), shard);
        take_for_others(io, shard, connection, channel).await?;
    }
    Ok(())
}

/// Takes all messages from the queue of this process.
async fn drain(
    io: &CoreIo,
    shard: usize,
    connection: &mut MultiplexedConnection,
    key: &str,
) -> redis::RedisResult<()> {
    loop {
        let mut pop = redis::cmd("ZPOPMIN");
        pop.arg(key).arg(DRAIN);
        let fields = flat(ask(io, shard, connection, &pop).await?);
        let count = fields.len() / 2;
        let mut fields = fields.into_iter();
        while let (Some(member), Some(at)) = (fields.next(), fields.next()) {
            take(io, member, &at).await;
        }
        if count < DRAIN {
            return Ok(());
        }
    }
}

/// Takes one more message of a channel for each other caller that waits.
async fn take_for_others(
    io: &CoreIo,
    shard: usize,
    connection: &mut MultiplexedConnection,
    channel: ChannelName,
) -> redis::RedisResult<()> {
    let taking = &io.taking[shard];
    let count = taking.claim(&io.shared.driver.demand, &channel, usize::MAX);
    if count == 0 {
        return Ok(());
    }
    let mut pop = redis::cmd("ZPOPMIN");
    pop.arg(channel_key(&io.shared.config.prefix, &channel)).arg(count);
    let reply = ask(io, shard, connection, &pop).await;
    taking.release(&channel, count);
    let mut fields = flat(reply?).into_iter();
    while let (Some(member), Some(at)) = (fields.next(), fields.next()) {
        io.shared.popped(channel.clone(), member.into(), score(&at), shard);
    }
    Ok(())
}

/// The channels for which the reader waits. Dropping it gives up their claims, also if the connection fails.
struct Listening<'a> {
    taking: &'a Taking,
    channels: Vec<ChannelName>,
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.taking.heard(&self.channels);
    }
}

/// Hands over a message from the queue of this process.
async fn take(io: &CoreIo, member: Vec<u8>, at: &[u8]) {
    if member != WAKE {
        io.inbox.message(member.into(), CoreSource::Queue(score(at))).await;
    }
}

/// Runs a command.
///
/// If the server refuses it, the reply is empty, and comes after a pause. This is logged at most once a
/// minute. It is an error if the server does nothing for now.
async fn ask(
    io: &CoreIo,
    shard: usize,
    connection: &mut MultiplexedConnection,
    command: &Cmd,
) -> redis::RedisResult<Value> {
    match connection.send_packed_command(command).await {
        Ok(Value::ServerError(error)) if ServerRefusal::of_redis(&said(&error)) == ServerRefusal::Away => {
            Value::ServerError(error).extract_error()
        }
        Ok(Value::ServerError(error)) => {
            let address = io.shared.status.address(shard);
            if let Some(more) = io.shared.status.logs("unread") {
                // Redis does not say which of the keys has the wrong type.
                let command: Vec<_> = words(command).take(10).collect();
                tracing::warn!(address, ?command, %error, more, "Redis refused to hand out messages");
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            Ok(Value::Nil)
        }
        other => other,
    }
}
