"""Finding what is open in a real store."""

from __future__ import annotations

import pytest
from builders import SECOND, make_batch, make_span
from runtime_records import T0, make_log_batch, make_open_record

from apm_store.api import Store
from apm_ui import still_open
from apm_ui.still_open import StillOpenFinder, finder_of

NOW = T0 + 60 * SECOND


@pytest.fixture(autouse=True)
def time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine looks everything up all the same."""
    monkeypatch.setattr(still_open, "LOOKUP_S", 10.0)


def names(finder: StillOpenFinder, service: str | None = None, now_ns: int = NOW) -> list[str]:
    """The operations that are found."""
    found = finder.find(now_ns, service)
    return [span.name for span in found.spans] if found else []


def test_nothing_is_open_without_records(store: Store) -> None:
    """A store without records has no answer to show."""
    assert finder_of(store).find(NOW) is None


def test_the_root_most_open_span_of_each_trace(store: Store) -> None:
    """Each trace stands once, by its outermost open span, the longest open first."""
    records = [
        make_open_record("query", trace=1, span=2, parent=1, open_ns=5 * SECOND),
        make_open_record("GET /hangs", trace=1, span=1, open_ns=5 * SECOND),
        make_open_record("GET /slow", trace=2, span=1, open_ns=2 * SECOND),
    ]
    store.logs.write(make_log_batch(records))

    found = finder_of(store).find(NOW)

    assert found is not None
    assert [span.name for span in found.spans] == ["GET /hangs", "GET /slow"]
    assert found.is_complete


def test_what_has_arrived_is_not_open(store: Store) -> None:
    """A finished root is left out, and the child that goes on without it is shown."""
    records = [
        make_open_record("root", trace=1, span=1, open_ns=2 * SECOND),
        make_open_record("task", trace=1, span=2, parent=1, open_ns=SECOND),
        make_open_record("GET /done", trace=2, span=1),
    ]
    store.logs.write(make_log_batch(records))
    store.traces.write(make_batch([make_span("root", trace=1, span=1), make_span("GET /done", trace=2, span=1)]))

    assert names(finder_of(store)) == ["task"]


def test_a_span_that_ends_later_disappears(store: Store) -> None:
    """A span found open before is looked up again."""
    store.logs.write(make_log_batch([make_open_record("GET /slow")]))
    finder = StillOpenFinder(store)
    before = names(finder)
    store.traces.write(make_batch([make_span("GET /slow")]))

    assert before == ["GET /slow"]
    assert names(finder) == []


def test_records_older_than_a_quarter_of_an_hour_do_not_count(store: Store) -> None:
    """What was last heard of long ago is not news."""
    store.logs.write(make_log_batch([make_open_record("GET /old")]))

    assert names(finder_of(store), now_ns=T0 + 17 * 60 * SECOND) == []


def test_one_service_alone(store: Store) -> None:
    """With a service chosen only its spans are found."""
    store.logs.write(make_log_batch([make_open_record("GET /a", trace=1)], "shop"))
    store.logs.write(make_log_batch([make_open_record("GET /b", trace=2)], "stock"))

    assert names(finder_of(store), "stock") == ["GET /b"]


def test_when_time_is_short_it_says_so_and_goes_on_next_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without time for all, the answer is not complete; those found stay, and the next look takes the next ones."""
    monkeypatch.setattr(still_open, "LOOKUP_S", -1.0)
    store.logs.write(make_log_batch([make_open_record(f"GET /{n}", trace=n) for n in range(1, 4)]))
    finder = StillOpenFinder(store)

    answers = [finder.find(NOW) for _ in range(3)]

    assert [len(found.spans) for found in answers if found] == [1, 2, 3]
    assert [found.is_complete for found in answers if found] == [False, False, True]


def test_a_store_has_one_finder(store: Store) -> None:
    """What has ended is remembered for all pages of a store."""
    assert finder_of(store) is finder_of(store)
