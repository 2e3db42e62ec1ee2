"""No harm from values: whatever a host hands over is not evaluated, and never comes back as an error."""

HOSTILE = '''
import json, logging, time
from opentelemetry import trace

class Hostile:
    calls = []
    def touch(self, *args):
        Hostile.calls.append(args)
        raise RuntimeError("touched")
    __str__ = __repr__ = __eq__ = __len__ = __iter__ = __bool__ = __format__ = touch
    def __hash__(self):
        return self.touch()

class Endless:
    def __str__(self):
        return str(self)
    __repr__ = __str__

class Slow:
    def __str__(self):
        time.sleep(3)
        return "slow"

class Lazy:
    """As Django's SimpleLazyObject: even asking for its class loads it."""
    loads = []
    @property
    def __class__(self):
        Lazy.loads.append(1)
        return str
    def __str__(self):
        Lazy.loads.append(1)
        return "loaded"

cyclic_dict = {}
cyclic_dict["self"] = cyclic_dict
cyclic_list = []
cyclic_list.append(cyclic_list)
generator = (Hostile.calls.append(n) for n in range(3))
VALUES = {
    "hostile": Hostile(), "endless": Endless(), "slow": Slow(), "lazy": Lazy(), "long": "x" * 104_857_600,
    "cyclic.dict": cyclic_dict, "cyclic.list": cyclic_list, "nan": float("nan"), "infinite": float("inf"),
    "surrogate": "a\\udcffb", "bytes": b"\\xff\\x00", "generator": generator, "huge": 10**5000, "none": None,
    "many": list(range(100_000)), "deep": {"hostile": Hostile(), 7: "seven", "": "empty"}, "fine": "yes",
}
'''

SPANS = (
    HOSTILE
    + """
start = time.perf_counter()
with trace.get_tracer("host").start_as_current_span("work") as span:
    for key, value in VALUES.items():
        span.set_attribute(key, value)
    span.set_attributes({f"all.{key}": value for key, value in VALUES.items()})
    span.add_event("event", VALUES)
    span.set_attribute(7, "key")
for n in range(3):
    trace.get_tracer("host").start_span(f"plain {n}").end()
print(time.perf_counter() - start < 1, Hostile.calls, Lazy.loads)
"""
)

LOGS = (
    HOSTILE
    + """
logger = logging.getLogger("host")
logger.addHandler(logging.NullHandler())
logger.propagate = False
logger.setLevel(logging.INFO)
start = time.perf_counter()
for key, value in VALUES.items():
    logger.info("%s", value)
    logger.info(value)
    logger.info("extra", extra={key: value})
logger.info("%(a)s and %(b)d", {"a": "dict", "b": 5})
logger.info("too few %s %s", 1)
print(time.perf_counter() - start < 1, Hostile.calls, Lazy.loads)
"""
)

FAILURES = """
import logging, sqlite3
from opentelemetry import trace

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")

first, second = ValueError("first"), ValueError("second")
first.__cause__, second.__cause__ = second, first
logging.getLogger("host").addHandler(logging.NullHandler())
logging.getLogger("host").propagate = False
for error in (Mute(), first, ValueError("x" * 10_000_000), KeyError({1: 2}), RecursionError()):
    span = trace.get_tracer("host").start_span("work")
    try:
        raise error
    except Exception as caught:
        span.record_exception(caught)
        logging.getLogger("host").exception("failed")
    span.end()
print("done")
"""


def test_attributes_of_spans(sink, run_host):
    """Hostile attribute values are named by their type, within milliseconds, and no code of theirs runs."""
    outcome = run_host(SPANS, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (0, "True [] []\n", "")
    (span,) = sink.spans_named("work")
    attributes = sink.attributes_of(span)
    assert attributes["hostile"] == "<__main__.Hostile>"
    assert attributes["lazy"] == "<__main__.Lazy>"
    assert attributes["generator"] == "<builtins.generator>"
    assert len(attributes["long"]) == 16_384
    assert attributes["surrogate"] == "a\\udcffb"
    assert attributes["huge"] == "<int of 16610 bits>"
    assert attributes["fine"] == attributes["all.fine"] == "yes"
    assert [name for name in sink.span_names() if name.startswith("plain")] == ["plain 0", "plain 1", "plain 2"]


def test_arguments_and_extras_of_log_records(sink, run_host):
    """As arguments, messages and extras of log records they are asked for no more than logging itself asks for."""
    without = run_host(LOGS, agent=False)

    outcome = run_host(LOGS, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (0, without.out, "")
    bodies = [record.body.string_value for _, _, record in sink.logs]
    assert {"<__main__.Hostile>", "<__main__.Lazy>", "dict and 5", "too few %s %s", "extra"} <= set(bodies)
    assert max(len(body) for body in bodies) <= 16_384


def test_record_is_formatted_once(sink, run_host):
    """What a handler of the host has formatted is taken over: an argument is asked for its text once, as without us."""
    script = """
import logging
class Counted:
    count = 0
    def __str__(self):
        Counted.count += 1
        return f"asked {Counted.count}"
logging.warning("%s", Counted())
print(Counted.count)
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert outcome.out == "1\n"
    assert [record.body.string_value for _, _, record in sink.logs] == ["asked 1"]


def test_exceptions(sink, run_host):
    """Exceptions without words, in a circle, or of 10 MB are recorded within bounds, on spans and log records."""
    outcome = run_host(FAILURES, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (0, "done\n", "")
    events = [sink.attributes_of(span.events[0]) for _, _, span in sink.spans]
    assert [event["exception.type"] for event in events] == [
        "__main__.Mute",
        "ValueError",
        "ValueError",
        "KeyError",
        "RecursionError",
    ]
    assert max(len(event["exception.stacktrace"]) for event in events) <= 16_384
    assert len(sink.logs) == 5


def test_hooks_that_raise(sink, run_host):
    """A processor of the host that raises does not reach the statement that is being traced."""
    script = """
import sqlite3
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
class Broken(SpanProcessor):
    def on_start(self, span, parent_context=None):
        raise RuntimeError("on_start")
    def on_end(self, span):
        raise RuntimeError("on_end")
trace.get_tracer_provider().add_span_processor(Broken())
connection = sqlite3.connect(":memory:")
print(connection.execute("SELECT 42").fetchone())
connection.close()
"""

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (0, "(42,)\n", "")
