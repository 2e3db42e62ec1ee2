"""The app as a whole: what it is made of, and what it leaves out of memory."""

from __future__ import annotations

import dash_mantine_components as dmc
import pytest
from dash import html

from apm_ui.app import create_app
from apm_ui.sources import Sources


def test_components_work_without_what_editors_read(empty_sources: Sources) -> None:
    """Their docstrings and signatures are gone; they still take what they know, and refuse what they do not."""
    create_app(empty_sources)

    for component in (dmc.Button, html.Div):
        assert component.__doc__ is None
        assert "__signature__" not in vars(component.__init__)
    assert dmc.Button("Go", id="go", variant="subtle").to_plotly_json()["props"]["variant"] == "subtle"
    with pytest.raises(TypeError, match="unexpected keyword argument: `colour`"):
        dmc.Button("Go", colour="red")
