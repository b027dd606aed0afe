//! Appends events to the logs of groups, and finds out what became of those whose answers are lost.

use std::{cell::Cell, rc::Rc, sync::Arc};

use redis::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    batch::{QueueMessage, Spreading, Then, refused},
    link::RedisLink,
    log::{
        append::{Answer, AppendError, Appending, Settled},
        entry::{mark, marked},
        linked::{Linked, LogState, LoggedDriver, hand_on},
        publish::Counted,
        scripts::Script,
        secret::keep_secret,
        store::RedisLogs,
    },
    names::{group_key, log_keys},
    publication::{FoundNames, OutgoingEvent},
    state::{Core, CoreOperation, CoreShared, CoreSource},
    writer::CoreIo,
};
use crate::{
    Delivery,
    layers::{LayerError, server::driver::InboundSenderOf},
};

impl LoggedDriver for Core {
    fn logs(&self) -> &RedisLogs {
        &self.logs
    }

    fn counted(&self) -> Option<&Counted> {
        None
    }

    fn own(settled: Box<Settled>) -> CoreSource {
        CoreSource::Own(settled)
    }
}

impl Linked for CoreIo {
    type Kind = Core;

    fn shared(&self) -> &Arc<CoreShared> {
        &self.shared
    }

    fn inbox(&self) -> &InboundSenderOf<Core> {
        &self.inbox
    }

    fn link(&self, shard: usize) -> &RedisLink {
        &self.links[shard]
    }

    fn state(&self) -> &LogState {
        &self.logs
    }
}

impl CoreIo {
    /// Adds the command that appends an event to its log, with the names of its group that were just looked up, or that
    /// are known.
    pub(super) fn append_to(
        &self,
        shard: usize,
        appending: Box<Appending>,
        room: OwnedSemaphorePermit,
        found: Option<&FoundNames>,
    ) {
        match found {
            Some(Ok(names)) => {
                self.known.note(&appending.group, names);
                self.append(shard, appending, room, names, false);
            }
            Some(Err(error)) => {
                let outcome = Err(AppendError::Not(error.clone()));
                self.hand_on(Settled { appending: *appending, outcome }, room);
            }
            None => match self.known.get(&appending.group) {
                Some(names) => self.append(shard, appending, room, &names, true),
                None => self.again(shard, appending, room),
            },
        }
    }

    /// Adds the command that appends an event to its log, and brings it to the queues on the same shard.
    ///
    /// With `must_hold` it does so only if the group still has these names.
    fn append(
        &self,
        shard: usize,
        mut appending: Box<Appending>,
        room: OwnedSemaphorePermit,
        names: &[String],
        must_hold: bool,
    ) {
        let shared = &self.shared;
        let Appending { group, except, envelope, event, .. } = &*appending;
        let event = OutgoingEvent { group, except, envelope: Some(envelope), bytes: event, is_kept: true };
        let mut all = self.messages(&event, names);
        let queues = std::mem::take(&mut all[shard]);
        let elsewhere = all.into_iter().enumerate().filter(|(_, queues)| !queues.is_empty()).collect();
        let of_log = log_keys(&shared.config.prefix, group);
        let of_group = group_key(&shared.config.prefix, group);
        let of_queues = queues.iter().map(|queue| &queue.key);
        let keys: Vec<&str> = of_log.iter().chain([&of_group]).chain(of_queues).map(String::as_str).collect();
        let mut command = self.append_by(Script::AppendToQueues, shard, &keys, &mut appending);
        self.add_times(&mut command);
        let known = if must_hold { format!("={}", names.join(" ")) } else { String::new() };
        command.arg(mark(&appending.group)).arg(known).arg(self.oldest_name());
        for queue in &queues {
            command.arg(&queue.message);
        }
        for queue in &queues {
            command.arg(queue.capacity);
        }
        for queue in &queues {
            command.arg(u8::from(queue.is_ours));
        }
        let then = Then::Append { appending, queues: queues.len() as u64, elsewhere, room };
        self.push(shard, command, then);
    }

    /// Appends an event after the names of its group are looked up, because others are known, or none.
    fn again(&self, shard: usize, appending: Box<Appending>, room: OwnedSemaphorePermit) {
        self.known.forget(&appending.group);
        self.look(shard, CoreOperation::Append(appending, room));
    }

    /// Takes the answer to an append. The event goes to the queues of other shards, and then to the members here.
    pub(super) fn appended(
        &self,
        shard: usize,
        appending: Box<Appending>,
        queues: u64,
        elsewhere: Vec<(usize, Vec<QueueMessage>)>,
        room: OwnedSemaphorePermit,
        reply: Result<Value, LayerError>,
    ) {
        if matches!(&reply, Ok(Value::Array(fields)) if fields.is_empty()) {
            return self.again(shard, appending, room);
        }
        let appending = *appending;
        let Answer { place, count: full, refused: why, .. } =
            match reply.and_then(|reply| self.answer(reply, &appending)) {
                Ok(answer) => answer,
                Err(error) => {
                    let outcome = Err(AppendError::Not(error));
                    return self.hand_on(Settled { appending, outcome }, room);
                }
            };
        self.shared.counters().queue_full.add(full);
        if place.at.offset == 1
            && let Some(command) = keep_secret(self)
        {
            // The log is new. Perhaps all keys were deleted.
            self.push(0, command, Then::Nothing);
        }
        if let Some(why) = why {
            // It is logged. The process finds the event in the log.
            let _ = refused(&self.shared.status, shard, &why);
        }
        let delivery =
            Delivery { delivered: queues.saturating_sub(full), dropped: full, ..Delivery::default() };
        if elsewhere.is_empty() {
            return self.hand_on(Settled { appending, outcome: Ok((place, delivery)) }, room);
        }
        let inbox = self.inbox.clone();
        let group = appending.group.clone();
        let spreading = Rc::new(Spreading {
            event: Cell::new(Some((appending, place, room))),
            delivery: Cell::new(delivery),
            hand_on: Box::new(move |settled, room| hand_on::<Core>(&inbox, settled, room)),
        });
        for (shard, mut queues) in elsewhere {
            for queue in queues.iter_mut().filter(|queue| queue.is_ours) {
                queue.message = marked(&group, place, &queue.message);
            }
            let then = Then::Spread { spreading: Rc::clone(&spreading), queues: queues.len() as u64 };
            self.push(shard, self.add(&queues), then);
        }
    }
}
