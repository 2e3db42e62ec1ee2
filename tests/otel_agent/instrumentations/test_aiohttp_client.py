"""aiohttp's client."""

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed")


def test_request_is_one_client_span(sink, run_host):
    """A request through a session gives one CLIENT span, and the server side that is not used is not imported."""
    outcome = run_host(
        f"""
import asyncio, sys
import aiohttp
async def main():
    async with aiohttp.ClientSession() as session, session.post("{sink.url}/v1/logs", data=b"") as response:
        print(response.status, "aiohttp.web" in sys.modules)
asyncio.run(main())
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert (outcome.out, outcome.err) == ("200 False\n", "")
    assert [(span.name, span.kind) for _, _, span in sink.spans] == [("POST", 3)]


def test_official_name_switches_it_off(sink, run_host):
    """OpenTelemetry's spelling with a hyphen disables it as well as the name of the module."""
    script = f"""
import asyncio
import aiohttp
async def main():
    async with aiohttp.ClientSession() as session:
        await session.post("{sink.url}/v1/logs", data=b"")
asyncio.run(main())
"""

    for name in ("aiohttp-client", "aiohttp_client"):
        run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=name)

    assert sink.spans == []
