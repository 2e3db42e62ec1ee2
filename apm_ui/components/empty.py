"""What a page says when it has nothing, or when something went wrong: the cause, and the next step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dash import dcc, html
from dash.development.base_component import Component

from apm_store.query import Coverage
from apm_ui.components.attributes import hyphenated
from apm_ui.components.card import Content, code_line, note
from apm_ui.components.icons import icon, mark
from apm_ui.components.status import status_shape
from apm_ui.components.text import clock
from apm_ui.pruned import pruned_before_ns

STAYS = "Counts and durations stay, and at most some traces that failed, were slow or rare."


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that apps send to: its protocol, its address, and whether it answers."""

    protocol: str
    address: str
    is_open: bool


def first_start(listeners: Sequence[Listener]) -> Component:
    """Nothing has ever arrived: three ways to change that, and whether the ports are open."""
    http = next((listener.address for listener in listeners if listener.protocol == "OTLP/HTTP"), "127.0.0.1:4318")
    return html.Section(
        [
            mark(40),
            html.H1("No telemetry has arrived yet"),
            html.P("Spanwise is listening. Start your app through it and the first trace shows here by itself."),
            html.H3("1. Run your app, instrumented"),
            code_line("spanwise run -- python app.py"),
            html.H3("2. Or send OTLP from what you already have"),
            code_line(f"OTEL_EXPORTER_OTLP_ENDPOINT=http://{http}"),
            html.H3("3. Or look around with a demo shop"),
            code_line("spanwise demo"),
            html.Div([*map(_listener, listeners), _silence()], className="listeners"),
            html.P(
                ["Started the app and still nothing? ", html.Code("spanwise doctor"), " says why."], className="muted"
            ),
        ],
        className="card first-start",
    )


def _listener(listener: Listener) -> Component:
    state, word = ("ok", "open") if listener.is_open else ("critical", "not answering")
    text = f"{listener.protocol} {listener.address}" + ("" if listener.is_open else ", not answering")
    return html.Span([status_shape(state, word), text])


def _silence() -> Component:
    return html.Span([status_shape("unknown", "no data"), "0 spans so far"])


def nothing_matches(text: Content, actions: Sequence[Component] = (), title: str = "Nothing matches") -> Component:
    """The conditions leave nothing over: which one it is, and how to take it away."""
    body = [html.H2(title), html.P(text), html.Div(list(actions), className="actions") if actions else None]
    return html.Section(body, className="card state")


def prune_note(coverage: Coverage, now_ns: int) -> Component | None:
    """A strip above what lists raw data, when some of the range is gone; None when none is."""
    before_ns = pruned_before_ns(coverage)
    if before_ns is None:
        return None
    return note([html.B(f"Raw data before {clock(before_ns, now_ns)} was pruned."), f" {STAYS}"])


def error_panel(title: str, text: str, code: str, *, retry_href: str | None = None) -> Component:
    """A part that failed: what happened in words, a way to try again, and a small code for a report."""
    actions: list[Component] = [
        html.Button([icon("reload"), "Try again"], className="button", type="button", **hyphenated(data_retry="1"))
    ]
    if retry_href is not None:
        actions = [dcc.Link("Remove the conditions", href=retry_href, className="button")]
    head = html.H2([status_shape("critical", "Failed"), title])
    return html.Section(
        [head, html.P(text), html.Div(actions, className="actions"), html.Code(code, className="muted")],
        className="card state",
        role="alert",
    )


def explained(text: Content, title: str = "", command: str | None = None) -> Component:
    """An emptiness with its cause, and a command that helps."""
    parts = [html.H2(title) if title else None, html.P(text), code_line(command) if command else None]
    return html.Section(parts, className="card state")


def insufficient(text: str) -> Component:
    """Too little data for a verdict, and when there will be enough."""
    return html.P([status_shape("unknown", "Not enough data"), text], className="insufficient")
