"""Numbers as the sentences about objectives say them."""

from __future__ import annotations

from itertools import pairwise

_SECOND_NS = 1_000_000_000
_UNITS = (("d", 86_400 * _SECOND_NS), ("h", 3600 * _SECOND_NS), ("min", 60 * _SECOND_NS), ("s", _SECOND_NS))


def span_text(duration_ns: float) -> str:
    """A duration of at least seconds in its two largest units: 5 min, 3 h 20 min, 4 d."""
    for (large, large_ns), (small, small_ns) in pairwise(_UNITS):
        smalls = round(duration_ns / small_ns)
        if smalls >= large_ns // small_ns:
            whole, rest = divmod(smalls, large_ns // small_ns)
            width = 2 if small == "s" else 1
            return f"{whole}\u202f{large}" + (f" {rest:0{width}}\u202f{small}" if rest else "")
    return f"{round(duration_ns / _SECOND_NS)}\u202fs"


def times_text(factor: float) -> str:
    """A factor in three significant digits: 0.92, 18.2, 1,250."""
    return f"{factor:.3g}" if factor < 999.5 else f"{factor:,.0f}"
