//! Writes to Redis: batch after batch, each in two round trips however much is in it.
//!
//! What one caller asks for after another thing is written after it, also where the second goes to a channel and the first
//! to a group.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value};
use tokio::sync::{OwnedSemaphorePermit, mpsc::UnboundedReceiver, oneshot};

use super::{
    demand::Demand,
    inbound::{Inbox, unix_time},
    link::{Link, flat, score},
    members,
    names::{channel_key, group_key, shard_of},
    shared::{Operation, Shared},
};
use crate::{
    ChannelName, Delivery, Envelope, GroupName, event::wire::addressed::Address, layers::LayerError,
};

/// How many operations make a batch at most.
const BATCH: usize = 512;
/// How many keys `flush` deletes at once.
const FLUSH_AT_ONCE: usize = 1_000;

/// Adds a message to each queue that has room. Keys: the queues. Arguments: now, up to when messages have expired, their
/// lifetime; the messages; the capacities. It says how many were full, how many failed, and how the last of these did.
///
/// A queue that is no queue fails alone. Nothing is written before the message where nothing has expired: a script that has
/// written is not refused for want of memory.
const ADD: &str = r"
local n, full, failed, why = #KEYS, 0, 0, ''
for i = 1, n do
  local done = redis.pcall('ZCOUNT', KEYS[i], 0, ARGV[2])
  if type(done) == 'number' and done > 0 then done = redis.pcall('ZREMRANGEBYSCORE', KEYS[i], 0, ARGV[2]) end
  if type(done) == 'number' then
    if redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[3 + n + i]) then
      full = full + 1
    else
      done = redis.pcall('ZADD', KEYS[i], ARGV[1], ARGV[3 + i])
      if type(done) == 'number' then redis.call('EXPIRE', KEYS[i], ARGV[3]) end
    end
  end
  if type(done) == 'table' then failed, why = failed + 1, KEYS[i] .. ': ' .. done.err end
end
return {full, failed, why}";

/// What makes a reader look anew at what it reads: a member of the process' own queue that is no message.
pub(super) const WAKE: &[u8] = b"greenroom:wake";

/// What the tasks of the layer's thread share.
pub(super) struct Io {
    pub(super) shared: Arc<Shared>,
    pub(super) links: Vec<Link>,
    pub(super) inbox: Inbox,
    /// Who takes messages of which channel from each shard just now.
    pub(super) taking: Vec<Taking>,
    last_score: Cell<f64>,
    /// The shard that the next message to a channel of any process goes to, as in channels_redis.
    next_shard: Cell<usize>,
}

/// Which messages of a shard are under way to those who wait for them.
///
/// No more are taken than there are who wait: one that had to be put back would come after its successors.
#[derive(Default)]
pub(super) struct Taking {
    /// What the blocked reader waits for.
    listening: RefCell<HashSet<ChannelName>>,
    /// How many messages of each channel may be coming.
    claims: RefCell<HashMap<ChannelName, usize>>,
}

impl Taking {
    /// Claims as many messages as there are who wait, and none claimed for; at most so many.
    pub(super) fn claim(&self, demand: &Demand, channel: &ChannelName, most: usize) -> usize {
        let mut claims = self.claims.borrow_mut();
        let claimed = claims.get(channel).copied().unwrap_or_default();
        let count = demand.count(channel).saturating_sub(claimed).min(most);
        if count > 0 {
            *claims.entry(channel.clone()).or_default() += count;
        }
        count
    }

    /// They have come, or will not.
    pub(super) fn release(&self, channel: &ChannelName, count: usize) {
        let mut claims = self.claims.borrow_mut();
        if let Some(claimed) = claims.get_mut(channel) {
            *claimed = claimed.saturating_sub(count);
            if *claimed == 0 {
                claims.remove(channel);
            }
        }
    }

    /// The channels for which a reader is to wait: it claims one message of each.
    pub(super) fn listen(&self, demand: &Demand) -> Vec<ChannelName> {
        let mut channels = demand.channels();
        channels.retain(|channel| self.claim(demand, channel, 1) == 1);
        self.listening.borrow_mut().extend(channels.iter().cloned());
        channels
    }

    /// The reader waits no more.
    pub(super) fn heard(&self, channels: &[ChannelName]) {
        self.listening.borrow_mut().clear();
        for channel in channels {
            self.release(channel, 1);
        }
    }

    /// Whether the reader must be woken for a channel.
    fn misses(&self, demand: &Demand, channel: &ChannelName) -> bool {
        let claimed = self.claims.borrow().get(channel).copied().unwrap_or_default();
        demand.count(channel) > claimed && !self.listening.borrow().contains(channel)
    }
}

/// What becomes of a reply.
enum Then {
    Answer(oneshot::Sender<Result<(), LayerError>>),
    /// Its share of a publication: so many queues.
    Count {
        publication: usize,
        queues: u64,
    },
    Nothing,
    Sent {
        channel: ChannelName,
        reply: oneshot::Sender<Result<(), LayerError>>,
    },
    Settle(GroupName),
    Take {
        channel: ChannelName,
        count: usize,
    },
}

#[derive(Default)]
struct Batch {
    commands: Pipeline,
    then: Vec<Then>,
}

impl Batch {
    fn push(&mut self, command: Cmd, then: Then) {
        self.commands.add_command(command);
        self.then.push(then);
    }
}

struct Publication {
    delivery: Delivery,
    error: Option<LayerError>,
    reply: Option<oneshot::Sender<Result<Delivery, LayerError>>>,
    _room: OwnedSemaphorePermit,
}

/// Who is in a group, so far as Redis says.
type Names = Result<Vec<String>, LayerError>;

/// Writes until nobody can ask any more.
pub(super) async fn write(io: &Io, mut operations: UnboundedReceiver<Operation>) {
    let mut batch = Vec::with_capacity(BATCH);
    while operations.recv_many(&mut batch, BATCH).await > 0 {
        io.run(std::mem::take(&mut batch)).await;
    }
}

impl Io {
    pub(super) fn new(shared: Arc<Shared>, inbox: Inbox) -> Self {
        let config = &shared.config;
        let links: Vec<_> = config.hosts.iter().map(|host| Link::new(host, config)).collect();
        let taking = links.iter().map(|_| Taking::default()).collect();
        Self { shared, links, inbox, taking, last_score: Cell::new(0.0), next_shard: Cell::new(0) }
    }

    /// A time after that of every message before: of equal ones the random prefix would decide.
    fn score(&self) -> f64 {
        let now = unix_time();
        let score = if now > self.last_score.get() { now } else { self.last_score.get() + 1e-6 };
        self.last_score.set(score);
        score
    }

    async fn run(&self, operations: Vec<Operation>) {
        let names = self.look_up(&operations).await;
        let mut batches: Vec<Batch> = self.links.iter().map(|_| Batch::default()).collect();
        let mut publications = Vec::new();
        let mut flushes = Vec::new();
        for operation in operations {
            match operation {
                Operation::Publish { group, envelope, event, reply, room } => {
                    let mut publication =
                        Publication { delivery: Delivery::default(), error: None, reply, _room: room };
                    match names.get(&group) {
                        Some(Ok(names)) => {
                            let number = publications.len();
                            self.publish(&group, names, &envelope, &event, number, &mut batches);
                        }
                        Some(Err(error)) => publication.error = Some(error.clone()),
                        None => {}
                    }
                    publications.push(publication);
                }
                Operation::Send { channel, event, reply, room: _room } => {
                    self.send(channel, &event, reply, &mut batches);
                }
                Operation::Flush { reply } => flushes.push(reply),
                other => self.simple(other, &mut batches),
            }
        }
        let runs = batches.into_iter().enumerate().map(|(shard, batch)| async move {
            let replies = self.ask(shard, &batch.commands).await;
            (shard, batch.then, replies)
        });
        let mut wanted = HashSet::new();
        for (shard, then, replies) in join_all(runs).await {
            self.take_replies(shard, then, replies, &mut publications, &mut wanted);
        }
        for publication in publications {
            self.finish(publication);
        }
        self.wake_readers(&wanted).await;
        for reply in flushes {
            let _ = reply.send(self.flush().await);
        }
    }

    /// Asks a shard; an error is the same for all commands.
    async fn ask(&self, shard: usize, commands: &Pipeline) -> Result<Vec<Value>, LayerError> {
        self.links[shard].run(commands).await.map_err(|reason| {
            LayerError::Unavailable(format!("{}: {reason}", self.shared.status.address(shard)))
        })
    }

    /// Who is in the groups that are published to.
    async fn look_up(&self, operations: &[Operation]) -> HashMap<GroupName, Names> {
        let mut groups: Vec<Vec<GroupName>> = self.links.iter().map(|_| Vec::new()).collect();
        let mut seen = HashSet::new();
        for operation in operations {
            if let Operation::Publish { group, .. } = operation
                && seen.insert(group)
            {
                groups[self.shared.group_shard(group)].push(group.clone());
            }
        }
        let oldest = unix_time() - self.shared.config.layer.group_expiry.as_secs_f64();
        let look_ups = groups.into_iter().enumerate().map(|(shard, groups)| async move {
            let mut commands = redis::pipe();
            for group in &groups {
                let key = group_key(&self.shared.config.prefix, group);
                commands.cmd("ZREMRANGEBYSCORE").arg(&key).arg(0).arg(oldest.max(0.0) as u64);
                commands.cmd("ZRANGE").arg(&key).arg(0).arg(-1);
            }
            let replies = self.ask(shard, &commands).await;
            (shard, groups, replies)
        });
        let mut names = HashMap::new();
        for (shard, groups, replies) in join_all(look_ups).await {
            match replies {
                Err(error) => names.extend(groups.into_iter().map(|group| (group, Err(error.clone())))),
                Ok(replies) => {
                    let mut replies = replies.into_iter();
                    for group in groups {
                        let (_removed, found) = (replies.next(), replies.next());
                        names.insert(group, self.names(shard, found));
                    }
                }
            }
        }
        names
    }

    fn names(&self, shard: usize, reply: Option<Value>) -> Names {
        match reply {
            Some(Value::ServerError(error)) => Err(self.refused(shard, &error.to_string())),
            Some(reply) => {
                Ok(flat(reply).into_iter().filter_map(|name| String::from_utf8(name).ok()).collect())
            }
            None => Err(LayerError::Refused("an answer is missing".into())),
        }
    }

    fn publish(
        &self,
        group: &GroupName,
        names: &[String],
        envelope: &Envelope,
        event: &Bytes,
        publication: usize,
        batches: &mut [Batch],
    ) {
        let shared = &self.shared;
        // In the order of their first names, so that equal calls are equal on the wire.
        let mut queues: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in names {
            let non_local = name.find('!').map_or(name.as_str(), |at| &name[..=at]);
            if non_local == shared.process {
                self.deliver_own(group, name, envelope, event.len());
            } else {
                queues.entry(non_local).or_default().push(name);
            }
        }
        let mut adds: Vec<Vec<Queue>> = batches.iter().map(|_| Vec::new()).collect();
        for (non_local, names) in queues {
            let capacity = ChannelName::new(names[0])
                .map_or(shared.config.layer.capacity, |first| shared.config.layer.capacity_of(&first));
            match shared.codec.frame(event, Some(Address::Many(&names))) {
                Ok(message) => adds[shard_of(non_local, batches.len())].push(Queue {
                    key: channel_key(&shared.config.prefix, non_local),
                    message,
                    capacity,
                }),
                Err(error) => tracing::error!(%group, %error, "an event cannot be addressed"),
            }
        }
        for (batch, queues) in batches.iter_mut().zip(adds) {
            if !queues.is_empty() {
                let then = Then::Count { publication, queues: queues.len() as u64 };
                batch.push(self.add(&queues), then);
            }
        }
    }

    /// A name of this process: the one for the group was served before; a consumer that another program put in is served now.
    fn deliver_own(&self, group: &GroupName, name: &str, envelope: &Envelope, bytes: usize) {
        let Ok(channel) = ChannelName::new(name) else { return };
        let local = channel.local().unwrap_or_default();
        if self.shared.members.group_of(local).is_none()
            && !self.inbox.direct(channel, envelope.clone(), bytes)
        {
            self.shared.counters().unpublished.one();
            tracing::debug!(%group, name, "no room for an event to a consumer of this process");
        }
    }

    fn send(
        &self,
        channel: ChannelName,
        event: &Bytes,
        reply: oneshot::Sender<Result<(), LayerError>>,
        batches: &mut [Batch],
    ) {
        let shared = &self.shared;
        let (to, shard) = match channel.local() {
            Some(_) => (Some(Address::One(channel.as_str())), shard_of(channel.non_local(), batches.len())),
            None => {
                // In turns, past those that are away.
                let count = batches.len();
                let first = self.next_shard.get();
                let there = (0..count).map(|by| (first + by) % count).find(|&at| shared.status.is_up(at));
                let shard = there.unwrap_or(first);
                self.next_shard.set((shard + 1) % count);
                (None, shard)
            }
        };
        match shared.codec.frame(event, to) {
            Err(error) => drop(reply.send(Err(LayerError::Unwritable(error)))),
            Ok(message) => {
                let key = channel_key(&shared.config.prefix, channel.non_local());
                let capacity = shared.config.layer.capacity_of(&channel);
                let command = self.add(&[Queue { key, message, capacity }]);
                batches[shard].push(command, Then::Sent { channel, reply });
            }
        }
    }

    fn add(&self, queues: &[Queue]) -> Cmd {
        let expiry = self.shared.config.layer.expiry.as_secs();
        let score = self.score();
        let mut command = redis::cmd("EVAL");
        command.arg(ADD).arg(queues.len());
        for queue in queues {
            command.arg(&queue.key);
        }
        command.arg(score.to_string()).arg((score as u64).saturating_sub(expiry)).arg(expiry.max(1));
        for queue in queues {
            command.arg(&queue.message);
        }
        for queue in queues {
            command.arg(queue.capacity);
        }
        command
    }

    /// The operations of one command.
    fn simple(&self, operation: Operation, batches: &mut [Batch]) {
        let prefix = &self.shared.config.prefix;
        match operation {
            Operation::Add { group, channel, reply } => {
                let batch = &mut batches[self.shared.group_shard(&group)];
                self.push_join(batch, &group, &channel, Then::Answer(reply));
            }
            Operation::Discard { group, channel, reply } => {
                let mut command = redis::cmd("ZREM");
                command.arg(group_key(prefix, &group)).arg(channel.as_str());
                batches[self.shared.group_shard(&group)].push(command, Then::Answer(reply));
            }
            Operation::Join { group, number } => {
                let name = members::name(&self.shared.process, number);
                let batch = &mut batches[self.shared.group_shard(&group)];
                self.push_join(batch, &group, &name, Then::Settle(group.clone()));
            }
            Operation::Leave { group, number } => {
                let mut command = redis::cmd("ZREM");
                command.arg(group_key(prefix, &group)).arg(members::name(&self.shared.process, number));
                batches[self.shared.group_shard(&group)].push(command, Then::Nothing);
            }
            Operation::Want(channel) => {
                // Any shard may hold some: where this one does not, the readers wait at all.
                let shard = self.next_shard.get() % batches.len();
                let count = self.taking[shard].claim(&self.shared.demand, &channel, usize::MAX);
                let mut command = redis::cmd("ZPOPMIN");
                command.arg(channel_key(prefix, &channel)).arg(count);
                batches[shard].push(command, Then::Take { channel, count });
            }
            Operation::Back(popped) => {
                let Err(popped) = self.shared.demand.offer(popped) else { return };
                let key = channel_key(prefix, popped.channel.non_local());
                let mut add = redis::cmd("ZADD");
                add.arg(&key).arg(popped.score.to_string()).arg(&popped.member[..]);
                let mut expire = redis::cmd("EXPIRE");
                expire.arg(&key).arg(self.shared.config.layer.expiry.as_secs().max(1));
                batches[popped.shard].push(add, Then::Nothing);
                batches[popped.shard].push(expire, Then::Nothing);
            }
            Operation::Publish { .. } | Operation::Send { .. } | Operation::Flush { .. } => {}
        }
    }

    fn push_join(&self, batch: &mut Batch, group: &GroupName, name: &str, then: Then) {
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

    fn take_replies(
        &self,
        shard: usize,
        then: Vec<Then>,
        replies: Result<Vec<Value>, LayerError>,
        publications: &mut [Publication],
        wanted: &mut HashSet<ChannelName>,
    ) {
        let mut replies = replies.map(Vec::into_iter);
        for then in then {
            let reply = match &mut replies {
                Err(error) => Err(error.clone()),
                Ok(replies) => match replies.next() {
                    Some(Value::ServerError(error)) => Err(self.refused(shard, &error.to_string())),
                    Some(reply) => Ok(reply),
                    None => Err(LayerError::Refused("an answer is missing".into())),
                },
            };
            match then {
                Then::Nothing => {}
                Then::Answer(to) => drop(to.send(reply.map(drop))),
                // Who is away comes back, and is told anew; who refuses is not waited for.
                Then::Settle(group) => {
                    if !matches!(reply, Err(LayerError::Unavailable(_))) {
                        self.shared.members.settle([&group]);
                    }
                }
                Then::Take { channel, count } => {
                    self.taking[shard].release(&channel, count);
                    let found = reply.map(flat).unwrap_or_default();
                    let mut found = found.into_iter();
                    while let (Some(member), Some(at)) = (found.next(), found.next()) {
                        self.shared.popped(channel.clone(), member.into(), score(&at), shard);
                    }
                    wanted.insert(channel);
                }
                Then::Sent { channel, reply: to } => {
                    let sent = reply.and_then(|reply| self.added(shard, reply)).and_then(|added| {
                        if added.full == 0 {
                            return Ok(());
                        }
                        self.shared.counters().queue_full.one();
                        Err(LayerError::ChannelFull(channel))
                    });
                    let _ = to.send(sent);
                }
                Then::Count { publication, queues } => {
                    let publication = &mut publications[publication];
                    match reply.and_then(|reply| self.added(shard, reply)) {
                        Ok(added) => {
                            self.shared.counters().queue_full.add(added.full);
                            publication.delivery.delivered += queues.saturating_sub(added.full);
                            publication.delivery.dropped += added.full;
                        }
                        Err(error) => publication.error = Some(error),
                    }
                }
            }
        }
    }

    /// What the script says.
    fn added(&self, shard: usize, reply: Value) -> Result<Added, LayerError> {
        let fields = flat(reply);
        let number = |at: usize| {
            let text = fields.get(at).and_then(|field| std::str::from_utf8(field).ok());
            text.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default()
        };
        if number(1) > 0 {
            let why = fields.get(2).map(|why| String::from_utf8_lossy(why).into_owned());
            return Err(self.refused(shard, &why.unwrap_or_default()));
        }
        Ok(Added { full: number(0) })
    }

    fn refused(&self, shard: usize, why: &str) -> LayerError {
        let address = self.shared.status.address(shard);
        if let Some(more) = self.shared.status.logs("refused") {
            tracing::warn!(address, why, more, "Redis refused a command");
        }
        LayerError::Refused(format!("{address}: {why}"))
    }

    fn finish(&self, publication: Publication) {
        if publication.error.is_some() {
            self.shared.counters().unpublished.one();
        }
        if let Some(reply) = publication.reply {
            let _ = reply.send(match publication.error {
                Some(error) => Err(error),
                None => Ok(publication.delivery),
            });
        }
    }

    /// Has the readers wait for these channels too, where somebody still does.
    async fn wake_readers(&self, wanted: &HashSet<ChannelName>) {
        let wakes = (0..self.links.len()).map(|shard| async move {
            let misses = |channel| self.taking[shard].misses(&self.shared.demand, channel);
            if wanted.iter().any(misses) {
                let key = self.shared.queue_key();
                let mut commands = redis::pipe();
                commands.cmd("ZADD").arg(&key).arg(unix_time().to_string()).arg(WAKE);
                commands.cmd("EXPIRE").arg(&key).arg(60);
                // A shard that is away has no reader; the one that comes back looks anew.
                let _ = self.links[shard].run(&commands).await;
            }
        });
        join_all(wakes).await;
    }

    /// Deletes all keys of the prefix, and makes this process a member again where it is one.
    async fn flush(&self) -> Result<(), LayerError> {
        for shard in 0..self.links.len() {
            let mut cursor = b"0".to_vec();
            loop {
                let mut scan = redis::pipe();
                let pattern = format!("{}*", escaped(&self.shared.config.prefix));
                scan.cmd("SCAN").arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(FLUSH_AT_ONCE);
                let mut found = self.ask(shard, &scan).await?.into_iter().flat_map(flat);
                cursor = found.next().unwrap_or_else(|| b"0".to_vec());
                let keys: Vec<Vec<u8>> = found.collect();
                if !keys.is_empty() {
                    let mut delete = redis::pipe();
                    delete.cmd("DEL").arg(&keys);
                    self.ask(shard, &delete).await?;
                }
                if cursor == b"0" {
                    break;
                }
            }
            self.rejoin(shard).await.map_err(LayerError::Unavailable)?;
        }
        Ok(())
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

struct Queue {
    key: String,
    message: Vec<u8>,
    capacity: usize,
}

struct Added {
    full: u64,
}

/// A text that a pattern of Redis matches as it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
