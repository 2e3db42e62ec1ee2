"""A page's place in the app, and the one callback that keeps the open page up to date.

`mount` gives every page the same life: its address, loading, refresh, error panel. A refresh answers `no_update`
when neither the store's version, nor the address, nor (for ranges that end now) the minute has changed. The frame's
navigation and pickers come in the same answer, so that they never show another range than the page.
The browser (assets/refresh.js) puts in place only what differs from the page it shows.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import unquote

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from apm_store.api import StoreError
from apm_store.query import MINUTE_NS, ServiceInfo, StoreStats
from apm_ui.components import text
from apm_ui.components.empty import error_panel
from apm_ui.filters import FilterError, Filters, default_range, parse_filters
from apm_ui.sources import Sources

LOG = logging.getLogger(__name__)
STILL_SAVED = "Incoming data is still being saved."
TICK_MS = 1500
# A page that takes long to make is made less often, but never so seldom that a span is seen later than in 5 s:
# half a second until the agent sends it, the commit, two ticks, and making the page.
REST_PER_WORK = 20
LONGEST_REST_MS = 2500


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page lives. `path` may hold variables, `/traces/<trace_id>`; they arrive in `filters.params`."""

    slug: str
    path: str
    title: str
    order: int
    icon: str
    group: str = ""
    in_nav: bool = True

    def match(self, pathname: str) -> dict[str, str] | None:
        """The path's variables when `pathname` is an address of this page, else None."""
        pattern = re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", self.path)
        found = re.fullmatch(pattern, pathname.rstrip("/") or "/")
        return {name: unquote(value) for name, value in found.groupdict().items()} if found else None


class PageModule(Protocol):
    """What every module in `pages/` offers; it may also have `callbacks(app, sources)`."""

    PAGE: Page

    def load(self, sources: Sources, filters: Filters) -> Any:
        """Ask everything the page shows; gives a frozen view-model."""
        ...

    def view(self, model: Any) -> Component:
        """Draw the view-model; asks nothing."""
        ...


def find_page(modules: Sequence[PageModule], pathname: str) -> tuple[PageModule, dict[str, str]] | None:
    """The module whose page lives at `pathname`, with the path's variables."""
    for module in modules:
        variables = module.PAGE.match(pathname)
        if variables is not None:
            return module, variables
    return None


# Draws navigation and pickers for a path, its filters, and the services.
Frame = Callable[[str, Filters, Sequence[ServiceInfo]], tuple[Component, Component]]


def mount(app: Dash, modules: Sequence[PageModule], sources: Sources, frame: Frame) -> None:
    """Give every page its address and its own callbacks, and install the one refresh callback for all."""
    for module in modules:
        install = getattr(module, "callbacks", None)
        if install is not None:
            install(app, sources)

    @app.callback(
        Output("page-next", "data"),
        Output("page-seen", "data"),
        Output("shell-nav-next", "data"),
        Output("shell-pickers-next", "data"),
        Output("page-pulse", "data"),
        Input("shell-url", "pathname"),
        Input("shell-url", "search"),
        Input("shell-tick", "n_intervals"),
        State("page-seen", "data"),
    )
    def refresh(pathname: Any, search: Any, _ticks: Any, seen: Any) -> tuple[Any, ...]:
        now_ns = time.time_ns()
        path, query = _text(pathname) or "/", _text(search)
        address, (stats, problem) = path + query, _stats(sources)
        if not _is_due(seen, address, stats, now_ns):
            return no_update, no_update, no_update, no_update, pulse(stats, now_ns)
        content = _unanswered(modules, path, problem) if problem else render(modules, sources, path, query, now_ns)
        services = _services(sources)
        epoch = _epoch(services, now_ns)
        shows_frame = isinstance(seen, dict) and (seen.get("address"), seen.get("epoch")) == (address, epoch)
        parts = (
            (no_update, no_update) if shows_frame else frame(path, _readable_filters(query, now_ns, services), services)
        )
        now_seen = {
            "address": address,
            "version": stats.version if stats else None,
            "epoch": epoch,
            "rest_until_ms": _rest_until_ms(now_ns),
        }
        return content, now_seen, *parts, pulse(stats, now_ns)


def _rest_until_ms(began_ns: int) -> int:
    took_ms = (time.time_ns() - began_ns) // 1_000_000
    return began_ns // 1_000_000 + min(LONGEST_REST_MS, took_ms * REST_PER_WORK)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _stats(sources: Sources) -> tuple[StoreStats | None, str]:
    """The store's counters; without an answer, what is wrong with it."""
    try:
        return sources.store.stats(), ""
    except StoreError as error:
        return None, f"{error} {STILL_SAVED}"
    except OSError as error:
        return None, f"{error.filename} cannot be read: {error.strerror}. Put it back, or start Spanwise again."


def _services(sources: Sources) -> list[ServiceInfo]:
    try:
        return sources.store.traces.services()
    except StoreError:
        return []


def _implied_range(services: Sequence[ServiceInfo], now_ns: int) -> str:
    """What the page shows when its address names no range."""
    return default_range(min((service.first_seen_ns for service in services), default=None), now_ns)


def _readable_filters(search: str, now_ns: int, services: Sequence[ServiceInfo]) -> Filters:
    """The address's filters; the defaults when it cannot be read (the page itself says why)."""
    implied = _implied_range(services, now_ns)
    try:
        return parse_filters(search, now_ns, default_range=implied)
    except FilterError:
        return parse_filters("", now_ns, default_range=implied)


def _epoch(services: Sequence[ServiceInfo], now_ns: int) -> str:
    """Changes when the frame must be drawn again: with a new service or another default range, and every minute."""
    return json.dumps([now_ns // MINUTE_NS, _implied_range(services, now_ns), [service.name for service in services]])


def _is_due(seen: Any, address: str, stats: StoreStats | None, now_ns: int) -> bool:
    """Whether the page must be made again; `seen` is what the browser says it shows."""
    if not isinstance(seen, dict) or seen.get("address") != address or stats is None:
        return True
    rest_until_ms = seen.get("rest_until_ms")
    if isinstance(rest_until_ms, int) and now_ns // 1_000_000 < rest_until_ms:
        return False
    minute = f"[{now_ns // MINUTE_NS},"
    has_moved = "start=" not in address and not str(seen.get("epoch")).startswith(minute)
    return has_moved or seen.get("version") != stats.version


def pulse(stats: StoreStats | None, now_ns: int) -> dict[str, Any]:
    """What the frame around the page shows of the store: growth and size; `problem` when it does not answer."""
    checked = {"checked_ms": now_ns // 1_000_000}
    if stats is None:
        return checked | {"problem": "The store does not answer."}
    return checked | {
        "growth": f"Receiving {text.rate(stats.spans_per_second, 'spans')}",
        "size": f"{text.count(stats.spans)} spans, {text.bytes_(stats.bytes_on_disk)}",
    }


def render(modules: Sequence[PageModule], sources: Sources, pathname: str, search: str, now_ns: int) -> Component:
    """The page at an address, or the panel that says why there is none."""
    found = find_page(modules, pathname)
    if found is None:
        return _no_such_page(pathname)
    module, variables = found
    try:
        filters = parse_filters(search, now_ns, default_range=_implied_range(_services(sources), now_ns))
        filters = replace(filters, params=(*variables.items(), *filters.params))
        content = module.view(module.load(sources, filters))
    except FilterError as error:
        content = error_panel("This address cannot be read", str(error), "FilterError", retry_href=pathname)
    except StoreError as error:
        panel_title = f"{module.PAGE.title} could not be read"
        content = error_panel(panel_title, f"{error} {STILL_SAVED}", type(error).__name__)
    except Exception:
        LOG.exception("Page %s failed for %s%s", module.PAGE.slug, pathname, search)
        words = f"A mistake in Spanwise itself; the details are in its log. {STILL_SAVED}"
        content = error_panel(f"{module.PAGE.title} could not be drawn", words, "InternalError")
    return html.Div(content, id=f"{module.PAGE.slug}-content", key=module.PAGE.slug, className="content")


def _unanswered(modules: Sequence[PageModule], pathname: str, words: str) -> Component:
    """The page's place while the store gives no answer at all."""
    found = find_page(modules, pathname)
    title = found[0].PAGE.title if found else "The store"
    panel = error_panel(f"{title} could not be read", words, "StoreError")
    return html.Div(panel, id="unanswered-content", key="unanswered", className="content")


def _no_such_page(pathname: str) -> Component:
    words = f"Nothing lives at {pathname[:200]}. It may be a mistyped link."
    home = dcc.Link("Open the overview", href="/", className="button primary")
    return html.Div(
        html.Section([html.H1("There is no such page"), html.P(words), home], className="card state"),
        id="missing-content",
        className="content",
    )
