"""Layers of channels_redis whose events are kept by the history of Greenroom's groups.

Use them in CHANNEL_LAYERS in place of channels_redis' own, with one more setting: `history`, a list of what stands in
Greenroom's `history(…)`: a pattern, how many events, for how many seconds.

    "BACKEND": "greenroom_channels.RedisChannelLayer",
    "CONFIG": {"hosts": [...], "history": [["chat_*", 100, 300]]},

A `group_send` to such a group appends to its log. Consumers of Django get the same messages as always. The scripts are
those of Greenroom: framework/src/layers/redis/log/*.lua.
"""

import fnmatch
import functools
import os
import re
import time

from channels_redis import core, pubsub

SCRIPTS = os.environ.get("GREENROOM_SCRIPTS") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "../../../framework/src/layers/redis/log"
)
OURS = re.compile(r"specific\.[0-9A-Za-z]{12}!")


@functools.cache
def script(*names):
    parts = []
    for name in names:
        with open(os.path.join(SCRIPTS, name + ".lua")) as file:
            parts.append(file.read())
    return "".join(parts)


def policy(history, group):
    return next(((size, int(within)) for pattern, size, within in history if fnmatch.fnmatchcase(group, pattern)), None)


def arguments(size, within, sealed):
    """What append.lua is told: a new epoch, that this process has seen nothing, the policy, and the entry."""
    epoch = (os.urandom(8).hex(), "", "", "")
    return [*epoch, size, within, max(10 * within, 3600), sealed, os.urandom(3), os.urandom(8), f"{size}:{within}"]


class RedisChannelLayer(core.RedisChannelLayer):
    def __init__(self, *args, history=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.history = history

    async def group_send(self, group, message):
        kept = policy(self.history, group)
        if kept is None:
            return await super().group_send(group, message)
        assert self.require_valid_group_name(group), "Group name not valid"
        members, shard = self._group_key(group), self.consistent_hash(group)
        connection, now = self.connection(shard), time.time()
        await connection.zremrangebyscore(members, 0, int(now) - self.group_expiry)
        names = [name.decode() for name in await connection.zrange(members, 0, -1)]
        queues, messages, capacities = self._map_channel_keys_to_connection(names, message)
        here = queues.pop(shard, [])
        keys = [f"{self.prefix}:gr:m:{group}", f"{self.prefix}:gr:l:{group}", members, *here]
        # An entry has no random bytes in front.
        sealed = self.serialize(message)[self._serializer.random_prefix_length :]
        entry, mark = arguments(*kept, sealed), f"greenroom:log:{group}:".encode()
        times = [now, int(now) - int(self.expiry), int(self.expiry)]
        ours = [int(bool(OURS.fullmatch(key.removeprefix(self.prefix)))) for key in here]
        of_queues = [*map(messages.get, here), *map(capacities.get, here), *ours]
        epoch, offset, before, *_ = await connection.eval(
            script("names", "append", "queues"), len(keys), *keys, *entry, *times, mark, "", "", *of_queues
        )
        place = mark + epoch + f":{offset}:".encode() + entry[8] + before
        for other, keys in queues.items():
            for key in keys:
                ours = OURS.fullmatch(key.removeprefix(self.prefix))
                connection = self.connection(other)
                if await connection.zcard(key) < capacities[key]:
                    await connection.zadd(key, {place + messages[key] if ours else messages[key]: now})
                    await connection.expire(key, int(self.expiry))


class RedisPubSubChannelLayer(pubsub.RedisPubSubChannelLayer):
    def __init__(self, *args, history=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.history = history

    async def group_send(self, group, message):
        kept, layer = policy(self.history, group), self._get_layer()
        if kept is None:
            return await layer.group_send(group, message)
        topic = layer._get_group_channel_name(group)
        keys = [f"{layer.prefix}:gr:m:{group}", f"{layer.prefix}:gr:l:{group}"]
        topics = [f"{layer.prefix}__greenroom__{group}", topic]
        shard = layer._get_shard(topic)
        async with shard._lock:
            shard._ensure_redis()
            entry = arguments(*kept, self.serialize(message))
            await shard._redis.eval(script("append", "topics"), len(keys), *keys, *entry, *topics)
