"""A Django project that reads one command a line, and answers with one line.

    project.py '{"engine": "db", "database": {…}, "SECRET_KEY": "…"}'

A command is a JSON list of three: the name of a function of this file, its arguments in a list, and its keyword
arguments in an object. Logins go through Django's own middleware and views.
"""

import datetime
import json
import sys
import time
from unittest import mock

import django
from django.conf import settings

CONFIG = json.loads(sys.argv[1])
CUSTOM = CONFIG.pop("custom_user", False)

settings.configure(
    ALLOWED_HOSTS=["*"],
    AUTH_USER_MODEL="accounts.User" if CUSTOM else "auth.User",
    DATABASES={"default": CONFIG.pop("database")},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"]
    + (["accounts"] if CUSTOM else []),
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    # The fastest hasher: the tests are not about password hashes.
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ROOT_URLCONF=__name__,
    SESSION_ENGINE="django.contrib.sessions.backends." + CONFIG.pop("engine"),
    USE_TZ=True,
    **CONFIG,
)
django.setup()

from django.contrib.auth import authenticate, get_user_model, login, logout  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.http import HttpResponseForbidden, JsonResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402


def view_login(request):
    user = authenticate(request, **request.POST.dict())
    if user is None:
        return HttpResponseForbidden()
    login(request, user)
    return JsonResponse({})


def view_logout(request):
    logout(request)
    return JsonResponse({})


def view_put(request):
    request.session.update(json.loads(request.body))
    return JsonResponse({})


def view_put_python(request):
    request.session.update(eval(json.loads(request.body)))
    return JsonResponse({})


def view_who(request):
    user = str(request.user.pk) if request.user.is_authenticated else None
    own = {name: value for name, value in request.session.items() if not name.startswith("_")}
    return JsonResponse({"user": user, "session": own})


def view_who_is(request):
    return JsonResponse({"user": str(request.user.pk) if request.user.is_authenticated else None})


urlpatterns = [
    path("login/", view_login),
    path("logout/", view_logout),
    path("put/", view_put),
    path("put-python/", view_put_python),
    path("who/", view_who),
    path("who-is/", view_who_is),
]


def request(cookie, address, body=None, **form):
    client = Client()
    if cookie:
        client.cookies[settings.SESSION_COOKIE_NAME] = cookie
    if body is not None:
        response = client.post(address, body, content_type="application/json")
    else:
        response = client.post(address, form)
    assert response.status_code == 200, response.status_code
    found = response.cookies.get(settings.SESSION_COOKIE_NAME)
    return response, found.value if found else cookie


def migrate():
    call_command("migrate", verbosity=0, run_syncdb=True)


def user(username, password, **fields):
    made = get_user_model().objects.create_user(**{get_user_model().USERNAME_FIELD: username}, password=password)
    change(username, **fields)
    return str(made.pk)


def change(username, password=None, **fields):
    found = get_user_model().objects.get_by_natural_key(username)
    if password:
        found.set_password(password)
    for name, value in fields.items():
        setattr(found, name, value)
    found.save()


def delete(username):
    get_user_model().objects.get_by_natural_key(username).delete()


def log_in(username, password, ago=0):
    """Logs a user in as if it were `ago` seconds earlier. Returns the cookie."""
    then = time.time() - ago
    with mock.patch("django.core.signing.time.time", lambda: then):
        return request(None, "/login/", username=username, password=password)[1]


def log_out(cookie):
    return request(cookie, "/logout/")[1]


def put(cookie, values):
    return request(cookie, "/put/", body=json.dumps(values))[1]


def put_python(cookie, source):
    """Puts values that JSON does not have into the session: a Python expression of a map."""
    return request(cookie, "/put-python/", body=json.dumps(source))[1]


def who(cookie):
    """Returns the user and the session that Django itself finds for the cookie."""
    return request(cookie, "/who/")[0].json()


def who_is(cookie):
    """Returns the user alone, for a session that is not JSON."""
    return request(cookie, "/who-is/")[0].json()["user"]


def expire(cookie):
    """Makes a session in the database expire: its expiry is now 50 ms ago."""
    from django.contrib.sessions.models import Session
    from django.utils import timezone

    moment = timezone.now() - datetime.timedelta(milliseconds=50)
    assert Session.objects.filter(session_key=cookie).update(expire_date=moment) == 1


def sql(*statements):
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def lock(*statements):
    """Begins a transaction that keeps its locks until `unlock`."""
    transaction.set_autocommit(False)
    if connection.vendor == "sqlite":
        connection.cursor().execute("BEGIN EXCLUSIVE")
    sql(*statements)


def unlock():
    if connection.vendor == "sqlite":
        connection.cursor().execute("ROLLBACK")
    else:
        transaction.rollback()
    transaction.set_autocommit(True)


def disconnect():
    connection.close()


def main():
    print(json.dumps({"ok": "ready"}), flush=True)
    for line in sys.stdin:
        name, arguments, keywords = json.loads(line)
        try:
            answer = {"ok": globals()[name](*arguments, **keywords)}
        except Exception as error:  # noqa: BLE001: the error is the answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
