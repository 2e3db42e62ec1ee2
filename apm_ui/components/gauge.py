"""Bars that show a share: how much of a budget is left, how much of a total a row is."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from apm_ui.components.attributes import hyphenated
from apm_ui.components.text import percent


def gauge(share_left: float | None, state: str, *, is_tall: bool = False) -> Component:
    """The share of an error budget that is left; an overspent one is a full bar in critical."""
    if share_left is None:
        return html.Div(className="gauge empty", role="img", **hyphenated(aria_label="not measured"))
    filled = 1.0 if share_left < 0 else min(1.0, share_left)
    bar = html.I(style={"width": f"{filled * 100:.1f}%", "background": f"var(--{state}-fill)"})
    label = f"{percent(share_left, 1)} of the error budget is left"
    return html.Div(bar, className="gauge tall" if is_tall else "gauge", role="img", **hyphenated(aria_label=label))


def inline_bar(share: float, text: str, *, color: str = "bar") -> Component:
    """A bar scaled to the column's maximum, with its number beside it unless another column has it."""
    width = f"{min(1.0, max(0.0, share)) * 100:.1f}%"
    bar = html.Span(html.I(style={"width": width, "background": f"var(--{color})"}), className="bar")
    number = html.Span(text, className="number") if text else None
    return html.Span([bar, number], className="bar-cell")
