import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chat.settings")
django = get_asgi_application()

from chat.routing import websocket_urlpatterns  # noqa: E402: Django must be set up

application = ProtocolTypeRouter(
    {
        "http": ASGIStaticFilesHandler(django),
        "websocket": AllowedHostsOriginValidator(URLRouter(websocket_urlpatterns)),
    }
)
