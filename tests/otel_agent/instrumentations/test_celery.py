"""Celery, without a broker."""

import pytest

pytest.importorskip("celery", reason="Celery is not installed")


def test_failed_task_is_an_error_span(sink, run_host):
    """A task that runs in place is a CONSUMER span, with the exception when it fails."""
    outcome = run_host(
        """
from celery import Celery
app = Celery("shop")
app.conf.task_always_eager = True
@app.task(name="shop.divide")
def divide(number):
    return 1 / number
print([divide.delay(number).state for number in (1, 0)])
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert outcome.out == "['SUCCESS', 'FAILURE']\n"
    assert [(span.name, span.kind, span.status.code) for _, _, span in sink.spans] == [
        ("run/shop.divide", 5, 0),
        ("run/shop.divide", 5, 2),
    ]
