"""urllib3 used directly."""


def test_request_is_one_client_span(sink, run_host):
    """A request through a bare connection pool gives one CLIENT span, and the exporter's own requests none."""
    outcome = run_host(
        f"import urllib3\nprint(urllib3.PoolManager().request('POST', '{sink.url}/v1/logs', body=b'').status)",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert outcome.out == "200\n"
    assert [(span.name, span.kind) for _, _, span in sink.spans] == [("POST", 3)]
