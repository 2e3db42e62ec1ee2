"""FastAPI."""

import pytest
from asgi_hosts import ASK

pytest.importorskip("fastapi", reason="FastAPI is not installed")

HOST = f"""{ASK}
from fastapi.applications import FastAPI
app = FastAPI()
@app.get("/items/{{item_id}}")
def item(item_id: int):
    return 1 / item_id
print([asyncio.run(ask(path)) for path in ("/items/1", "/items/0", "/nowhere")])
"""


def test_requests_are_named_after_their_route(sink, run_host):
    """A request is one span named after its route, a failed one an error with its exception, an unknown path a GET."""
    outcome = run_host(HOST, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.out == "[200, 500, 404]\n"
    assert [(span.name, span.kind) for _, _, span in sink.spans] == [
        ("GET /items/{item_id}", 2),
        ("GET /items/{item_id}", 2),
        ("GET", 2),
    ]
    failed = sink.spans[1][2]
    assert (failed.status.code, sink.attributes_of(failed)["http.response.status_code"]) == (2, 500)
    assert [event.name for event in failed.events] == ["exception"]


def test_a_measurement_names_its_request(sink, run_host):
    """The duration of a request has the request's span for an exemplar."""
    run_host(HOST, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    exemplars = [
        (sink.attributes_of(point)["http.response.status_code"], exemplar.span_id)
        for _, _, metric in sink.metrics
        if metric.name == "http.server.request.duration"
        for point in metric.histogram.data_points
        for exemplar in point.exemplars
    ]
    spans = {(sink.attributes_of(span)["http.response.status_code"], span.span_id) for _, _, span in sink.spans}
    assert set(exemplars) == spans


def test_excluded_urls_are_not_traced(sink, run_host):
    """The standard variable keeps requests out, and nothing of FastAPI's own telemetry takes their place."""
    run_host(HOST, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_PYTHON_FASTAPI_EXCLUDED_URLS="items/0,nowhere")

    assert sink.span_names() == ["GET /items/{item_id}"]


def test_fastapis_own_exporter_sends_nothing_once_more(sink, run_host):
    """What FASTAPI_OTEL_AUTO_CONFIGURE would add to the agent's providers as the application starts stays away."""
    served = (
        HOST[: HOST.rindex("print")]
        + """
calls = iter("12")
async def receive():
    if next(calls) == "1":
        return {"type": "lifespan.startup"}
    print(await ask("/items/1"))
    return {"type": "lifespan.shutdown"}
async def send(message):
    print(message["type"])
asyncio.run(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
"""
    )

    outcome = run_host(served, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, FASTAPI_OTEL_AUTO_CONFIGURE="true")

    assert outcome.out.split() == ["lifespan.startup.complete", "200", "lifespan.shutdown.complete"], outcome.err
    assert sink.span_names() == ["GET /items/{item_id}"]
