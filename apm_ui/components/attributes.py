"""Attributes of HTML elements whose names have a hyphen, which Python's keywords cannot."""

from __future__ import annotations

from typing import Any


def hyphenated(**values: str) -> dict[str, Any]:
    """`aria_label="x"` as `{"aria-label": "x"}`, to be given on with `**`; empty values are left out."""
    return {name.replace("_", "-"): value for name, value in values.items() if value}
