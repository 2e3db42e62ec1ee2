"""What the agent sees beyond the instrumentations: one module per enrichment, listed in ENRICHMENTS.

Each has a NAME, by which OTEL_PYTHON_DISABLED_INSTRUMENTATIONS switches it off, and `start()`, which is called once the
providers are installed and before any library is instrumented. What costs something waits in it until it is needed.
"""

from typing import Protocol, cast

from otel_agent.enrichments import code_location, event_loop, lru_cache, memory, open_spans, profiler, termination
from otel_agent.guard import guard


class Enrichment(Protocol):
    """What a module of this folder must have."""

    NAME: str

    def start(self) -> None:
        """Begin; the global providers are in place."""


ENRICHMENTS = cast(
    "tuple[Enrichment, ...]", (code_location, event_loop, lru_cache, memory, open_spans, profiler, termination)
)


def start_enrichments(disabled: frozenset[str]) -> None:
    """Start every enrichment that is not switched off."""
    for enrichment in ENRICHMENTS:
        if not disabled & {enrichment.NAME, "*"}:
            with guard(f"start {enrichment.NAME}"):
                enrichment.start()
