"""The frame around every page: navigation, service and time range pickers, live updates, theme, key sheet.

The pickers are links: they change the address and nothing else, so back and forward work.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, dcc, html
from dash.development.base_component import Component

from apm_store.api import StoreError
from apm_store.query import ServiceInfo
from apm_ui.components.attributes import hyphenated
from apm_ui.components.card import note
from apm_ui.components.icons import icon, mark
from apm_ui.components.status import swatch
from apm_ui.components.svg import FreeRange
from apm_ui.components.text import resolved_range
from apm_ui.filters import RANGES, Filters
from apm_ui.page import TICK_MS, Page
from apm_ui.sources import Sources
from apm_ui.theme import mantine_theme

# Parts that are made anew at refresh; assets/refresh.js puts each `…-next` in its place.
PLACED = ("page", "shell-nav", "shell-pickers")
NOTICE_TICK_MS = 10_000
NOTICES_PATH = "/system"
RANGE_NAMES = {
    "5m": "Last 5 min",
    "15m": "Last 15 min",
    "1h": "Last 1 h",
    "6h": "Last 6 h",
    "1d": "Last 1 d",
    "7d": "Last 7 d",
    "30d": "Last 30 d",
    "custom": "Fixed range",
}
KEYS = (
    ("↑ ↓ or j k", "row"),
    ("← →", "close, open"),
    ("Enter", "open the details"),
    ("Esc", "close"),
    ("/", "find"),
    ("n N", "next, previous match"),
    ("e E", "next, previous error"),
    ("x", "open, close repeats"),
    ("z", "zoom to the span"),
    ("0", "show the whole trace"),
    ("y", "copy the link"),
    ("p", "pause, go live"),
    ("g then o t q s", "overview, traces, slow queries, SLOs"),
    ("?", "this sheet"),
)


def shell(pages: Sequence[Page]) -> Component:
    """The whole frame with nothing in it yet; grey blocks stand where the page will be."""
    frame: Component = dmc.MantineProvider(
        theme=mantine_theme(),
        children=[
            dcc.Location(id="shell-url", refresh="callback-nav"),
            dcc.Interval(id="shell-tick", interval=TICK_MS),
            dcc.Interval(id="shell-notice-tick", interval=NOTICE_TICK_MS),
            dcc.Store(id="page-seen"),
            dcc.Store(id="page-pulse"),
            *(dcc.Store(id=f"{part}-next") for part in PLACED),
            html.A("Skip to the page", href="#page", className="skip"),
            html.Div(
                [
                    _side(pages),
                    html.Div(
                        [
                            _top(),
                            html.Div(id="shell-strip", role="status"),
                            html.Div(id="shell-notice", role="status"),
                            html.Main(_skeleton(), id="page"),
                        ],
                        className="body",
                    ),
                ],
                className="app",
            ),
            html.Div(id="shell-heard"),
            _key_sheet(),
        ],
    )
    return frame


def _side(pages: Sequence[Page]) -> Component:
    brand = html.Div([mark(), html.Span("Spanwise", className="nav-text")], className="brand")
    collapse = html.Button(
        [icon("collapse"), html.Span("Collapse", className="nav-text")],
        id="shell-collapse",
        className="nav-item",
        type="button",
        title="Collapse or widen the navigation",
    )
    links = html.Div(html.Div(navigation(pages, "/", None)), id="shell-nav")
    foot = html.Div(id="shell-foot", className="nav-foot")
    return html.Nav([brand, links, html.Div([collapse, foot], className="nav-end")], id="shell-side", className="side")


def navigation(pages: Sequence[Page], pathname: str, filters: Filters | None) -> list[Component]:
    """The links to all pages in nav order and groups; they carry the chosen range and service along."""
    shown = sorted((page for page in pages if page.in_nav), key=lambda page: page.order)
    items: list[Component] = []
    group = ""
    for page in shown:
        if page.group != group:
            group = page.group
            items.append(html.Div(group, className="nav-group"))
        items.append(_nav_item(page, pathname, filters))
    return items


def _nav_item(page: Page, pathname: str, filters: Filters | None) -> Component:
    is_here = page.match(pathname) is not None or (page.path != "/" and pathname.startswith(page.path + "/"))
    link = dcc.Link(
        [icon(page.icon), html.Span(page.title, className="nav-text")],
        href=filters.only_shared().link(page.path) if filters else page.path,
        title=page.title,
        className="nav-item here" if is_here else "nav-item",
    )
    return html.Div(link, **hyphenated(aria_current="page" if is_here else ""))


def _top() -> Component:
    return html.Header(
        [
            _button("shell-menu", icon("menu"), "Open the menu", "ghost square only-narrow"),
            html.Div(_waiting_pickers(), id="shell-pickers"),
            html.Span(className="grow"),
            html.Span(id="shell-updated", className="updated not-narrow"),
            html.Button(
                [
                    html.I(className="live-dot"),
                    html.Span("Live", className="when-live"),
                    html.Span("Paused", className="when-paused"),
                    html.Span(icon("pause"), className="when-live live-end"),
                    html.Span(icon("play"), className="when-paused live-end"),
                ],
                id="shell-live",
                className="button live",
                type="button",
                title="Live updates: pause or resume (p)",
            ),
            _button("shell-theme", icon("theme"), "Switch between light and dark", "ghost square not-narrow"),
            _button("shell-help", html.Span("?", className="help"), "Keyboard help", "ghost square"),
        ],
        className="top",
    )


def _button(button_id: str, content: Component, label: str, classes: str) -> Component:
    return html.Button(
        content, id=button_id, type="button", title=label, className=f"button {classes}", **hyphenated(aria_label=label)
    )


def _skeleton() -> Component:
    blocks = [html.Div(className=f"block {size}") for size in ("title", "short", "tall", "tall", "tall")]
    return html.Div(blocks, className="skeleton", **hyphenated(aria_label="Loading"))


def _waiting_pickers() -> Component:
    blocks = [html.Div(className="block picker-block") for _ in range(2)]
    return html.Div(blocks, className="pickers waiting", **hyphenated(aria_hidden="true"))


def _key_sheet() -> Component:
    rows = [html.Div([html.Kbd(keys), html.Span(action)], className="key-row") for keys, action in KEYS]
    sheet: Component = dmc.Modal(html.Div(rows), id="shell-keys", title="Keys", opened=False, size="sm", zIndex=50)
    return sheet


def service_picker(services: Iterable[ServiceInfo], pathname: str, filters: Filters) -> Component:
    """A menu of links that set or remove the service."""
    items = [_choice("All services", None, filters.service is None, replace(filters, service=None).link(pathname))]
    items += [
        _choice(info.name, info.slot, info.name == filters.service, replace(filters, service=info.name).link(pathname))
        for info in services
    ]
    summary = [icon("services"), html.Span(filters.service or "All services", className="cut"), icon("chevron")]
    return _picker("Service", summary, [html.Div(items, className="choices")])


def range_picker(pathname: str, filters: Filters) -> Component:
    """A menu of links to the named ranges, and a form for a range with its own start and end."""
    span = filters.time_range
    items = [
        _choice(RANGE_NAMES[name], None, name == filters.range_name, filters.with_range(name).link(pathname))
        for name in RANGES
    ]
    resolved = html.Span(resolved_range(span.start_ns, span.end_ns, time.time_ns()), className="muted not-narrow")
    summary = [icon("clock"), html.Span(RANGE_NAMES[filters.range_name]), resolved, icon("chevron")]
    form = FreeRange(start_ms=span.start_ns // 1_000_000, end_ms=span.end_ns // 1_000_000)
    return _picker("Time range", summary, [html.Div(items, className="choices"), form])


def _choice(name: str, slot: int | None, is_chosen: bool, href: str) -> Component:
    content = [swatch(slot) if slot is not None else None, html.Span(name, className="cut")]
    if is_chosen:
        content.append(html.Span(icon("check"), className="end"))
    return dcc.Link(content, href=href, className="choice chosen" if is_chosen else "choice", title=name)


def _picker(label: str, summary: list[Component], menu: list[Component]) -> Component:
    head = html.Summary(summary, className="button", title=label)
    return html.Details([head, html.Div(menu, className="menu")], className="picker", key=label)


def frame(
    pages: Sequence[Page], pathname: str, filters: Filters, services: Sequence[ServiceInfo]
) -> tuple[Component, Component]:
    """Navigation and pickers for an address; on an address without a page, the pickers lead to the overview."""
    path = pathname if any(page.match(pathname) is not None for page in pages) else "/"
    pickers = [service_picker(services, path, filters), range_picker(path, filters)]
    return html.Div(navigation(pages, pathname, filters)), html.Div(pickers, className="pickers")


def install_shell(app: Dash) -> None:
    """Install what puts new parts in their places, and what tells the store's pulse."""
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("spanwise", "pulse"), Output("shell-heard", "children"), Input("page-pulse", "data")
    )
    for part in PLACED:
        app.clientside_callback(  # type: ignore[no-untyped-call]
            ClientsideFunction("spanwise", "place"), Output(part, "children"), Input(f"{part}-next", "data")
        )


def install_notices(app: Dash, sources: Sources) -> None:
    """Install the banner over every page that says what is critical."""

    @app.callback(
        Output("shell-notice", "children"), Input("shell-notice-tick", "n_intervals"), Input("shell-url", "pathname")
    )
    def tell(_ticks: Any, pathname: Any) -> Component | None:
        if pathname == NOTICES_PATH:
            return None  # the page says it itself
        try:
            notices = sources.store.health().notices
        except (StoreError, OSError):
            return None  # the strip above says that the store does not answer
        return banner([notice.text for notice in notices if notice.state == "critical"])


def banner(texts: Sequence[str]) -> Component | None:
    """One line with the first of what is critical, how much more there is, and the way to all of it."""
    if not texts:
        return None
    more = f" And {len(texts) - 1} more." if len(texts) > 1 else ""
    link = dcc.Link("See System", href=NOTICES_PATH, className="nowrap")
    words = html.Div([html.Span(texts[0] + more, className="cut grow", title=texts[0]), link], className="row")
    return note(words, "critical")
