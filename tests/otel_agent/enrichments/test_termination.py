"""SIGTERM."""

import pytest

HOST = """
import os, signal, sqlite3, time
SETUP
connection = sqlite3.connect(":memory:")
connection.execute("SELECT 1")
print("out", flush=True)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(10)
"""


def test_host_dies_of_the_signal_with_its_last_spans_sent(sink, run_host):
    """A host that does not handle SIGTERM dies of it as without the agent, but not before its spans are sent."""
    script = HOST.replace("SETUP", "")
    without = run_host(script, agent=False)

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (without.code, without.out, without.err) == (-15, "out\n", "")
    assert sink.span_names() == ["SELECT"]


@pytest.mark.parametrize(
    ("setup", "code"),
    [
        ("signal.signal(signal.SIGTERM, lambda *_: os._exit(7))", 7),
        ("signal.signal(signal.SIGTERM, signal.SIG_DFL)", -15),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep = os._exit", 10),
    ],
)
def test_handler_of_the_host_wins(run_host, dead_port, setup, code):
    """Whatever the host wants SIGTERM to do is what it does."""
    outcome = run_host(HOST.replace("SETUP", setup), OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert (outcome.code, outcome.out, outcome.err) == (code, "out\n", "")


@pytest.mark.parametrize("fault", ["nobody listens", "nobody answers"])
def test_death_waits_two_seconds_at_most(run_host, dead_port, black_hole, fault):
    """Without a working collector the signal kills after two seconds at most."""
    port = dead_port if fault == "nobody listens" else black_hole
    script = HOST.replace("SETUP", "").replace('print("out"', "print(time.time()")

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")

    assert (outcome.code, outcome.err) == (-15, "")
    assert outcome.ended_s - float(outcome.out) < 2


def test_name_switches_it_off(run_host, dead_port):
    """With its name among the disabled ones, SIGTERM keeps the default disposition."""
    script = "import signal\nprint(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    url = f"http://127.0.0.1:{dead_port}"

    outcomes = [
        run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=name)
        for name in ("termination", "flask")
    ]

    assert [outcome.out for outcome in outcomes] == ["True\n", "False\n"]
