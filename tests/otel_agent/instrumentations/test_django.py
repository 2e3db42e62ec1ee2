"""Django."""

import pytest

pytest.importorskip("django", reason="Django is not installed")

HOST = """
import asyncio, logging
from django.conf import settings
from django.core.handlers.base import BaseHandler
assert not settings.configured
settings.configure(ROOT_URLCONF="__main__", MIDDLEWARE=(), ALLOWED_HOSTS=["testserver"], SECRET_KEY="x", USE_TZ=True)
import django
django.setup()
logging.disable(logging.CRITICAL)
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path, re_path
def item(request, item_id):
    return HttpResponse(str(1 / item_id))
async def late(request, item_id):
    await asyncio.sleep(0)
    return HttpResponse(str(1 / int(item_id)))
urlpatterns = [path("items/<int:item_id>", item), re_path(r"^late/(?P<item_id>[0-9]+)$", late)]
PATHS = ("/items/1", "/items/0", "/nowhere", "/late/1", "/late/0")
client = Client(raise_request_exception=False)
print([client.get(path).status_code for path in PATHS])
client = AsyncClient(raise_request_exception=False)
async def main():
    return [(await client.get(path)).status_code for path in PATHS]
print(asyncio.run(main()), settings.MIDDLEWARE)
"""


def test_requests_are_named_after_their_route(sink, run_host):
    """Requests through WSGI and ASGI are one span each, named after their route, and the settings stay as they are."""
    outcome = run_host(HOST, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.out, outcome.err) == ("[200, 500, 404, 200, 500]\n[200, 500, 404, 200, 500] ()\n", "")
    names = ["GET /items/<int:item_id>"] * 2 + ["GET"] + ["GET /late/(?P<item_id>[0-9]+)$"] * 2
    assert [(span.name, span.kind, span.status.code) for _, _, span in sink.spans] == [
        (name, 2, code) for name, code in zip(names * 2, [0, 2, 0, 0, 2] * 2, strict=True)
    ]
    assert {len({span.trace_id for _, _, span in sink.spans}), len(sink.spans)} == {10}
    failed = [span for _, _, span in sink.spans if span.status.code]
    assert [[event.name for event in span.events] for span in failed] == [["exception"]] * 4
    routes = [sink.attributes_of(span).get("http.route") for _, _, span in sink.spans]
    assert routes[:3] == ["/items/<int:item_id>", "/items/<int:item_id>", None]


def test_excluded_urls_are_not_traced(sink, run_host):
    """The standard variable keeps requests out."""
    run_host(HOST, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_PYTHON_DJANGO_EXCLUDED_URLS="late,nowhere,items/0")

    assert sink.span_names() == ["GET /items/<int:item_id>"] * 2
