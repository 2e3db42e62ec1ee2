"""Who calls."""

HOST = """
from flask import Flask
app = Flask("shop")
app.add_url_rule("/", view_func=lambda: "")
headers = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
print([app.test_client().get("/", headers=given).status_code for given in (headers, {})])
"""


def test_nobody_is_a_caller_without_propagators(sink, run_host):
    """With OTEL_PROPAGATORS=none every request is answered and begins a trace, with the fast paths and without."""
    outcomes = [
        run_host(
            HOST,
            OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
            OTEL_PROPAGATORS="none",
            OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled,
        )
        for disabled in ("", "fast_paths")
    ]

    assert [outcome.out for outcome in outcomes] == ["[200, 200]\n"] * 2
    assert [span.parent_span_id for _, _, span in sink.spans] == [b""] * 4
