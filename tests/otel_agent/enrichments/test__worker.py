"""The threads of the enrichments start late, miss no work, and survive forks at any moment."""

import threading
import time

from otel_agent.enrichments._worker import Worker


def test_no_work_is_overlooked():
    """Whoever makes work while the worker goes to rest finds it idle and wakes it: nothing is left lying."""
    waiting, done, everything = [], [], threading.Event()

    def tick():
        while waiting:
            done.append(waiting.pop())
        if len(done) == 3000:
            everything.set()

    worker = Worker("TestWork", tick)
    for i in range(3000):
        waiting.append(i)
        if worker.is_idle:
            worker.wake()
        if i % 100 == 0:
            time.sleep(0.002)  # lets the worker come to rest now and then

    assert everything.wait(5)


def test_a_worker_belongs_to_no_request(sink, run_host):
    """The thread starts within the first span, but what it sends later without a span is in no trace."""
    script = """
import asyncio, time
from opentelemetry import trace

async def main():
    with trace.get_tracer("host").start_as_current_span("first"):
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.6)
    time.sleep(1.2)
    await asyncio.sleep(0)

asyncio.run(main())
"""

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    (record,) = [record for _, scope, record in sink.logs if scope == "spanwise.event_loop"]
    assert not record.trace_id


def test_forks_in_the_middle_of_everything_never_hang(sink, run_host):
    """Fifty children, forked by a thread while a loop, the profiler, a window and long spans are at work, all end."""
    script = """
import asyncio, os, threading, time
from opentelemetry import trace
tracer = trace.get_tracer("host")
stop = False

async def serve():
    while not stop:
        with tracer.start_as_current_span("request"):
            time.sleep(0.06)
            await asyncio.sleep(0)

def child():
    with tracer.start_as_current_span("child"):
        asyncio.run(asyncio.sleep(0.01))
    os._exit(7)

loop = threading.Thread(target=lambda: asyncio.run(serve()))
loop.start()
codes = []
with tracer.start_as_current_span("long"):
    for i in range(50):
        pid = os.fork()
        if pid == 0:
            child()
        for _ in range(500):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            time.sleep(0.01)
        else:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            status = -1
        codes.append(status >> 8)
stop = True
loop.join()
print(set(codes), len(codes))
"""

    outcome = run_host(
        script,
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        SPANWISE_PROFILER="on",
        SPANWISE_MEMORY_WINDOW="0.1",
        SPANWISE_OPEN_SPAN_AFTER="0.05",
        PYTHONWARNINGS="ignore",  # that this host forks while it has threads of its own
    )

    assert (outcome.out, outcome.err) == ("{7} 50\n", "")
