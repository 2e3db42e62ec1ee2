"""The drawer of a span: every OTLP value, event, log and link as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from dash.development.base_component import Component

from apm_store.model import LogRecord, Resource, Scope, Span, SpanEvent, SpanLink
from apm_ui.components.span_details import SpanFacts, SpanHrefs, filter_text, span_details, value_text

MS = 1_000_000
T0 = 1_764_000_000_000_000_000
HOSTILE = "<img src=x onerror=alert(1)>"
NNBSP = "\u202f"


def make_span(**changes: Any) -> Span:
    """A client span of 40 ms with some of its fields changed."""
    fields: dict[str, Any] = {
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
        "parent_span_id": "",
        "name": "SELECT stock",
        "kind": 3,
        "start_ns": T0,
        "end_ns": T0 + 40 * MS,
        "status_code": 0,
        "status_message": "",
        "attributes": {},
        "events": (),
        "links": (),
        "resource": Resource({"service.name": "shop"}),
        "scope": Scope("sqlalchemy", "2.1"),
    }
    return Span(**fields | changes)


def draw(span: Span, logs: tuple[LogRecord, ...] = ()) -> Component:
    """The drawer of a span."""
    facts = SpanFacts(span, 0, self_time_ns=30 * MS, offset_ns=5 * MS, now_ns=T0 + 60_000 * MS, logs=logs)
    hrefs = SpanHrefs(
        close="/close",
        same_spans="/same",
        attribute=lambda key, value: f"/traces?{key}={value}",
        trace=lambda trace_id, span_id: f"/traces/{trace_id}?span={span_id}",
    )
    return span_details(facts, hrefs)


def walk(component: Any) -> list[Any]:
    """A component, all components below it, and all texts, in order."""
    if isinstance(component, (list, tuple)):
        return [found for child in component for found in walk(child)]
    if not isinstance(component, Component):
        return [] if component is None else [component]
    return [component, *walk(getattr(component, "children", None))]


def texts(component: Component) -> list[str]:
    """All texts of a component."""
    return [part for part in walk(component) if isinstance(part, str)]


def properties(component: Component, name: str) -> list[Any]:
    """A property of all components that have it."""
    found = (part.to_plotly_json()["props"].get(name) for part in walk(component) if isinstance(part, Component))
    return [value for value in found if value is not None]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("shop", "shop"),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (14, "14"),
        (0.5, "0.5"),
        (None, "null"),
        (b"\x00\xff", f"00 ff (2{NNBSP}B)"),
        (("a", 1, False), '["a", 1, false]'),
        ({"k": {"x": (1, b"\x01")}}, '{"k": {"x": [1, "01 (1' + NNBSP + 'B)"]}}'),
    ],
)
def test_every_otlp_type_is_readable_text(value: Any, text: str) -> None:
    """Strings stand as they are, bytes as hex, everything else as JSON writes it."""
    assert value_text(value) == text


def test_long_bytes_are_previewed() -> None:
    """Of many bytes the first 64 are shown, with the size of all."""
    text = value_text(bytes(1000))

    assert text == "00 " * 63 + f"00… (1.00{NNBSP}kB)"


def test_long_arrays_are_indented() -> None:
    """A nested value that does not fit into a line gets a line for each part."""
    assert value_text(tuple(range(30))).count("\n") == 31


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a b"),
        (14, "14"),
        (0.5, "0.5"),
        (True, "true"),
        (b"x", None),
        ((1,), None),
        ({"a": 1}, None),
        (None, None),
    ],
)
def test_what_can_be_searched_is_offered(value: Any, text: str | None) -> None:
    """Texts, numbers and booleans have a filter in the spelling that the search takes; other types have none."""
    assert filter_text(value) == text


def test_attributes_are_rows_with_copy_and_filter() -> None:
    """Each attribute shows key and value, copies its text and leads to the traces that have it."""
    drawer = draw(make_span(attributes={"db.namespace": "shop", "rows": 14, "tags": ("a",)}))

    assert {"db.namespace", "rows", "14", '["a"]'} <= set(texts(drawer))
    assert "/traces?rows=14" in properties(drawer, "href")
    assert not any("tags" in href for href in properties(drawer, "href"))
    assert {"14", '["a"]'} <= set(properties(drawer, "data-copy"))


def test_facts_have_units() -> None:
    """Duration, self time and start stand first."""
    assert {f"40.0{NNBSP}ms", f"30.0{NNBSP}ms", f"+5.00{NNBSP}ms"} <= set(texts(draw(make_span())))


@pytest.mark.parametrize("key", ["db.query.text", "db.statement"])
def test_a_statement_can_be_copied(key: str) -> None:
    """A database span shows its statement with a button for it, under the new and the old name."""
    drawer = draw(make_span(attributes={key: "SELECT 1"}))

    assert "Copy SQL" in texts(drawer)
    assert "SELECT 1" in properties(drawer, "data-copy")


def test_a_span_without_statement_has_no_statement() -> None:
    """Other spans have no empty box."""
    assert "Statement" not in texts(draw(make_span()))


def test_a_failure_is_said_with_its_message() -> None:
    """The status stands in words."""
    drawer = draw(make_span(status_code=2, status_message="no stock"))

    assert "Failed: no stock" in texts(drawer)


def test_an_exception_shows_type_message_and_stack() -> None:
    """An exception event is told in a sentence, with the stack trace in a box of its own."""
    attributes = {
        "exception.type": "ValueError",
        "exception.message": "bad sku",
        "exception.stacktrace": "Traceback\n  line",
        "exception.escaped": False,
    }
    shown = texts(draw(make_span(events=(SpanEvent(T0 + 9 * MS, "exception", attributes),))))

    assert {"ValueError: bad sku", "Traceback\n  line", "exception.escaped", f"+9.00{NNBSP}ms"} <= set(shown)


@pytest.mark.parametrize(("offset_ms", "words"), [(-3, "before the span starts"), (99, "after the span ends")])
def test_an_event_outside_its_span_says_so(offset_ms: int, words: str) -> None:
    """An event's own time is never bent."""
    drawer = draw(make_span(events=(SpanEvent(T0 + offset_ms * MS, "odd"),)))

    assert any(words in text for text in texts(drawer))


def test_links_lead_to_their_span() -> None:
    """A link opens the other trace at the linked span and shows its attributes."""
    link = SpanLink("c" * 32, "d" * 16, attributes={"why": "batch"})
    drawer = draw(make_span(links=(link,)))

    assert f"/traces/{'c' * 32}?span={'d' * 16}" in properties(drawer, "href")
    assert {"Span dddddddd… of trace cccccccc…", "why", "batch"} <= set(texts(drawer))


def test_dropped_parts_are_counted() -> None:
    """What the app's limits dropped is not passed over in silence."""
    drawer = draw(make_span(dropped_attributes_count=7))

    assert "7 more were dropped by the app's limits." in texts(drawer)


def test_logs_of_the_span_stand_with_their_severity() -> None:
    """A log record shows its body, and its severity as a shape with a word."""
    record = LogRecord(T0 + MS, 0, 17, "ERROR", "no stock left", {}, Resource({}), Scope())
    drawer = draw(make_span(), (record,))

    assert "no stock left" in texts(drawer)
    assert "ERROR" in properties(drawer, "label")


def test_process_and_scope_are_there() -> None:
    """The drawer ends with who made the span."""
    shown = texts(draw(make_span(resource=Resource({"service.name": "shop", "host.name": "box"}))))

    assert {"host.name", "box", "sqlalchemy 2.1", "b" * 16} <= set(shown)


def test_an_unknown_kind_is_shown_as_its_number() -> None:
    """A kind that OTLP may add later is not hidden."""
    assert "kind 9" in texts(draw(make_span(kind=9)))


def test_hostile_text_stays_text() -> None:
    """Markup in any carrier is a text child, and no component takes HTML or Markdown."""
    hostile: Mapping[str, Any] = {HOSTILE: HOSTILE}
    span = make_span(
        name=HOSTILE,
        status_code=2,
        status_message=HOSTILE,
        attributes=hostile,
        events=(SpanEvent(T0, HOSTILE, hostile),),
        links=(SpanLink("c" * 32, "d" * 16, attributes=hostile),),
        resource=Resource({"service.name": HOSTILE, **hostile}),
        scope=Scope(HOSTILE, HOSTILE, hostile),
        trace_state=HOSTILE,
    )
    drawer = draw(span, (LogRecord(T0, 0, 9, HOSTILE, HOSTILE, {}, Resource({}), Scope()),))

    assert sum(HOSTILE in text for text in texts(drawer)) >= 12
    assert not {type(part).__name__ for part in walk(drawer)} & {"Markdown", "DangerouslySetInnerHTML", "Iframe"}
