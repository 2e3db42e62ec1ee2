"""Fixed tables and grids."""

from dash import dcc, html

from apm_ui.components.table import FLOWING_ROWS, Column, GridColumn, grid, table

NAME = Column("Name", lambda row: row["name"], is_name=True)
CALLS = Column("Calls", lambda row: row["calls"], is_number=True, hide="small", arrow="↓")
ROWS = [{"name": "<b>a</b>", "calls": "1,204"}, {"name": "b", "calls": None}]


def body_rows(component):
    return component.children[2].children


def test_a_cell_holds_text_as_it_is():
    """Telemetry text becomes a text child, not markup."""
    made = table([NAME, CALLS], ROWS, label="Names")

    assert body_rows(made)[0].children[0].children == "<b>a</b>"


def test_a_missing_value_is_a_dash():
    """None shows as a muted dash, never as 0 or nothing."""
    made = table([NAME, CALLS], ROWS, label="Names")

    missing = body_rows(made)[1].children[1].children
    assert (missing.children, missing.className) == ("–", "muted")


def test_the_name_is_the_rows_link():
    """With `link` the name's cell holds a real link, which the style stretches over the row."""
    made = table([NAME, CALLS], ROWS, label="Names", link=lambda row: f"/x/{row['calls']}")

    link = body_rows(made)[0].children[0].children
    assert isinstance(link, dcc.Link)
    assert link.href == "/x/1,204"


def test_the_sorted_column_says_so():
    """The arrow stands in the head, and screen readers are told."""
    head = table([NAME, CALLS], ROWS, label="Names").children[1].children.children[1]

    assert head.children == ["Calls", " ↓"]
    assert getattr(head, "aria-sort") == "descending"
    assert head.className == "number hide-small sorted"


def test_the_selected_row_is_marked():
    """One row is selected, for the eye and for screen readers."""
    made = table([NAME, CALLS], ROWS, label="Names", is_selected=lambda row: row["name"] == "b")

    assert [row.className for row in body_rows(made)] == ["", "selected"]
    assert getattr(body_rows(made)[1], "aria-selected") == "true"


def grid_of(count):
    rows = [{"id": str(i), "href": f"/t/{i}", "name": "<i>"} for i in range(count)]
    return grid(
        "some-grid", [GridColumn("Name", "name", flex=1), GridColumn("Id", "id", hide="narrow")], rows, label="T"
    )


def test_a_grid_keeps_its_rows_by_id():
    """Rows have their own ids, so that a refresh updates them in place."""
    body = grid_of(2).children

    assert body.getRowId == "params.data.id"
    assert [row["id"] for row in body.rowData] == ["0", "1"]


def test_a_long_grid_scrolls_inside():
    """Beyond FLOWING_ROWS only the rows in sight are drawn."""
    short, long = grid_of(FLOWING_ROWS).children, grid_of(FLOWING_ROWS + 1).children

    assert short.dashGridOptions["domLayout"] == "autoHeight"
    assert long.dashGridOptions["domLayout"] == "normal"
    assert "grid-tall" in long.className


def test_a_grid_runs_no_code_from_data():
    """ag-grid may not evaluate strings or markdown."""
    body = grid_of(1).children

    assert not getattr(body, "dangerously_allow_code", False)
    assert all(definition.get("cellRenderer") != "markdown" for definition in body.columnDefs)


def test_a_columns_width_decides_where_it_hides():
    """The script hides a column below the width in its context."""
    definitions = grid_of(1).children.columnDefs

    assert [definition["context"]["hideBelow"] for definition in definitions] == [0, 1320]


def test_a_grid_lies_in_a_named_region():
    """The grid's frame is named for screen readers."""
    frame = grid_of(1)

    assert isinstance(frame, html.Div)
    assert getattr(frame, "aria-label") == "T"


def test_tab_goes_to_the_links_of_a_grid():
    """The grid itself takes no focus and no keys, so that Tab reaches the link of every row."""
    body = grid_of(1).children

    assert body.dashGridOptions["tabIndex"] == -1
    assert body.dashGridOptions["suppressHeaderFocus"]
    assert all(definition["suppressKeyboardEvent"] for definition in body.columnDefs)
