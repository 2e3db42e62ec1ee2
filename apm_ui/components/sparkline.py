"""A line the size of a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apm_ui.components.svg import Node, Svg


def sparkline(
    values: Sequence[float | None],
    *,
    color: str = "accent",
    width: int = 92,
    height: int = 22,
    label: str = "",
) -> Svg:
    """The values as a line from zero with an end dot, in the colour of a token; None is a gap, below zero is zero."""
    top = max([0.0, *(value for value in values if value is not None)]) or 1.0
    inner_width, inner_height, count = width - 6, height - 5, max(1, len(values) - 1)
    points = [
        None if value is None else (2 + inner_width * i / count, 2.5 + inner_height * (1 - max(0.0, value) / top))
        for i, value in enumerate(values)
    ]
    paint, base = f"var(--{color})", height - 2.5
    nodes: list[Node] = []
    if not points:
        nodes.append(_base_line(2, width - 4, base))
    nodes += [_base_line(2 + inner_width * a / count, 2 + inner_width * b / count, base) for a, b in _gaps(values)]
    for run in _runs(points):
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in run)
        area = f"M{line}L{run[-1][0]:.1f} {base:.1f}L{run[0][0]:.1f} {base:.1f}Z"
        nodes.append(["path", {"d": area, "fill": paint, "opacity": 0.13}])
        stroke = {"d": f"M{line}", "fill": "none", "stroke": paint, "strokeWidth": 1.4, "strokeLinejoin": "round"}
        nodes.append(["path", stroke])
    if points and points[-1]:
        x, y = points[-1]
        nodes.append(["circle", {"cx": round(x, 1), "cy": round(y, 1), "r": 1.9, "fill": paint}])
    return Svg(nodes, width=width, height=height, label=label, className="sparkline")


def _runs(points: Sequence[tuple[float, float] | None]) -> Iterator[list[tuple[float, float]]]:
    run: list[tuple[float, float]] = []
    for point in [*points, None]:
        if point:
            run.append(point)
        elif run:
            # A single step is drawn as a short dash; a line of no length would not be seen.
            yield run if len(run) > 1 else [(run[0][0] - 1, run[0][1]), (run[0][0] + 1, run[0][1])]
            run = []


def _gaps(values: Sequence[float | None]) -> Iterator[tuple[int, int]]:
    """First and last step of every gap that is wide enough to be seen."""
    start = 0
    for i, value in enumerate([*values, 0.0]):
        if value is not None:
            if i - start > 1:
                yield start, i - 1
            start = i + 1


def _base_line(x1: float, x2: float, y: float) -> Node:
    dashes = {"stroke": "var(--edge)", "strokeDasharray": "1.5 2.5", "opacity": 0.8}
    return ["line", {"x1": round(x1, 1), "x2": round(x2, 1), "y1": y, "y2": y, **dashes}]
