"""What is no web server: task queues, scripts with and without processes of their own, and test runs."""

from collections import Counter
from dataclasses import dataclass

import pytest

CLIENT, PRODUCER, CONSUMER = 3, 4, 5
ITEMS, CALLS, SIGTERM = 12, 4, -15


@dataclass(frozen=True)
class Script:
    """A mode of the script, its place in the table, how many processes work, and the code with which it ends."""

    mode: str
    column: str
    processes: int = 4
    code: int = 0


SCRIPTS = [
    Script("alone", "plain", 1, SIGTERM),
    Script("workers", "4 workers"),
    Script("pool", "4 workers"),
    Script("fork", "preload or pre-fork"),
    Script("spawn", "spawn"),
]
POOLS = {"plain": ["--pool=solo"], "4 workers": ["--concurrency=4"]}


def of_kind(sink, kind, *names):
    """Return the spans of a kind that have one of the names."""
    return [span for _, _, span in sink.spans if span.kind == kind and span.name in names]


def one_instance_per_process(sink):
    """Return the pids that sent spans, each of which has an instance id that no other has."""
    instances = {(resource["process.pid"], resource["service.instance.id"]) for resource, _, _ in sink.spans}
    assert len(instances) == len({pid for pid, _ in instances}) == len({instance for _, instance in instances})
    return {pid for pid, _ in instances}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.mode)
def test_scripts(script, start_app, stock, sink, record_property):
    """Each statement and each call is one span, whichever process made it and however that process ends."""
    record_property("cell", ("Ways to start", "plain script", script.column))
    command = ["python", "script.py", script.mode, str(ITEMS), str(CALLS)]
    record_property("command", " ".join(command))
    app = start_app(command, sink.url, STOCK_URL=stock.url)

    if script.code == SIGTERM:
        app.wait_for_output("done")
        code = app.terminate()
    else:
        code = app.wait(20)

    assert (code, app.errors.read_text()) == (script.code, "")
    assert Counter(sink.span_names()) == {"SELECT items": ITEMS, "GET": CALLS}
    assert not any(span.parent_span_id for _, _, span in sink.spans)
    assert stock.has_answered(of_kind(sink, CLIENT, "GET"))
    assert 1 <= len(one_instance_per_process(sink)) <= script.processes


def test_test_run(start_app, stock, sink, record_property):
    """A run of pytest is a program like any other."""
    record_property("cell", ("Ways to start", "pytest run", "plain"))
    command = ["pytest", "-q", "-c", "/dev/null", "--rootdir=.", "shop_checks.py"]
    record_property("command", " ".join(command))

    app = start_app(command, sink.url, STOCK_URL=stock.url, ITEMS=str(ITEMS), CALLS=str(CALLS))

    assert app.wait(15) == 0
    assert Counter(sink.span_names()) == {"SELECT items": ITEMS, "GET": CALLS}
    assert stock.has_answered(of_kind(sink, CLIENT, "GET"))


@pytest.mark.parametrize("column", POOLS)
def test_tasks(column, start_app, stock, redis_url, sink, record_property):
    """A task is one trace from its sender through its worker to the other service; no pool process loses a span."""
    record_property("cell", ("Ways to start", "Celery", column))
    command = ["celery", "--app=celery_app", "worker", "--loglevel=error", *POOLS[column]]
    record_property("command", " ".join(command))
    variables = {"STOCK_URL": stock.url, "REDIS_URL": redis_url[:-1] + str(list(POOLS).index(column))}
    worker = start_app(command, sink.url, **variables)
    sender = start_app(["python", "celery_app.py", str(ITEMS), str(CALLS)], sink.url, "sender", **variables)

    assert sender.wait(20) == 0, sender.errors.read_text()
    code = worker.terminate()

    assert (code, "spanwise" in worker.errors.read_text()) == (0, False)
    sent = of_kind(sink, PRODUCER, "apply_async/shop.item", "apply_async/shop.call")
    run = of_kind(sink, CONSUMER, "run/shop.item", "run/shop.call")
    selects = of_kind(sink, CLIENT, "SELECT items")
    # A GET may also be a command of Redis, which carries the tasks.
    calls = [span for span in of_kind(sink, CLIENT, "GET") if "url.full" in sink.attributes_of(span)]
    assert (len(sent), len(run), len(selects), len(calls)) == (ITEMS + CALLS, ITEMS + CALLS, ITEMS, CALLS)
    assert {(span.trace_id, span.parent_span_id) for span in run} == {(span.trace_id, span.span_id) for span in sent}
    parents = Counter((span.trace_id, span.parent_span_id) for span in calls + selects)
    assert parents == {(span.trace_id, span.span_id): 1 for span in run}
    assert stock.has_answered(calls)
    assert len(one_instance_per_process(sink)) > (2 if column == "4 workers" else 1)  # one of them is the sender
