//! Keeps the memberships of this process in Redis' groups.

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
    /// Adds the commands that make names members, or renew them.
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

    /// Writes the memberships of this process on a shard again.
    ///
    /// Names that have left are taken out.
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

    /// Runs commands. A command that Redis refuses is logged, and then counts as done.
    async fn run_all(&self, shard: usize, commands: &Pipeline) -> Result<(), String> {
        let done = self.links[shard].run(commands).await?;
        let count = done.len();
        let mut replies = Replies::new(&self.shared.status, shard, commands, Ok(done));
        for _ in 0..count {
            let _ = replies.next();
        }
        Ok(())
    }

    /// Adds the commands that tell which members have joined and left.
    ///
    /// Returns how many changes Redis knows after that, or `None` if it is not told of each member.
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

    /// Writes the names that are still members into their group again. If Redis is away, the next connection
    /// does so.
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

    /// The command that takes names out of a group.
    pub(super) fn take_out<T: AsRef<str>>(&self, group: &GroupName, names: &[T]) -> Cmd {
        let mut command = redis::cmd("ZREM");
        command.arg(group_key(&self.shared.config.prefix, group));
        for name in names {
            command.arg(name.as_ref());
        }
        command
    }

    /// Removes this process from Redis, at the layer's end.
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

/// Joins pieces into batches. A batch is full when it has [`BATCH`] names or more.
fn in_batches(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut batches: Vec<Vec<Piece>> = Vec::new();
    let mut names = BATCH;
    for piece in pieces {
        if names >= BATCH {
            batches.push(Vec::new());
            names = 0;
        }
        names += piece.names.len();
        batches.last_mut().expect("a batch was pushed before").push(piece);
    }
    batches
}
