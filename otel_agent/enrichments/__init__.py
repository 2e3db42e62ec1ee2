"""What the agent sees beyond the instrumentations: one module per enrichment, listed in ENRICHMENTS.

Each has `start()`, which is called once the providers are installed and before any library is instrumented, or when the
host imports what the enrichment waits for; for those of AT_ONCE, when the process begins. What costs something waits in
it until it is needed.
"""

from collections.abc import Collection
from functools import partial
from importlib import import_module
from types import ModuleType

from otel_agent.guard import guard
from otel_agent.imports import when_imported

# The name of each module of this folder, by which OTEL_PYTHON_DISABLED_INSTRUMENTATIONS switches it off, and the module
# whose import it waits for: "" if it does not.
ENRICHMENTS = {
    "code_location": "",
    "event_loop": "asyncio",
    "lru_cache": "",
    "memory": "",
    "open_spans": "",
    "profiler": "",
    "termination": "",
}

# Those that have to start in the main thread; the others may have to do with any.
AT_ONCE = {"termination"}


def start_enrichments(disabled: frozenset[str], names: Collection[str]) -> None:
    """Start those of the enrichments in `names` that are not switched off."""
    for name, library in ENRICHMENTS.items():
        if name not in names or disabled & {name, "*"}:
            continue
        if library:
            when_imported(library, partial(_start, name))
        else:
            _start(name)


def _start(name: str, _library: ModuleType | None = None) -> None:
    with guard(f"start {name}"):
        import_module(f"{__name__}.{name}").start()
