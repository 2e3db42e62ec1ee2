"""The overview: what it finds in a real store, and what it draws."""

from __future__ import annotations

import time

import pytest
from builders import MS, SECOND, make_batch, make_span
from runtime_records import make_log_batch, make_open_record

from apm_store.model import SpanKind
from apm_ui import still_open
from apm_ui.attention import failing_state
from apm_ui.components.text import minute_clock
from apm_ui.filters import parse_filters
from apm_ui.pages import overview


def load(sources, search=""):
    """The model as of now."""
    return overview.load(sources, parse_filters(search, time.time_ns()))


def test_an_empty_store_shows_the_first_steps(empty_sources):
    """Without any telemetry the page says how to send some, and that the ports do not answer."""
    model = load(empty_sources)

    shown = str(overview.view(model))
    assert model.is_empty
    assert "No telemetry has arrived yet" in shown
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9" in shown
    assert "OTLP/gRPC 127.0.0.1:9, not answering" in shown


def test_the_title_counts_what_needs_attention(filled_sources):
    """The burning objective comes first, then the statement that takes all database time."""
    start_ns = time.time_ns() - 1800 * SECOND
    model = load(filled_sources, f"?start={start_ns}&end={time.time_ns()}")

    assert [(row.state, row.subject) for row in model.attention] == [
        ("critical", "Checkout succeeds"),
        ("warn", "SELECT stock"),
    ]
    assert "2 things need attention" in str(overview.view(model))


def test_the_figures_agree_with_one_another(filled_sources):
    """The key figures are the sums of the services' figures, and those of the steps."""
    model = load(filled_sources)

    totals = (model.totals.count, model.totals.failed_count)
    assert totals == (300, 20)
    assert totals == (sum(s.count for s in model.services), sum(s.failed_count for s in model.services))
    assert totals == (sum(p.count for p in model.points), sum(p.failed_count for p in model.points))


def test_a_failing_service_without_an_objective_is_named(filled_sources):
    """Where no objective speaks for a service, its share of failures does; its link finds the failed traces."""
    (filled_sources.objectives_dir / "checkout.yaml").unlink()

    worst = load(filled_sources).attention[0]

    assert (worst.state, worst.subject) == ("critical", "storefront")
    assert worst.problem.replace("\u202f", " ") == "fails 10.00 % of its requests."
    assert worst.href == "/traces?service=storefront&status=error"


def test_a_chosen_service_narrows_everything(filled_sources):
    """With a service chosen, no figure of another one remains."""
    model = load(filled_sources, "?service=inventory")

    assert {red.service for red in model.services} == {one.service for one in model.operations} == {"inventory"}
    assert model.totals.count == 100
    assert model.slos == ()


def test_a_silent_service_is_listed_as_unknown(filled_sources):
    """A service without requests in the range is shown with a ring and when it was last heard; it is not OK."""
    early_ns = time.time_ns() - 7200 * SECOND
    filled_sources.store.traces.write(make_batch([make_span("mail", trace=9_999, start_ns=early_ns)], "mailer"))

    shown = str(overview.view(load(filled_sources)))

    assert r"last span 2\u202fh ago" in shown


def test_a_quiet_range_says_so(empty_sources):
    """Without failures, objectives or slow statements the title says that all is quiet."""
    spans = [
        make_span("GET /", trace=n, start_ns=time.time_ns() - n * SECOND, duration_ns=5 * MS) for n in range(1, 30)
    ]
    empty_sources.store.traces.write(make_batch(spans, "shop"))

    shown = str(overview.view(load(empty_sources)))

    assert "All quiet: 1 service" in shown
    assert "Needs attention" not in shown


def test_text_from_telemetry_stays_text(empty_sources):
    """Names with markup reach the page as they are, as text of components."""
    evil = "<script>window.__x=1</script>"
    empty_sources.store.traces.write(make_batch([make_span(evil, start_ns=time.time_ns() - SECOND)], evil))

    page = overview.view(load(empty_sources))

    assert evil in str(page)
    assert "dangerously" not in str(page)


def test_a_young_store_is_measured_from_its_first_span(empty_sources):
    """Rates are divided by the time since the first span, and the page says since when."""
    now_ns = time.time_ns()
    spans = [make_span("GET /", trace=n, start_ns=now_ns - n * SECOND, duration_ns=5 * MS) for n in range(1, 201)]
    empty_sources.store.traces.write(make_batch(spans, "shop"))

    model = overview.load(empty_sources, parse_filters("?range=1h", now_ns))

    since = minute_clock(now_ns - 200 * SECOND, model.now_ns)
    assert model.measured.duration_ns == pytest.approx(200 * SECOND, abs=SECOND)
    assert f"1 service, 200 requests since {since}" in str(overview.view(model))
    assert r"1.00', Small('req/s')" in str(overview.view(model)).replace("\u202f", "")


def test_a_statement_is_named_only_when_it_is_slow_itself(empty_sources):
    """All database time in one quick statement needs no attention."""
    query = {"db.system.name": "sqlite", "db.query.text": "SELECT * FROM stock WHERE sku = ?"}
    start_ns = time.time_ns() - 60 * SECOND
    common = {"kind": SpanKind.CLIENT, "attributes": query, "start_ns": start_ns}
    quick = [make_span("SELECT", trace=n, span=n, parent=999, duration_ns=90 * MS, **common) for n in range(1, 30)]
    slow = [make_span("SELECT", trace=n, span=n, parent=999, duration_ns=300 * MS, **common) for n in range(30, 60)]

    empty_sources.store.traces.write(make_batch(quick, "shop"))
    before = load(empty_sources).attention
    empty_sources.store.traces.write(make_batch(slow, "shop"))
    after = load(empty_sources).attention

    assert before == ()
    assert [(row.subject, row.link_text) for row in after] == [("SELECT stock", "Open query")]


def test_few_failures_are_not_judged(empty_sources):
    """Half of four requests failed: too few to call the service failing, and it is not OK either."""
    start_ns = time.time_ns() - 10 * SECOND
    spans = [make_span("GET /", trace=n, start_ns=start_ns, failed=n % 2 == 0) for n in range(1, 5)]
    empty_sources.store.traces.write(make_batch(spans, "shop"))

    model = load(empty_sources)

    assert model.attention == ()
    assert failing_state(model.services[0]) == "unknown"
    assert "too few to judge" in str(overview.view(model))


def test_requests_that_never_finished_need_attention(empty_sources, monkeypatch):
    """Open spans that went silent are one row that leads to the newest; those still heard of are none."""
    monkeypatch.setattr(still_open, "LOOKUP_S", 10.0)
    now_ns = time.time_ns()
    empty_sources.store.traces.write(make_batch([make_span("GET /", trace=1, start_ns=now_ns - SECOND)], "shop"))
    place = ("/srv/shop/views.py", 14, "hang")
    records = [
        make_open_record("GET /runs", trace=2, start_ns=now_ns - 10 * SECOND, open_ns=10 * SECOND),
        make_open_record("GET /old", trace=3, start_ns=now_ns - 400 * SECOND),
        make_open_record("GET /hang", trace=4, start_ns=now_ns - 180 * SECOND, open_ns=2 * SECOND, place=place),
    ]
    empty_sources.store.logs.write(make_log_batch(records))

    (row,) = load(empty_sources).attention

    assert (row.subject, row.problem, row.state) == ("GET /hang", "and 1 other request never finished.", "warn")
    assert row.effect.replace("\u202f", " ") == "Last heard of 2.00 s after the start, at shop/views.py:14 in hang."
    assert row.href.startswith(f"/traces/{4:032x}")
