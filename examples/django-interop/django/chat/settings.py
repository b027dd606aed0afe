import os
from pathlib import Path

# Both servers have the same page, script and style sheet, and the shared files of all examples.
EXAMPLE = Path(__file__).resolve().parents[2]
PAGES = EXAMPLE / "pages"
SHARED = EXAMPLE.parent / "shared" / "static"

SECRET_KEY = "nothing is signed here"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
INSTALLED_APPS = ["daphne", "channels", "django.contrib.staticfiles"]
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware"]
ROOT_URLCONF = "chat.urls"
ASGI_APPLICATION = "chat.asgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [PAGES]}]
STATIC_URL = "static/"
STATICFILES_DIRS = [PAGES, SHARED]

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        # Without this, redis-py 8 would end a consumer that hears nothing for 5 s: the layer waits that long for a
        # message, and so does the socket by default.
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": None}]},
    },
}
