"""A process with a layer of channels_redis: a command a line, an answer a line.

    peer.py core|pubsub '{"hosts": ["redis://…"]}'

A command is a JSON list of a method's name and its arguments; messages in it are Python literals, for they may hold bytes.
"""

import ast
import asyncio
import json
import sys

from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer


async def run(layer, name, *arguments):
    if name in ("send", "group_send"):
        address, message = arguments
        return await getattr(layer, name)(address, ast.literal_eval(message))
    if name == "receive":
        channel, seconds = arguments
        return repr(await asyncio.wait_for(layer.receive(channel), seconds))
    if name == "idle":
        return await asyncio.sleep(*arguments)
    return await getattr(layer, name)(*arguments)


async def main():
    kind, config = sys.argv[1:]
    config = json.loads(config)
    layer = {"core": RedisChannelLayer, "pubsub": RedisPubSubChannelLayer}[kind](**config)
    loop = asyncio.get_running_loop()
    print(json.dumps({"ok": "ready"}), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            answer = {"ok": await run(layer, *json.loads(line))}
        except Exception as error:  # noqa: BLE001: it is the answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


asyncio.run(main())
