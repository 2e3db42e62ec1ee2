"""The outcome of one check of `spanwise doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """What was found: `state` is ok, warn or fail; `cure` says what to do unless it is ok."""

    state: str
    finding: str
    cure: str = ""
