"""Flask."""

HOST = """
from flask import Flask
app = Flask("shop")
@app.get("/items/<int:item_id>")
def item(item_id):
    return str(1 / item_id)
client = app.test_client()
print([client.get(path).status_code for path in ("/items/1", "/items/0", "/nowhere")])
"""


def test_requests_are_named_after_their_route(sink, run_host):
    """A request is named after its route, a failed one is an error with its exception, an unknown path has no route."""
    outcome = run_host(HOST, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.out == "[200, 500, 404]\n"
    assert sink.span_names() == ["GET /items/<int:item_id>", "GET /items/<int:item_id>", "GET"]
    failed = sink.spans[1][2]
    assert (failed.status.code, sink.attributes_of(failed)["http.response.status_code"]) == (2, 500)


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
