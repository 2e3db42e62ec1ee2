"""Requests."""


def test_request_is_one_client_span(sink, run_host):
    """A request gives one CLIENT span with the stable names, and none of urllib3 below it."""
    run_host(
        f"import requests\nrequests.post('{sink.url}/v1/logs', data=b'')",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    ((_, _, span),) = sink.spans
    assert (span.name, span.kind) == ("POST", 3)
    assert sink.attributes_of(span)["http.request.method"] == "POST"
    assert sink.attributes_of(span)["server.port"] == sink.port
