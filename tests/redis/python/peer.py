"""A process with a layer of channels_redis. It reads one command a line, and answers with one line.

    peer.py core|pubsub|history-core|history-pubsub '{"hosts": ["redis://…"]}'

A command is a JSON list: the name of a method, then its arguments. A message is passed as the text of a Python
literal, because it may hold bytes.
"""

import ast
import asyncio
import json
import sys

import django.conf
from channels.consumer import AsyncConsumer
from channels.routing import ChannelNameRouter
from channels.worker import Worker
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

import greenroom_channels


# The numbers of the jobs that the worker of this process has done.
WORKED = []
TASKS = []


class Recorder(AsyncConsumer):
    async def note(self, message):
        if message["number"] < 0:
            raise ValueError("as asked")
        WORKED.append(message["number"])


def work(layer, channel):
    """Starts a worker, as `manage.py runworker` does."""
    worker = Worker(ChannelNameRouter({channel: Recorder.as_asgi()}), [channel], layer)
    TASKS.append(asyncio.ensure_future(worker.arun()))


async def until(so):
    while not so():
        await asyncio.sleep(0.005)


async def run(layer, name, *arguments):
    if name in ("send", "group_send"):
        address, message = arguments
        return await getattr(layer, name)(address, ast.literal_eval(message))
    if name == "receive":
        channel, seconds = arguments
        return repr(await asyncio.wait_for(layer.receive(channel), seconds))
    if name == "work":
        return work(layer, *arguments)
    if name == "worked":
        count, seconds = arguments
        await asyncio.wait_for(until(lambda: len(WORKED) >= count), seconds)
        return WORKED
    if name == "idle":
        return await asyncio.sleep(*arguments)
    return await getattr(layer, name)(*arguments)


async def main():
    django.conf.settings.configure()
    kind, config = sys.argv[1:]
    config = json.loads(config)
    kinds = {
        "core": RedisChannelLayer,
        "pubsub": RedisPubSubChannelLayer,
        "history-core": greenroom_channels.RedisChannelLayer,
        "history-pubsub": greenroom_channels.RedisPubSubChannelLayer,
    }
    layer = kinds[kind](**config)
    loop = asyncio.get_running_loop()
    print(json.dumps({"ok": "ready"}), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            answer = {"ok": await run(layer, *json.loads(line))}
        except Exception as error:  # noqa: BLE001: the error is the answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


asyncio.run(main())
