"""The head of a trace's page: what happened, when, how complete it is, and where the time went."""

from __future__ import annotations

from dash import dcc, html
from dash.development.base_component import Component

from apm_analysis.open_spans import is_silent
from apm_store.model import Span
from apm_ui.components.attributes import hyphenated
from apm_ui.components.icons import icon
from apm_ui.components.open_spans import heard_text, place
from apm_ui.components.span_details import precise_clock
from apm_ui.components.status import service_name, status_shape, tag
from apm_ui.components.text import count, duration, percent, plural, relative, short_id
from apm_ui.theme import service_token
from apm_ui.trace_reading import TraceReading

MAX_PARTS = 8


def trace_header(trace_id: str, reading: TraceReading, now_ns: int, traces_href: str) -> Component:
    """The finding as title, start, sizes, completeness and id; `traces_href` is where the search is."""
    root = reading.root
    title: list[Component] = [status_shape("critical", "Failed")] if root.is_error else []
    code = tag(str(root.http_status), "critical" if root.is_error else "") if root.http_status is not None else None
    title.append(html.Span([_title(reading, now_ns), code]))
    crumb = html.Span([dcc.Link("Traces", href=traces_href), f" / {short_id(trace_id)}"], className="crumb")
    facts: list[Component | str] = [
        _started(reading.start_ns, now_ns),
        ", ".join(_sizes(reading)),
        _completeness(reading, now_ns),
        copyable(trace_id),
    ]
    sub = [part for fact in facts for part in (" · ", fact)][1:]
    words = [crumb, html.H1(title, className="trace-title"), html.Div(sub, className="sub")]
    copy_link = html.Button(
        [icon("link"), "Copy link"], type="button", className="button", **hyphenated(data_copy="address")
    )
    return html.Div([html.Div(words, className="grow"), copy_link], className="page-header trace-header")


def trace_summary(reading: TraceReading, now_ns: int) -> Component:
    """Two sentences, what failed or hangs and where the time went, beside the self time by service."""
    finding = html.P(_where_it_is(reading, now_ns)) if reading.open_spans else None
    sentences = [finding, html.P(_failure(reading)), html.P(_where_time_went(reading))]
    return html.Div([html.Div(sentences), _self_time_bar(reading)], className="card trace-summary")


def _started(start_ns: int, now_ns: int) -> str:
    """When the trace started, and how long ago unless that is a date as well."""
    at, ago = precise_clock(start_ns, now_ns), relative(start_ns, now_ns)
    return at if at == ago else f"{at}, {ago}"


def copyable(trace_id: str) -> Component:
    """A trace's id with a button that copies it."""
    copy = html.Button(
        icon("copy"),
        type="button",
        title="Copy the id",
        className="button ghost small square",
        **hyphenated(data_copy=trace_id),
    )
    return html.Span([html.Span(trace_id, className="trace-id"), copy])


def _title(reading: TraceReading, now_ns: int) -> str:
    """The finding: what the root did and how long it took, or that it has not ended."""
    root = reading.root
    name = root.operation or "(no name)"
    unfinished = next((span for span in reading.open_spans if span.span_id == root.span_id), None)
    if unfinished is not None:
        state = "never finished, last heard of" if is_silent(unfinished, now_ns) else "is still open"
        return f"{name} {state} after {duration(root.duration_ns)}"
    if reading.is_root_missing:
        return f"{name} took {duration(root.duration_ns)}, its root has not arrived"
    return f"{name} {'failed after' if root.is_error else 'took'} {duration(root.duration_ns)}"


def _sizes(reading: TraceReading) -> list[str]:
    sizes = [plural(reading.span_count, "span"), plural(reading.service_count, "service")]
    return [*sizes, plural(reading.error_count, "error")] if reading.error_count else [*sizes, "no errors"]


def _completeness(reading: TraceReading, now_ns: int) -> Component:
    """Whether every span has ended, and every parent that a span names has arrived."""
    silent = [span for span in reading.open_spans if is_silent(span, now_ns)]
    problems = []
    if len(silent) < len(reading.open_spans):
        problems.append(f"{plural(len(reading.open_spans) - len(silent), 'span')} still open")
    if silent:
        heard_ns = max(span.end_ns for span in silent)
        problems.append(f"{plural(len(silent), 'span')} never finished: last heard of {relative(heard_ns, now_ns)}")
    if reading.orphan_count:
        word = "names" if reading.orphan_count == 1 else "name"
        problems.append(f"{plural(reading.orphan_count, 'span')} {word} a parent that has not arrived")
    if reading.root_count > 1:
        problems.append(f"{count(reading.root_count)} roots")
    if not problems:
        return html.Span([icon("check"), "complete"], className="trace-state ok")
    state = "warn" if reading.orphan_count or silent else "unknown"
    return html.Span(
        [status_shape(state, "Incomplete" if state == "warn" else "Note"), ", ".join(problems)], className="trace-state"
    )


def _where_it_is(reading: TraceReading, now_ns: int) -> list[Component | str]:
    """One sentence about the innermost open span whose place in the code is known."""
    innermost = _innermost(reading.open_spans)
    at, is_lost = place(innermost), is_silent(innermost, now_ns)
    words: list[Component | str] = [
        html.B(heard_text(innermost, now_ns)),
        ": ",
        html.Code(innermost.name or "(no name)"),
        f" of {innermost.service} {'had been' if is_lost else 'has been'} open for {duration(innermost.duration_ns)}",
    ]
    return [*words, ", at ", at, "."] if at is not None else [*words, "."]


def _innermost(spans: tuple[Span, ...]) -> Span:
    return max(spans, key=lambda span: (place(span) is not None, span.start_ns))


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
