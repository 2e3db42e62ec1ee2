"""multiprocessing: child processes send their last spans, though they end without running exit handlers."""

from types import ModuleType

from otel_agent.flush import flush


def instrument(library: ModuleType) -> None:
    """Flush at the end of every child started from now on."""

    def flush_at_end(_: object) -> None:
        library.Finalize(None, flush, exitpriority=-100)

    library.register_after_fork(library, flush_at_end)
