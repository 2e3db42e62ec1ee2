"""One trace: what happened, where the time went, and every span of it in a waterfall."""

from __future__ import annotations

import gzip
import re
import time
from dataclasses import dataclass, replace

from dash import Dash, dcc, html
from dash.development.base_component import Component
from flask import Response, jsonify, request

from apm_store.api import Store, StoreError
from apm_store.model import LogRecord
from apm_store.query import LogQuery
from apm_ui.components.attributes import hyphenated
from apm_ui.components.card import note
from apm_ui.components.empty import explained
from apm_ui.components.icons import icon
from apm_ui.components.span_details import SpanFacts, SpanHrefs, log_line, precise_clock, span_details
from apm_ui.components.span_table import span_table
from apm_ui.components.status import service_name, status_shape, swatch, tag
from apm_ui.components.text import clock, count, duration, percent, plural, relative, short_id
from apm_ui.components.waterfall import waterfall
from apm_ui.filters import Filters
from apm_ui.page import Page
from apm_ui.sources import Sources
from apm_ui.theme import service_token
from apm_ui.trace_reading import MAX_LINES, TraceReading, reader_of

PAGE = Page(
    slug="trace", path="/traces/<trace_id>", title="Trace", order=21, icon="traces", group="Explore", in_nav=False
)
MAX_LOGS = 1_000
MAX_PARTS = 8
_TRACE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TraceModel:
    """What the page shows; `reading` is None for an unknown trace, `selected` None without a chosen span.

    `raw_since_ns` is known for an unknown trace alone: what began before may have been pruned.
    """

    trace_id: str
    filters: Filters
    now_ns: int
    tab: str = "waterfall"
    reading: TraceReading | None = None
    logs: tuple[LogRecord, ...] = ()
    slots: tuple[tuple[str, int], ...] = ()
    selected: SpanFacts | None = None
    raw_since_ns: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the store has nothing of this trace."""
        return self.reading is None

    def href(self, **changes: str | None) -> str:
        """This trace's address with page parameters changed."""
        return self.filters.with_params(**{"trace_id": None, **changes}).link(f"/traces/{self.trace_id}")

    def slot(self, service: str) -> int:
        """The colour number of a service."""
        return dict(self.slots).get(service, 10)


def load(sources: Sources, filters: Filters) -> TraceModel:
    """Read the trace, its logs, and the chosen span. Raises StoreError."""
    trace_id = (filters.get("trace_id") or "").lower()
    tab = filters.get("tab") or "waterfall"
    model = TraceModel(trace_id, filters, time.time_ns(), tab if tab in {"spans", "logs"} else "waterfall")
    reading = reader_of(sources.store).read(trace_id) if _TRACE_ID.fullmatch(trace_id) else None
    if reading is None:
        return replace(model, raw_since_ns=sources.store.traces.coverage(filters.time_range).raw_since_ns)
    logs = tuple(reversed(sources.store.logs.find(LogQuery(trace_id=trace_id, limit=MAX_LOGS))))
    slots = tuple((info.name, info.slot) for info in sources.store.traces.services())
    selected = _select(sources.store, model, reading, dict(slots))
    return TraceModel(trace_id, filters, model.now_ns, model.tab, reading, logs, slots, selected)


def _select(store: Store, model: TraceModel, reading: TraceReading, slots: dict[str, int]) -> SpanFacts | None:
    span_id = (model.filters.get("span") or "").lower()
    span = store.traces.get_span(model.trace_id, span_id) if re.fullmatch(r"[0-9a-f]{16}", span_id) else None
    if span is None:
        return None
    logs = store.logs.find(LogQuery(trace_id=model.trace_id, span_id=span_id, limit=MAX_LOGS))
    return SpanFacts(
        span=span,
        slot=slots.get(span.service, 10),
        self_time_ns=reading.self_time_ns(span_id),
        offset_ns=span.start_ns - reading.start_ns,
        now_ns=model.now_ns,
        logs=tuple(reversed(logs)),
    )


def view(model: TraceModel) -> Component:
    """Header, summary, then the waterfall, the spans or the logs; the chosen span's details stand at the right."""
    if model.reading is None:
        return _not_found(model)
    return html.Div([_header(model, model.reading), _summary(model.reading), _card(model, model.reading)])


def _not_found(model: TraceModel) -> Component:
    back = dcc.Link("Search the traces", href=model.filters.only_shared().link("/traces"), className="button primary")
    if not _TRACE_ID.fullmatch(model.trace_id):
        text = f"“{model.trace_id[:80]}” is not a trace id. A trace id has 32 digits from 0 to 9 and a to f."
        return explained([html.Span(text), html.Div(back, className="actions")], "This is no trace")
    text = (
        "It may not have arrived yet: apps send their spans a few seconds late, and this page looks again by itself. "
        "Or it was not sampled, or was sent to another store."
    )
    known = html.Div(_copyable(model.trace_id))
    if model.raw_since_ns is None:
        return explained([html.Span(text), known, html.Div(back, className="actions")], "No span of this trace is here")
    gone = (
        f"If it began before {clock(model.raw_since_ns, model.now_ns)}, it was pruned to keep the store small: at most "
        "some traces are left from before that failed, were slow or rare. Its numbers are still in every chart and "
        "SLO. "
    )
    body = [html.Span(gone), html.Span(f"Otherwise: {text[0].lower()}{text[1:]}"), known]
    return explained([*body, html.Div(back, className="actions")], "This trace may have been pruned")


def _header(model: TraceModel, reading: TraceReading) -> Component:
    root = reading.root
    title: list[Component] = [status_shape("critical", "Failed")] if root.is_error else []
    code = tag(str(root.http_status), "critical" if root.is_error else "") if root.http_status is not None else None
    title.append(html.Span([_title(reading), code]))
    crumb = html.Span(
        [dcc.Link("Traces", href=model.filters.only_shared().link("/traces")), f" / {short_id(model.trace_id)}"],
        className="crumb",
    )
    facts: list[Component | str] = [
        _started(reading.start_ns, model.now_ns),
        ", ".join(_sizes(reading)),
        _completeness(reading),
        _copyable(model.trace_id),
    ]
    sub = [part for fact in facts for part in (" · ", fact)][1:]
    words = [crumb, html.H1(title, className="trace-title"), html.Div(sub, className="sub")]
    copy_link = html.Button(
        [icon("link"), "Copy link"], type="button", className="button", **hyphenated(data_copy="address")
    )
    return html.Div([html.Div(words, className="grow"), copy_link], className="page-header trace-header")


def _started(start_ns: int, now_ns: int) -> str:
    """When the trace started, and how long ago unless that is a date as well."""
    at, ago = precise_clock(start_ns, now_ns), relative(start_ns, now_ns)
    return at if at == ago else f"{at}, {ago}"


def _copyable(trace_id: str) -> Component:
    copy = html.Button(
        icon("copy"),
        type="button",
        title="Copy the id",
        className="button ghost small square",
        **hyphenated(data_copy=trace_id),
    )
    return html.Span([html.Span(trace_id, className="trace-id"), copy])


def _title(reading: TraceReading) -> str:
    """The finding: what the root did and how long it took."""
    root = reading.root
    name = root.operation or "(no name)"
    if reading.is_root_missing:
        return f"{name} took {duration(root.duration_ns)}, its root has not arrived"
    return f"{name} {'failed after' if root.is_error else 'took'} {duration(root.duration_ns)}"


def _sizes(reading: TraceReading) -> list[str]:
    sizes = [plural(reading.span_count, "span"), plural(reading.service_count, "service")]
    return [*sizes, plural(reading.error_count, "error")] if reading.error_count else [*sizes, "no errors"]


def _completeness(reading: TraceReading) -> Component:
    """Whether every parent that a span names has arrived."""
    problems = []
    if reading.orphan_count:
        word = "names" if reading.orphan_count == 1 else "name"
        problems.append(f"{plural(reading.orphan_count, 'span')} {word} a parent that has not arrived")
    if reading.root_count > 1:
        problems.append(f"{count(reading.root_count)} roots")
    if not problems:
        return html.Span([icon("check"), "complete"], className="trace-state ok")
    state = "warn" if reading.orphan_count else "unknown"
    return html.Span(
        [status_shape(state, "Incomplete" if state == "warn" else "Note"), ", ".join(problems)], className="trace-state"
    )


def _summary(reading: TraceReading) -> Component:
    sentences = [html.P(_failure(reading)), html.P(_where_time_went(reading))]
    return html.Div([html.Div(sentences), _self_time_bar(reading)], className="card trace-summary")


def _failure(reading: TraceReading) -> list[Component | str]:
    """One sentence about the failed span that lies deepest, where a failure most likely began."""
    culprit = reading.culprit
    if culprit is None:
        return [html.B("Nothing failed"), f" in {plural(reading.span_count, 'span')}."]
    words: list[Component | str] = [
        html.B([culprit.service, " failed"]),
        " in ",
        html.Code(culprit.operation or "(no name)"),
        f" after {duration(culprit.duration_ns)}",
    ]
    said = culprit.status_message.strip()
    if said:
        words.append(f": {said if len(said) <= 160 else said[:159] + '…'}")
    elif culprit.http_status is not None:
        words.append(f" with status {culprit.http_status}")
    others = reading.error_count - 1
    ending = "" if not words[-1] or str(words[-1]).endswith((".", "…")) else "."
    return [*words, f"{ending} It lies deepest of {count(reading.error_count)} failed spans." if others else ending]


def _where_time_went(reading: TraceReading) -> str:
    total_ns = sum(ns for _, _, ns in reading.self_time)
    service, _, service_ns = reading.self_time[0]
    if not total_ns:
        return "No span took any time."
    named = [operation for operation in reading.top_operations if operation[2] * 20 >= service_ns]
    parts = [
        f"{name or '(no name)'} ({'' if calls == 1 else f'{count(calls)} calls, '}{duration(ns)})"
        for name, calls, ns in named
    ]
    share = "most of it" if sum(ns for _, _, ns in named) * 2 >= service_ns else "the largest part"
    where = f", {share} in {' and '.join(parts)}" if parts else ""
    return f"{service} took {duration(service_ns)} of its own time, {percent(service_ns / total_ns, 0)} of all{where}."


def _self_time_bar(reading: TraceReading) -> Component:
    parts = list(reading.self_time[:MAX_PARTS])
    rest_ns = sum(ns for _, _, ns in reading.self_time[MAX_PARTS:])
    if rest_ns:
        parts.append((f"{count(len(reading.self_time) - MAX_PARTS)} others", 10, rest_ns))
    total_ns = sum(ns for _, _, ns in parts)
    bars = [html.I(style={"flex": f"{ns} 1 0", "background": f"var(--{service_token(slot)})"}) for _, slot, ns in parts]
    legend = [
        html.Span([service_name(name, slot), html.Span(_share(ns, total_ns), className="number")])
        for name, slot, ns in parts
    ]
    label = "Self time by service: " + ", ".join(f"{name} {duration(ns)}" for name, _, ns in parts)
    head = html.Div([html.Span("Self time by service"), html.Span(duration(total_ns))], className="split-head")
    bar = html.Div(bars, className="split-bar", role="img", **hyphenated(aria_label=label))
    return html.Div([head, bar, html.Div(legend, className="split-legend")])


def _share(ns: int, total_ns: int) -> str:
    return f"{duration(ns)} · {percent(ns / total_ns, 0)}" if total_ns else duration(ns)


def _card(model: TraceModel, reading: TraceReading) -> Component:
    pane = {"waterfall": _waterfall, "spans": _spans, "logs": _logs}[model.tab]
    body: list[Component] = [pane(model, reading)]
    if model.selected is not None:
        body.append(span_details(model.selected, _hrefs(model, model.selected.span.service, model.selected.span.name)))
    classes = "trace-body has-drawer" if model.selected is not None else "trace-body"
    return html.Section([_tabs(model, reading), html.Div(body, className=classes)], className="card trace-card")


def _tabs(model: TraceModel, reading: TraceReading) -> Component:
    log_count = f"{count(MAX_LOGS)}+" if len(model.logs) >= MAX_LOGS else count(len(model.logs))
    tabs = (("waterfall", "Waterfall", ""), ("spans", "Spans", count(reading.span_count)), ("logs", "Logs", log_count))
    links = [
        dcc.Link(
            [title, html.Small(size) if size else None],
            href=model.href(tab=None if name == "waterfall" else name),
            className="is-on" if name == model.tab else "",
        )
        for name, title, size in tabs
    ]
    return html.Nav(links, className="trace-tabs", **hyphenated(aria_label="Views of this trace"))


def _waterfall(model: TraceModel, reading: TraceReading) -> Component:
    return waterfall(model.trace_id, reading.revision, model.filters.get("span"))


def _spans(model: TraceModel, reading: TraceReading) -> Component:
    parts: list[Component] = []
    if reading.span_count > MAX_LINES:
        parts.append(note(f"Showing the {count(MAX_LINES)} longest of {count(reading.span_count)} spans."))
    rows = span_table(
        reading.lines,
        sort=model.filters.get("sort") or "start",
        sort_href=lambda key: model.href(sort=None if key == "start" else key),
        span_href=lambda span_id: model.href(span=span_id),
        selected=model.selected.span.span_id if model.selected else None,
    )
    return html.Div([*parts, rows], className="trace-pane")


def _logs(model: TraceModel, _reading: TraceReading) -> Component:
    if not model.logs:
        text = "No log record carries the id of this trace. Logs are linked when the app's logger runs inside a span."
        return html.Div(html.P(text, className="trace-empty"), className="trace-pane")
    parts: list[Component] = []
    if len(model.logs) >= MAX_LOGS:
        parts.append(note(f"Showing the newest {count(MAX_LOGS)} log records of this trace."))
    lines = [log_line(record, model.now_ns, _log_source(model, record)) for record in model.logs]
    return html.Div([*parts, html.Div(lines, className="trace-logs")], className="trace-pane")


def _log_source(model: TraceModel, record: LogRecord) -> Component:
    name = [swatch(model.slot(record.service)), html.Span(record.service, className="cut")]
    if not record.span_id:
        return html.Span(name, className="service")
    return dcc.Link(name, href=model.href(span=record.span_id), className="service", title="Show the span")


def _hrefs(model: TraceModel, service: str, operation: str) -> SpanHrefs:
    shared = model.filters.only_shared()

    def attribute(key: str, value: str) -> str:
        return shared.with_params(attr=f"{key}={value}").link("/traces")

    def trace(trace_id: str, span_id: str) -> str:
        return shared.with_params(span=span_id).link(f"/traces/{trace_id}")

    same = replace(shared, service=service).with_params(operation=operation)
    return SpanHrefs(model.href(span=None), same.link("/traces"), attribute, trace)


def callbacks(app: Dash, sources: Sources) -> None:
    """Serve the waterfall's columns; the page names the trace and its revision, the script fetches them once."""

    def trace_columns(trace_id: str) -> Response:
        try:
            reading = reader_of(sources.store).read(trace_id) if _TRACE_ID.fullmatch(trace_id) else None
        except StoreError as error:
            return _refuse(str(error), 503)
        if reading is None:
            return _refuse("No span of this trace is in the store.", 404)
        response = Response(reading.payload, mimetype="application/json")
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            response.set_data(gzip.compress(reading.payload, compresslevel=1))
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Cache-Control"] = "no-store"
        return response

    app.server.add_url_rule("/_spanwise/trace/<trace_id>", view_func=trace_columns)


def _refuse(message: str, status: int) -> Response:
    response: Response = jsonify({"message": message})
    response.status_code = status
    return response
