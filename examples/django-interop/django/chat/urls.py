from django.shortcuts import redirect, render
from django.urls import path, re_path

urlpatterns = [
    path("", lambda request: redirect("/chat/lobby/")),
    re_path(r"^chat/[A-Za-z0-9_-]{1,80}/$", lambda request: render(request, "room.html", {"server": "Django"})),
]
