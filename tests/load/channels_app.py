"""The rooms of the load server, as a Django project with Channels: `uvicorn channels_app:application`.

LAYER is `core` or `pubsub`, and REDIS is the URL of the server. The consumer is that of Channels' tutorial, but without
JSON."""

import os

import django
from django.conf import settings

BACKENDS = {
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}
settings.configure(
    SECRET_KEY="load",
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={
        "default": {"BACKEND": BACKENDS[os.environ["LAYER"]], "CONFIG": {"hosts": [os.environ["REDIS"]]}},
    },
)
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import re_path  # noqa: E402


class Room(AsyncWebsocketConsumer):
    async def connect(self):
        self.room = "room_" + self.scope["url_route"]["kwargs"]["name"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.group_send(self.room, {"type": "said", "text": text_data})

    async def said(self, event):
        await self.send(text_data=event["text"])


routes = [re_path(r"^room/(?P<name>\w+)/$", Room.as_asgi())]
application = ProtocolTypeRouter({"websocket": URLRouter(routes)})
