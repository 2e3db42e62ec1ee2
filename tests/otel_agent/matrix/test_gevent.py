"""gevent, whose greenlets take the place of threads and locks all over a process that has started already."""

import json
import os
from collections import Counter

import pytest

from otel_agent.environment import BOOTSTRAP_DIRECTORY

SERVER = 2
WORKERS = ["gunicorn", "--bind=127.0.0.1:{port}", "--worker-class=gevent", "--no-control-socket", "--workers=4"]

PATCHED = "from gevent import monkey\nmonkey.patch_all()\nimport gevent\n"
GREENLETS = f"""{PATCHED}
import logging, sqlite3, threading
from opentelemetry import trace
tracer = trace.get_tracer("host")

def work(number):
    with tracer.start_as_current_span(f"outer {{number}}"):
        gevent.sleep(0.02)
        with tracer.start_as_current_span(f"inner {{number}}"):
            gevent.sleep(0.02)
            logging.info("%d", number)

gevent.joinall([gevent.spawn(work, number) for number in range(50)])
print([thread.name for thread in threading.enumerate()])
"""
HANGING = f"""{PATCHED}
import time
from opentelemetry import trace
tracer = trace.get_tracer("host")

def hang():
    with tracer.start_as_current_span("hangs"):
        gevent.sleep(2)  # here it hangs

def busy():
    for number in range(40):
        with tracer.start_as_current_span("busy"):
            gevent.sleep(0.05)
            sum(range(100_000))

gevent.joinall([gevent.spawn(hang), gevent.spawn(busy)])
"""


@pytest.fixture
def run_script(run_host, packages):
    """Return a function that runs a script with gevent under the agent to its end, and gives its stdout."""

    def run(script, endpoint, **variables):
        path = f"{BOOTSTRAP_DIRECTORY}{os.pathsep}{packages('gevent')}"
        outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, PYTHONPATH=path, **variables)
        assert (outcome.code, outcome.err) == (0, "")
        return outcome.out

    return run


def test_greenlets_have_their_own_spans(run_script, sink):
    """A host that patches everything ends, prints nothing of ours, and each greenlet's spans are in its own trace."""
    out = run_script(GREENLETS, sink.url)

    assert out == "['MainThread']\n"
    outer = {span.span_id: span for _, _, span in sink.spans if span.name.startswith("outer")}
    inner = [span for _, _, span in sink.spans if span.name.startswith("inner")]
    assert sorted(span.name for span in outer.values()) == sorted(f"outer {number}" for number in range(50))
    assert {outer[span.parent_span_id].name for span in inner} == {f"outer {span.name[6:]}" for span in inner}
    assert len({span.trace_id for span in inner}) == len(inner) == 50


@pytest.mark.parametrize("fault", ["nobody listens", "nobody answers"])
def test_end_is_not_delayed(run_script, dead_port, black_hole, fault):
    """Without a working collector such a host ends as any other does, in time."""
    port = dead_port if fault == "nobody listens" else black_hole

    run_script(GREENLETS, f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["4 workers", "preload"])
def test_gunicorn_with_greenlets(options, start_app, stock, packages, sink):
    """Four workers with greenlets: one trace per request over both services, every span once, a clean end."""
    variables = {"STOCK_URL": stock.url, "PYTHONPATH": str(packages("gevent"))}
    app = start_app([*WORKERS, *options, "flask_app:app"], sink.url, **variables)
    app.wait_for_workers(4)

    answers = [json.loads(answer) for answer in app.get_all([f"/items/{number + 1}" for number in range(100)])]
    app.get_all(["/call"] * 4)
    code = app.terminate(limit_s=20)

    assert (code, "spanwise" in app.errors.read_text()) == (0, False)
    servers = [span for _, _, span in sink.spans if span.kind == SERVER]
    assert Counter(span.name for span in servers) == {"GET /items/<int:item_id>": 100, "GET /call": 4}
    assert len({span.trace_id for span in servers}) == 104
    assert len(sink.spans) == 208
    assert {resource["process.pid"] for resource, _, _ in sink.spans} >= {answer["pid"] for answer in answers}
    assert stock.has_answered(span for _, _, span in sink.spans if span.name == "GET")


def test_open_span_is_not_blamed_on_another_greenlet(run_script, sink):
    """A request that hangs is recorded at the line where it hangs, whichever greenlet the thread is in by then."""
    run_script(HANGING, sink.url)

    (record,) = [record for _, _, record in sink.logs if record.event_name == "span.open"]
    attributes = sink.attributes_of(record)
    assert attributes["span.name"] == "hangs"
    assert attributes["code.line.number"] == 1 + HANGING[: HANGING.index("# here it hangs")].count("\n")
