//! This process in its groups in Redis.

use futures_util::future::join_all;
use redis::{Cmd, Pipeline};

use super::{
    batch::{CommandBatch, Replies, Then},
    link::unix_time,
    names::{group_key, process_number},
    told::{Piece, Tell},
    writer::{BATCH, CoreIo},
};
use crate::GroupName;

impl CoreIo {
    pub(super) fn push_join<T: AsRef<str>>(
        &self,
        batch: &mut CommandBatch,
        group: &GroupName,
        names: &[T],
        then: Then,
    ) {
        let [add, expire] = self.join(group, names);
        batch.push(add, then);
        batch.push(expire, Then::Nothing);
    }

    /// The commands that make names members, or renew them.
    fn join<T: AsRef<str>>(&self, group: &GroupName, names: &[T]) -> [Cmd; 2] {
        let key = group_key(&self.shared.config.prefix, group);
        let now = unix_time().to_string();
        let mut add = redis::cmd("ZADD");
        add.arg(&key);
        for name in names {
            add.arg(&now).arg(name.as_ref());
        }
        let mut expire = redis::cmd("EXPIRE");
        expire.arg(&key).arg(self.shared.config.layer.group_expiry.as_secs().max(1));
        [add, expire]
    }

    /// Makes this process a member of all its groups on a shard again, and of no other.
    pub(super) async fn rejoin(&self, shard: usize) -> Result<(), String> {
        let on_shard = |group: &GroupName| self.shared.group_shard(group) == shard;
        for pieces in in_batches(self.told.leaving(BATCH, on_shard)) {
            let pieces: Vec<Piece> = pieces.into_iter().map(|piece| self.told.take_out(piece)).collect();
            let mut commands = redis::pipe();
            for piece in pieces.iter().filter(|piece| !piece.names.is_empty()) {
                commands.add_command(self.take_out(&piece.group, &piece.names));
            }
            let done = self.run_all(shard, &commands).await;
            for piece in &pieces {
                self.told.left(&piece.group, &piece.names, done.is_ok());
            }
            done?;
        }
        for pieces in in_batches(self.told.members(BATCH, on_shard)) {
            let pieces: Vec<Piece> = pieces.into_iter().map(|piece| self.told.tell(piece)).collect();
            let mut commands = redis::pipe();
            for piece in pieces.iter().filter(|piece| !piece.names.is_empty()) {
                for command in self.join(&piece.group, &piece.names) {
                    commands.add_command(command);
                }
            }
            self.run_all(shard, &commands).await?;
            for Piece { group, names } in pieces {
                let numbers = names.iter().filter_map(|name| process_number(name.local()?));
                self.shared
                    .members
                    .settle(&numbers.map(|number| (group.clone(), number)).collect::<Vec<_>>());
            }
        }
        Ok(())
    }

    /// Runs commands; one that is refused is said, and is as one that is done.
    async fn run_all(&self, shard: usize, commands: &Pipeline) -> Result<(), String> {
        let done = self.links[shard].run(commands).await?;
        let count = done.len();
        let mut replies = Replies::new(&self.shared.status, shard, commands, Ok(done));
        for _ in 0..count {
            let _ = replies.next();
        }
        Ok(())
    }

    /// Tells of the members that have come and gone, and says up to which of all changes; `None` where they have no names.
    pub(super) fn tell_members(&self, batches: &mut [CommandBatch]) -> Option<u64> {
        let changes = self.shared.groups.directory().members()?;
        self.asked.set(false);
        let (changed, count) = changes.take();
        for (group, members) in changed {
            let shard = self.shared.group_shard(&group);
            let is_there = self.links[shard].is_connected();
            let (mut joined, mut left) = (Vec::new(), Vec::new());
            for (member, is_in) in members {
                let name = self.shared.groups.name_of(member);
                match self.told.note(&group, &name, is_in, is_there) {
                    Tell::Join => joined.push(name),
                    Tell::Leave => left.push(name),
                    Tell::Nothing => {}
                }
            }
            let batch = &mut batches[shard];
            for names in left.chunks(BATCH) {
                let left = Piece { group: group.clone(), names: names.to_vec() };
                batch.push(self.take_out(&group, names), Then::Left(left));
            }
            for names in joined.chunks(BATCH) {
                self.push_join(batch, &group, names, Then::Nothing);
            }
        }
        Some(count)
    }

    /// Puts names into their group anew, those that are still here. Where Redis is not there, the next connection does.
    pub(super) fn renew(&self, piece: Piece, batches: &mut [CommandBatch]) {
        let shard = self.shared.group_shard(&piece.group);
        if !self.links[shard].is_connected() {
            return;
        }
        let piece = self.told.tell(piece);
        if !piece.names.is_empty() {
            self.push_join(&mut batches[shard], &piece.group, &piece.names, Then::Nothing);
        }
    }

    pub(super) fn take_out<T: AsRef<str>>(&self, group: &GroupName, names: &[T]) -> Cmd {
        let mut command = redis::cmd("ZREM");
        command.arg(group_key(&self.shared.config.prefix, group));
        for name in names {
            command.arg(name.as_ref());
        }
        command
    }

    /// Takes this process out of Redis, at its end.
    pub(super) async fn leave_all(&self) {
        let leaves = self.links.iter().enumerate().map(|(shard, link)| async move {
            let on_shard = |group: &GroupName| self.shared.group_shard(group) == shard;
            for pieces in in_batches(self.told.all_told(BATCH, on_shard)) {
                let mut commands = redis::pipe();
                for piece in &pieces {
                    commands.add_command(self.take_out(&piece.group, &piece.names));
                }
                if link.run(&commands).await.is_err() {
                    return;
                }
            }
            let mut commands = redis::pipe();
            commands.cmd("DEL").arg(self.shared.queue_key());
            let _ = link.run(&commands).await;
        });
        join_all(leaves).await;
    }
}

/// Pieces together, until they have as many names as a batch.
fn in_batches(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut batches: Vec<Vec<Piece>> = Vec::new();
    let mut names = BATCH;
    for piece in pieces {
        if names >= BATCH {
            batches.push(Vec::new());
            names = 0;
        }
        names += piece.names.len();
        batches.last_mut().expect("one was pushed").push(piece);
    }
    batches
}
