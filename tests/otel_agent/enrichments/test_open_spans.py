"""A span that is open for a while is recorded as it stands, before it ends or the process is killed."""

import signal
import subprocess
import sys

import pytest


def open_records(sink):
    """The records of open spans as (record, its attributes, the span's attributes so far)."""
    return [
        (record, sink.attributes_of(record), {pair.key: pair.value for pair in record.body.kvlist_value.values})
        for _, scope, record in sink.logs
        if scope == "spanwise.open_spans"
    ]


def test_a_request_that_is_killed_leaves_its_record(sink, tmp_path, clean_environment):
    """After kill -9 in mid-request the collector knows the span, since when it was open, and in which line."""
    (tmp_path / "host.py").write_text("""
import threading, urllib.request
from flask import Flask
from werkzeug.serving import make_server

app = Flask(__name__)

@app.get("/orders/<int:number>")
def order(number):
    threading.Event().wait()  # never comes back
    return ""

server = make_server("127.0.0.1", 0, app, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/orders/7")
""")
    environment = clean_environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url}
    host = subprocess.Popen([sys.executable, "host.py"], cwd=tmp_path, env=environment)
    has_arrived = sink.wait_for(lambda: open_records(sink))
    host.send_signal(signal.SIGKILL)
    host.wait(timeout=10)

    assert has_arrived
    ((record, attributes, so_far),) = open_records(sink)
    assert (record.event_name, attributes["span.name"], attributes["span.kind"]) == (
        "span.open",
        "GET /orders/<int:number>",
        "server",
    )
    assert len(record.trace_id) == 16
    assert len(record.span_id) == 8
    assert attributes["span.start_time_unix_nano"] + attributes["span.open_duration_ns"] == pytest.approx(
        record.time_unix_nano, abs=1e9
    )
    assert attributes["span.open_duration_ns"] >= 1e9
    assert (attributes["code.file.path"], attributes["code.line.number"]) == (str(tmp_path / "host.py"), 10)
    assert so_far["http.route"].string_value == "/orders/<int:number>"
    assert sink.spans == []


def test_parent_and_child_are_recorded_and_short_spans_are_not(sink, run_host):
    """All spans open for the set time are recorded once, with parent and place; those that ended in time are not."""
    script = """
import time
from opentelemetry import trace
tracer = trace.get_tracer("host")
with tracer.start_as_current_span("outer") as outer:
    with tracer.start_as_current_span("short"):
        time.sleep(0.01)
    with tracer.start_as_current_span("inner", attributes={"long": "x" * 5000}):
        time.sleep(0.8)
"""

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SPANWISE_OPEN_SPAN_AFTER="0.3")

    records = {
        attributes["span.name"]: (record, attributes, so_far) for record, attributes, so_far in open_records(sink)
    }
    assert len(open_records(sink)) == len(records) == 2
    outer, inner = sink.spans_named("outer")[0], sink.spans_named("inner")[0]
    assert records["outer"][0].span_id == outer.span_id
    assert "span.parent_span_id" not in records["outer"][1]
    assert records["inner"][1]["span.parent_span_id"] == outer.span_id.hex()
    assert records["inner"][1]["code.line.number"] == records["outer"][1]["code.line.number"] == 9
    assert records["inner"][1]["span.start_time_unix_nano"] == inner.start_time_unix_nano
    assert len(records["inner"][2]["long"].string_value) == 1024


def test_a_task_that_waits_is_found_in_its_coroutine(sink, run_host):
    """In an event loop the place is the line of the host's coroutine that awaits, or that in its worker thread."""
    script = """
import asyncio, time
from opentelemetry import trace
tracer = trace.get_tracer("host")

async def deep():
    await asyncio.sleep(0.9)

def in_thread():
    time.sleep(0.9)

async def waits():
    with tracer.start_as_current_span("waits"):
        await deep()

async def hands_over():
    with tracer.start_as_current_span("hands over"):
        await asyncio.to_thread(in_thread)

async def main():
    await asyncio.gather(waits(), hands_over())

asyncio.run(main())
"""

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SPANWISE_OPEN_SPAN_AFTER="0.3")

    places = {attributes["span.name"]: attributes["code.line.number"] for _, attributes, _ in open_records(sink)}
    assert places == {"waits": 7, "hands over": 10}


def test_a_forked_child_tells_of_its_own_spans_alone(sink, run_host):
    """A child does not repeat its parent's open spans, and its own are recorded by a thread of its own."""
    script = """
import os, sys, time
from opentelemetry import trace
tracer = trace.get_tracer("host")
with tracer.start_as_current_span("parent"):
    pid = os.fork()
    if pid == 0:
        with tracer.start_as_current_span("child"):
            time.sleep(0.8)
        trace.get_tracer_provider().force_flush()
        from opentelemetry import _logs
        _logs.get_logger_provider().force_flush()
        os._exit(0)
    os.waitpid(pid, 0)
print(pid)
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SPANWISE_OPEN_SPAN_AFTER="0.3")

    told = sorted(
        (sink.attributes_of(record)["span.name"], resource["process.pid"] == int(outcome.out))
        for resource, scope, record in sink.logs
        if scope == "spanwise.open_spans"
    )
    assert told == [("child", True), ("parent", False)]


def test_a_span_that_nobody_ends_is_not_kept(sink, run_host):
    """The agent holds no span that the host has let go, and its thread rests when all have gone."""
    script = """
import gc, time, weakref
from opentelemetry import trace
from otel_agent.background import BACKGROUND_THREADS
threads = list(BACKGROUND_THREADS.values())
lost = weakref.ref(trace.get_tracer("host").start_span("lost"))
gc.collect()
time.sleep(0.2)
print("OpenSpans" in threads, lost(), "OpenSpans" in BACKGROUND_THREADS.values())
from otel_agent.enrichments._open_span_table import TABLE
TABLE.spans()
print(bool(TABLE))
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.out.split() == ["False", "None", "True", "False"]


def test_many_open_spans_are_told_of_a_hundred_a_second(sink, run_host):
    """A server with a thousand open connections sends at most about a hundred records per second."""
    script = """
import time
from opentelemetry import trace
tracer = trace.get_tracer("host")
spans = [tracer.start_span(f"connection {i}") for i in range(1000)]
time.sleep(1.4)
"""

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SPANWISE_OPEN_SPAN_AFTER="0.4")

    assert 50 <= len(open_records(sink)) <= 130


def test_switched_off_by_name_there_is_no_record(sink, run_host):
    """With open_spans among the disabled names nothing is sent."""
    script = """
import time
from opentelemetry import trace
with trace.get_tracer("host").start_as_current_span("long"):
    time.sleep(0.6)
"""

    run_host(
        script,
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        SPANWISE_OPEN_SPAN_AFTER="0.2",
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="open_spans",
    )

    assert open_records(sink) == []
    assert sink.span_names() == ["long"]
