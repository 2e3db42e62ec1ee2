"""A whole host process under the agent: what arrives, and what the host must never notice."""

from pathlib import Path

import pytest

SHOP = """
import logging, threading
import requests
from flask import Flask
from sqlalchemy import create_engine, text
from werkzeug.serving import make_server

engine = create_engine("sqlite:///shop.db")
with engine.begin() as connection:
    connection.execute(text("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)"))
    connection.execute(text("INSERT INTO items (name) VALUES ('tea')"))

app = Flask("shop")

@app.get("/items/<int:item_id>")
def item(item_id):
    logging.getLogger("shop").warning("item %s asked for", item_id, extra={"item": item_id})
    with engine.connect() as connection:
        return {"name": connection.execute(text("SELECT name FROM items WHERE id = :id"), {"id": item_id}).scalar()}

@app.get("/")
def home():
    return requests.get(f"http://127.0.0.1:{server.server_port}/items/1", timeout=10).json()

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, app, threaded=True)
threading.Thread(target=server.serve_forever).start()
print(requests.get(f"http://127.0.0.1:{server.server_port}/", timeout=10).text.strip())
server.shutdown()
"""

QUIET = """
import sqlite3, sys
with sqlite3.connect(":memory:") as connection:
    connection.execute("SELECT 1")
print("out")
print("err", file=sys.stderr)
sys.exit(3)
"""


def test_shop_is_one_trace(sink, run_host):
    """A host that knows nothing of OpenTelemetry gives one trace across HTTP and one span per statement."""
    outcome = run_host(SHOP, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (0, '{"name":"tea"}\n', "item 1 asked for\n")
    names = sink.span_names()
    assert sorted(names) == sorted(
        ["CREATE items", "INSERT items", "GET", "GET /", "GET", "GET /items/<int:item_id>", "SELECT items"]
    )
    (select,) = sink.spans_named("SELECT items")
    assert {span.trace_id for _, _, span in sink.spans if span.name.startswith("GET")} == {select.trace_id}
    assert [span.kind for span in sink.spans_named("GET /items/<int:item_id>")] == [2]
    assert select.parent_span_id == sink.spans_named("GET /items/<int:item_id>")[0].span_id


def test_shop_uses_stable_names(sink, run_host):
    """Spans carry the stable names of the conventions for HTTP and databases, and the service as it was set."""
    run_host(SHOP, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    (select,) = sink.spans_named("SELECT items")
    attributes = sink.attributes_of(select)
    assert {name: value for name, value in attributes.items() if not name.startswith("code.")} == {
        "db.system.name": "sqlite",
        "db.namespace": "shop.db",
        "db.query.text": "SELECT name FROM items WHERE id = ?",
        "db.operation.name": "SELECT",
        "db.collection.name": "items",
    }
    request = sink.attributes_of(sink.spans_named("GET /items/<int:item_id>")[0])
    assert (request["http.request.method"], request["http.response.status_code"]) == ("GET", 200)
    assert {resource["service.name"] for resource, _, _ in sink.spans} == {"host"}
    assert {"http.server.request.duration", "db.client.operation.duration"} <= sink.metric_names()


def test_shop_logs_are_correlated(sink, run_host):
    """A log record of the host arrives inside its trace, with the attributes given as `extra`."""
    run_host(SHOP, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    ((_, scope, record),) = sink.logs
    (request,) = sink.spans_named("GET /items/<int:item_id>")
    assert (scope, record.body.string_value) == ("shop", "item 1 asked for")
    assert (record.trace_id, record.span_id) == (request.trace_id, request.span_id)
    assert sink.attributes_of(record)["item"] == 1


def test_resource_describes_the_process(sink, run_host):
    """The resource tells instance, process and distro, the same for all three signals."""
    run_host(SHOP, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    resource = sink.spans[0][0]
    assert {"service.instance.id", "process.pid", "process.runtime.name", "host.name"} <= resource.keys()
    assert resource["telemetry.distro.name"] == "spanwise"
    items = sink.spans + sink.metrics + sink.logs
    assert {r["service.instance.id"] for r, _, _ in items} == {resource["service.instance.id"]}


@pytest.mark.parametrize("fault", ["nobody listens", "nobody answers"])
def test_host_does_not_notice_the_collector(run_host, dead_port, black_hole, fault):
    """Without a working collector the host's exit code and outputs are those it has without the agent."""
    port = dead_port if fault == "nobody listens" else black_hole
    without = run_host(QUIET, agent=False)

    outcome = run_host(QUIET, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")

    assert (outcome.code, outcome.out, outcome.err) == (without.code, without.out, without.err) == (3, "out\n", "err\n")


def test_own_traffic_is_invisible(sink, run_host):
    """Exports make neither spans nor log records, not even in a host that logs at debug level."""
    script = "import logging, time\nlogging.basicConfig(level=logging.DEBUG)\nlogging.info('x')\ntime.sleep(2.5)"

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.err == "INFO:root:x\n"
    assert [record.body.string_value for _, _, record in sink.logs] == ["x"]
    assert sink.spans == []


def test_broken_instrumentation_leaves_the_host_alone(sink, run_host, tmp_path):
    """An instrumentor that cannot be imported costs its own spans only."""
    broken = tmp_path / "broken" / "sitecustomize.py"
    broken.parent.mkdir()
    broken.write_text("import sys\nsys.modules['opentelemetry.instrumentation.flask'] = None\n", encoding="utf-8")
    bootstrap = Path(__file__).parents[2] / "otel_agent" / "bootstrap"

    outcome = run_host(SHOP, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, PYTHONPATH=f"{bootstrap}:{broken.parent}")

    assert (outcome.code, outcome.out) == (0, '{"name":"tea"}\n')
    assert "SELECT items" in sink.span_names()
    assert not any(name.startswith("GET /") for name in sink.span_names())


def test_two_doors_start_one_agent(sink, tmp_path, clean_environment, run_host):
    """With opentelemetry-instrument on top of our own bootstrap, nothing is sent twice."""
    import opentelemetry.instrumentation.auto_instrumentation as official

    bootstrap = Path(__file__).parents[2] / "otel_agent" / "bootstrap"
    paths = [str(bootstrap), str(Path(official.__file__).parent)]

    both = run_host(SHOP, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, PYTHONPATH=":".join(paths))

    assert (both.code, both.err) == (0, "item 1 asked for\n")
    assert sink.span_names().count("SELECT items") == 1
    assert sink.span_names().count("GET /items/<int:item_id>") == 1


def test_user_variables_win(sink, run_host):
    """What the user sets keeps its standard meaning: no traces, but metrics and logs."""
    run_host(
        SHOP,
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        OTEL_TRACES_EXPORTER="none",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
    )

    assert sink.spans == []
    assert len(sink.logs) == 1
    assert sink.logs[0][0]["deployment.environment.name"] == "test"


def test_excluded_urls_and_disabled_instrumentations(sink, run_host):
    """Excluded URLs give no SERVER span and a disabled instrumentation no span at all."""
    run_host(
        SHOP,
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        OTEL_PYTHON_FLASK_EXCLUDED_URLS="items",
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="sqlalchemy,sqlite3",
    )

    assert sorted(sink.span_names()) == ["GET", "GET", "GET /"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SPANWISE_PROCESS_METRICS_INTERVAL", "soon"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-5"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "often"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:port"),
        ("OTEL_TRACES_SAMPLER", "dice"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "long"),
        ("OTEL_TRACES_EXPORTER", "nowhere"),
    ],
)
def test_bad_value_is_one_warning_line(run_host, dead_port, name, value):
    """A value that cannot work costs one line on stderr, never the host."""
    outcome = run_host(
        "import sqlite3\nprint('fine')",
        **({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{dead_port}"} | {name: value}),
    )

    assert (outcome.code, outcome.out) == (0, "fine\n")
    (line,) = outcome.err.splitlines()
    assert line.startswith("spanwise: ")
    assert value in line


def test_child_process_inherits_the_agent(sink, run_host):
    """A Python that the host starts is instrumented too."""
    child = "import sqlite3; sqlite3.connect(':memory:').execute('SELECT 7').connection.close()"

    run_host(
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}], check=True)",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert sink.span_names() == ["SELECT"]


def test_child_of_a_process_that_uses_nothing_inherits_its_names(sink, run_host):
    """The service and the tree of processes are named before a child can be there, whatever its parent uses."""
    child = "import os, sqlite3; print(os.environ['OTEL_SERVICE_NAME'], os.environ['SPANWISE_PROCESS_TREE'])"
    script = "import os, subprocess, sys\nprint(os.environ['SPANWISE_PROCESS_TREE'], flush=True)\n"
    script += f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_SERVICE_NAME="")

    tree, name, tree_of_child = outcome.out.split()
    assert (name, tree_of_child) == ("host", tree)
    assert {resource["service.name"] for resource, _, _ in sink.metrics} == {"host"}


def test_host_without_logging_configuration_keeps_its_console(sink, run_host):
    """Python's handler of last resort and the implicit basicConfig work as they do without the agent."""
    script = "import logging\nlogging.getLogger('a').warning('one')\nlogging.warning('two')\nlogging.info('three')"
    without = run_host(script, agent=False)

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.err == without.err == "one\nWARNING:root:two\n"
    assert [record.body.string_value for _, _, record in sink.logs] == ["one", "two"]


def test_library_that_is_not_used_is_not_imported(run_host, dead_port):
    """The agent does not bring heavy libraries into a process that never imports them."""
    libraries = ("sqlalchemy", "flask", "sqlite3", "httpx", "redis")
    script = f"import click, sys\nprint([name for name in {libraries} if name in sys.modules])"

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")

    assert outcome.out == "[]\n"
