"""Late event loops are measured, the spans that waited know it, and the call that held them up is named."""

import pytest
from asgi_hosts import SERVE

FASTAPI = f"""{SERVE}
import time
from fastapi import FastAPI

app = FastAPI()

@app.get("/slow")
async def slow():
    time.sleep(0.4)  # the seeded fault

asyncio.run(serve("/slow"))
"""

AIOHTTP = """
import asyncio, socket, time, urllib.request
from aiohttp import web

async def slow(request):
    time.sleep(0.4)  # the seeded fault
    return web.Response(text="")

async def main():
    app = web.Application()
    app.router.add_get("/slow", slow)
    runner = web.AppRunner(app)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await web.SockSite(runner, listener).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/slow"
        await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())
        await runner.cleanup()

asyncio.run(main())
"""


def fault_line(script):
    """The number of the line that has the seeded fault."""
    return next(number for number, line in enumerate(script.splitlines(), 1) if "the seeded fault" in line)


def blocking_calls(sink, span):
    """The attributes of the span's events that name a blocking call."""
    return [sink.attributes_of(event) for event in span.events if event.name == "blocking_call"]


@pytest.mark.parametrize("script", [FASTAPI, AIOHTTP], ids=["fastapi", "aiohttp"])
def test_a_sleep_in_an_async_view_is_named(sink, run_host, tmp_path, script):
    """The server span says in which file, line and function the loop was held up, and the lag is measured."""
    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    (call,) = [call for _, _, span in sink.spans if span.kind == 2 for call in blocking_calls(sink, span)]
    assert call["code.file.path"] == str(tmp_path / "host.py")
    assert call["code.line.number"] == fault_line(script)
    assert call["code.function.name"] == "__main__.slow"
    assert f"line {fault_line(script)}, in slow" in call["code.stacktrace"].splitlines()[-1]
    assert 0.1 < call["blocking_call.least_duration"] < 0.4
    lag = [metric for _, _, metric in sink.metrics if metric.name == "asyncio.event_loop.lag"][-1]
    assert lag.unit == "s"
    assert 0.25 < lag.histogram.data_points[0].max < 2


def test_spans_that_waited_know_it(sink, run_host):
    """A span that did nothing wrong learns how long another task kept it waiting; one of another loop does not."""
    script = """
import asyncio, threading, time
from opentelemetry import trace
tracer = trace.get_tracer("host")

async def victim(name, seconds):
    with tracer.start_as_current_span(name):
        await asyncio.sleep(seconds)

async def culprit():
    with tracer.start_as_current_span("culprit"):
        await asyncio.sleep(0.1)
        time.sleep(0.3)
        await asyncio.sleep(0.1)

async def main():
    await asyncio.gather(victim("victim", 0.45), culprit())

other = threading.Thread(target=asyncio.run, args=(victim("unconcerned", 0.5),))
other.start()
asyncio.run(main())
other.join()
"""

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    def waits(name):
        (span,) = sink.spans_named(name)
        return [sink.attributes_of(event) for event in span.events if event.name == "event_loop.blocked"]

    assert 0.2 < waits("victim")[0]["event_loop.blocked.duration"] < 0.6
    assert len(waits("culprit")) == 1
    assert waits("unconcerned") == []
    assert len(blocking_calls(sink, sink.spans_named("culprit")[0])) == 1
    assert blocking_calls(sink, sink.spans_named("victim")[0]) == []


def test_a_blocking_call_outside_of_spans_is_logged(sink, run_host, tmp_path):
    """Without a span the place is sent as a log record, once."""
    script = """
import asyncio, time

async def main():
    await asyncio.sleep(0.1)
    time.sleep(1.2)
    await asyncio.sleep(0.1)

asyncio.run(main())
"""

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    (record,) = [record for _, scope, record in sink.logs if scope == "spanwise.event_loop"]
    attributes = sink.attributes_of(record)
    assert record.event_name == "blocking_call"
    assert (attributes["code.file.path"], attributes["code.line.number"]) == (str(tmp_path / "host.py"), 6)
    assert not record.trace_id


def test_a_loop_that_waits_is_not_blamed(sink, run_host):
    """A process that is stopped for a while (SIGSTOP) and a loop that has nothing to do name no call."""
    script = """
import asyncio, os, signal, subprocess, sys

async def main():
    stopper = f"import os, signal, time; os.kill({os.getpid()}, signal.SIGSTOP); time.sleep(0.5);" \\
              f"os.kill({os.getpid()}, signal.SIGCONT)"
    child = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", stopper)
    await child.wait()
    await asyncio.sleep(0.3)

asyncio.run(main())
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.code == 0
    assert [record for _, scope, record in sink.logs if scope == "spanwise.event_loop"] == []


@pytest.mark.parametrize(("setting", "threads"), [("", ["EventLoopWatchdog"]), ("event_loop", [])])
def test_a_thread_runs_only_with_a_loop(sink, run_host, setting, threads):
    """Before a loop runs there is no watchdog; switched off by name there never is one."""
    script = """
import asyncio
from otel_agent.background import BACKGROUND_THREADS

def watchdogs():
    return [name for name in BACKGROUND_THREADS.values() if "Watchdog" in name]

async def main():
    await asyncio.sleep(0.1)
    return watchdogs()

print(watchdogs(), asyncio.run(main()))
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=setting)

    assert outcome.out == f"[] {threads}\n"


def test_a_forked_child_watches_its_own_loop(sink, run_host):
    """A child that is forked while a loop runs, and runs a loop of its own, names its own blocking call."""
    script = """
import asyncio, os, time

async def child():
    time.sleep(0.4)
    await asyncio.sleep(0.1)

async def main():
    await asyncio.sleep(0.1)
    pid = os.fork()
    if pid == 0:
        asyncio._set_running_loop(None)
        asyncio.run(child())
        from opentelemetry import _logs
        _logs.get_logger_provider().force_flush()
        os._exit(0)
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        await asyncio.sleep(0.05)

asyncio.run(main())
"""

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    lines = [sink.attributes_of(r)["code.line.number"] for _, scope, r in sink.logs if scope == "spanwise.event_loop"]
    assert lines == [5]
