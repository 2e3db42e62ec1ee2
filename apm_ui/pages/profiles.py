"""Profiles: what the code of each endpoint was doing, from stack samples."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from dash import html
from dash.development.base_component import Component

from apm_analysis.profiles import EVENT_NAME, Endpoint, Profile, build_profile, endpoint_key, endpoints
from apm_store.query import LogQuery
from apm_ui.components.card import card, code_line, header, note
from apm_ui.components.flame_graph import flame_graph, samples_text
from apm_ui.components.gauge import inline_bar
from apm_ui.components.open_spans import short_path
from apm_ui.components.status import swatch
from apm_ui.components.table import Column, table
from apm_ui.components.text import clock, count, duration, percent, plural, resolved_range
from apm_ui.filters import Filters
from apm_ui.page import Page
from apm_ui.sources import Sources

PAGE = Page(slug="profiles", path="/profiles", title="Profiles", order=22, icon="profiles", group="Explore")
MAX_RECORDS = 1_000
MAX_ENDPOINTS = 12


@dataclass(frozen=True, slots=True)
class ProfilesModel:
    """Everything the page shows; `endpoints` have the most samples first, `profile` is that of the `chosen` one.

    `oldest_ns` is the time of the oldest record that was read when there are more of them in the range, else None.
    """

    filters: Filters
    now_ns: int
    slots: Mapping[str, int]
    endpoints: tuple[Endpoint, ...] = ()
    chosen: Endpoint | None = None
    profile: Profile | None = None
    oldest_ns: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no sample is in the range."""
        return self.chosen is None

    def href(self, endpoint: Endpoint) -> str:
        """This page with another endpoint chosen."""
        return self.filters.with_params(operation=endpoint.operation, by=endpoint.service).link(PAGE.path)


def load(sources: Sources, filters: Filters) -> ProfilesModel:
    """Read the newest samples of the range, and make the chosen endpoint's into a tree. Raises StoreError."""
    query = LogQuery(filters.time_range, service=filters.service, event_name=EVENT_NAME, limit=MAX_RECORDS)
    records = sources.store.logs.find(query)
    slots = {info.name: info.slot for info in sources.store.traces.services()}
    ranked = endpoints(records)
    asked = filters.get("operation"), filters.get("by")
    chosen = next((one for one in ranked if (one.operation, one.service) == asked), ranked[0] if ranked else None)
    if chosen is None:
        return ProfilesModel(filters, time.time_ns(), slots)
    key = chosen.service, chosen.operation
    return ProfilesModel(
        filters=filters,
        now_ns=time.time_ns(),
        slots=slots,
        endpoints=tuple(ranked),
        chosen=chosen,
        profile=build_profile([record for record in records if endpoint_key(record) == key]),
        oldest_ns=records[-1].time_ns if len(records) == MAX_RECORDS else None,
    )


def view(model: ProfilesModel) -> Component:
    """Where the chosen endpoint spends its time, the endpoints, and the flame graph."""
    if model.chosen is None or model.profile is None:
        return html.Div([header("No samples in this time range", _scope(model)), _nothing()], className="stack")
    graph = flame_graph(model.profile, samples_text(model.profile))
    parts = [
        header(_title(model.chosen, model.profile), _scope(model)),
        html.Div(_capped(model)),
        _endpoints(model),
        card(model.chosen.operation or "(no name)", f"{model.chosen.service}, callers above", graph),
    ]
    return html.Div(parts, className="stack")


def _title(chosen: Endpoint, profile: Profile) -> str:
    """The finding: the function that the endpoint is found in most often."""
    share = percent(profile.hottest.self_count / profile.sample_count, 0)
    return f"{chosen.operation or '(no name)'} spends {share} of its time in {profile.hottest.function}"


def _scope(model: ProfilesModel) -> str:
    time_range, profile = model.filters.time_range, model.profile
    when = resolved_range(time_range.start_ns, time_range.end_ns, model.now_ns)
    if profile is None:
        return f"{model.filters.service or 'All services'}, {when}"
    total = sum(endpoint.sample_count for endpoint in model.endpoints)
    return f"{_at(profile)}{plural(total, 'sample')} of {plural(len(model.endpoints), 'endpoint')}, {when}"


def _at(profile: Profile) -> str:
    """Where the hottest function is, and which of the app's own functions it ran under."""
    hottest, caller = profile.hottest, profile.caller
    if not hottest.file:
        return ""
    at = f"{short_path(hottest.file)}:{hottest.line}"
    if caller is None:
        return f"{at} · "
    return f"{at}, mostly under {caller.function} at {short_path(caller.file)}:{caller.line} · "


def _capped(model: ProfilesModel) -> Component | None:
    if model.oldest_ns is None:
        return None
    newest = f"the newest {count(MAX_RECORDS)} records, back to {clock(model.oldest_ns, model.now_ns)}"
    return note([html.B("There are more samples in this range."), f" Shown are those of {newest}."])


def _endpoints(model: ProfilesModel) -> Component:
    total = sum(endpoint.sample_count for endpoint in model.endpoints)
    columns: list[Column[Endpoint]] = [
        Column("Endpoint", lambda one: _name(one, model.slots), is_name=True),
        Column("Requests", lambda one: count(one.request_count), is_number=True, width="92px", hide="small"),
        Column("Time sampled", lambda one: duration(one.sampled_ns), is_number=True, width="112px", hide="small"),
        Column("Share", lambda one: percent(one.sample_count / total), is_number=True, width="84px", hide="small"),
        Column(
            "Samples",
            lambda one: inline_bar(one.sample_count / model.endpoints[0].sample_count, count(one.sample_count)),
            is_number=True,
            width="clamp(96px, 14vw, 200px)",
            arrow="↓",
        ),
    ]
    shown = model.endpoints[:MAX_ENDPOINTS]
    rows = table(
        columns, shown, label="Endpoints by samples", link=model.href, is_selected=lambda one: one == model.chosen
    )
    return card("Endpoints", f"{count(len(shown))} of {count(len(model.endpoints))}, by samples", rows)


def _name(endpoint: Endpoint, slots: Mapping[str, int]) -> Component:
    mark = swatch(slots.get(endpoint.service, 10))
    words = [html.Span(endpoint.operation or "(no name)"), html.Span(endpoint.service, className="muted")]
    return html.Span([mark, *words], className="open-operation")


def _nothing() -> Component:
    return html.Section(
        [
            html.H2("The profiler is off unless you switch it on"),
            html.P(
                "Start the app with the profiler on, and it looks at what each thread in a span does 49 times a second:"
            ),
            code_line("SPANWISE_PROFILER=on spanwise run -- python app.py"),
            html.P("Or only while a span takes longer than 95 % of its name, which costs less:"),
            code_line("SPANWISE_PROFILER=slow spanwise run -- python app.py"),
            html.P(
                "Samples are kept with the trace that they were taken in. If the profiler is on, no span was open in "
                "this time range, or none was slow.",
                className="muted",
            ),
        ],
        className="card state",
    )
