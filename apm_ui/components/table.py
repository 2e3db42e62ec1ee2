"""Tables: `table` draws a fixed table as plain HTML, `grid` a long one as ag-grid, drawing the rows in sight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import dash_ag_grid
from dash import dcc, html
from dash.development.base_component import Component

from apm_ui.components.attributes import hyphenated

Row = TypeVar("Row")
Children = Any  # what a Dash component takes as children: text, a component, or a list of both
Hide = Literal["", "narrow", "small"]  # "narrow" goes below 1320 px, "small" at 700 px and less
Arrow = Literal["", "↓", "↑"]

HEADER_HEIGHT = 30
FLOWING_ROWS = 100  # more rows than this scroll inside the grid, so that only those in sight are drawn
_HIDE_BELOW = {"": 0, "small": 701, "narrow": 1320}


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column of a fixed table: `cell` gives a row's content; None shows as a muted dash.

    `arrow` marks the sorted column. The cell of the `is_name` column becomes the row's link.
    """

    title: Children
    cell: Callable[[Row], Children]
    is_number: bool = False
    is_name: bool = False
    width: str = ""
    hide: Hide = ""
    arrow: Arrow = ""


def table(
    columns: Sequence[Column[Row]],
    rows: Iterable[Row],
    *,
    label: str,
    link: Callable[[Row], str] | None = None,
    is_selected: Callable[[Row], bool] = lambda _row: False,
    row_height: int = 34,
) -> Component:
    """A fixed table; `label` names it for screen readers. With `link` the whole row leads to the row's address."""
    return html.Table(
        [
            html.Colgroup(
                [html.Col(style={"width": c.width} if c.width else {}, className=_hidden(c)) for c in columns]
            ),
            html.Thead(html.Tr([_head(column) for column in columns])),
            html.Tbody([_row(columns, row, link, is_selected(row)) for row in rows]),
        ],
        className="table" + (" table-linked" if link else ""),
        style={"--row-height": f"{row_height}px"},
        **hyphenated(aria_label=label),
    )


def _head(column: Column[Row]) -> Component:
    sort = {"↓": "descending", "↑": "ascending", "": ""}[column.arrow]
    title = [column.title, f" {column.arrow}"] if column.arrow else column.title
    classes = f"{_classes(column)} sorted" if sort else _classes(column)
    return html.Th(title, className=classes, scope="col", **hyphenated(aria_sort=sort))


def _row(columns: Sequence[Column[Row]], row: Row, link: Callable[[Row], str] | None, is_selected: bool) -> Component:
    cells = []
    for column in columns:
        content = column.cell(row)
        if content is None:
            content = html.Span("–", className="muted")
        if link and column.is_name:
            content = dcc.Link(content, href=link(row), className="row-link")
        cells.append(html.Td(content, className=_classes(column)))
    selected = hyphenated(aria_selected="true" if is_selected else "")
    return html.Tr(cells, className="selected" if is_selected else "", **selected)


def _classes(column: Column[Row]) -> str:
    return " ".join(filter(None, ["number" if column.is_number else "", _hidden(column)]))


def _hidden(column: Column[Row]) -> str:
    return f"hide-{column.hide}" if column.hide else ""


@dataclass(frozen=True, slots=True)
class GridColumn:
    """One column of a grid: `field` is the key in each row, `renderer` a function of assets/tables.js.

    `width` is in pixels; with `flex` the column takes that share of what is left, and `width` is its least width,
    `max_width` its greatest where it is not 0.
    `href` makes the head a link (to the same page sorted by this column); `arrow` marks the sorted column.
    """

    title: str
    field: str
    renderer: str = ""
    width: int = 90
    flex: int = 0
    max_width: int = 0
    is_number: bool = False
    hide: Hide = ""
    href: str = ""
    arrow: Arrow = ""


def grid(
    grid_id: str, columns: Sequence[GridColumn], rows: Sequence[Mapping[str, Any]], *, label: str, row_height: int = 34
) -> Component:
    """A grid of JSON `rows`, each with a unique `id` and an `href` that the whole row opens.

    Up to FLOWING_ROWS rows lie in the page; more scroll inside the grid.
    """
    is_flowing = len(rows) <= FLOWING_ROWS
    options = {
        "theme": {"function": "spanwiseTheme(themeQuartz)"},
        "rowHeight": row_height,
        "headerHeight": HEADER_HEIGHT,
        "domLayout": "autoHeight" if is_flowing else "normal",
        "suppressCellFocus": True,
        "suppressHeaderFocus": True,
        "tabIndex": -1,
        "suppressMovableColumns": True,
        "enableCellTextSelection": True,
        "ensureDomOrder": True,
        "animateRows": False,
    }
    classes = "grid" if is_flowing else "grid grid-tall"
    body = dash_ag_grid.AgGrid(
        id=grid_id,
        className=classes,
        columnDefs=[_definition(column) for column in columns],
        rowData=list(rows),
        getRowId="params.data.id",
        dashGridOptions=options,
        eventListeners={"gridSizeChanged": ["spanwiseFitColumns(params)"]},
        style={"width": "100%", "height": None},
    )
    return html.Div(body, role="region", className="grid-frame", **hyphenated(aria_label=label))


def _definition(column: GridColumn) -> dict[str, Any]:
    side = "number" if column.is_number else ""
    definition: dict[str, Any] = {
        "field": column.field,
        "headerName": column.title,
        "headerComponent": "SpanwiseHeader",
        "headerComponentParams": {"href": column.href, "arrow": column.arrow, "isNumber": column.is_number},
        "cellClass": side,
        "cellDataType": False,
        "sortable": False,
        "resizable": False,
        "suppressKeyboardEvent": {"function": "spanwiseLeaveKeys(params)"},
        "suppressHeaderKeyboardEvent": {"function": "spanwiseLeaveKeys(params)"},
        "context": {"hideBelow": _HIDE_BELOW[column.hide]},
    }
    if column.renderer:
        definition["cellRenderer"] = column.renderer
    if column.max_width:
        definition["maxWidth"] = column.max_width
    return definition | ({"flex": column.flex, "minWidth": column.width} if column.flex else {"width": column.width})
