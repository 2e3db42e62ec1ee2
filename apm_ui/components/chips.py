"""The query bar with its conditions as chips, and the facets beside a list: two ways to edit one query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dash import dcc, html
from dash.development.base_component import Component

from apm_ui.components.attributes import hyphenated
from apm_ui.components.icons import icon
from apm_ui.components.status import status_shape, swatch
from apm_ui.components.text import count
from apm_ui.filters import FilterError
from apm_ui.search import Condition, SearchError

TOP_VALUES = 8
MORE_VALUES = 40

Href = Callable[[Sequence[Condition]], str]  # the address of the page with these conditions


@dataclass(frozen=True, slots=True)
class FacetValue:
    """One value that a facet offers; `slot` is the colour of a service, `state` the shape of an outcome."""

    condition: Condition
    text: str
    count: int
    slot: int | None = None
    state: str = ""


@dataclass(frozen=True, slots=True)
class Facet:
    """The values of one kind, most first; of one facet at most one value is chosen."""

    title: str
    values: tuple[FacetValue, ...]


def query_bar(
    slug: str,
    conditions: Sequence[Condition],
    href: Href,
    problem: Sequence[Component | str] = (),
    words: Mapping[str, str] | None = None,
) -> Component:
    """The conditions as chips, then a field for more; `problem` is a `problem_line` for conditions of the address.

    `words` says what a value means that is an id, as “SELECT orders” for a statement.
    The ids are `{slug}-bar`, `-query`, `-search` and `-problem`.
    """
    chips = [
        _chip(condition, href([c for c in conditions if c != condition]), (words or {}).get(condition.value))
        for condition in conditions
    ]
    example = "Add a condition" if conditions else "For example status=error duration>500ms"
    field = dcc.Input(
        id=f"{slug}-query",
        type="text",
        value="",
        placeholder=example,
        className="query-field",
        autoComplete="off",
        spellCheck=False,
        maxLength=4_000,
    )
    search = html.Button("Search", id=f"{slug}-search", className="button small primary", type="button")
    clear = dcc.Link("Clear", href=href([]), className="button small ghost") if conditions else None
    classes = "query has-problem" if problem else "query"
    bar = html.Div([icon("search"), *chips, field, clear, search], id=f"{slug}-bar", className=classes, role="search")
    return html.Div([bar, html.Div(list(problem), id=f"{slug}-problem", className="query-problem", role="alert")])


def problem_line(error: FilterError, text: str) -> list[Component | str]:
    """What is wrong with a query's text: the sentence, then the text with the wrong part underlined."""
    sentence = html.Span([status_shape("critical", "Mistake"), html.Span(str(error))])
    wrong = error.part if isinstance(error, SearchError) else ""
    before, part, after = text.partition(wrong) if wrong else (text, "", "")
    if not part:
        return [sentence]
    return [sentence, html.Code([before, html.U(part), after])]


def _chip(condition: Condition, without_href: str, shown: str | None) -> Component:
    key, op, text = condition.key, condition.op, str(condition)
    words = [html.B(key), html.Span(op), html.Span(shown or condition.value, className="cut")]
    # A click on the words puts the condition into the field (assets/tables.js); a new one takes its place.
    edit = html.Button(
        words, className="chip-words", type="button", title=f"Edit {text}", **hyphenated(data_condition=text)
    )
    remove = dcc.Link(icon("close"), href=without_href, className="chip-remove", title=f"Remove {text}")
    return html.Span([edit, remove], className="chip")


def facets(found: Sequence[Facet], conditions: Sequence[Condition], href: Href, note: str) -> Component:
    """The facets in one card; a click adds the value as a condition, or takes it away again."""
    sections = [_facet(facet, conditions, href) for facet in found if facet.values]
    toggle = html.Button([icon("search"), "Facets"], className="button small facets-toggle", type="button")
    body = [*sections, html.P(note, className="facet-note") if note else None]
    return html.Div([toggle, html.Aside(body, className="card facets", **hyphenated(aria_label="Facets"))])


def _facet(facet: Facet, conditions: Sequence[Condition], href: Href) -> Component:
    largest = max((value.count for value in facet.values), default=0) or 1
    rows = [_facet_value(value, largest, conditions, href) for value in facet.values[: TOP_VALUES + MORE_VALUES]]
    hidden = len(facet.values) - TOP_VALUES
    more = None
    if hidden > 0:
        rest = hidden - len(rows[TOP_VALUES:])
        unseen = html.P(f"{count(rest)} others: write one in the search.", className="facet-note") if rest else None
        more = html.Details([html.Summary(f"{count(hidden)} more"), *rows[TOP_VALUES:], unseen])
    return html.Div([html.H3(facet.title), *rows[:TOP_VALUES], more], className="facet")


def _facet_value(value: FacetValue, largest: int, conditions: Sequence[Condition], href: Href) -> Component:
    is_chosen = value.condition in conditions
    others = [condition for condition in conditions if condition.slot != value.condition.slot]
    target = href(others if is_chosen else [*others, value.condition])
    mark = swatch(value.slot) if value.slot is not None else status_shape(value.state, " ") if value.state else None
    parts = [
        html.Span(icon("check") if is_chosen else None, className="check on" if is_chosen else "check"),
        mark,
        html.Span(value.text, className="facet-text"),
        html.Span(count(value.count), className="number"),
        html.U(html.I(style={"width": f"{100 * value.count / largest:.0f}%"})),
    ]
    return dcc.Link(
        parts, href=target, className="facet-value chosen" if is_chosen else "facet-value", title=value.text
    )
