"""What the agent brings into a process at its start, and that nothing is lost by what it leaves for later."""

import json

import pytest

# Of the modules that a process has; without the agent these are about 35 and 105.
_MOST_MODULES = 455
_MOST_MODULES_UNUSED = 180
_LATER = {"asyncio", "packaging", "wrapt", "requests", "urllib3", "grpc", "sqlite3", "multiprocessing"}

FORKS = """
import logging, os, sys
pid = os.fork()
logging.warning("child" if pid == 0 else "parent")
if pid == 0:
    sys.exit(0)
os.waitpid(pid, 0)
"""

# Bare threads, so that it is their records that end the waiting, while the main thread forks. Nobody writes to the
# console: Python itself does not free its lock in a child.
LOGS_WHILE_FORKING = """
import _thread, logging, os, sys
logger = logging.getLogger("worker")
logger.addHandler(logging.NullHandler())
logger.propagate = False
begins, ends = [_thread.allocate_lock() for _ in range(2)], [_thread.allocate_lock() for _ in range(2)]
def log(number):
    begins[number].release()
    logger.error("thread %d", number)
    ends[number].release()
for number in range(2):
    begins[number].acquire()
    ends[number].acquire()
    _thread.start_new_thread(log, (number,))
for lock in begins:
    lock.acquire()
pid = os.fork()
if pid == 0:
    logger.error("child")
    import asyncio, packaging.requirements
    sys.exit(0)
_, status = os.waitpid(pid, 0)
for lock in ends:
    lock.acquire()
print(status)
"""

# The first record is written by a daemon thread, which the end of the process meets while it loads what it needs.
ENDS_WHILE_LOADING = """
import logging, threading
begins = threading.Event()
class Slow(logging.Filter):
    def filter(self, record):
        begins.set()
        return True
logger = logging.getLogger("worker")
logger.addFilter(Slow())
threading.Thread(target=logger.error, args=("last words",), daemon=True).start()
begins.wait()
print("done")
"""


def test_an_empty_script_loads_next_to_nothing(run_host, dead_port):
    """A script that uses nothing but plain modules of the standard library gets none of OpenTelemetry."""
    script = "import sys, json, argparse, pathlib, pickle, subprocess\nprint(json.dumps(sorted(sys.modules)))"
    endpoint = f"http://127.0.0.1:{dead_port}"

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_METRICS_EXPORTER="none")

    modules = set(json.loads(outcome.out))
    assert len(modules) <= _MOST_MODULES_UNUSED
    assert modules & (_LATER | {"opentelemetry", "psutil"}) == set()


def test_a_script_that_imports_something_gets_little_else(run_host, tmp_path, dead_port):
    """The number of modules stays within a bound, and what is not needed yet is not loaded."""
    (tmp_path / "mine.py").write_text("", encoding="utf-8")
    script = "import mine, sys, json\nprint(json.dumps(sorted(sys.modules)))"

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    modules = set(json.loads(outcome.out))
    assert len(modules) <= _MOST_MODULES
    assert modules & _LATER == set()
    assert "opentelemetry.sdk.trace" in modules


USES = {
    "a library": "import click",
    "a module of its own": "import mine",
    "a module that is not there": "try: import nothing_by_this_name\nexcept ImportError: pass",
    "OpenTelemetry": "import opentelemetry.trace; opentelemetry.trace.get_tracer('host')",
    "a wrapped module of the library": "import sqlite3",
    "asyncio": "import asyncio; asyncio.run(asyncio.sleep(0))",
    "a log record": "import logging; logging.getLogger('host').error('one')",
    "a thread": "import threading; thread = threading.Thread(target=int); thread.start(); thread.join()",
    "a cache": "from functools import cache; cache(lambda: None)()",
    "time": "import time; time.sleep(2)",
}


@pytest.mark.parametrize("use", USES)
def test_a_script_that_uses_something_ends_with_its_metrics(sink, run_host, tmp_path, use):
    """A process that has used anything, or has lived for longer than a second, tells its CPU time and memory."""
    (tmp_path / "mine.py").write_text("", encoding="utf-8")

    outcome = run_host(USES[use], OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.code == 0
    assert {"process.cpu.time", "process.memory.usage"} <= sink.metric_names()


def test_an_empty_script_sends_nothing(sink, run_host):
    """A process that ends at once and has used nothing leaves no trace."""
    outcome = run_host("", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert sink.metrics == []


@pytest.mark.parametrize("age_s", [0.9, 1.0, 1.03, 1.1, 1.2, 1.4])
def test_an_end_beside_the_start_by_age(run_host, dead_port, age_s):
    """A process that ends just before, while or after the agent starts by its age ends as it would without it."""
    script = f"import atexit, logging, time\natexit.register(logging.warning, 'last')\ntime.sleep({age_s} - 0.1)"

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert (outcome.code, outcome.out, outcome.err) == (0, "", "WARNING:root:last\n")


def test_a_first_use_while_the_process_ends(run_host, dead_port):
    """An exit handler may import and log for the first time; it is too late then to tell of it."""
    script = "import atexit\ndef last():\n    import click, logging\n    logging.error('last')\natexit.register(last)"

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert (outcome.code, outcome.out, outcome.err) == (0, "", "ERROR:root:last\n")


def test_modules_beside_the_script_stay_the_scripts(sink, run_host, tmp_path):
    """What the agent imports at its start is not what the host has put in the place of it."""
    for name in ("random", "email", "statistics"):
        (tmp_path / f"{name}.py").write_text(f"print('{name} of the host')", encoding="utf-8")
    (tmp_path / "mine.py").write_text("", encoding="utf-8")

    outcome = run_host("import mine, statistics", OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (0, "statistics of the host\n", "")
    assert "process.cpu.time" in sink.metric_names()


def test_a_fork_of_an_unused_process(sink, run_host):
    """A process that forks before it uses anything starts nothing by that, says nothing, and its child can start."""
    script = """
import os, sys
pid = os.fork()
if pid == 0:
    import sqlite3
    sqlite3.connect(":memory:").execute("SELECT 1")
    sys.exit(0)
print(os.waitpid(pid, 0)[1], "opentelemetry" in sys.modules)
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_METRICS_EXPORTER="none")

    assert (outcome.code, outcome.out, outcome.err) == (0, "0 False\n", "")
    assert sink.span_names() == ["SELECT"]


def test_a_fork_beside_the_start_by_age(run_host, dead_port):
    """While the agent starts by age nobody is left with half of it: children can import all that it imports."""
    script = """
import os, sys, time
time.sleep(0.95)
children = []
for _ in range(20):
    time.sleep(0.02)
    pid = os.fork()
    if pid == 0:
        import asyncio, opentelemetry.sdk.trace
        os._exit(0)
    children.append(pid)
print({os.waitpid(pid, 0)[1] for pid in children})
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert (outcome.code, outcome.out, outcome.err) == (0, "{0}\n", "")


def test_collector_of_garbage_is_as_it_was(run_host, dead_port):
    """The host's garbage collector is on, and finds the host's garbage."""
    script = """
import gc, weakref
class Knot: pass
knot = Knot()
knot.itself, left = knot, weakref.ref(knot)
del knot
gc.collect()
print(gc.isenabled(), gc.get_threshold(), left())
"""
    without = run_host(script, agent=False)

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert outcome.out == without.out


def test_a_fork_at_the_start_tells_of_both(sink, run_host):
    """A process that forks before anything else, and its child, send the first records they write."""
    outcome = run_host(FORKS, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.code == 0
    assert sorted(record.body.string_value for _, _, record in sink.logs) == ["child", "parent"]


def test_a_fork_while_another_thread_logs_first(sink, run_host):
    """Records of two threads at once and of a child forked in the midst arrive, and the child can import all."""
    outcome = run_host(LOGS_WHILE_FORKING, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out) == (0, "0\n")
    assert sorted(record.body.string_value for _, _, record in sink.logs) == ["child", "thread 0", "thread 1"]


def test_an_end_while_something_is_loaded(sink, run_host):
    """A process ends as it would without the agent while a thread of it uses a library for the first time."""
    without = run_host(ENDS_WHILE_LOADING, agent=False)

    outcome = run_host(ENDS_WHILE_LOADING, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out) == (without.code, without.out) == (0, "done\n")


@pytest.mark.parametrize("first", ["asyncio", "logging", "threading"])
def test_what_waits_is_there_once_it_is_used(run_host, dead_port, first):
    """What Python has loaded anyway is instrumented when the host uses it, in whichever order it does."""
    script = """
import logging, threading

def use_asyncio():
    import asyncio

def use_logging():
    logging.error("one")

def use_threading():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()

uses = {"asyncio": use_asyncio, "logging": use_logging, "threading": use_threading}
uses.pop("%s")()
for use in uses.values():
    use()

import asyncio
methods = logging.Logger.callHandlers, threading.Thread.start
print([type(method).__name__ for method in methods], hasattr(asyncio.BaseEventLoop.run_forever, "__wrapped__"))
"""

    outcome = run_host(script % first, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert (outcome.out, outcome.err) == (
        "['BoundFunctionWrapper', 'BoundFunctionWrapper'] True\n",
        "ERROR:root:one\n",
    )


def test_nothing_is_left_to_load_when_a_loop_runs(run_host, dead_port):
    """An event loop does not stand still for what its first thread or log record would have to load."""
    script = """
import asyncio, logging, sys, threading

async def main():
    before = set(sys.modules)
    logging.getLogger("quiet").debug("no record")
    logging.getLogger("loud").addHandler(logging.NullHandler())
    logging.getLogger("loud").error("a record")
    await asyncio.get_running_loop().run_in_executor(None, int)
    return set(sys.modules) - before

print({name for name in asyncio.run(main()) if name.partition(".")[0] in {"opentelemetry", "wrapt", "packaging"}})
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert outcome.out == "set()\n"
