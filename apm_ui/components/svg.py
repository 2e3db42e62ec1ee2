"""Components that the React functions in assets/shell.js draw: inline SVG as plain data, and the range form.

A Dash component is a namespace, a type and a list of properties; these need no build step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash.development.base_component import Component

# [tag, attributes, *children]; a child is a node or a text.
Node = list[Any]


class BrowserComponent(Component):
    """A component of ours; the browser finds its function as `window.spanwise[type]`."""

    _children_props = []  # noqa: RUF012  # Dash declares it
    _base_nodes = ["children"]  # noqa: RUF012  # Dash declares it
    _namespace = "spanwise"

    def __init__(self, **props: Any) -> None:
        self._prop_names = [*props, *self.answers]
        self._valid_wildcard_attributes = []
        self.available_properties = self._prop_names
        self.available_wildcard_properties = []
        super().__init__(**props)  # type: ignore[no-untyped-call]

    # Properties that only the browser sets, for callbacks to listen to.
    answers: tuple[str, ...] = ()


class Svg(BrowserComponent):
    """An <svg> made of `nodes`; `label` is read aloud, without one it is decoration."""

    _type = "Svg"

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        width: float,
        height: float,
        label: str = "",
        className: str = "",  # noqa: N803  # the name of the browser's property
    ) -> None:
        super().__init__(nodes=list(nodes), width=width, height=height, label=label, className=className)


class FreeRange(BrowserComponent):
    """Two moments that the reader can type, in milliseconds, and a button that makes them the time range."""

    _type = "FreeRange"

    def __init__(self, *, start_ms: int, end_ms: int) -> None:
        super().__init__(startMs=start_ms, endMs=end_ms)
