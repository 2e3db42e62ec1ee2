"""Starlette."""

import pytest
from asgi_hosts import ASK

pytest.importorskip("starlette", reason="Starlette is not installed")

HOST = f"""{ASK}
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
async def item(request):
    return PlainTextResponse(str(1 / request.path_params["item_id"]))
routes = [Route("/items/{{item_id:int}}", item)]
app = Starlette(routes=routes + [Mount("/old", Starlette(routes=routes))], middleware=HERE)
print([asyncio.run(ask(path)) for path in ("/items/1", "/items/0", "/nowhere", "/old/items/1")])
"""


@pytest.mark.parametrize("middleware", ["[]", "[Middleware(OpenTelemetryMiddleware)]"])
def test_requests_are_named_after_their_route(sink, run_host, middleware):
    """A request is one SERVER span, failed ones with status and exception, even beside Starlette's own middleware."""
    outcome = run_host(HOST.replace("HERE", middleware), OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.out == "[200, 500, 404, 200]\n"
    servers = [span for _, _, span in sink.spans if span.kind == 2]
    names = ["GET /items/{item_id:int}", "GET /items/{item_id:int}", "GET", "GET /old"]
    assert [span.name for span in servers] == names
    assert (servers[1].status.code, sink.attributes_of(servers[1])["http.response.status_code"]) == (2, 500)
    assert [event.name for event in servers[1].events] == ["exception"]
