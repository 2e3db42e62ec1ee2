"""The icons of navigation and buttons: 16 px strokes in the colour of the text around them."""

from __future__ import annotations

from apm_ui.components.svg import Node, Svg


def _path(d: str) -> Node:
    return ["path", {"d": d}]


def _circle(cx: float, cy: float, r: float) -> Node:
    return ["circle", {"cx": cx, "cy": cy, "r": r}]


ICONS: dict[str, list[Node]] = {
    "overview": [_path("M2.5 8.5h3v5h-3zM6.5 2.5h3v11h-3zM10.5 5.5h3v8h-3z")],
    "services": [_path("M3 2.5h10v4.5H3zM3 9h10v4.5H3zM5.2 4.75h.01M5.2 11.25h.01")],
    "traces": [_path("M2 3.5h8M4.5 8h7M8 12.5h6")],
    "profiles": [_path("M2 3h12v3.4H2zM2 6.4h8v3.4H2zM2 9.8h4v3.2H2z")],
    "logs": [_path("M2.5 4h11M2.5 8h11M2.5 12h7")],
    "queries": [
        ["ellipse", {"cx": 8, "cy": 4, "rx": 5, "ry": 2}],
        _path("M3 4v8c0 1.1 2.2 2 5 2s5-.9 5-2V4M3 8c0 1.1 2.2 2 5 2s5-.9 5-2"),
    ],
    "slos": [_path("M2.5 11.5a6 6 0 1 1 11 0M8 10.5l3-4")],
    "clock": [_circle(8, 8, 5.7), _path("M8 4.8V8l2.2 1.6")],
    "chevron": [_path("M4 6.5l4 4 4-4")],
    "menu": [_path("M2.5 4.5h11M2.5 8h11M2.5 11.5h11")],
    "pause": [_path("M5.5 3.5v9M10.5 3.5v9")],
    "play": [_path("M5 3.2l7.5 4.8L5 12.8z")],
    "theme": [_path("M13 9.6A5.6 5.6 0 1 1 6.4 3a4.6 4.6 0 0 0 6.6 6.6z")],
    "collapse": [_path("M2.5 3h11v10h-11zM6 3v10M11 6.2L9.2 8l1.8 1.8")],
    "copy": [_path("M5.5 5.5h8v8h-8zM3.5 10.5h-1v-8h8v1")],
    "link": [
        _path(
            "M6.8 9.2l2.4-2.4M7.5 4.9l1.6-1.6a2.6 2.6 0 0 1 3.6 3.6l-1.6 1.6"
            "M8.5 11.1l-1.6 1.6a2.6 2.6 0 0 1-3.6-3.6l1.6-1.6"
        )
    ],
    "close": [_path("M4 4l8 8M12 4l-8 8")],
    "search": [_circle(7, 7, 4.2), _path("M10.2 10.2l3.3 3.3")],
    "system": [_path("M2.5 3.5h11v7.5h-11zM6 13.5h4M8 11v2.5M5 7.3h1.5l1-2 1.4 3.6.8-1.6H11")],
    "info": [_circle(8, 8, 5.7), _path("M8 7.4v3.4M8 5.2v.01")],
    "reload": [_path("M13 8a5 5 0 1 1-1.6-3.7M13 2.5v2.6h-2.6")],
    "check": [_path("M3 8.4l3.2 3.2L13 4.8")],
    "external": [_path("M9 3h4v4M13 3L7.5 8.5M11.5 9.5V13H3V4.5h3.5")],
}


def icon(name: str) -> Svg:
    """An icon by its name in ICONS; it is decoration, so the control around it needs a label."""
    return Svg(ICONS[name], width=16, height=16, className="icon")


def mark(size: int = 22) -> Svg:
    """The product's mark: three spans of one trace."""
    bars = [(2, 4, 14, 1.0), (6, 9.3, 9, 0.62), (11, 14.6, 9, 0.36)]
    nodes: list[Node] = [
        [
            "rect",
            {"x": x, "y": y, "width": width, "height": 3.4, "rx": 1.2, "fill": "var(--accent)", "opacity": opacity},
        ]
        for x, y, width, opacity in bars
    ]
    return Svg([["g", {"transform": f"scale({size / 22})"}, *nodes]], width=size, height=size)
