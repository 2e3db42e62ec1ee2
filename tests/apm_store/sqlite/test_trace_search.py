"""What is found is the same however the spans are spread over blocks, bodies and segments."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest
from builders import SECOND, make_batch, make_span
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apm_store.api import Store, StoreError, StoreTimeoutError
from apm_store.fingerprint import fingerprint
from apm_store.open import open_store
from apm_store.query import Outcome, TimeRange, TraceQuery
from apm_store.sqlite.trace_search import TraceSearch
from apm_store.sqlite.writer import Writer

RANGE = TimeRange(1_000 * SECOND, 1_600 * SECOND)
STATEMENT = fingerprint("SELECT 1", "")
assert STATEMENT is not None
SERVICES = ("shop", "pay", "mail")
SEED_COUNT = 6


@dataclass(frozen=True)
class Sent:
    """A span that was sent, with its service."""

    span: Span
    service: str

    @property
    def key(self) -> tuple[bytes, bytes, int]:
        return self.span.trace_id, self.span.span_id, self.span.kind

    @property
    def start_ns(self) -> int:
        return self.span.start_time_unix_nano

    @property
    def duration_ns(self) -> int:
        return self.span.end_time_unix_nano - self.span.start_time_unix_nano


def _spans(random: Random) -> list[Sent]:
    """Spans of 60 traces, most of them sent in the order of their start, some late, some twice."""
    spans = []
    for trace in range(1, 61):
        start_s = random.randint(900, 1_650)
        call = random.randint(1, 9)  # one at most: overlapping calls of one statement count once
        for number in range(1, random.randint(2, 7)):
            attributes = {"kind": random.choice(["a", "b"]), "n": random.randint(1, 3)}
            if number == call:
                attributes["db.query.text"] = "SELECT 1"
            span = make_span(
                random.choice(["GET /", "POST /", "rare"] if random.random() < 0.1 else ["GET /", "POST /"]),
                trace=trace,
                span=number,
                parent=random.choice([0, 1]) if number > 1 else 0,
                start_ns=(start_s + random.randint(0, 40)) * SECOND + random.randint(0, 999),
                duration_ns=random.randint(1, 9) * SECOND + random.randint(0, 999),
                kind=random.choice([1, 2, 3]),
                failed=random.random() < 0.2,
                attributes=attributes,
            )
            spans.append(Sent(span, random.choice(SERVICES)))
    spans.sort(key=lambda sent: sent.start_ns + (random.randint(100, 400) * SECOND if random.random() < 0.1 else 0))
    spans += random.sample(spans, 10)
    return spans


def _fill(store: Store, spans: list[Sent], random: Random) -> None:
    at = 0
    while at < len(spans):
        end = at + random.randint(1, 9)
        for service in SERVICES:
            part = [sent.span for sent in spans[at:end] if sent.service == service]
            if part:
                store.traces.write(make_batch(part, service))
        if random.random() < 0.7:
            store.stats()  # returns after a flush
        at = end


@pytest.fixture(scope="module", params=range(SEED_COUNT))
def scattered(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, list[Sent]]]:
    """A store with spans in small blocks and small segments, of which some traces are settled; and what was sent."""
    random = Random(request.param)
    spans = _spans(random)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("apm_store.sqlite.segment_index.BLOCK_SPANS", 12)
        patch.setattr("apm_store.sqlite.trace_directory.SETTLE_S", 0.0 if request.param % 2 else 0.02)
        size = (6_000, 20_000, 2_000_000)[request.param % 3]
        patch.setattr("apm_store.sqlite.store._open_writer", lambda data_dir, *_: Writer(data_dir, segment_bytes=size))
        store = open_store(tmp_path_factory.mktemp("scattered") / "data")
        _fill(store, spans, random)
        store.stats()
    yield store, spans
    store.close()


def _meets(sent: Sent, query: TraceQuery) -> bool:
    span = sent.span
    attributes = {pair.key: pair.value for pair in span.attributes}
    texts = {key: value.string_value or str(value.int_value) for key, value in attributes.items()}
    is_any = query.operation or query.statement_id or query.attributes
    outcome = Outcome.FAILED if span.status.code == 2 else Outcome.OK
    return (
        query.time_range.start_ns <= sent.start_ns < query.time_range.end_ns
        and query.service in (None, sent.service)
        and query.operation in (None, span.name)
        and query.outcome in (None, outcome)
        and (query.min_duration_ns or 0) <= sent.duration_ns <= (query.max_duration_ns or 2**63)
        and all(
            texts.get(key, sent.service if key == "service.name" else None) == text for key, text in query.attributes
        )
        and (query.statement_id is None or "db.query.text" in attributes)
        and bool(is_any or span.kind == Span.SPAN_KIND_SERVER or not span.parent_span_id)
    )


def _expected(spans: list[Sent], query: TraceQuery) -> list[tuple[str, str]]:
    """(trace id, id of the matched span) of every trace that meets the query, in its order."""
    matched: dict[bytes, Sent] = {}
    for sent in {sent.key: sent for sent in reversed(spans)}.values():
        if _meets(sent, query):
            best = matched.get(sent.span.trace_id)
            if best is None or (sent.start_ns, -sent.duration_ns) < (best.start_ns, -best.duration_ns):
                matched[sent.span.trace_id] = sent

    def rank(sent: Sent) -> tuple[int, int]:
        return (sent.duration_ns if query.order == "slowest" else 0, sent.start_ns)

    ordered = sorted(matched.values(), key=rank, reverse=True)
    return [(sent.span.trace_id.hex(), sent.span.span_id.hex()) for sent in ordered]


QUERIES = [
    TraceQuery(RANGE),
    TraceQuery(TimeRange(0, 2**64)),
    TraceQuery(TimeRange(1_200 * SECOND, 1_210 * SECOND)),
    TraceQuery(RANGE, service="pay"),
    TraceQuery(RANGE, outcome=Outcome.FAILED),
    TraceQuery(RANGE, service="shop", min_duration_ns=7 * SECOND),
    TraceQuery(RANGE, max_duration_ns=3 * SECOND),
    TraceQuery(RANGE, operation="GET /"),
    TraceQuery(RANGE, operation="rare"),
    TraceQuery(RANGE, operation="rare", outcome=Outcome.FAILED),
    TraceQuery(RANGE, operation="POST /", min_duration_ns=9 * SECOND),
    TraceQuery(RANGE, operation="GET /", service="mail"),
    TraceQuery(RANGE, statement_id=STATEMENT.hash),
    TraceQuery(RANGE, statement_id=STATEMENT.hash, operation="POST /"),
    TraceQuery(RANGE, attributes=(("n", "2"),)),
    TraceQuery(RANGE, attributes=(("n", "2"), ("kind", "b"))),
    TraceQuery(RANGE, attributes=(("service.name", "mail"), ("n", "3")), operation="GET /"),
]


@pytest.mark.parametrize(("scan_spans", "counted_page"), [(1, 0), (1, 50), (100, 50), (20_000, 0)])
@pytest.mark.parametrize("order", ["newest", "slowest"])
@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_the_best_traces_are_those_of_a_full_comparison(
    scattered: tuple[Store, list[Sent]],
    number: int,
    order: str,
    scan_spans: int,
    counted_page: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However early the search stops, traces, their order, their matched spans and all their spans are right."""
    monkeypatch.setattr("apm_store.sqlite.trace_search.SCAN_SPANS", scan_spans)
    monkeypatch.setattr("apm_store.sqlite.trace_search._COUNTED_PAGE", counted_page)
    monkeypatch.setattr("apm_store.sqlite.trace_search._BLOCKS_PER_RANKING", 1)
    monkeypatch.setattr("apm_store.sqlite.trace_search._POINTS_SHARE", 1.0)  # however slow the machine is
    store, spans = scattered
    query = replace(QUERIES[number], order=order, limit=5)
    expected = _expected(spans, query)
    newest = _expected(spans, replace(query, order="newest"))
    sizes = {sent.span.trace_id.hex(): 0 for sent in spans}
    for trace_id, _, _ in {sent.key for sent in spans}:
        sizes[trace_id.hex()] += 1

    found = store.traces.find(query, max_points=3)

    assert [(trace.trace_id, trace.matched.span_id) for trace in found.traces] == expected[:5]
    assert [(point.trace_id, point.span_id) for point in found.points] == newest[:3]
    assert [len(trace.spans) for trace in found.traces] == [sizes[trace.trace_id] for trace in found.traces]
    assert found.total == len(expected) if found.is_complete else 5 <= found.total <= len(expected)
    if scan_spans == 20_000:
        assert found.is_complete


def test_a_trace_is_read_from_all_bodies_once(scattered: tuple[Store, list[Sent]]) -> None:
    """Every trace comes back with each of its spans once, in order of start, though some were sent twice."""
    store, spans = scattered
    expected: dict[str, list[tuple[int, str, int]]] = {}
    for sent in {sent.key: sent for sent in spans}.values():
        expected.setdefault(sent.span.trace_id.hex(), []).append(
            (sent.start_ns, sent.span.span_id.hex(), sent.span.kind)
        )

    found = {trace_id: store.traces.get(trace_id) for trace_id in expected}

    for trace_id, trace in found.items():
        assert [(span.start_ns, span.span_id, span.kind) for span in trace] == sorted(expected[trace_id])
        assert store.traces.get_span(trace_id, trace[0].span_id) == min(
            (span for span in trace if span.span_id == trace[0].span_id), key=lambda span: span.kind
        )


@pytest.fixture
def blocks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every two spans make a full block, and the search looks at no more than it must."""
    monkeypatch.setattr("apm_store.sqlite.segment_index.BLOCK_SPANS", 2)
    monkeypatch.setattr("apm_store.sqlite.trace_search.SCAN_SPANS", 1)


def _write(store: Store, *spans: tuple[int, int, int], attributes: dict[str, str] | None = None) -> None:
    """Store entry spans as one body: (trace, second after the start of RANGE, seconds that it lasts)."""
    made = [
        make_span(
            "GET /",
            trace=trace,
            span=start_s + 1,
            start_ns=RANGE.start_ns + start_s * SECOND,
            duration_ns=duration_s * SECOND,
            attributes=attributes,
        )
        for trace, start_s, duration_s in spans
    ]
    store.traces.write(make_batch(made))
    store.stats()


@pytest.mark.usefixtures("blocks_of_two")
@pytest.mark.parametrize(("order", "expected"), [("newest", [(3, 22), (4, 21)]), ("slowest", [(3, 22), (1, 1)])])
def test_the_matched_span_may_lie_in_an_older_block(store: Store, order: str, expected: list[tuple[int, int]]) -> None:
    """A trace that seems newest or slowest by its later spans is put where its earliest one belongs."""
    _write(store, (1, 1, 6), (2, 2, 1))
    _write(store, (4, 21, 5), (3, 22, 7))
    _write(store, (2, 30, 9), (1, 31, 1))

    found = store.traces.find(TraceQuery(RANGE, order=order, limit=2)).traces

    starts = [(int(trace.trace_id, 16), (trace.matched.start_ns - RANGE.start_ns) // SECOND) for trace in found]
    assert starts == expected


@pytest.mark.usefixtures("blocks_of_two")
@pytest.mark.parametrize(("limit", "is_counted"), [(1, True), (50, False)])
def test_a_short_page_is_counted_beyond_its_end(
    store: Store, limit: int, is_counted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for a few traces learns how many there are; a long page of a large store ends the search."""
    monkeypatch.setattr("apm_store.sqlite.trace_search.SCAN_SPANS", 200)
    for trace in range(1, 301, 2):
        _write(store, (trace, trace, 1), (trace + 1, trace + 1, 1))

    found = store.traces.find(TraceQuery(RANGE, limit=limit))

    assert not found.is_complete
    assert (found.total >= 200) is is_counted
    assert found.total >= limit


@pytest.mark.usefixtures("blocks_of_two")
def test_a_late_span_becomes_the_matched_one(store: Store) -> None:
    """A span that comes long after its trace was written is found, as the earliest one and in the listing."""
    _write(store, (1, 20, 1), (2, 21, 1))
    _write(store, (3, 22, 1), (4, 23, 1))
    _write(store, (1, 5, 1))

    found = store.traces.find(TraceQuery(RANGE)).traces

    assert [int(trace.trace_id, 16) for trace in found] == [4, 3, 2, 1]
    assert [(row.start_ns - RANGE.start_ns) // SECOND for row in found[-1].spans] == [5, 20]
    assert found[-1].matched == found[-1].spans[0]


@pytest.mark.usefixtures("blocks_of_two")
def test_a_filter_that_is_wrong_costs_time_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the filters of all blocks let everything pass, the answers are the same."""
    for trace in range(1, 8):
        _write(store, (trace, trace, 1), (trace, trace + 10, 1), attributes={"n": str(trace)})
    query = TraceQuery(RANGE, attributes=(("n", "5"),))
    expected = store.traces.find(query)

    monkeypatch.setattr("apm_store.sqlite.token_filter.TokenTest.passes", lambda test, built: True)

    assert [int(trace.trace_id, 16) for trace in expected.traces] == [5]
    assert store.traces.find(query) == expected


@pytest.mark.usefixtures("blocks_of_two")
def test_the_filter_keeps_blocks_unread(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks whose filter rules an attribute out are not read for it."""
    for trace in range(1, 8):
        _write(store, (trace, trace, 1), (trace, trace + 10, 1), attributes={"n": str(trace)})
    monkeypatch.setattr("apm_store.sqlite.trace_search.TraceSearch._read", None)

    page = store.traces.find(TraceQuery(RANGE, attributes=(("n", "nobody"),)))

    assert (page.total, page.is_complete) == (0, True)


def _damage(data_dir: Path, seq: int) -> None:
    """Overwrite a byte of a stored request."""
    segment = data_dir / "segments" / "000001"
    index = sqlite3.connect(f"file:{segment / 'index.db'}?mode=ro", uri=True)
    offset, length = index.execute("SELECT offset, length FROM body WHERE seq = ?", (seq,)).fetchone()
    index.close()
    with (segment / "bodies.log").open("r+b") as log:
        log.seek(offset + length - 3)
        byte = log.read(1)
        log.seek(offset + length - 3)
        log.write(bytes((byte[0] ^ 0xFF,)))


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Store]:
    """A store with traces 1 and 2 in its first body, which is damaged, and 2 and 3 in its second."""
    store = open_store(tmp_path / "data")
    _write(store, (1, 1, 1), (2, 2, 1), attributes={"n": "1"})
    _write(store, (2, 3, 1), (3, 4, 1), attributes={"n": "1"})
    _damage(tmp_path / "data", 1)
    yield store
    store.close()


def test_what_damage_leaves_is_shown(damaged: Store) -> None:
    """Traces are listed as before; of a trace the spans that can be read come, or an error when there are none."""
    assert len(damaged.traces.find(TraceQuery(RANGE)).traces) == 3
    assert [span.span_id for span in damaged.traces.get(f"{2:032x}")] == [f"{4:016x}"]
    with pytest.raises(StoreError, match="damaged"):
        damaged.traces.get(f"{1:032x}")
    with pytest.raises(StoreError, match="damaged"):
        damaged.traces.get_span(f"{2:032x}", f"{3:016x}")


def test_a_search_through_damage_is_not_complete(damaged: Store) -> None:
    """A search by attribute finds what can be read, and says that there may be more."""
    page = damaged.traces.find(TraceQuery(RANGE, attributes=(("n", "1"),)))

    assert [int(trace.trace_id, 16) for trace in page.traces] == [3, 2]
    assert not page.is_complete


def test_a_search_that_takes_too_long_answers_with_what_it_has(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time is over before the last block is read, the newest traces come, and the page says so."""
    monkeypatch.setattr("apm_store.sqlite.segment_index.BLOCK_SPANS", 2)
    for trace in range(1, 8):
        _write(store, (trace, trace, 1), (trace, trace + 10, 1), attributes={"n": "1"})
    read, late = TraceSearch._read, []

    def read_two(self: TraceSearch, *arguments: int) -> None:
        if len(late) == 2:
            raise StoreTimeoutError
        late.append(arguments)
        read(self, *arguments)

    monkeypatch.setattr(TraceSearch, "_read", read_two)

    page = store.traces.find(TraceQuery(RANGE, attributes=(("n", "1"),)))

    assert [int(trace.trace_id, 16) for trace in page.traces] == [7, 6]
    assert (page.total, page.is_complete) == (2, False)


def test_too_many_traces_end_a_search(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search holds a bounded number of traces, and says when there are more."""
    monkeypatch.setattr("apm_store.sqlite.segment_index.BLOCK_SPANS", 2)
    monkeypatch.setattr("apm_store.sqlite.trace_directory.SETTLE_S", 0.0)  # so that nothing but the search reads
    monkeypatch.setattr("apm_store.sqlite.trace_search._MAX_TRACES", 3)
    for trace in range(1, 10, 2):
        _write(store, (trace, trace, 1), (trace + 1, trace + 1, 1))

    page = store.traces.find(TraceQuery(RANGE))

    assert page.total == 4
    assert not page.is_complete


@pytest.mark.usefixtures("blocks_of_two")
def test_points_take_little_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When time is short only the traces to be listed are searched for; the points are then the newest of them."""
    monkeypatch.setattr("apm_store.sqlite.trace_search._POINTS_SHARE", 0.0)
    monkeypatch.setattr("apm_store.sqlite.trace_directory.SETTLE_S", 0.0)
    for trace in range(1, 20, 2):
        _write(store, (trace, trace, 1), (trace + 1, trace + 1, 1))

    page = store.traces.find(TraceQuery(RANGE, limit=3), max_points=15)

    assert [int(trace.trace_id, 16) for trace in page.traces] == [20, 19, 18]
    points = [int(point.trace_id, 16) for point in page.points]
    assert points == list(range(20, 20 - len(points), -1))
    assert 3 <= len(points) < 15
    assert not page.is_complete
