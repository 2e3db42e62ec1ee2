"""Django in one file, and urllib3."""

import os
import sys

import stock
import urllib3
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_app")
if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"], DEBUG=True, MIDDLEWARE=(), ROOT_URLCONF="django_app", SECRET_KEY="x", USE_TZ=True
    )

http = urllib3.PoolManager()


def item(_request, item_id):
    return JsonResponse(stock.find(item_id))


def call(_request):
    return JsonResponse(http.request("GET", stock.URL).json())


urlpatterns = [path("items/<int:item_id>", item), path("call", call)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
else:
    wsgi = get_wsgi_application()
    asgi = get_asgi_application()
