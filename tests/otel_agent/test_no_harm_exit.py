"""No harm at the end: however a host ends or forks, its exit code and outputs are those it has without the agent."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WORK = """
import logging, os, signal, sqlite3, sys, threading, time
connection = sqlite3.connect(":memory:", check_same_thread=False)
connection.execute("SELECT 1")
print("working", flush=True)
"""

ENDINGS = {
    "last line": "",
    "sys.exit with a number": "sys.exit(7)",
    "sys.exit with a word": "sys.exit('goodbye')",
    "os._exit": "os._exit(5)",
    "sys.exit in a thread": "t = threading.Thread(target=sys.exit, args=(3,)); t.start(); t.join(); print('on')",
    "unhandled exception": "raise ValueError('unhandled')",
    "exception in a thread": "t = threading.Thread(target=lambda: 1 / 0, name='T'); t.start(); t.join()",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(10)",
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL); time.sleep(10)",
    "SIGINT": "os.kill(os.getpid(), signal.SIGINT); time.sleep(10)",
    "abort": "os.abort()",
    "handled SIGTERM": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9)); os.kill(os.getpid(), signal.SIGTERM); time.sleep(10)"
    ),
    "live daemon threads": (
        "def spin():\n    while True: connection.execute('SELECT 1')\n"
        "for _ in range(4): threading.Thread(target=spin, daemon=True).start()\ntime.sleep(0.2)"
    ),
    "live thread that ends": "threading.Thread(target=lambda: (time.sleep(0.3), print('thread'))).start()",
    "exit handlers": (
        "import atexit\natexit.register(lambda: (connection.execute('SELECT 2'), logging.warning('in atexit')))"
    ),
    "exit handler that raises": "import atexit\natexit.register(lambda: 1 / 0)",
    "statement in __del__": (
        "class Late:\n    def __del__(self): connection.execute('SELECT 3'); print('late')\nlate = Late()"
    ),
    "low recursion limit": (
        "sys.setrecursionlimit(60)\ndef deep(n): return deep(n + 1)\n"
        "try: deep(0)\nexcept RecursionError: print('too deep')\nlogging.warning('%s', 'shallow')"
    ),
    "MemoryError": "try: bytearray(1 << 62)\nexcept MemoryError: print('no memory')\nraise MemoryError",
    "closed outputs": "sys.stdout.close(); sys.stderr.close()",
    "no outputs": "sys.stdout = sys.stderr = None; logging.warning('nowhere')",
    "exec": "sys.stdout.flush(); os.execv(sys.executable, [sys.executable, '-c', 'print(\"executed\")'])",
    "warnings": "import warnings; warnings.warn('careful')",
}


def of_the_host(text):
    """Return a traceback without the frames of instrumentations, which stand in between, and without addresses."""
    frame = r'  File "[^"]*/(?:opentelemetry|otel_agent|wrapt)/[^"]*", line .*\n(?:    .*\n)*'
    return re.sub("0x[0-9a-f]+", "0x", re.sub(frame, "", text))


@pytest.mark.parametrize("ending", ENDINGS)
def test_end_is_the_same(run_host, dead_port, ending):
    """Exit code, stdout and stderr are the same with and without the agent, with nobody there to send to."""
    script = WORK + ENDINGS[ending]
    without = run_host(script, agent=False)

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert (outcome.code, outcome.out, of_the_host(outcome.err)) == (
        without.code,
        without.out,
        of_the_host(without.err),
    )


# No handler writes to a file: Python leaves the lock of a buffered file held in the child, with and without the agent.
# Nobody is in SQLite when it forks: a mutex of that library may be held then, and the child hangs without any agent
# (12 of 5,510 forks beside two threads that run statements).
FORKS = """
import logging, os, sqlite3, sys, threading, time
from opentelemetry import trace
logging.basicConfig(handlers=[logging.NullHandler()], level=logging.INFO)
is_ending = False
def busy():
    tracer = trace.get_tracer("busy")
    while not is_ending:
        with tracer.start_as_current_span("busy"):
            logging.info("busy")
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
ended = 0
for n in range(100):
    pid = os.fork()
    if pid == 0:
        connection = sqlite3.connect(":memory:")
        connection.execute(f"SELECT 'child {n}' AS child")
        logging.info("child")
        os._exit(0)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            ended += 1
            break
        time.sleep(0.002)
    else:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
is_ending = True
for thread in threads:
    thread.join()
print(ended)
"""


def test_hundred_forks_beside_busy_threads(run_host, dead_port):
    """Of a hundred children forked while other threads make spans and log, none hangs."""
    outcome = run_host(
        FORKS, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}", OTEL_METRIC_EXPORT_INTERVAL="200"
    )

    assert (outcome.code, outcome.out) == (0, "100\n")


def test_each_child_sends_once(sink, run_host):
    """Twenty children forked beside a busy thread send each its own spans, once, and none of its parent's."""
    script = FORKS.replace("range(100)", "range(20)").replace("os._exit(0)", "sys.exit(0)")
    script = script.replace("while not is_ending:", "while not is_ending:\n        time.sleep(0.01)")

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.out.splitlines()[-1] == "20"
    texts = [sink.attributes_of(span).get("db.query.text", "") for _, _, span in sink.spans]
    assert sorted(text for text in texts if "child" in text) == sorted(
        f"SELECT 'child {n}' AS child" for n in range(20)
    )
    assert len({span.span_id for _, _, span in sink.spans}) == len(sink.spans)


def test_threads_stand_aside_while_the_host_forks(run_host, dead_port):
    """While a quiet host forks, it has no thread but its own, of which Python 3.12 and later would warn; after, it has.

    The span that is open keeps OpenSpans at work, and the statement's, which nobody takes, Spans. A hook that is
    registered first is called last before a fork.
    """
    script = """
import os, sqlite3, time
from opentelemetry import trace

def wait_for_threads():
    end = time.monotonic() + 10
    while sorted(BACKGROUND_THREADS.values()) != THREADS and time.monotonic() < end:
        time.sleep(0.01)

with trace.get_tracer("host").start_as_current_span("work"):
    sqlite3.connect(":memory:").execute("SELECT 1")
    wait_for_threads()
    time.sleep(0.3)  # none of them has anything in hand by then
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    wait_for_threads()
    print(SEEN, sorted(BACKGROUND_THREADS.values()))
"""
    first = "import builtins, os\nbuiltins.SEEN = []\n" + (
        "os.register_at_fork(before=lambda: SEEN.append(len(os.listdir('/proc/self/task'))))\n"
        "THREADS = ['MetricReaders', 'OpenSpans', 'Spans']\n"
    )
    boot = "from otel_agent.boot import boot\nboot()\nfrom otel_agent.background import BACKGROUND_THREADS\n"

    outcome = run_host(
        first + boot + script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}", PYTHONPATH=str(ROOT)
    )

    assert (outcome.code, outcome.out, outcome.err) == (0, "[1] ['MetricReaders', 'OpenSpans', 'Spans']\n", "")
