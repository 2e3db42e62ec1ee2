"""multiprocessing: child processes send their last spans, though they end without exit handlers or by SIGTERM."""

import sys
from types import ModuleType

from otel_agent.enrichments.termination import arrivals
from otel_agent.flush import flush
from otel_agent.guard import guard


def instrument(library: ModuleType) -> None:
    """Flush at the end of every child started from now on."""

    def flush_at_end(_: object) -> None:
        library.Finalize(None, flush, exitpriority=-100)
        if sys.platform != "win32":
            with guard("watch for SIGTERM"):
                arrivals.watch()

    library.register_after_fork(library, flush_at_end)
