"""Child processes of multiprocessing."""

import pytest

HOST = """
import multiprocessing, sqlite3, time
def work(number):
    connection = sqlite3.connect(":memory:")
    connection.execute("SELECT 1")
    connection.close()
if __name__ == "__main__":
    process = multiprocessing.get_context("METHOD").Process(target=work, args=(1,))
    process.start()
    process.join()
    print(process.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_child_sends_its_last_spans(sink, run_host, method):
    """What a child records right before its end arrives, once, under an instance id of its own."""
    outcome = run_host(HOST.replace("METHOD", method), OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.out, outcome.err) == ("0\n", "")
    assert sink.span_names() == ["SELECT"]
    (child,) = {resource["service.instance.id"] for resource, _, _ in sink.spans}
    parents = {resource["service.instance.id"] for resource, _, _ in sink.metrics} - {child}
    assert parents


@pytest.mark.parametrize("fault", ["nobody listens", "nobody answers"])
def test_child_ends_soon_without_a_collector(run_host, dead_port, black_hole, fault):
    """The end of a child waits two seconds at most for a collector that does not take its spans."""
    port = dead_port if fault == "nobody listens" else black_hole
    script = HOST.replace("METHOD", "fork").replace(
        "    process.join()",
        "    begin_s = time.monotonic()\n    process.join()\n    assert time.monotonic() - begin_s < 2",
    )

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")

    assert (outcome.code, outcome.out, outcome.err) == (0, "0\n", "")


WAITING = """
import multiprocessing, os, signal, sqlite3, threading, time
SETUP
def work(lock):
    sqlite3.connect(":memory:").execute("SELECT 1")
    BEFORE
    # To a thread beside the main one: like a signal that comes right before that one begins to wait, it wakes nobody.
    terminate = lambda: (time.sleep(0.2), signal.pthread_kill(threading.get_ident(), signal.SIGTERM))
    threading.Thread(target=terminate, daemon=True).start()
    lock.acquire(timeout=5)
if __name__ == "__main__":
    lock = multiprocessing.Lock()
    lock.acquire()
    process = multiprocessing.Process(target=work, args=(lock,))
    process.start()
    process.join()
    print(process.exitcode)
"""


def test_child_that_waits_for_a_lock_dies_of_sigterm(sink, run_host):
    """A worker of a pool that begins to wait when it is terminated dies all the same, its last spans sent."""
    outcome = run_host(WAITING.replace("SETUP", "").replace("BEFORE", ""), OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.out, outcome.err) == ("-15\n", "")
    assert sink.span_names() == ["SELECT"]


@pytest.mark.parametrize(
    ("setup", "before"),
    [
        ("", "signal.signal(signal.SIGTERM, lambda *_: None)"),
        ("end = os.pipe()[1]\nos.set_blocking(end, False)\nsignal.set_wakeup_fd(end)", ""),
    ],
    ids=["handler", "descriptor"],
)
def test_what_the_host_does_with_signals_is_left_alone(run_host, dead_port, setup, before):
    """Where the host has a handler, or a descriptor that tells of signals, SIGTERM is what Python makes of it."""
    script = WAITING.replace("SETUP", setup).replace("BEFORE", before).replace("timeout=5", "timeout=1.5")
    script = script.replace("process.start()", "process.start(); start_s = time.monotonic()")
    script = script.replace("print(process.exitcode)", "print(time.monotonic() - start_s > 1.4)")

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert (outcome.out, outcome.err) == ("True\n", "")


def test_signals_of_a_grandchild_are_its_own(run_host, dead_port):
    """What a child forks has no part in this: its SIGTERM ends it alone."""
    script = """
import multiprocessing, os, signal, time
def work():
    grandchild = os.fork()
    if not grandchild:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(3))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == 3
    time.sleep(0.6)
if __name__ == "__main__":
    process = multiprocessing.Process(target=work)
    process.start()
    process.join()
    print(process.exitcode)
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert (outcome.out, outcome.err) == ("0\n", "")
