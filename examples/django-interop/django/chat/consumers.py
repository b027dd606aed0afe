from channels.generic.websocket import AsyncJsonWebsocketConsumer


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """One person in a room, as in the tutorial of Channels. `src/chat.rs` has the same in Rust."""

    async def connect(self):
        self.room = f"chat_{self.scope['url_route']['kwargs']['room']}"
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive_json(self, content):
        message = {"type": "chat.message", "user": content["user"], "text": content["text"]}
        await self.channel_layer.group_send(self.room, message)

    async def chat_message(self, event):
        await self.send_json(event)
