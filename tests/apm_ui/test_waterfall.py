"""The waterfall's columns, and its script's logic."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from apm_analysis.trace_tree import build_tree
from apm_store.model import Resource, Scope, Span, SpanEvent
from apm_ui.components.text import duration
from apm_ui.components.waterfall import Flag, waterfall, waterfall_data, waterfall_json

MS = 1_000_000
T0 = 1_764_000_000_000_000_000
LAYOUT = Path(__file__).parents[2] / "apm_ui" / "assets" / "waterfall_layout.js"


def make_span(
    number: int,
    parent: int = 0,
    start_ms: float = 0,
    duration_ms: float = 10,
    *,
    name: str = "work",
    service: str = "shop",
    kind: int = 1,
    status_code: int = 0,
    status_message: str = "",
    attributes: Mapping[str, Any] | None = None,
    events: tuple[SpanEvent, ...] = (),
) -> Span:
    """A span of one trace; times in ms from T0, a parent of 0 makes it a root."""
    start_ns = T0 + int(start_ms * MS)
    return Span(
        trace_id="1".zfill(32),
        span_id=f"{number:016x}",
        parent_span_id=f"{parent:016x}" if parent else "",
        name=name,
        kind=kind,
        start_ns=start_ns,
        end_ns=start_ns + int(duration_ms * MS),
        status_code=status_code,
        status_message=status_message,
        attributes=attributes or {},
        events=events,
        links=(),
        resource=Resource({"service.name": service}),
        scope=Scope(),
    )


def with_times(span: Span, start_ns: int, end_ns: int) -> Span:
    """The same span with other times."""
    return Span(**{name: getattr(span, name) for name in Span.__slots__} | {"start_ns": start_ns, "end_ns": end_ns})


def columns(*spans: Span, **options: Any) -> dict[str, Any]:
    """The columns of a trace of these spans."""
    return waterfall_data(build_tree(spans), {"shop": 0, "stock": 1}, **options)


def flags_of(data: Mapping[str, Any], number: int) -> int:
    """The flags of the span with this number."""
    ids = [data["ids"][at : at + 16] for at in range(0, len(data["ids"]), 16)]
    return int(data["flags"][ids.index(f"{number:016x}")])


def test_columns_hold_times_from_the_first_start_and_distances_to_parents() -> None:
    """Spans stand depth first, with their start after the first one and how far back their parent is."""
    data = columns(
        make_span(1, duration_ms=100), make_span(2, 1, 10, 20), make_span(3, 1, 40, 5), make_span(4, 2, 12, 3)
    )

    assert data["ids"] == "".join(f"{number:016x}" for number in (1, 2, 4, 3))
    assert data["parent"] == [0, 1, 1, 3]
    assert data["start"] == [0, 10 * MS, 12 * MS, 40 * MS]
    assert data["duration_ns"] == [100 * MS, 20 * MS, 3 * MS, 5 * MS]
    assert data["duration"] == 100 * MS
    assert data["start_ns"] == str(T0)


def test_names_and_services_are_written_once() -> None:
    """Repeated names are places in a list, which is also how repeats are recognised."""
    data = columns(make_span(1), *(make_span(n, 1, n, 1, name="SELECT", service="stock") for n in (2, 3, 4)))

    assert data["names"] == ["work", "SELECT"]
    assert data["name"] == [0, 1, 1, 1]
    assert data["services"] == [{"name": "shop", "slot": 0}, {"name": "stock", "slot": 1}]
    assert data["service"] == [0, 1, 1, 1]


def test_a_service_without_a_slot_is_grey() -> None:
    """A service that the store has not numbered gets the colour of the eleventh and later ones."""
    data = columns(make_span(1, service="new"))

    assert data["services"] == [{"name": "new", "slot": 10}]


def test_orphans_come_last() -> None:
    """A subtree whose parent is missing stands below everything that has its root, even when it started first."""
    data = columns(make_span(5, 99, 0, 5), make_span(6, 5, 1, 2), make_span(1, start_ms=3), make_span(2, 1, 4, 1))

    assert data["ids"] == "".join(f"{number:016x}" for number in (1, 2, 5, 6))
    assert data["orphans_from"] == 2
    assert data["root"] == 0
    assert flags_of(data, 5) & Flag.ORPHAN
    assert not flags_of(data, 6) & Flag.ORPHAN


def test_a_circle_of_parents_is_opened_at_one_marked_span() -> None:
    """Every span of a circle is there once; one is marked as the place where it was opened."""
    data = columns(make_span(1, 3), make_span(2, 1, 1), make_span(3, 2, 2))

    assert len(data["flags"]) == 3
    assert [bool(flags & Flag.CYCLE) for flags in data["flags"]] == [True, False, False]


def test_a_child_outside_its_parent_is_drawn_and_marked() -> None:
    """A child that starts before its parent is skew; one that starts after its end was not waited for."""
    data = columns(make_span(1, start_ms=20, duration_ms=50), make_span(2, 1, 5, 10), make_span(3, 1, 80, 10))

    assert flags_of(data, 2) & Flag.SKEW
    assert flags_of(data, 3) & Flag.ASYNC
    assert data["duration"] == 85 * MS
    assert min(data["start"]) == 0


def test_a_consumer_of_a_producer_is_asynchronous() -> None:
    """What a producer triggers runs on its own, even when it starts at once."""
    data = columns(make_span(1, kind=4), make_span(2, 1, 2, 30, kind=5))

    assert flags_of(data, 2) & Flag.ASYNC


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "flag"),
    [
        (T0, 0, Flag.UNFINISHED),
        (T0 + 9, T0 + 3, Flag.NEGATIVE),
        (0, 0, Flag.UNTIMED),
        (T0 // MS, T0 // MS, Flag.UNTIMED),
    ],
)
def test_unbelievable_times_are_marked(start_ns: int, end_ns: int, flag: int) -> None:
    """A span without end, with end before start, without start, or in another unit says so and has no length."""
    data = columns(make_span(1), make_span(3, 1), with_times(make_span(2, 1), start_ns, end_ns))

    assert flags_of(data, 2) & flag
    assert data["duration"] == 10 * MS


def test_a_span_of_thirty_days_is_believed() -> None:
    """A long span stretches the trace; only years do not."""
    data = columns(make_span(1, duration_ms=30 * 86_400_000))

    assert data["duration"] == 30 * 86_400_000 * MS
    assert data["flags"] == [0]


def test_events_stand_inside_their_span() -> None:
    """An event before or after its span is drawn at the edge; exceptions are marked."""
    events = (SpanEvent(T0 - 5, "early"), SpanEvent(T0 + 4, "exception"), SpanEvent(T0 + 99 * MS, "late"))
    data = columns(make_span(1, events=events))

    assert data["events"] == {"span": [0, 0, 0], "at": [0, 4, 10 * MS], "is_exception": [0, 1, 0]}


def test_labels_tell_the_attempt_and_the_failure() -> None:
    """A bar says which attempt it was and with which status or message it failed, and nothing when all went well."""
    data = columns(
        make_span(1, attributes={"http.response.status_code": 200}),
        make_span(
            2, 1, 1, status_code=2, attributes={"http.response.status_code": 503, "http.request.resend_count": 1}
        ),
        make_span(3, 1, 2, status_code=2, status_message="x" * 80 + "\nsecond line"),
    )

    assert data["labels"] == [(1, "attempt 2, 503"), (2, "x" * 47 + "…")]


def test_the_cap_keeps_the_total() -> None:
    """Beyond the cap the first spans are sent with the true total."""
    data = columns(make_span(1, duration_ms=99), *(make_span(n, 1, n, 1) for n in range(2, 9)), max_spans=3)

    assert data["total"] == 8
    assert len(data["flags"]) == len(data["start"]) == len(data["ids"]) // 16 == 3


def test_a_chain_of_20_000_spans_does_not_overflow_the_stack() -> None:
    """Depth costs nothing but rows."""
    data = columns(*(make_span(n, n - 1, n / 1000, 30) for n in range(1, 20_001)))

    assert data["parent"] == [0] + [1] * 19_999


def test_a_span_costs_less_than_80_bytes() -> None:
    """100,000 spans fit into 8 MB."""
    data = columns(make_span(1, duration_ms=5000), *(make_span(n, 1, n, 1.234567) for n in range(2, 2002)))

    assert len(waterfall_json(data)) < 2001 * 80


def test_the_host_names_trace_revision_and_span() -> None:
    """The script finds everything it needs in the element's data attributes."""
    host = waterfall("ab" * 16, "f00d", "0123456789abcdef").to_plotly_json()["props"]

    assert host["id"] == "trace-waterfall"
    assert (host["data-trace"], host["data-revision"], host["data-span"]) == ("ab" * 16, "f00d", "0123456789abcdef")


def run_node(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run node, or skip plainly when there is none."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed, so the script's logic cannot be run")
    return subprocess.run([node, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_scripts_logic() -> None:
    """Rows, repeats, self time, ruler, find and wording do what waterfall_layout.test.js states."""
    result = run_node(["--test", str(Path(__file__).with_name("waterfall_layout.test.js"))])

    assert result.returncode == 0, result.stdout + result.stderr


def test_script_and_server_write_durations_alike() -> None:
    """A duration reads the same in the waterfall and beside it."""
    values = [0, 1, 812, 999, 999_499, 999_500, 152_000, 7_800_000, 412 * MS, 999_600_000, 1_840 * MS, 59_940 * MS]
    values += [59_960 * MS, 125_000 * MS, 600_000 * MS, 12_000_000 * MS, 367_200_000 * MS, -3_100_000]
    script = f"const w=require({json.dumps(str(LAYOUT))});console.log(JSON.stringify({values}.map(w.formatDuration)))"
    result = run_node(["-e", script])

    assert json.loads(result.stdout) == [duration(value) for value in values]
