"""HTTPX."""

import pytest


def test_request_is_one_client_span(sink, run_host):
    """A request through a client gives one CLIENT span."""
    pytest.importorskip("httpx", reason="httpx is not installed")
    run_host(
        f"import httpx\nhttpx.post('{sink.url}/v1/logs', content=b'')",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert [(span.name, span.kind) for _, _, span in sink.spans] == [("POST", 3)]
