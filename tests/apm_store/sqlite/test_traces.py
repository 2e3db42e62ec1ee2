"""Each question finds exactly the traces that it describes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import MS, SECOND, attribute, make_batch, make_request, make_span

from apm_store.api import Store
from apm_store.fingerprint import fingerprint
from apm_store.model import Batch, Signal
from apm_store.open import open_store
from apm_store.query import Outcome, SpanRow, TimeRange, TraceQuery

CLIENT = 3
INTERNAL = 1
RANGE = TimeRange(1_000 * SECOND, 2_000 * SECOND)


def _trace(number: int, name: str = "GET /", **overrides: Any) -> list[Any]:
    start_ns = (1_000 + number) * SECOND
    root = make_span(name, trace=number, span=1, start_ns=start_ns, **overrides)
    child = make_span("inner", trace=number, span=2, parent=1, start_ns=start_ns + MS, duration_ns=MS, kind=INTERNAL)
    return [root, child]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store with the traces 1 to 14 of two services; each question is asked of all of them."""
    store = open_store(tmp_path_factory.mktemp("filled") / "data")
    shop = [
        *_trace(1),
        *_trace(2, "GET /cart", duration_ns=500 * MS),
        *_trace(3, "GET /cart", failed=True),
        *_trace(4, attributes={"http.response.status_code": 404}),
        *_trace(5, attributes={"http.status_code": 404}, failed=True),
        *_trace(6, attributes={"note": 'it\'s 100% "quoted" \\ a_b*'}),
        *_trace(7, attributes={"note": 'it\'s 100X "quoted" \\ aXb*'}),
        *_trace(8, attributes={"note": "größe 🚀\0end", "number": 5, "flag": True, "share": 0.5}),
        *_trace(9, attributes={"number": "5", "other": "note"}),
    ]
    call = make_span("SELECT", trace=10, span=2, parent=1, kind=CLIENT, start_ns=1_010 * SECOND, duration_ns=3 * SECOND)
    call.attributes.append(attribute("db.query.text", "SELECT a FROM t WHERE b = 7"))
    pay = [*_trace(11), *_trace(12, "POST /pay", kind=5), *_trace(13, failed=True, duration_ns=2_000 * MS)]
    store.traces.write(make_batch(shop))
    store.traces.write(make_batch([make_span("GET /", trace=10, start_ns=1_010 * SECOND), call]))
    store.traces.write(make_batch(pay, service="pay"))
    store.traces.write(make_batch([make_span("GET /", trace=14, start_ns=3_000 * SECOND)], service="late's \"%_"))
    yield store
    store.close()


ORACLE = [
    (TraceQuery(RANGE), {*range(1, 14)}),
    (TraceQuery(TimeRange(0, 2**64)), {*range(1, 15)}),
    (TraceQuery(TimeRange(1_004 * SECOND, 1_006 * SECOND)), {4, 5}),
    (TraceQuery(TimeRange(2_000 * SECOND, 1_000 * SECOND)), set()),
    (TraceQuery(RANGE, service="pay"), {11, 12, 13}),
    (TraceQuery(TimeRange(0, 2**63), service="late's \"%_"), {14}),
    (TraceQuery(RANGE, service="nobody"), set()),
    (TraceQuery(RANGE, service="p%"), set()),
    (TraceQuery(RANGE, operation="GET /cart"), {2, 3}),
    (TraceQuery(RANGE, operation="GET /", service="pay"), {11, 13}),
    (TraceQuery(RANGE, operation="inner"), {*range(1, 10), 11, 12, 13}),
    (TraceQuery(RANGE, operation="get /cart"), set()),
    (TraceQuery(RANGE, outcome=Outcome.FAILED), {3, 5, 13}),
    (TraceQuery(RANGE, outcome=Outcome.CLIENT_ERROR), {4}),
    (TraceQuery(RANGE, outcome=Outcome.OK), {1, 2, 6, 7, 8, 9, 10, 11, 12}),
    (TraceQuery(RANGE, outcome=Outcome.FAILED, service="pay", operation="GET /"), {13}),
    (TraceQuery(RANGE, min_duration_ns=500 * MS), {2, 13}),
    (TraceQuery(RANGE, min_duration_ns=500 * MS, max_duration_ns=500 * MS), {2}),
    (TraceQuery(RANGE, max_duration_ns=2**64), {*range(1, 14)}),
    (TraceQuery(RANGE, attributes=(("note", 'it\'s 100% "quoted" \\ a_b*'),)), {6}),
    (TraceQuery(RANGE, attributes=(("note", "größe 🚀\0end"),)), {8}),
    (TraceQuery(RANGE, attributes=(("note", "größe 🚀"),)), set()),
    (TraceQuery(RANGE, attributes=(("number", "5"),)), {8, 9}),
    (TraceQuery(RANGE, attributes=(("number", "5"), ("flag", "true"))), {8}),
    (TraceQuery(RANGE, attributes=(("share", "0.5"),)), {8}),
    (TraceQuery(RANGE, attributes=(("flag", "True"),)), set()),
    (TraceQuery(RANGE, attributes=(("service.name", "pay"),)), {11, 12, 13}),
    (TraceQuery(RANGE, attributes=(("service.name", "pay"),), outcome=Outcome.FAILED), {13}),
    (TraceQuery(RANGE, attributes=(("service.name", "pay"),), operation="POST /pay"), {12}),
    (TraceQuery(RANGE, attributes=(("service.name", "pay"),), service="shop"), set()),
    (TraceQuery(RANGE, attributes=(("http.response.status_code", "404"),)), {4}),
    (TraceQuery(RANGE, attributes=(("db.query.text", "SELECT a FROM t WHERE b = 7"),)), {10}),
]


@pytest.mark.parametrize("order", ["newest", "slowest"])
@pytest.mark.parametrize(("query", "expected"), ORACLE, ids=[str(number) for number in range(len(ORACLE))])
def test_exactly_the_described_traces_are_found(
    filled: Store, query: TraceQuery, expected: set[int], order: str
) -> None:
    """Among 14 traces every question finds those that meet it and no other."""
    page = filled.traces.find(replace(query, order=order), max_points=100)

    assert {int(trace.trace_id, 16) for trace in page.traces} == expected
    assert {int(point.trace_id, 16) for point in page.points} == expected
    assert (page.total, page.is_complete) == (len(expected), True)
    if order == "newest":
        assert page.points == tuple(trace.matched for trace in page.traces)


def test_a_statement_is_found_by_its_id(filled: Store) -> None:
    """The span that is matched by a statement is the database call, not the entry span."""
    statement = fingerprint("SELECT a FROM t WHERE b = ?", "")
    assert statement is not None

    page = filled.traces.find(TraceQuery(RANGE, statement_id=statement.hash))
    with_attribute = filled.traces.find(
        TraceQuery(RANGE, statement_id=statement.hash, attributes=(("service.name", "shop"),))
    )

    assert [int(trace.trace_id, 16) for trace in page.traces] == [10]
    assert page.traces[0].matched.operation == "SELECT"
    assert with_attribute.traces == page.traces
    assert filled.traces.find(TraceQuery(RANGE, statement_id="0" * 16)).traces == ()


@pytest.mark.parametrize(("order", "expected"), [("newest", [13, 12, 11, 10, 9]), ("slowest", [13, 2, 12, 11, 10])])
@pytest.mark.parametrize("attributes", [(), (("kind", "all"),)])
def test_traces_come_in_the_asked_order(
    tmp_path: Path, order: str, expected: list[int], attributes: tuple[tuple[str, str], ...]
) -> None:
    """Newest first by start, or slowest first and of equals the newest; `points` are always the newest."""
    slow = {2: 500 * MS, 13: 2_000 * MS}
    store = open_store(tmp_path)
    spans = [
        make_span(
            "GET /",
            trace=n,
            start_ns=(1_000 + n) * SECOND,
            duration_ns=slow.get(n, 10 * MS),
            attributes={"kind": "all"},
        )
        for n in range(1, 14)
    ]
    store.traces.write(make_batch(spans[::2]))
    store.traces.write(make_batch(spans[1::2]))

    page = store.traces.find(TraceQuery(RANGE, attributes=attributes, order=order, limit=5), max_points=3)

    store.close()
    assert [int(trace.trace_id, 16) for trace in page.traces] == expected
    assert [int(point.trace_id, 16) for point in page.points] == [13, 12, 11]
    assert page.total == 13


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store with three traces that have several matching spans each, sent inner spans first and in several bodies.

    Trace 1: a root of 1 s, an inner request of 3 s after it. Trace 2: two spans that start together, of 2 s and 1 s.
    Trace 3: a root before RANGE, and within it an inner request of 5 s, then one of 9 s.
    """
    spans = [
        ("inner", 1, 2, 1_500, 3),
        ("root", 1, 1, 1_100, 1),
        ("short", 2, 2, 1_200, 1),
        ("long", 2, 1, 1_200, 2),
        ("later", 3, 3, 1_900, 9),
        ("sooner", 3, 2, 1_050, 5),
        ("before", 3, 1, 999, 1),
    ]
    store = open_store(tmp_path_factory.mktemp("nested") / "data")
    for name, trace, number, start_s, duration_s in spans:
        times = {"start_ns": start_s * SECOND, "duration_ns": duration_s * SECOND}
        attributes = {"n": "1", "db.query.text": "SELECT 1", "name": name}
        span = make_span("GET /", trace=trace, span=number, parent=number - 1, attributes=attributes, **times)
        store.traces.write(make_batch([span]))
    yield store
    store.close()


STATEMENT = fingerprint("SELECT 1", "")
assert STATEMENT is not None
WAYS = {
    "entry": TraceQuery(RANGE),
    "service": TraceQuery(RANGE, service="shop"),
    "operation": TraceQuery(RANGE, operation="GET /"),
    "statement": TraceQuery(RANGE, statement_id=STATEMENT.hash),
    "attribute": TraceQuery(RANGE, attributes=(("n", "1"),)),
    "outcome": TraceQuery(RANGE, outcome=Outcome.OK),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("order", "expected"), [("newest", ["long", "root", "sooner"]), ("slowest", ["sooner", "long", "root"])]
)
@pytest.mark.parametrize("scan_spans", [1, 2, 3, 50_000])
def test_the_earliest_matching_span_is_the_matched_one(
    nested: Store, way: str, order: str, expected: list[str], scan_spans: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a trace's matching spans within the range the earliest stands for it, of equals the longest; orders go by it.

    How many spans are looked at beyond what is needed makes no difference.
    """
    monkeypatch.setattr("apm_store.sqlite.trace_search.SCAN_SPANS", scan_spans)
    monkeypatch.setattr("apm_store.sqlite.trace_search._POINTS_SHARE", 1.0)  # however slow the machine is

    found = nested.traces.find(replace(WAYS[way], order=order), max_points=9)

    assert [_name(nested, trace.matched) for trace in found.traces] == expected
    assert [_name(nested, point) for point in found.points] == ["long", "root", "sooner"]
    assert (found.total, found.is_complete) == (3, True)
    assert [len(trace.spans) for trace in found.traces if trace.matched.trace_id == f"{3:032x}"] == [3]


def _name(store: Store, row: SpanRow) -> object:
    """The name that a span of the nested traces has as an attribute."""
    span = store.traces.get_span(row.trace_id, row.span_id)
    assert span is not None
    return span.attributes["name"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (replace(WAYS["entry"], min_duration_ns=2 * SECOND), ["inner", "long", "sooner"]),
        (replace(WAYS["operation"], max_duration_ns=1 * SECOND), ["short", "root"]),
        (replace(WAYS["attribute"], min_duration_ns=6 * SECOND), ["later"]),
        (replace(WAYS["entry"], time_range=TimeRange(1_300 * SECOND, 2_000 * SECOND)), ["later", "inner"]),
    ],
)
def test_only_spans_that_meet_the_query_can_be_matched(nested: Store, query: TraceQuery, expected: list[str]) -> None:
    """A span that is too short, too long or outside the range is passed over, though it started earlier."""
    found = nested.traces.find(query, max_points=9)

    assert [_name(nested, trace.matched) for trace in found.traces] == expected
    assert found.points == tuple(trace.matched for trace in found.traces)


def test_a_found_trace_brings_all_its_spans(filled: Store) -> None:
    """A summary holds the matched span and every span of the trace in order of start, also from other bodies."""
    [trace] = filled.traces.find(TraceQuery(RANGE, operation="SELECT")).traces

    assert [row.operation for row in trace.spans] == ["GET /", "SELECT"]
    assert trace.matched == trace.spans[1]
    assert trace.matched.parent_span_id == trace.spans[0].span_id
    assert (trace.matched.service, trace.matched.kind, trace.matched.duration_ns) == ("shop", CLIENT, 3 * SECOND)


def test_a_trace_in_parts_is_put_together(store: Store) -> None:
    """The spans of a trace come back in order of start, however they were sent."""
    for span in (3, 1, 2):
        store.traces.write(make_batch([make_span(f"part {span}", span=span, start_ns=span * SECOND)]))

    spans = store.traces.get("0" * 31 + "1")

    assert [span.name for span in spans] == ["part 1", "part 2", "part 3"]


@pytest.mark.parametrize("trace_id", ["f" * 32, "", "no hex", "0"])
def test_an_unknown_trace_is_empty(filled: Store, trace_id: str) -> None:
    """What is stored under no such id, or is no id, gives no spans and no error."""
    assert filled.traces.get(trace_id) == []
    assert filled.traces.get_span(trace_id, "1") is None


def test_one_span_is_found(filled: Store) -> None:
    """get_span gives the span with all its attributes."""
    span = filled.traces.get_span(f"{6:032x}", f"{1:016x}")

    assert span is not None
    assert span.attributes == {"note": 'it\'s 100% "quoted" \\ a_b*'}


def test_a_span_with_a_remote_parent_is_an_entry(store: Store) -> None:
    """Kind SERVER or CONSUMER, no parent, or a parent that the flags call remote: each makes an entry span."""
    spans = [make_span(f"n{n}", trace=n, span=1, parent=9 if n > 1 else 0, kind=INTERNAL) for n in range(1, 6)]
    spans[1].flags = 0x300
    spans[2].flags = 0x100
    spans[3].kind = 5
    store.traces.write(make_batch(spans))

    page = store.traces.find(TraceQuery(RANGE))

    assert {trace.matched.operation for trace in page.traces} == {"n1", "n2", "n4"}


def test_extreme_values_are_stored(store: Store, all_time: TimeRange) -> None:
    """Times up to 2^64-1, an end before the start, no start, NaN, int64's ends and unknown numbers survive."""
    spans = [make_span(f"x{n}", trace=n) for n in range(1, 5)]
    spans[0].start_time_unix_nano = spans[0].end_time_unix_nano = 2**64 - 1
    spans[1].end_time_unix_nano = 5
    spans[2].start_time_unix_nano = 0
    spans[2].end_time_unix_nano = 2**64 - 1
    spans[3].kind = 77
    spans[3].status.code = 9  # type: ignore[assignment]
    values = {"nan": float("nan"), "min": -(2**63), "max": 2**63 - 1, "nul": "a\0b"}
    spans[3].attributes.extend(attribute(key, value) for key, value in values.items())
    store.traces.write(make_batch(spans))

    found = [store.traces.get(f"{number:032x}")[0] for number in range(1, 5)]

    assert store.stats().spans == 4
    assert (found[0].start_ns, found[1].duration_ns, found[2].end_ns) == (2**64 - 1, 0, 2**64 - 1)
    assert (found[3].kind, found[3].status_code) == (77, 9)
    assert repr(found[3].attributes) == repr(values)
    page = store.traces.find(TraceQuery(all_time, operation="x3"))
    assert page.traces[0].matched.duration_ns == 0


def test_several_resources_in_one_request_keep_their_services(store: Store) -> None:
    """Each span belongs to the service of its resource; without a name that is unknown_service."""
    request = make_request([make_span("a", trace=1)], "one")
    request.resource_spans.add().scope_spans.add().spans.append(make_span("b", trace=2))
    request.resource_spans.append(make_request([make_span("c", trace=3)], "two").resource_spans[0])
    store.traces.write(Batch(Signal.TRACES, request, request.SerializeToString(), 3))

    services = {int(trace.trace_id, 16): trace.matched.service for trace in store.traces.find(TraceQuery(RANGE)).traces}

    assert services == {1: "one", 2: "unknown_service", 3: "two"}
    assert [store.traces.get(f"{number:032x}")[0].service for number in (1, 2, 3)] == [services[n] for n in (1, 2, 3)]
    assert [(info.name, info.slot) for info in store.traces.services()] == [
        ("one", 0),
        ("two", 2),
        ("unknown_service", 1),
    ]


@pytest.mark.parametrize("number", range(1, 5))
def test_attributes_are_found_in_every_part_of_a_request(store: Store, number: int) -> None:
    """A span is found by its attribute in whichever scope and resource of its request it stands."""
    spans = [make_span("x", trace=n, attributes={"n": f"value {n}"}) for n in range(1, 5)]
    request = make_request(spans[:1], "one")
    request.resource_spans[0].scope_spans.add().spans.extend(spans[1:3])
    request.resource_spans.append(make_request(spans[3:], "two").resource_spans[0])
    store.traces.write(Batch(Signal.TRACES, request, request.SerializeToString(), 4))

    page = store.traces.find(TraceQuery(RANGE, attributes=(("n", f"value {number}"),)))

    assert [int(trace.trace_id, 16) for trace in page.traces] == [number]
    assert store.traces.get(f"{number:032x}")[0].attributes == {"n": f"value {number}"}
