"""Celery without a broker of its own, and with pools that are no processes: threads and greenlets."""

from collections import Counter

import pytest

CLIENT, PRODUCER, CONSUMER = 3, 4, 5
ITEMS, CALLS = 12, 4


def check_tasks(sink, stock):
    """Hold that each task is one trace: sent, run below that, and one statement or call below the run."""
    sent = [span for _, _, span in sink.spans if span.kind == PRODUCER]
    run = [span for _, _, span in sink.spans if span.kind == CONSUMER]
    assert Counter(span.name for span in sent) == {"apply_async/shop.item": ITEMS, "apply_async/shop.call": CALLS}
    assert Counter(span.name for span in run) == {"run/shop.item": ITEMS, "run/shop.call": CALLS}
    assert {(span.trace_id, span.parent_span_id) for span in run} == {(span.trace_id, span.span_id) for span in sent}
    calls = [span for _, _, span in sink.spans if "url.full" in sink.attributes_of(span)]
    selects = [span for _, _, span in sink.spans if span.name == "SELECT items"]
    assert Counter((span.trace_id, span.parent_span_id) for span in calls + selects) == {
        (span.trace_id, span.span_id): 1 for span in run
    }
    assert stock.has_answered(calls)


def timeline(sink):
    """Return when each span ended, in seconds of the day, with its service and name."""
    ends = [(span.end_time_unix_nano, resource["service.name"], span.name) for resource, _, span in sink.spans]
    return [f"{end_ns / 1e9 % 86400:.3f} {service}: {name}" for end_ns, service, name in sorted(ends)]


def test_in_memory_broker(start_app, stock, sink, record_property):
    """With sender and worker in one process a task is still one trace, from the one through the other."""
    record_property("cell", ("Ways to start", "Celery", "plain"))
    command = ["python", "celery_in_memory.py", str(ITEMS), str(CALLS)]
    record_property("command", " ".join(command))

    app = start_app(command, sink.url, STOCK_URL=stock.url)

    assert (app.wait(30), "spanwise: " in app.errors.read_text()) == (0, False)
    check_tasks(sink, stock)


@pytest.fixture
def worker_variables(redis_url, stock, packages):
    """Return a function that gives the environment of a worker with that pool, with a database of its own in Redis."""

    def variables(pool):
        path = {"PYTHONPATH": str(packages("gevent"))} if pool == "gevent" else {}
        return {"STOCK_URL": stock.url, "REDIS_URL": f"{redis_url[:-1]}{len(pool)}"} | path

    return variables


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_pools_in_one_process(pool, start_app, stock, worker_variables, sink):
    """Four threads or greenlets run the tasks, each in its own trace; the worker ends with all spans sent."""
    variables = worker_variables(pool)
    command = ["celery", "--app=celery_app", "worker", "--loglevel=error", f"--pool={pool}", "--concurrency=4"]
    worker = start_app(command, sink.url, **variables)
    variables.pop("PYTHONPATH", None)
    sender = start_app(["python", "celery_app.py", str(ITEMS), str(CALLS)], sink.url, "sender", **variables)

    assert sender.wait(30) == 0, "\n".join([sender.errors.read_text(), worker.abort(), *timeline(sink)])
    code = worker.terminate(limit_s=20)

    assert (code, "spanwise: " in worker.errors.read_text()) == (0, False)
    check_tasks(sink, stock)
