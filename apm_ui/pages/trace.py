"""One trace: what happened, where the time went, and every span of it in a waterfall."""

from __future__ import annotations

import gzip
import re
import time
from dataclasses import dataclass, replace

from dash import Dash, dcc, html
from dash.development.base_component import Component
from flask import Response, jsonify, request

from apm_analysis import open_spans, profiles
from apm_analysis.profiles import Profile
from apm_store.api import Store, StoreError
from apm_store.model import LogRecord
from apm_store.query import LogQuery
from apm_ui.components.attributes import hyphenated
from apm_ui.components.card import note
from apm_ui.components.empty import explained
from apm_ui.components.flame_graph import flame_graph, samples_text
from apm_ui.components.span_details import SpanFacts, SpanHrefs, log_line, span_details
from apm_ui.components.span_table import span_table
from apm_ui.components.status import swatch
from apm_ui.components.text import clock, count
from apm_ui.components.trace_head import copyable, trace_header, trace_summary
from apm_ui.components.waterfall import waterfall
from apm_ui.filters import Filters
from apm_ui.page import Page
from apm_ui.sources import Sources
from apm_ui.trace_reading import MAX_LINES, TraceReading, reader_of

PAGE = Page(
    slug="trace", path="/traces/<trace_id>", title="Trace", order=21, icon="traces", group="Explore", in_nav=False
)
MAX_LOGS = 1_000
MAX_SAMPLE_RECORDS = 500
TABS = ("waterfall", "spans", "logs", "profile")
# What the agent tells of the running code is shown by the waterfall and the profile.
RUNTIME_EVENTS = (open_spans.EVENT_NAME, profiles.EVENT_NAME)
_TRACE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TraceModel:
    """What the page shows; `reading` is None for an unknown trace, `selected` None without a chosen span.

    `logs` are the newest MAX_LOGS of the app's own. `profile` is of the chosen span and what it called, else of the
    whole trace; `has_samples` says whether its tab is there.
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
    has_samples: bool = False
    profile: Profile | None = None
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
    """Read the trace, its logs, the chosen span, and its samples. Raises StoreError."""
    store, trace_id = sources.store, (filters.get("trace_id") or "").lower()
    model = TraceModel(trace_id, filters, time.time_ns())
    reading = reader_of(store).read(trace_id) if _TRACE_ID.fullmatch(trace_id) else None
    if reading is None:
        return replace(model, raw_since_ns=store.traces.coverage(filters.time_range).raw_since_ns)
    slots = tuple((info.name, info.slot) for info in store.traces.services())
    tab = filters.get("tab")
    sample_limit = MAX_SAMPLE_RECORDS if tab == "profile" else 1
    samples = store.logs.find(LogQuery(trace_id=trace_id, event_name=profiles.EVENT_NAME, limit=sample_limit))
    selected = _select(store, model, reading, dict(slots))
    if selected is not None and tab == "profile":
        ids = reading.subtree(selected.span.span_id)
        profile = profiles.build_profile([record for record in samples if record.span_id in ids])
    else:
        profile = profiles.build_profile(samples)
    return replace(
        model,
        tab=tab if tab in TABS and (samples or tab != "profile") else "waterfall",
        reading=reading,
        logs=_logs_of(store, trace_id),
        slots=slots,
        selected=selected,
        has_samples=bool(samples),
        profile=profile,
    )


def _logs_of(store: Store, trace_id: str, span_id: str | None = None) -> tuple[LogRecord, ...]:
    """The newest log records that the app itself wrote in a trace, or in one span of it, oldest first."""
    query = LogQuery(trace_id=trace_id, span_id=span_id, without_events=RUNTIME_EVENTS, limit=MAX_LOGS)
    return tuple(reversed(store.logs.find(query)))


def _select(store: Store, model: TraceModel, reading: TraceReading, slots: dict[str, int]) -> SpanFacts | None:
    span_id = (model.filters.get("span") or "").lower()
    span = store.traces.get_span(model.trace_id, span_id) if re.fullmatch(r"[0-9a-f]{16}", span_id) else None
    span = span or next((span for span in reading.open_spans if span.span_id == span_id), None)
    if span is None:
        return None
    return SpanFacts(
        span=span,
        slot=slots.get(span.service, 10),
        self_time_ns=reading.self_time_ns(span_id),
        offset_ns=span.start_ns - reading.start_ns,
        now_ns=model.now_ns,
        logs=_logs_of(store, model.trace_id, span_id),
    )


def view(model: TraceModel) -> Component:
    """Header, summary, then the waterfall, the spans or the logs; the chosen span's details stand at the right."""
    if model.reading is None:
        return _not_found(model)
    head = trace_header(model.trace_id, model.reading, model.now_ns, model.filters.only_shared().link("/traces"))
    return html.Div([head, trace_summary(model.reading, model.now_ns), _card(model, model.reading)])


def _not_found(model: TraceModel) -> Component:
    back = dcc.Link("Search the traces", href=model.filters.only_shared().link("/traces"), className="button primary")
    if not _TRACE_ID.fullmatch(model.trace_id):
        text = f"“{model.trace_id[:80]}” is not a trace id. A trace id has 32 digits from 0 to 9 and a to f."
        return explained([html.Span(text), html.Div(back, className="actions")], "This is no trace")
    text = (
        "It may not have arrived yet: apps send their spans a few seconds late, and this page looks again by itself. "
        "Or it was not sampled, or was sent to another store."
    )
    known = html.Div(copyable(model.trace_id))
    if model.raw_since_ns is None:
        return explained([html.Span(text), known, html.Div(back, className="actions")], "No span of this trace is here")
    gone = (
        f"If it began before {clock(model.raw_since_ns, model.now_ns)}, it was pruned to keep the store small: at most "
        "some traces are left from before that failed, were slow or rare. Its numbers are still in every chart and "
        "SLO. "
    )
    body = [html.Span(gone), html.Span(f"Otherwise: {text[0].lower()}{text[1:]}"), known]
    return explained([*body, html.Div(back, className="actions")], "This trace may have been pruned")


def _card(model: TraceModel, reading: TraceReading) -> Component:
    pane = {"waterfall": _waterfall, "spans": _spans, "logs": _logs, "profile": _profile}[model.tab]
    body: list[Component] = [pane(model, reading)]
    if model.selected is not None:
        body.append(span_details(model.selected, _hrefs(model, model.selected.span.service, model.selected.span.name)))
    classes = "trace-body has-drawer" if model.selected is not None else "trace-body"
    return html.Section([_tabs(model, reading), html.Div(body, className=classes)], className="card trace-card")


def _tabs(model: TraceModel, reading: TraceReading) -> Component:
    log_count = count(len(model.logs)) + "+" * _is_cut(model)
    tabs = [("waterfall", "Waterfall", ""), ("spans", "Spans", count(reading.span_count)), ("logs", "Logs", log_count)]
    if model.has_samples:
        tabs.append(("profile", "Profile", ""))
    links = [
        dcc.Link(
            [title, html.Small(size) if size else None],
            href=model.href(tab=None if name == "waterfall" else name),
            className="is-on" if name == model.tab else "",
        )
        for name, title, size in tabs
    ]
    return html.Nav(links, className="trace-tabs", **hyphenated(aria_label="Views of this trace"))


def _is_cut(model: TraceModel) -> bool:
    return len(model.logs) >= MAX_LOGS


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
    parts: list[Component] = []
    if _is_cut(model):
        parts.append(note(f"Showing the newest {count(len(model.logs))} log records of this trace."))
    if not model.logs:
        text = "No log record carries the id of this trace. Logs are linked when the app's logger runs inside a span."
        parts.append(html.P(text, className="trace-empty"))
    lines = [log_line(record, model.now_ns, _log_source(model, record)) for record in model.logs]
    return html.Div([*parts, html.Div(lines, className="trace-logs")], className="trace-pane")


def _profile(model: TraceModel, _reading: TraceReading) -> Component:
    parts: list[Component] = []
    if model.selected is not None:
        whole = dcc.Link("Show the whole trace", href=model.href(span=None))
        name = model.selected.span.name or "(no name)"
        what = f"{name} and what it called" if model.profile else f"No sample was taken in {name}"
        parts.append(html.P([html.B(what), " · ", whole], className="flame-scope"))
    if model.profile is not None:
        parts.append(flame_graph(model.profile, samples_text(model.profile, with_requests=False)))
    return html.Div(parts, className="trace-pane")


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
