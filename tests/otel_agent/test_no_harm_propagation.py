"""No harm from headers: what other services send as trace context and baggage is taken or left, as W3C says."""

import json

import pytest

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"

HOST = """
import json, os, sys
from opentelemetry import baggage, propagate, trace
for headers in json.load(open("headers.json")):
    context = propagate.extract(headers)
    span_context = trace.get_current_span(context).get_span_context()
    carrier = {}
    propagate.inject(carrier, context)
    print(json.dumps({
        "trace_id": format(span_context.trace_id, "032x") if span_context.is_valid else "",
        "states": len(span_context.trace_state),
        "members": len(baggage.get_all(context)),
        "bytes": len(carrier.get("baggage", "")),
    }))
"""

TRACEPARENTS = {
    "good": (GOOD, True),
    "not sampled": (GOOD[:-2] + "00", True),
    "unknown flags": (GOOD[:-2] + "ff", True),
    "future version": ("cc" + GOOD[2:], True),
    "future version with more": ("cc" + GOOD[2:] + "-more", True),
    "version ff": ("ff" + GOOD[2:], False),
    "version 00 with more": (GOOD + "-more", False),
    "extra dash": (GOOD + "-", False),
    "uppercase trace": (GOOD.replace(TRACE, TRACE.upper()), False),
    "uppercase span": (GOOD.replace(SPAN, SPAN.upper()), False),
    "uppercase version": ("CC" + GOOD[2:], False),
    "zero trace": (GOOD.replace(TRACE, "0" * 32), False),
    "zero span": (GOOD.replace(SPAN, "0" * 16), False),
    "short trace": (GOOD.replace(TRACE, TRACE[1:]), False),
    "long trace": (GOOD.replace(TRACE, TRACE + "0"), False),
    "short span": (GOOD.replace(SPAN, SPAN[1:]), False),
    "long span": (GOOD.replace(SPAN, SPAN + "0"), False),
    "short flags": (GOOD[:-1], False),
    "long flags": (GOOD + "0", False),
    "illegal version": (".0" + GOOD[2:], False),
    "illegal trace": (GOOD.replace(TRACE, "." + TRACE[1:]), False),
    "illegal span": (GOOD.replace(SPAN, "." + SPAN[1:]), False),
    "illegal flags": (GOOD[:-2] + ".0", False),
    "short version": (GOOD[1:], False),
    "long version": ("0" + GOOD, False),
    "empty": ("", False),
    "dashes": ("---", False),
    "spaces around": (f" {GOOD}\t", True),
    "a megabyte": ("0" * 1_000_000, False),
}


@pytest.fixture
def extracted(tmp_path, run_host, dead_port):
    """Return a function that tells what a host under the agent extracts from each of the given header dicts."""

    def extract(headers):
        (tmp_path / "headers.json").write_text(json.dumps(headers), encoding="utf-8")
        outcome = run_host(HOST, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{dead_port}")
        assert (outcome.code, outcome.err) == (0, "")
        return [json.loads(line) for line in outcome.out.splitlines()]

    return extract


def test_traceparent(extracted):
    """Well-formed ones of this and later versions are taken, all others start a new trace."""
    found = extracted([{"traceparent": value} for value, _ in TRACEPARENTS.values()])

    taken = dict(zip(TRACEPARENTS, [bool(one["trace_id"]) for one in found], strict=True))
    assert taken == {name: is_good for name, (_, is_good) in TRACEPARENTS.items()}


def test_tracestate(extracted):
    """A bad tracestate costs itself, never the trace."""
    states = ["a=1,b=2", "", "a=1,a=2", "a", "=", "A=1", ",".join(f"k{n}=v" for n in range(40)), "x" * 1_000_000]

    found = extracted([{"traceparent": GOOD, "tracestate": state} for state in states])

    assert {one["trace_id"] for one in found} == {TRACE}
    assert found[0]["states"] == 2
    assert all(one["states"] <= 32 for one in found)


def test_baggage(extracted):
    """Baggage is bounded, coming in and going out: 64 members and 8192 bytes, however much is sent."""
    texts = [
        "a=1,b=2",
        ",".join(f"k{n}=v" for n in range(10_000)),
        "big=" + "x" * 1_000_000,
        ",".join(f"k{n}=" + "x" * 1000 for n in range(60)),
        "=,;,==;=",
        "a=%zz,b=%ff",
    ]

    found = extracted([{"baggage": text} for text in texts])

    assert found[0]["members"] == 2
    assert all(one["members"] <= 64 and one["bytes"] <= 8192 for one in found)
