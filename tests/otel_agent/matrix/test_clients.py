"""Every HTTP client: one CLIENT span per request, and the other service answers in the same trace."""

import pytest

HTTPX = "import asyncio, httpx\nasync def main():\n    async with httpx.AsyncClient() as client:\n"
AIOHTTP = "import aiohttp, asyncio\nasync def main():\n    async with aiohttp.ClientSession() as session:\n"
CLIENTS = {
    "requests": "import requests\nwith requests.Session() as session:\n    session.get(URL)\nrequests.get(URL)",
    "httpx": "import httpx\nwith httpx.Client() as client:\n    client.get(URL)\nhttpx.get(URL)",
    "httpx, async": f"{HTTPX}        await client.get(URL)\n        await client.get(URL)\nasyncio.run(main())",
    "urllib3": "import urllib3\nurllib3.PoolManager().request('GET', URL)\nurllib3.request('GET', URL)",
    "aiohttp": f"{AIOHTTP}        await session.get(URL)\n        await session.get(URL)\nasyncio.run(main())",
}


@pytest.mark.parametrize("client", CLIENTS)
def test_call_is_one_trace_over_two_services(client, start_app, stock, sink, record_property):
    """Two requests are two traces, each a CLIENT span of this service and one SERVER span of the other below it."""
    record_property("cell", ("HTTP clients", client, "one trace"))

    app = start_app(["python", "-c", f"from stock import URL\n{CLIENTS[client]}"], sink.url, STOCK_URL=stock.url)

    assert (app.wait(), app.errors.read_text()) == (0, "")
    assert [(span.name, span.kind, span.parent_span_id) for _, _, span in sink.spans] == [("GET", 3, b"")] * 2
    assert len({span.trace_id for _, _, span in sink.spans}) == 2
    assert stock.has_answered(span for _, _, span in sink.spans)
