"""The frame of a page's parts: page header, card, row of key figures, note, drawer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from apm_ui.components.attributes import hyphenated
from apm_ui.components.icons import icon
from apm_ui.components.status import status_shape
from apm_ui.components.text import NARROW

# What an element holds: text, a component, nothing, or a list of these.
Content = Component | str | Sequence[Any] | None


@dataclass(frozen=True, slots=True)
class Kpi:
    """One key figure: `value` is formatted text, `comparison` what it is measured against."""

    label: str
    value: str
    comparison: str
    sparkline: Component | None = None
    state: str = ""


def header(title: str, sub: Content, actions: Sequence[Component] = ()) -> Component:
    """The head of a page: its finding as title, and below it what, range and coverage."""
    words = html.Div([html.H1(title), html.Div(sub, className="sub")], className="grow")
    return html.Div([words, *actions], className="page-header")


def card(
    title: str,
    sub: Content,
    body: Content,
    *,
    link: Component | None = None,
    className: str = "",  # noqa: N803  # the name of the browser's property
) -> Component:
    """A card: head with title, sub line and one link at the right, then the body."""
    head: list[Component] = [html.H2(title), html.Span(sub, className="sub")]
    if link is not None:
        head.append(html.Span(link, className="end"))
    return html.Section([html.Div(head, className="card-head"), html.Div(body)], className=f"card {className}".strip())


def kpi_row(cells: Sequence[Kpi]) -> Component:
    """The key figures of a page in one card."""
    return html.Div([_kpi(cell) for cell in cells], className="card kpis")


def _kpi(cell: Kpi) -> Component:
    number, _, unit = cell.value.rpartition(NARROW)
    value: list[Any] = [number, html.Small(unit)] if number else [unit]
    return html.Div(
        [
            html.Div(cell.label, className="kpi-label"),
            html.Div(
                [html.Span(value, className=f"kpi-value {cell.state}".strip()), cell.sparkline], className="kpi-line"
            ),
            html.Div(cell.comparison, className="kpi-comparison", title=cell.comparison),
        ],
        className="kpi",
    )


def note(text: Content, kind: str = "info") -> Component:
    """A strip with something the reader must know: `kind` is info, warn or critical."""
    mark = icon("info") if kind == "info" else status_shape(kind)
    return html.Div([mark, html.Div(text, className="grow")], className=f"note {kind}", role="status")


def drawer(kind: str, name: Content, body: Content, *, close_href: str) -> Component:
    """The panel at the right of what it explains; `close_href` is the address without it (Esc goes there)."""
    close = dcc.Link(icon("close"), href=close_href, className="button ghost small square drawer-close", title="Close")
    title = html.Div([html.Div(kind, className="drawer-kind"), html.H2(name)], className="grow")
    return html.Aside([html.Div([title, close], className="drawer-head"), html.Div(body)], className="drawer")


def copy_button(text: str, label: str = "Copy") -> Component:
    """A button that copies `text`; the script in assets/shell.js does it."""
    return html.Button([icon("copy"), label], className="button small", type="button", **hyphenated(data_copy=text))


def code_line(text: str) -> Component:
    """A command or a variable in one line with a copy button."""
    return html.Div([html.Code(text), copy_button(text)], className="code-line")
