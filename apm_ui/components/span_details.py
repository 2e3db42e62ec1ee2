"""Everything about one span, for the drawer beside the waterfall."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from apm_store.model import Attributes, AttributeValue, LogRecord, Span, SpanEvent, SpanKind, SpanLink, StatusCode
from apm_ui.components.attributes import hyphenated
from apm_ui.components.card import copy_button, drawer
from apm_ui.components.icons import icon
from apm_ui.components.open_spans import open_state
from apm_ui.components.sql import pretty_sql
from apm_ui.components.status import service_name, status_shape, tag
from apm_ui.components.text import bytes_, clock, count, duration, relative, short_id

STATEMENT_KEYS = ("db.query.text", "db.statement")
_HEX_PREVIEW = 64
_ONE_LINE = 40
_MAX_VALUE_CHARS = 20_000
_MAX_ITEMS = 200
_EXCEPTION_KEYS = ("exception.type", "exception.message", "exception.stacktrace")
_KINDS = {kind.value: kind.name.lower() for kind in SpanKind}


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """A span with what only the trace knows of it; times in ns, `offset_ns` counts from the root's start."""

    span: Span
    slot: int
    self_time_ns: int | None
    offset_ns: int
    now_ns: int
    logs: tuple[LogRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class SpanHrefs:
    """Where the drawer's links lead."""

    close: str
    same_spans: str
    attribute: Callable[[str, str], str]
    trace: Callable[[str, str], str]


def span_details(facts: SpanFacts, hrefs: SpanHrefs) -> Component:
    """The drawer of a span: facts, statement, attributes, events, logs, links, process, scope."""
    span = facts.span
    kind = _KINDS.get(span.kind, f"kind {span.kind}")
    parts = [
        _facts(facts),
        open_state(span, facts.now_ns) if span.is_open else _status(span),
        _statement(span),
        # What a failed span threw says more than its attributes.
        _events(span) if span.is_error else None,
        _attributes("Attributes", span.attributes, span.dropped_attributes_count, hrefs, is_open=True),
        None if span.is_error else _events(span),
        _logs(facts),
        _links(span, hrefs),
        _attributes("Process", span.resource.attributes, span.resource.dropped_attributes_count, hrefs),
        _identity(span),
        _actions(hrefs),
    ]
    body = html.Div([part for part in parts if part is not None], className="span-details")
    head = html.Div([service_name(span.service, facts.slot), tag(kind)], className="span-kind")
    name = html.Span(span.name or "(no name)", className="span-name")
    return drawer("", [head, name], body, close_href=hrefs.close)


def value_text(value: AttributeValue) -> str:
    """An attribute's value as text: bytes as a hex preview, arrays and maps as JSON, indented when long."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return _hex(value)
    plain = _plain(value)
    line = json.dumps(plain, ensure_ascii=False)
    return line if len(line) <= _ONE_LINE else json.dumps(plain, ensure_ascii=False, indent=2)


def filter_text(value: AttributeValue) -> str | None:
    """The value as a search for `key=value` takes it; None for what cannot be searched."""
    if value is None or isinstance(value, (bytes, tuple, list, Mapping)):
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return _hex(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _hex(value: bytes) -> str:
    more = "…" if len(value) > _HEX_PREVIEW else ""
    return f"{value[:_HEX_PREVIEW].hex(' ')}{more} ({bytes_(len(value))})"


def _facts(facts: SpanFacts) -> Component:
    cells = (
        ("Open for" if facts.span.is_open else "Duration", duration(facts.span.duration_ns)),
        ("Self time", duration(facts.self_time_ns)),
        ("Start", offset(facts.offset_ns)),
    )
    return html.Div([html.Div([html.Small(name), html.B(value)]) for name, value in cells], className="span-facts")


def offset(ns: int) -> str:
    """A time relative to another one, with its sign: +492 ms, −3.10 ms, 0 ms."""
    return duration(ns) if ns <= 0 else f"+{duration(ns)}"


def _status(span: Span) -> Component | None:
    if span.status_code == StatusCode.UNSET and not span.status_message:
        return None
    state, word = ("critical", "Failed") if span.is_error else ("ok", "OK")
    text = f"{word}: {span.status_message}" if span.status_message else word
    return html.Div([status_shape(state, word), html.Span(text)], className="span-status")


def _statement(span: Span) -> Component | None:
    text = next((span.attributes[key] for key in STATEMENT_KEYS if span.attributes.get(key)), None)
    if not isinstance(text, str):
        return None
    head = html.H3(["Statement", html.Span(copy_button(text, "Copy SQL"), className="end")])
    return html.Div([head, pretty_sql(text)])


def _attributes(
    title: str, sent: Attributes, dropped_count: int, hrefs: SpanHrefs, *, is_open: bool = False
) -> Component | None:
    rows = [_attribute(key, value, hrefs) for key, value in sorted(sent.items())]
    return _section(title, len(sent), rows, dropped_count, is_open=is_open, empty="None were sent.")


def _attribute(key: str, value: AttributeValue, hrefs: SpanHrefs) -> Component:
    text, searched = value_text(value), filter_text(value)
    shown = text if len(text) <= _MAX_VALUE_CHARS else text[:_MAX_VALUE_CHARS] + "…"
    acts: list[Component] = [
        html.Button(icon("copy"), type="button", className="button ghost", title="Copy", **hyphenated(data_copy=text))
    ]
    if searched is not None:
        href = hrefs.attribute(key, searched)
        acts.append(dcc.Link(icon("search"), href=href, className="button ghost", title=f"Find traces with this {key}"))
    content: Any = shown if shown else html.Small("empty")
    return html.Div(
        [html.Span(key), html.Span(content, className="value"), html.Span(acts, className="acts")], className="span-row"
    )


def _section(
    title: str, size: int, items: Sequence[Component], dropped_count: int, *, is_open: bool, empty: str = ""
) -> Component | None:
    if not items and not dropped_count and not empty:
        return None
    body: list[Component] = list(items) or [html.P(empty, className="muted")]
    if dropped_count:
        body.append(html.P(f"{count(dropped_count)} more were dropped by the app's limits.", className="muted"))
    summary = html.Summary([title, html.Small(count(size))])
    return html.Details([summary, *body], open=is_open, key=f"{title}")


def _events(span: Span) -> Component | None:
    items = [_event(event, span) for event in span.events[:_MAX_ITEMS]]
    if len(span.events) > _MAX_ITEMS:
        items.append(html.P(f"Showing the first {_MAX_ITEMS} of {count(len(span.events))}.", className="muted"))
    return _section("Events", len(span.events), items, span.dropped_events_count, is_open=True)


def _event(event: SpanEvent, span: Span) -> Component:
    offset_ns = event.time_ns - span.start_ns
    at = offset(offset_ns)
    if offset_ns < 0:
        at += ", before the span starts"
    elif offset_ns > span.duration_ns:
        at += ", after the span ends"
    parts: list[Component] = [html.Div([html.B(event.name or "(no name)"), " ", html.Span(at, className="at")])]
    kind, message, stacktrace = (event.attributes.get(key) for key in _EXCEPTION_KEYS)
    if kind or message:
        told = ": ".join(value_text(part) for part in (kind, message) if part)
        parts.append(html.P([status_shape("critical", "Exception"), " ", told]))
    if isinstance(stacktrace, str) and stacktrace:
        parts += [
            html.Pre(stacktrace, className="span-block is-trace"),
            html.Div(copy_button(stacktrace, "Copy stack trace")),
        ]
    rest = {key: value for key, value in event.attributes.items() if key not in _EXCEPTION_KEYS}
    parts += [_plain_row(key, value_text(value)) for key, value in sorted(rest.items())]
    return html.Div(parts, className="span-item")


def _plain_row(key: str, text: str) -> Component:
    shown = text if len(text) <= _MAX_VALUE_CHARS else text[:_MAX_VALUE_CHARS] + "…"
    return html.Div([html.Span(key), html.Span(shown, className="value")], className="span-row")


def _logs(facts: SpanFacts) -> Component | None:
    lines = [log_line(record, facts.now_ns) for record in facts.logs[:_MAX_ITEMS]]
    return _section("Logs of this span", len(facts.logs), lines, 0, is_open=True)


def log_line(record: LogRecord, now_ns: int, service: Component | None = None) -> Component:
    """A log record in one line: time with milliseconds, severity as a shape, service when given, body."""
    time_ns = record.time_ns or record.observed_time_ns
    at = html.Span(precise_clock(time_ns, now_ns), className="at", title=relative(time_ns, now_ns))
    body = html.Span(value_text(record.body) if record.body is not None else record.event_name, className="body")
    return html.Div([at, _severity(record), *([service] if service else []), body], className="log-line")


def _severity(record: LogRecord) -> Component:
    number = record.severity_number
    state = "critical" if number >= 17 else "warn" if number >= 13 else "ok" if number >= 9 else "unknown"
    words = {"critical": "Error", "warn": "Warning", "ok": "Info", "unknown": "Debug" if number else "No severity"}
    return status_shape(state, record.severity_text or words[state])


def precise_clock(ns: int, now_ns: int) -> str:
    """A moment in local time with milliseconds where it is shown with seconds."""
    text = clock(ns, now_ns)
    return f"{text}.{ns // 1_000_000 % 1000:03d}" if text.count(":") == 2 else text


def _links(span: Span, hrefs: SpanHrefs) -> Component | None:
    items = [_link(link, span, hrefs) for link in span.links[:_MAX_ITEMS]]
    return _section("Links", len(span.links), items, span.dropped_links_count, is_open=True)


def _link(link: SpanLink, span: Span, hrefs: SpanHrefs) -> Component:
    where = "this trace" if link.trace_id == span.trace_id else f"trace {short_id(link.trace_id)}"
    text = f"Span {short_id(link.span_id)} of {where}"
    rows = [_plain_row(key, value_text(value)) for key, value in sorted(link.attributes.items())]
    return html.Div([dcc.Link(text, href=hrefs.trace(link.trace_id, link.span_id)), *rows], className="span-item")


def _identity(span: Span) -> Component:
    known = {
        "scope": f"{span.scope.name} {span.scope.version}".strip(),
        "trace id": span.trace_id,
        "span id": span.span_id,
        "parent span id": span.parent_span_id,
        "trace state": span.trace_state,
        "schema": span.scope.schema_url or span.resource.schema_url,
    }
    rows = [_plain_row(key, text) for key, text in known.items() if text]
    rows += [_plain_row(f"scope {key}", value_text(value)) for key, value in sorted(span.scope.attributes.items())]
    return html.Details([html.Summary(["Scope and ids"]), *rows], key="Scope and ids")


def _actions(hrefs: SpanHrefs) -> Component:
    link = html.Button(
        [icon("link"), "Copy link"], type="button", className="button small", **hyphenated(data_copy="address")
    )
    same = dcc.Link("Same spans", href=hrefs.same_spans, className="button small")
    return html.Div([same, link], className="span-actions")
