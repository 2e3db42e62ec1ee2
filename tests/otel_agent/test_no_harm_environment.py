"""No harm from the environment: bad values cost one line, the standard variables win, and starting is cheap."""

import subprocess
import sys
import time

import pytest

MEGABYTE = "x" * 100_000  # the kernel takes 128 KiB for one variable

BAD_VALUES = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://127.0.0.1"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:99999"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{MEGABYTE}"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "nowhere"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "no equals sign"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "a=b\r\nc: d"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "smoke"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "9" * 5000),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many"),
    ("OTEL_TRACES_SAMPLER_ARG", "half"),
    ("OTEL_TRACES_SAMPLER_ARG", "7"),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "long"),
    ("OTEL_PROPAGATORS", "pigeon"),
    ("OTEL_PYTHON_ID_GENERATOR", "dice"),
    ("OTEL_RESOURCE_ATTRIBUTES", "no equals sign"),
    ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "crystal ball"),
    ("OTEL_METRICS_EXEMPLAR_FILTER", "sometimes"),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "later"),
    ("OTEL_LOG_LEVEL", "shout"),
    ("OTEL_PYTHON_LOG_HANDLER_LEVEL", "shout"),
    ("OTEL_CONFIG_FILE", "/no/such/file"),
    ("OTEL_PYTHON_CONTEXT", "paper"),
    ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://127.0.0.1:port"),
    ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "smoke"),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/no/such/file"),
    ("OTEL_EXPORTER_OTLP_HEADERS", MEGABYTE),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", MEGABYTE),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", MEGABYTE),
    ("OTEL_RESOURCE_ATTRIBUTES", MEGABYTE),
    ("OTEL_TRACES_SAMPLER", MEGABYTE),
    ("OTEL_BSP_EXPORT_TIMEOUT", "long"),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", "few"),
    ("OTEL_SDK_DISABLED", "maybe"),
    ("OTEL_PYTHON_FLASK_EXCLUDED_URLS", "(["),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES, ids=[f"{name}={value[:20]!r}" for name, value in BAD_VALUES])
def test_bad_value_costs_one_line(run_host, dead_port, name, value):
    """The host starts and runs, and stderr has exactly one line about it, of readable length."""
    script = "import sqlite3\nprint(sqlite3.connect(':memory:').execute('SELECT 1').fetchone())"
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{dead_port}"} | {name: value}
    if name == "OTEL_TRACES_SAMPLER_ARG":
        variables["OTEL_TRACES_SAMPLER"] = "traceidratio"

    outcome = run_host(script, **variables)

    assert (outcome.code, outcome.out) == (0, "(1,)\n")
    (line,) = outcome.err.splitlines()
    assert line.startswith("spanwise: ")
    assert len(line) < 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "nowhere"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "smoke"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "long"),
        ("OTEL_PROPAGATORS", "pigeon"),
        ("OTEL_PYTHON_ID_GENERATOR", "dice"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "sometimes"),
        ("OTEL_PYTHON_FLASK_EXCLUDED_URLS", "(["),
        ("OTEL_TRACES_SAMPLER_ARG", "7"),
    ],
)
def test_bad_value_becomes_the_default(sink, run_host, name, value):
    """Spans arrive as if the variable were not set."""
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_TRACES_SAMPLER": "traceidratio"} | {name: value}
    script = "import sqlite3, opentelemetry.propagate, flask\nsqlite3.connect(':memory:').execute('SELECT 1')"

    outcome = run_host(script, **variables)

    assert outcome.code == 0
    assert sink.span_names() == ["SELECT"]


def test_sampling_by_the_standard_variables(sink, run_host):
    """OTEL_TRACES_SAMPLER and its argument decide at the head: nothing at 0, everything else goes on."""
    script = (
        "import sqlite3\nconnection = sqlite3.connect(':memory:')\nfor _ in range(50): connection.execute('SELECT 1')"
    )

    run_host(
        script,
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        OTEL_TRACES_SAMPLER="parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0",
    )

    assert sink.spans == []
    assert "db.client.operation.duration" in sink.metric_names()


WEB = """
import logging, threading
import requests
from flask import Flask
from werkzeug.serving import make_server
app = Flask("web")
app.add_url_rule("/<name>", "page", lambda name: name)
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, app)
threading.Thread(target=server.serve_forever).start()
for name in ("health", "work"):
    requests.get(f"http://127.0.0.1:{server.server_port}/{name}", timeout=10)
server.shutdown()
"""


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ("OTEL_PYTHON_EXCLUDED_URLS", ["GET", "GET /<name>"]),
        ("OTEL_PYTHON_FLASK_EXCLUDED_URLS", ["GET", "GET", "GET /<name>"]),
        ("OTEL_PYTHON_REQUESTS_EXCLUDED_URLS OTEL_PYTHON_URLLIB3_EXCLUDED_URLS", ["GET", "GET /<name>", "GET /<name>"]),
    ],
)
def test_excluded_urls_by_the_standard_variables(sink, run_host, variables, names):
    """A route is excluded for every library, for the server alone, or for the client alone."""
    run_host(WEB, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, **dict.fromkeys(variables.split(), "health"))

    assert sorted(sink.span_names()) == names


def test_own_traffic_is_not_traced_by_client_instrumentations(sink, run_host):
    """In a host that debugs requests, urllib3 and http.client, nothing is said of exports."""
    script = """
import http.client, logging, time
import requests, urllib3
http.client.HTTPConnection.debuglevel = 1
logging.basicConfig(level=logging.DEBUG)
logging.debug("mine")
time.sleep(1.5)
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert sink.spans == []
    assert [record.body.string_value for _, _, record in sink.logs] == ["mine"]
    assert (outcome.out, outcome.err) == ("", "DEBUG:root:mine\n")


def test_proxy_is_not_asked_for_a_loopback_collector(sink, run_host, dead_port):
    """A proxy set for the host's own traffic does not keep telemetry from a collector on this machine."""
    run_host(
        "import sqlite3; sqlite3.connect(':memory:').execute('SELECT 1')",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        http_proxy=f"http://127.0.0.1:{dead_port}",
        HTTP_PROXY=f"http://127.0.0.1:{dead_port}",
    )

    assert sink.span_names() == ["SELECT"]


def test_frozen_clock(sink, run_host):
    """In a host that has frozen its clock, as tests do, spans and log records keep real time and nothing hangs."""
    script = """
import logging, sys, time
real = time.time, time.time_ns
def freeze():
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()) if hasattr(module, "__dict__") else ():
            if value is real[0]:
                setattr(module, name, lambda: 86400.0)
            elif value is real[1]:
                setattr(module, name, lambda: 86400 * 10**9)
import sqlite3
connection = sqlite3.connect(":memory:")
freeze()
connection.execute("SELECT 1")
print(time.time())
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out) == (0, "86400.0\n")
    (span,) = sink.spans_named("SELECT")
    assert abs(span.start_time_unix_nano / 1e9 - time.time()) < 60
    assert span.end_time_unix_nano >= span.start_time_unix_nano


@pytest.mark.parametrize("options", [["-O"], ["-W", "error"], ["-X", "dev"], ["-B"], ["-E"], ["-I"], ["-s"]])
def test_interpreter_options(sink, tmp_path, clean_environment, options):
    """The agent works and prints nothing; -E and -I ignore PYTHONPATH, so the host runs without it."""
    code = "import sqlite3; c = sqlite3.connect(':memory:'); c.execute('SELECT 1'); c.close(); print('out')"

    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=tmp_path,
        env=clean_environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "")
    assert sink.span_names() == ([] if options in (["-E"], ["-I"]) else ["SELECT"])


def test_threads_before_first_use(run_host, dead_port):
    """Before the first span a host has one thread of the agent, which reads its process metrics, or none.

    A host that asks for its threads, to wait for all of them, is not told of it.
    """
    script = """
import os, threading, time
time.sleep(0.2)
print(threading.active_count(), len(os.listdir("/proc/self/task")))
"""
    endpoint = f"http://127.0.0.1:{dead_port}"

    with_metrics = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    without = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_METRICS_EXPORTER="none")

    assert with_metrics.out == "1 2\n"
    assert without.out == "1 1\n"


def test_heavy_modules_are_not_imported(run_host, dead_port):
    """A script that uses none of them does not get requests, urllib3 or grpc from the agent."""
    script = "import sys\nprint([m for m in ('requests', 'urllib3', 'grpc', 'sqlite3') if m in sys.modules])"

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert outcome.out == "[]\n"
