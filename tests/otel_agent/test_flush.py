"""Sending what is left in a process that ends abruptly."""

import pytest

HOST = """
import os, sqlite3, time
from otel_agent.flush import flush
connection = sqlite3.connect(":memory:")
connection.execute("SELECT 1")
begin_s = time.monotonic()
flush()
print(round(time.monotonic() - begin_s, 3), flush=True)
os._exit(3)
"""


def test_what_waits_is_sent(sink, run_host):
    """Spans arrive although the process runs no exit handler."""
    outcome = run_host(HOST, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.err) == (3, "")
    assert sink.span_names() == ["SELECT"]


@pytest.mark.parametrize("fault", ["nobody listens", "nobody answers"])
def test_it_takes_a_second_at_most(run_host, dead_port, black_hole, fault):
    """A collector that does not take the spans is not waited for."""
    port = dead_port if fault == "nobody listens" else black_hole

    outcome = run_host(HOST, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")

    assert (outcome.code, outcome.err) == (3, "")
    assert float(outcome.out) < 1.5


def test_without_an_agent_it_does_nothing(run_host):
    """With the SDK disabled there is nothing to send, and nothing is raised."""
    outcome = run_host(HOST, OTEL_SDK_DISABLED="true")

    assert (outcome.code, outcome.err) == (3, "")
