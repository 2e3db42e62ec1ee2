"""What other services send as trace context, to every web framework: taken or left as W3C says, and always served."""

import http.client
import json

import pytest

SERVER = 2
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"

UVICORN = ["uvicorn", "--host=127.0.0.1", "--port={port}", "--log-level=warning"]
FRAMEWORKS = {
    "Flask": ["flask", "--app=flask_app", "run", "--port={port}"],
    "Flask on gunicorn": ["gunicorn", "--bind=127.0.0.1:{port}", "--threads=4", "--no-control-socket", "flask_app:app"],
    "Django": ["python", "django_app.py", "runserver", "127.0.0.1:{port}", "--noreload"],
    "FastAPI": [*UVICORN, "fastapi_app:app"],
    "Starlette": [*UVICORN, "starlette_app:app"],
    "aiohttp server": ["python", "aiohttp_app.py", "{port}"],
}

# The headers of a request, whether its caller's trace goes on, and the tracestate that does; None: any that is allowed.
JOINED = {
    "valid": ([("traceparent", GOOD), ("tracestate", "a=1,b=2")], "a=1,b=2"),
    "names in any case": ([("TraceParent", GOOD), ("TRACESTATE", "a=1")], "a=1"),
    "later version": ([("traceparent", f"cc{GOOD[2:]}")], ""),
    "later version with more": ([("traceparent", f"cc{GOOD[2:]}-what-the-future-brings")], ""),
    "unknown flags": ([("traceparent", f"{GOOD[:-2]}ff")], ""),
    "spaces around": ([("traceparent", f"{GOOD} \t")], ""),
    "two tracestates": ([("traceparent", GOOD), ("tracestate", "a=1"), ("tracestate", "b=2")], None),
    "32 states": ([("traceparent", GOOD), ("tracestate", ",".join(f"k{n}={n}" for n in range(32)))], None),
    "33 states": ([("traceparent", GOOD), ("tracestate", ",".join(f"k{n}={n}" for n in range(33)))], None),
    "too long a state": ([("traceparent", GOOD), ("tracestate", f"a={'x' * 300}")], ""),
    "too long a key": ([("traceparent", GOOD), ("tracestate", f"{'z' * 257}=1")], ""),
    "no state": ([("traceparent", GOOD), ("tracestate", "")], ""),
    "state that is none": ([("traceparent", GOOD), ("tracestate", "foo =1, =,==,\t,bar;=2")], None),
    "one state twice": ([("traceparent", GOOD), ("tracestate", "a=1,a=2")], None),
    "much baggage": ([("traceparent", GOOD), ("baggage", ",".join(f"k{n}=v" for n in range(500)))], ""),
    "baggage that is none": ([("traceparent", GOOD), ("baggage", "=,;,==;=,%zz=%ff")], ""),
}
NEW = {
    "nothing": [],
    "state alone": [("tracestate", "a=1")],
    "two traceparents": [("traceparent", GOOD), ("traceparent", GOOD.replace(SPAN, "1234567890123456"))],
    "version ff": [("traceparent", f"ff{GOOD[2:]}")],
    "no version": [("traceparent", GOOD[3:])],
    "illegal version": [("traceparent", f".0{GOOD[2:]}")],
    "short version": [("traceparent", GOOD[1:])],
    "long version": [("traceparent", f"0{GOOD}")],
    "version 00 with more": [("traceparent", f"{GOOD}-more")],
    "trailing dash": [("traceparent", f"{GOOD}-")],
    "later version run together": [("traceparent", f"cc{GOOD[2:]}.what-the-future-will-not-be")],
    "upper case": [("traceparent", GOOD.upper())],
    "zero trace": [("traceparent", GOOD.replace(TRACE, "0" * 32))],
    "zero span": [("traceparent", GOOD.replace(SPAN, "0" * 16))],
    "illegal trace": [("traceparent", GOOD.replace(TRACE, f".{TRACE[1:]}"))],
    "illegal span": [("traceparent", GOOD.replace(SPAN, f".{SPAN[1:]}"))],
    "illegal flags": [("traceparent", f"{GOOD[:-2]}.0")],
    "short trace": [("traceparent", GOOD.replace(TRACE, TRACE[1:]))],
    "long trace": [("traceparent", GOOD.replace(TRACE, f"{TRACE}0"))],
    "short span": [("traceparent", GOOD.replace(SPAN, SPAN[1:]))],
    "long span": [("traceparent", GOOD.replace(SPAN, f"{SPAN}0"))],
    "short flags": [("traceparent", GOOD[:-1])],
    "long flags": [("traceparent", f"{GOOD}0")],
    "empty": [("traceparent", "")],
    "dashes": [("traceparent", "---")],
    "other letters": [("traceparent", GOOD.replace(TRACE, "ä" * 32))],
    "4,000 characters": [("traceparent", "0" * 4000)],
}


def ask(port, number, headers):
    """Send a GET with these headers, as they are; return the status and the name in the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", f"/items/{number}")
    for name, value in headers:
        connection.putheader(name, value.encode("latin-1"))
    connection.endheaders()
    response = connection.getresponse()
    status, name = response.status, json.loads(response.read()).get("name")
    connection.close()
    return status, name


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_trace_context_is_taken_or_left(framework, start_app, stock, sink):
    """Whatever the headers are, the request is served; the caller's trace goes on only where the standard says so."""
    app = start_app(FRAMEWORKS[framework], sink.url, STOCK_URL=stock.url)
    app.wait_until_it_listens()
    rows = {name: headers for name, (headers, _) in JOINED.items()} | NEW

    answers = [ask(app.port, number, headers) for number, headers in enumerate(rows.values(), 1)]
    sink.wait_for(lambda: sum(span.kind == SERVER for _, _, span in sink.spans) == len(rows))
    app.terminate()

    assert answers == [(200, "tea")] * len(rows)
    servers = sorted((span for _, _, span in sink.spans if span.kind == SERVER), key=lambda s: s.start_time_unix_nano)
    found = dict(zip(rows, servers, strict=True))
    joined = {name for name, span in found.items() if span.trace_id.hex() == TRACE}
    assert joined == JOINED.keys()
    assert {found[name].parent_span_id.hex() for name in JOINED} == {SPAN}
    assert {found[name].parent_span_id for name in NEW} == {b""}
    states = {name: found[name].trace_state for name, (_, state) in JOINED.items() if state is not None}
    assert states == {name: state for name, (_, state) in JOINED.items() if state is not None}
    assert all(len(span.trace_state.split(",")) <= 32 for span in servers)
