//! Keeps the memberships of this process in Redis' groups.

use futures_util::future::join_all;
use redis::{Cmd, Pipeline};

use super::{
    batch::{Entry, Mark, Replies, Then},
    link::unix_time,
    names::{group_key, process_number},
    told::{Piece, Tell},
    writer::{BATCH, CoreIo},
};
use crate::{GroupName, LayerError};

impl CoreIo {
    /// Adds the commands that make names members, or renew them.
    pub(super) fn push_join<T: AsRef<str>>(&self, group: &GroupName, names: &[T], then: Then) {
        let shard = self.shared.group_shard(group);
        let [add, expire] = self.join(group, names);
        self.push(shard, add, then);
        self.push(shard, expire, Then::Nothing);
    }

    /// Adds the commands that make names of this process members.
    pub(super) fn push_own_join(&self, piece: Piece, number: Option<u64>) {
        let Piece { group, names } = &piece;
        let [add, expire] = self.join(group, names);
        let shard = self.shared.group_shard(group);
        self.push(shard, add, Then::Joined(piece, number));
        self.push(shard, expire, Then::Nothing);
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
            let done = self.run_all(shard, &commands).await.map(drop);
            for piece in pieces {
                self.left(shard, piece, done.is_ok());
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
            let mut passing = self.run_all(shard, &commands).await?.into_iter();
            for Piece { group, names } in pieces {
                if names.is_empty() {
                    continue;
                }
                // The second answer is about the time after which the group expires.
                let refused = passing.next().unwrap_or_default();
                let _ = passing.next();
                self.told.joined(&group, &names, refused);
                if refused {
                    self.refused.notify_one();
                }
                let numbers = names.iter().filter_map(|name| process_number(name.local()?));
                self.shared
                    .members
                    .settle(&numbers.map(|number| (group.clone(), number)).collect::<Vec<_>>());
            }
        }
        Ok(())
    }

    /// Runs commands. Returns for each whether Redis has refused it for now.
    ///
    /// A command that Redis refuses for ever is logged, and then counts as done. It is an error if Redis is
    /// away, or does nothing for now.
    async fn run_all(&self, shard: usize, commands: &Pipeline) -> Result<Vec<bool>, String> {
        let done = self.links[shard].run(commands).await?;
        let count = done.len();
        let mut replies = Replies::new(&self.shared.status, shard, commands, Ok(done));
        let mut passing = Vec::with_capacity(count);
        for _ in 0..count {
            if let Err(LayerError::Unavailable(reason)) = replies.next() {
                return Err(reason);
            }
            passing.push(replies.may_pass());
        }
        Ok(passing)
    }

    /// Adds the commands that tell which members have joined and left, if Redis is told of each.
    pub(super) fn tell_members(&self) {
        let Some(changes) = self.shared.groups.directory().members() else { return };
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
            for names in left.chunks(BATCH) {
                let left = Piece { group: group.clone(), names: names.to_vec() };
                self.push(shard, self.take_out(&group, names), Then::Left(left));
            }
            for names in joined.chunks(BATCH) {
                self.push_own_join(Piece { group: group.clone(), names: names.to_vec() }, None);
            }
        }
        for shard in 0..self.links.len() {
            self.put(shard, Entry::Mark(Mark::Told(count)));
        }
    }

    /// Writes the names that are still members into their group again. If Redis is away, the next connection
    /// does so.
    pub(super) fn renew(&self, piece: Piece) {
        let shard = self.shared.group_shard(&piece.group);
        if !self.links[shard].is_connected() {
            return;
        }
        let piece = self.told.tell(piece);
        if !piece.names.is_empty() {
            self.push_own_join(piece, None);
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
