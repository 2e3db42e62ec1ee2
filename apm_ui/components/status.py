"""Status and service marks: a shape with its colour and word, a swatch with its name, a tag."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from apm_ui.components.svg import Node, Svg
from apm_ui.theme import service_token

WORDS = {"ok": "OK", "warn": "Warning", "critical": "Critical", "unknown": "Unknown"}
# How states are ranked: the first is the worst.
SEVERITY = {"critical": 0, "warn": 1, "ok": 2, "unknown": 3}

_SHAPES: dict[str, Node] = {
    "ok": ["circle", {"cx": 6, "cy": 6, "r": 4.2, "fill": "var(--ok-fill)"}],
    "warn": ["path", {"d": "M6 1.2L11.4 10.8H.6z", "fill": "var(--warn-fill)"}],
    "critical": ["path", {"d": "M6 .6L11.4 6 6 11.4.6 6z", "fill": "var(--critical-fill)"}],
    "unknown": [
        "circle",
        {
            "cx": 6,
            "cy": 6,
            "r": 3.8,
            "fill": "none",
            "stroke": "var(--unknown-fill)",
            "strokeWidth": 1.6,
            "strokeDasharray": "2.6 1.6",
        },
    ],
}


def status_shape(state: str, label: str = "") -> Svg:
    """The 12 px shape of a state (ok, warn, critical, unknown); `label` is its tooltip and is read aloud."""
    return Svg([_SHAPES[state]], width=12, height=12, label=label or WORDS[state], className="status")


def swatch(slot: int) -> Component:
    """The colour of a service."""
    return html.I(className="swatch", style={"background": f"var(--{service_token(slot)})"})


def service_name(name: str, slot: int) -> Component:
    """A service: its colour, then its name."""
    return html.Span([swatch(slot), html.Span(name, className="cut")], className="service", title=name)


def tag(text: str, state: str = "") -> Component:
    """A few words on a soft ground; `state` is ok, warn, critical, accent or "" for grey."""
    return html.Span(text, className=f"tag {state}".strip())
