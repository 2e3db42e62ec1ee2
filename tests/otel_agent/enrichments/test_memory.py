"""What requests add to the process, by endpoint, and the lines that allocate what leaks."""

import os
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from otel_agent.enrichments import memory
from otel_agent.enrichments._leak_verdict import LeakVerdict, growth_bytes_per_hour
from otel_agent.enrichments.memory import resident_bytes

ROOT = Path(__file__).parents[3]
MB = 1024 * 1024
REQUEST = """
from opentelemetry import trace
tracer = trace.get_tracer("host")
kept = []

def request(route, work):
    with tracer.start_as_current_span(route, kind=trace.SpanKind.SERVER, attributes={"http.route": route}):
        return work()
"""


def python_value(value):
    """Turn an OTLP AnyValue into lists, dicts and plain values."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [python_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: python_value(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, kind)


def reports(sink, key):
    """What the allocation records say under `key`: lists of lines or endpoints with their sizes."""
    bodies = [python_value(record.body) for _, scope, record in sink.logs if scope == "spanwise.memory"]
    return [body[key] for body in bodies]


def test_growth_is_laid_to_the_endpoint_that_leaks(sink, run_host):
    """The endpoint that keeps 1 MB per request grows by what it keeps, and the one beside it not."""
    script = f"""{REQUEST}
for _ in range(20):
    request("/leaks", lambda: kept.append(b"x" * 1_048_576))
    request("/tidy", lambda: [object() for _ in range(1000)])
"""

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    growth = [metric for _, _, metric in sink.metrics if metric.name == "process.memory.growth"][-1]
    by_route = {sink.attributes_of(point)["http.route"]: point.as_int for point in growth.sum.data_points}
    assert growth.unit == "By"
    assert not growth.sum.is_monotonic
    assert by_route["/leaks"] == pytest.approx(20 * MB, rel=0.25)
    assert abs(by_route["/tidy"]) < 2 * MB


def test_in_a_window_the_growth_of_endpoints_is_exact(sink, run_host):
    """Memory that is freed after the response, and used again by the endpoint that leaks, deceives no longer."""
    script = f"""{REQUEST}
import time
end = time.monotonic() + 1.6
while time.monotonic() < end:
    request("/leaks", lambda: kept.append(b"x" * 100_000))
    ballast = request("/frees", lambda: b"x" * 8_388_608)
    del ballast
    time.sleep(0.01)
"""

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SPANWISE_MEMORY_WINDOW="0.8")

    endpoints, *_ = reports(sink, "endpoints")
    lines, *_ = reports(sink, "lines")
    growth = {endpoint["http.route"]: endpoint["growth_bytes"] for endpoint in endpoints}
    leaking = next(line for line in lines if line["code.line.number"] == 13)
    assert growth["/leaks"] == pytest.approx(leaking["growth_bytes"], rel=0.15)
    assert growth.get("/frees", 0) < growth["/leaks"] / 10


def test_overlapping_requests_are_not_measured(sink, run_host):
    """What grows while two requests are in flight is nobody's."""
    script = """
from opentelemetry import trace
tracer = trace.get_tracer("host")
kept = []

def request(route):
    return tracer.start_as_current_span(route, kind=trace.SpanKind.SERVER, attributes={"http.route": route})

with request("/a"), request("/b"):
    kept.append(b"x" * 20_000_000)
with request("/c"):
    pass
"""

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    growth = [metric for _, _, metric in sink.metrics if metric.name == "process.memory.growth"][-1]
    by_route = {sink.attributes_of(point)["http.route"]: point.as_int for point in growth.sum.data_points}
    assert by_route.keys() == {"/c"}


def test_endpoints_beyond_the_limit_share_one_name(sink, run_host):
    """A host that makes up routes without end has 200 of them and one for the rest."""
    script = """
from opentelemetry import trace
tracer = trace.get_tracer("host")
for i in range(300):
    tracer.start_span(f"GET /{i}", kind=trace.SpanKind.SERVER, attributes={"http.route": f"/{i}"}).end()
"""

    run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    growth = [metric for _, _, metric in sink.metrics if metric.name == "process.memory.growth"][-1]
    routes = {sink.attributes_of(point)["http.route"] for point in growth.sum.data_points}
    assert len(routes) == 201
    assert "other" in routes


def test_the_leak_of_the_demo_shop_names_its_line(sink, run_host, tmp_path):
    """With a window open, the reports that the shop's worker keeps are at the top, by file and line."""
    script = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from demo_app.models import open_engine
from demo_app.seed import ensure_seeded
from demo_app.worker import Reports, make_report

data = Path({str(tmp_path)!r})
ensure_seeded(data)
engine, reports = open_engine(data / "shop.db"), Reports(leaks=True)
end = time.monotonic() + 3
while time.monotonic() < end:
    reports.add(make_report(engine))
    time.sleep(0.02)
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SPANWISE_MEMORY_WINDOW="1.5")

    assert outcome.code == 0, outcome.err
    source = (ROOT / "demo_app" / "worker.py").read_text().splitlines()
    (top, *others), *_ = reports(sink, "lines")
    assert top["code.file.path"] == str(ROOT / "demo_app" / "worker.py")
    assert "ljust(REPORT_ROW_BYTES).encode()" in source[top["code.line.number"] - 1]
    assert top["growth_bytes"] > 10 * max([line["growth_bytes"] for line in others], default=0)
    assert top["size_bytes"] == pytest.approx(top["count"] * 1057, rel=0.2)
    assert len(others) < 20


def test_tracing_of_allocations_ends_with_the_window(sink, run_host):
    """Tracing is off before the first span and after the window, and a forked child is not left with it."""
    script = """
import os, time, tracemalloc
from opentelemetry import trace
tracer = trace.get_tracer("host")
before = tracemalloc.is_tracing()
tracer.start_span("first").end()
time.sleep(0.2)
during = tracemalloc.is_tracing()
pid = os.fork()
if pid == 0:
    os._exit(tracemalloc.is_tracing())
child = os.waitpid(pid, 0)[1]
time.sleep(1.2)
print(before, during, child, tracemalloc.is_tracing())
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, SPANWISE_MEMORY_WINDOW="0.6")

    assert outcome.out == "False True 0 False\n"


@pytest.mark.parametrize(
    "setting", [{}, {"SPANWISE_MEMORY_WINDOW": "1", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "memory"}]
)
def test_nothing_is_traced_unless_asked_for(sink, run_host, setting):
    """By default, and when switched off by name, tracemalloc is not even imported."""
    script = """
import sys, time
from opentelemetry import trace
trace.get_tracer("host").start_span("first").end()
time.sleep(0.1)
print("tracemalloc" in sys.modules and sys.modules["tracemalloc"].is_tracing())
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, **setting)

    assert outcome.out == "False\n"


def test_the_verdict_opens_a_window(sink, run_host):
    """Without being asked, a process that grows and grows is looked into; here an hour is made to pass in a second."""
    script = """
import time
import otel_agent.enrichments._leak_verdict as rule
from otel_agent.enrichments import memory
rule._SPACING_S, rule._WINDOW_S, memory._VERDICT_WINDOW_S = 0.01, 1.0, 0.5
memory.start()
kept, end = [], time.monotonic() + 4
while time.monotonic() < end:
    kept.append(b"x" * 100_000)
    time.sleep(0.01)
"""

    run_host(
        script,
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="memory",
        OTEL_METRIC_EXPORT_INTERVAL="100",
    )

    (top, *_), *_ = reports(sink, "lines")
    assert top["code.line.number"] == 9


def series(minutes, bytes_at):
    """A reading every 30 s."""
    return [(half_minute * 30.0, bytes_at(half_minute / 2)) for half_minute in range(minutes * 2)]


@pytest.mark.parametrize(
    ("points", "mb_per_hour"),
    [
        (series(60, lambda minute: (100 + minute) * MB), 60),
        (series(21, lambda minute: (100 + minute) * MB), 60),
        (series(15, lambda minute: (100 + minute) * MB), 0),
        (series(60, lambda minute: (100 + min(minute, 30)) * MB), 0),
        (series(60, lambda minute: (200 - minute) * MB), 0),
        (series(60, lambda minute: 100 * MB), 0),
        (series(60, lambda minute: (10 + 9 * (minute % 10)) * MB), 0),
        (series(60, lambda minute: (300 if minute < 20 else 100 + minute) * MB), 60),
        ([], 0),
    ],
    ids=["leak", "young leak", "too young", "levelled off", "shrinking", "flat", "sawtooth", "after a drop", "empty"],
)
def test_growth_that_stays_is_a_leak(points, mb_per_hour):
    """The rule tells steady growth from warming up, levelling off and caches that are emptied."""
    assert growth_bytes_per_hour(points) == pytest.approx(mb_per_hour * MB, rel=0.02, abs=1)


def test_a_verdict_is_given_once_an_hour():
    """A leak that goes on for two hours and a half is told as soon as it is sure, and again an hour after."""
    verdict = LeakVerdict()
    told = [second for second in range(0, 9000, 10) if verdict.is_leak(float(second), (100 + second) * MB)]

    assert told == [1200, 4800, 8400]


class Clock:
    """Requests one after the other, and sizes as the kernel might tell them; `read` counts the true readings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes, self.faults, self.read, self.ns = 1000, 5, 0, 10**18
        self.counts_faults = True
        monkeypatch.setattr(memory, "resident_bytes", self._resident_bytes)
        monkeypatch.setattr(memory, "_page_faults", lambda: self.faults)
        self.growth = memory.EndpointGrowth()
        self.tracer = TracerProvider(shutdown_on_exit=False).get_tracer("host")

    def _resident_bytes(self) -> int:
        self.read += 1
        return self.bytes

    def grow(self, by: int) -> None:
        """Become larger by page faults, or smaller without any."""
        self.bytes += by
        self.faults += by > 0 and self.counts_faults

    def request(self, route: str, by: int = 0, pause_ms: int = 0) -> None:
        """Serve a request that grows the process, after a pause."""
        self.ns += pause_ms * 1_000_000
        span = self.tracer.start_span(route, kind=SpanKind.SERVER, start_time=self.ns)
        self.growth.on_start(span)  # type: ignore[arg-type]
        self.grow(by)
        self.ns += 10_000_000
        span.end(self.ns)
        self.growth.on_end(span)  # type: ignore[arg-type]


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """Return a process whose size the test sets."""
    return Clock(monkeypatch)


def test_a_busy_process_that_does_not_grow_is_not_read(clock):
    """Where no page has come, and requests follow each other, nothing is read and nothing is laid to anybody."""
    clock.request("/warm")
    before = clock.read
    for _ in range(100):
        clock.request("/same")

    assert clock.read - before == 0
    assert clock.growth.resident_growth() == {"/warm": 0, "/same": 0}


def test_growth_between_requests_is_nobodys(clock):
    """What others add while no request is in flight, for long, is not laid to the request before or after."""
    for _ in range(5):
        clock.request("/a", pause_ms=1000)
        clock.grow(700)

    assert clock.growth.resident_growth() == {"/a": 0}


def test_what_is_freed_after_the_response_is_no_growth(clock):
    """A request that added something is looked at again when the next one begins, however soon."""
    for _ in range(5):
        clock.request("/large answer", by=5000)
        clock.grow(-5000)
        clock.request("/small")

    assert clock.growth.resident_growth() == {"/large answer": 0, "/small": 0}


def test_sums_are_what_the_process_has_grown_by(clock):
    """Whatever comes and goes in requests, the growth of all of them together is that of the process."""
    start = clock.bytes
    for by in (300, 0, -200, 0, 50, -1, 7, 0, 0, 400, -400, 90):
        clock.request(f"/{by % 3}", by)
    growth = clock.growth.resident_growth()

    assert sum(growth.values()) == clock.bytes - start


def test_a_kernel_that_counts_no_faults_is_asked_for_the_size(clock):
    """In a sandbox that tells none, every end is read, and growth is seen all the same."""
    clock.faults, clock.counts_faults = 0, False
    for _ in range(5):
        clock.request("/tidy")
        clock.request("/leaks", by=100)

    assert clock.growth.resident_growth() == {"/tidy": 0, "/leaks": 500}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is psutil's figure itself")
def test_resident_bytes_are_those_of_psutil():
    """The cheap reading is what psutil reads."""
    import psutil

    assert resident_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is psutil's figure itself")
def test_resident_bytes_survive_the_host_closing_files():
    """A host that closes all files, or opens another one by the same number, does not mislead the reading."""
    import psutil

    resident_bytes()
    os.close(memory._statm._file)
    after_close = resident_bytes()
    number = memory._statm._file
    with Path(__file__).open("rb") as other:
        os.dup2(other.fileno(), number)
    after_replacement = resident_bytes()
    os.close(number)

    assert after_close == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)
    assert after_replacement == pytest.approx(after_close, rel=0.05)
