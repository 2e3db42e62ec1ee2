"""aiohttp's server."""

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed")

HOST = """
import asyncio
from http.client import HTTPConnection
from aiohttp import web
@web.middleware
async def shout(request, handler):
    response = await handler(request)
    response.headers["x-shout"] = "yes"
    return response
async def item(request):
    return web.Response(text=str(1 / int(request.match_info["item_id"])))
def ask(port, path):
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.headers["x-shout"]
async def main():
    middlewares = (shout,)
    app, nested = web.Application(middlewares=middlewares), web.Application()
    for application in (app, nested):
        application.add_routes([web.get("/items/{item_id}", item)])
    app.add_subapp("/old", nested)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    for path in ("/items/1", "/items/0", "/nowhere", "/old/items/1"):
        print(*await asyncio.to_thread(ask, port, path))
    await runner.cleanup()
asyncio.run(main())
"""


def test_requests_are_named_after_their_route(sink, run_host):
    """A request is one SERVER span, that of a nested application too, and the host's middlewares may be a tuple."""
    outcome = run_host(HOST, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.out == "200 yes\n500 None\n404 None\n200 yes\n"
    assert [(span.name, span.kind) for _, _, span in sink.spans] == [
        ("GET /items/{item_id}", 2),
        ("GET /items/{item_id}", 2),
        ("GET", 2),
        ("GET /old/items/{item_id}", 2),
    ]
    failed = sink.spans[1][2]
    assert (failed.status.code, [event.name for event in failed.events]) == (2, ["exception"])
