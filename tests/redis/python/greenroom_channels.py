"""Layers of channels_redis whose events are kept by the history of Greenroom's groups.

Use them in CHANNEL_LAYERS in place of channels_redis' own, with two more settings:

`history`    a list of what stands in Greenroom's `history(…)`: a pattern, how many events, for how many seconds
`transient`  the types of the events that Rust declares as `#[event(…, transient)]`

    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "greenroom_channels.RedisChannelLayer",
            "CONFIG": {
                "hosts": ["redis://127.0.0.1:6379/0"],
                "history": [["chat_*", 100, 300]],
                "transient": ["chat.typing"],
            },
        },
    }

A `group_send` to such a group appends to its log, unless the event is transient: then the members that are there get it,
and nobody gets it later. Consumers of Django get the same messages as always.

It runs the scripts of Greenroom, and must have those of the same version. To deploy it, copy it and them into the folder
of your project from which Python imports:

    cp tests/redis/python/greenroom_channels.py framework/src/layers/redis/log/*.lua my_project/

The scripts may also be in another folder, which the environment variable GREENROOM_SCRIPTS names.
"""

import fnmatch
import functools
import os
import re
import time

from channels_redis import core, pubsub

HERE = os.path.dirname(os.path.abspath(__file__))
# In the repository they are where Rust has them.
BESIDE = [HERE, os.path.join(HERE, "../../../framework/src/layers/redis/log")]
OURS = re.compile(r"specific\.[0-9A-Za-z]{12}!")


def folder():
    """The folder with the scripts."""
    folders = [os.environ["GREENROOM_SCRIPTS"]] if os.environ.get("GREENROOM_SCRIPTS") else BESIDE
    for found in folders:
        if os.path.exists(os.path.join(found, "append.lua")):
            return found
    raise FileNotFoundError(f"greenroom_channels.py says where to copy the scripts of Greenroom; append.lua is not in {folders}")


@functools.cache
def script(*names):
    parts = []
    for name in names:
        with open(os.path.join(folder(), name + ".lua"), encoding="utf-8") as file:
            parts.append(file.read())
    return "".join(parts)


def policy(history, group):
    return next(((size, int(within)) for pattern, size, within in history if fnmatch.fnmatchcase(group, pattern)), None)


def arguments(size, within, sealed):
    """What append.lua is told: a new epoch, that this process has seen nothing, the policy, and the entry."""
    epoch = (os.urandom(8).hex(), "", "", "")
    return [*epoch, size, within, max(10 * within, 3600), sealed, os.urandom(3), os.urandom(8), f"{size}:{within}"]


class RedisChannelLayer(core.RedisChannelLayer):
    def __init__(self, *args, history=(), transient=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.history, self.transient = history, frozenset(transient)
        # If they are missing, this says so at the start, and not at the first event.
        script("names", "append", "queues")

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
        if message.get("type") in self.transient:
            return await self._put(queues, messages, capacities, now, b"greenroom:now:")
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
        await self._put(queues, messages, capacities, now, place)

    async def _put(self, queues, messages, capacities, now, mark):
        """Brings a message to queues, each up to its capacity. Those to Greenroom's processes begin with the mark."""
        for shard, keys in queues.items():
            connection = self.connection(shard)
            for key in keys:
                ours = OURS.fullmatch(key.removeprefix(self.prefix))
                await connection.zremrangebyscore(key, 0, int(now) - int(self.expiry))
                if await connection.zcard(key) < capacities[key]:
                    await connection.zadd(key, {mark + messages[key] if ours else messages[key]: now})
                    await connection.expire(key, int(self.expiry))


class RedisPubSubChannelLayer(pubsub.RedisPubSubChannelLayer):
    def __init__(self, *args, history=(), transient=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.history, self.transient = history, frozenset(transient)
        script("append", "topics")

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
            if message.get("type") in self.transient:
                await shard._redis.eval(script("transient"), 0, *topics, self.serialize(message))
                return
            entry = arguments(*kept, self.serialize(message))
            await shard._redis.eval(script("append", "topics"), len(keys), *keys, *entry, *topics)
