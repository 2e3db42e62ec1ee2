"""How telemetry leaves the process: at its exit, and after a fork."""

import pytest


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("fault", ["nobody listens", "nobody answers"])
def test_exit_waits_two_seconds_at_most(run_host, dead_port, black_hole, fault, protocol):
    """A host with unsent spans, log records and metrics ends at most 2 s after its last line."""
    port = dead_port if fault == "nobody listens" else black_hole
    script = """
import logging, sqlite3, time
connection = sqlite3.connect(":memory:")
for _ in range(1000):
    connection.execute("SELECT 1")
logging.getLogger("shop").warning("last")
connection.close()
print(time.time())
"""

    outcome = run_host(
        script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}", OTEL_EXPORTER_OTLP_PROTOCOL=protocol
    )

    assert (outcome.code, outcome.err) == (0, "last\n")
    assert outcome.ended_s - float(outcome.out) < 2


def test_last_spans_are_sent_at_exit(sink, run_host):
    """What a short-lived host did arrives complete, for exit flushes what the batch delay still holds."""
    script = """
import sqlite3
connection = sqlite3.connect(":memory:")
for _ in range(1000):
    connection.execute("SELECT 1")
"""

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert len(sink.spans) == 1000


def test_forked_worker_is_an_instance_of_its_own(sink, run_host):
    """A forked child sends its own spans under its own service.instance.id and process.pid."""
    script = """
import os, sqlite3, sys
def work(name):
    connection = sqlite3.connect(":memory:")
    connection.execute(f"SELECT 1 FROM (SELECT 2) AS {name}")
    connection.close()
work("before")
pid = os.fork()
if pid == 0:
    work("child")
    sys.exit(0)
os.waitpid(pid, 0)
work("parent")
print(os.getpid(), pid)
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    parent, child = (int(word) for word in outcome.out.split())
    sender_of = {sink.attributes_of(s)["db.query.text"].split()[-1]: resource for resource, _, s in sink.spans}
    assert {name: resource["process.pid"] for name, resource in sender_of.items()} == {
        "before": parent,
        "parent": parent,
        "child": child,
    }
    assert sender_of["child"]["service.instance.id"] != sender_of["parent"]["service.instance.id"]
    assert len(sink.spans) == 3
