//! This process in its groups in Redis.

use futures_util::future::join_all;
use redis::{Cmd, Value};

use super::{
    batch::{Batch, Then},
    inbound::unix_time,
    members,
    names::group_key,
    writer::{BATCH, Io},
};
use crate::GroupName;

impl Io {
    pub(super) fn push_join(&self, batch: &mut Batch, group: &GroupName, name: &str, then: Then) {
        let [add, expire] = self.join(group, name);
        batch.push(add, then);
        batch.push(expire, Then::Nothing);
    }

    /// The commands that make a name a member, or renew it.
    pub(super) fn join(&self, group: &GroupName, name: &str) -> [Cmd; 2] {
        let key = group_key(&self.shared.config.prefix, group);
        let mut add = redis::cmd("ZADD");
        add.arg(&key).arg(unix_time().to_string()).arg(name);
        let mut expire = redis::cmd("EXPIRE");
        expire.arg(&key).arg(self.shared.config.layer.group_expiry.as_secs().max(1));
        [add, expire]
    }

    /// Makes this process a member of all its groups on a shard again.
    pub(super) async fn rejoin(&self, shard: usize) -> Result<(), String> {
        let here = self.shared.members.all(|group| self.shared.group_shard(group) == shard);
        for some in here.chunks(BATCH) {
            let mut commands = redis::pipe();
            for (group, number) in some {
                for command in self.join(group, &members::name(&self.shared.process, *number)) {
                    commands.add_command(command);
                }
            }
            for reply in self.links[shard].run(&commands).await? {
                if let Value::ServerError(error) = reply {
                    self.refused(shard, &error.to_string());
                }
            }
            self.shared.members.settle(some.iter().map(|(group, _)| group));
        }
        Ok(())
    }

    /// Takes this process out of Redis, at its end.
    pub(super) async fn leave_all(&self) {
        let leaves = self.links.iter().enumerate().map(|(shard, link)| async move {
            let here = self.shared.members.all(|group| self.shared.group_shard(group) == shard);
            for some in here.chunks(BATCH) {
                let mut commands = redis::pipe();
                for (group, number) in some {
                    let key = group_key(&self.shared.config.prefix, group);
                    commands.cmd("ZREM").arg(key).arg(members::name(&self.shared.process, *number));
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
