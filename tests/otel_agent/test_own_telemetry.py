"""The example of docs/howto/add-your-own-spans-and-metrics.md, run as it stands there under the agent."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "add-your-own-spans-and-metrics.md"


@pytest.fixture
def example() -> str:
    """The one Python example of the page."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return str(code)


def test_the_example_imports_nothing_of_ours(example):
    """It is plain OpenTelemetry: the one import is the API's."""
    imports = [line for line in example.splitlines() if "import" in line]

    assert imports == ["from opentelemetry import metrics, trace"]


def test_the_examples_spans_arrive(example, sink, run_host):
    """Each order is a span with its attributes, under the tracer's name."""
    outcome = run_host(example, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.err) == (0, "")
    assert {scope for _, scope, span in sink.spans if span.name == "place order"} == {"shop"}
    assert [sink.attributes_of(span) for span in sink.spans_named("place order")] == [
        {"shop.customer": "c-1042", "shop.order.value": 79.9},
        {"shop.customer": "c-1043", "shop.order.value": 12.5},
    ]


def test_the_examples_metrics_arrive(example, sink, run_host):
    """The counter counts and the histogram sums the orders of each country, with their units."""
    run_host(example, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    own = {metric.name: metric for _, scope, metric in sink.metrics if scope == "shop"}
    assert {name: metric.unit for name, metric in own.items()} == {"orders.placed": "{order}", "orders.value": "EUR"}
    assert own["orders.placed"].sum.is_monotonic
    assert {
        sink.attributes_of(point)["shop.country"]: point.as_int for point in own["orders.placed"].sum.data_points
    } == {"DE": 1, "FR": 1}
    assert {
        sink.attributes_of(point)["shop.country"]: (point.count, point.sum)
        for point in own["orders.value"].histogram.data_points
    } == {"DE": (1, 79.9), "FR": (1, 12.5)}


def test_the_example_runs_without_the_agent(example, sink, run_host):
    """Where no SDK runs, the same code works and nothing is sent."""
    outcome = run_host(example, agent=False, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert not sink.spans
    assert not sink.metrics
