"""Which thread runs which asyncio event loop, and who wants to know when one begins and ends."""

from collections.abc import Callable
from functools import partial, wraps
from threading import get_ident
from types import ModuleType
from typing import TYPE_CHECKING, Any

from otel_agent.guard import guard
from otel_agent.imports import when_imported

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

LOOPS: dict[int, "AbstractEventLoop"] = {}

# Called in the loop's thread before it runs; what they return is called there after it has run.
_observers: list[Callable[["AbstractEventLoop"], Callable[[], None]]] = []
_hooked: set[str] = set()


def follow_loops(observe: Callable[["AbstractEventLoop"], Callable[[], None]] | None = None) -> None:
    """Keep LOOPS up to date from now on, and call `observe(loop)` in the thread of every loop that begins to run."""
    if observe:
        _observers.append(observe)
    for library, class_name in (("asyncio.base_events", "BaseEventLoop"), ("uvloop", "Loop")):
        if library not in _hooked:
            _hooked.add(library)
            when_imported(library, _hook(class_name))


def _hook(class_name: str) -> Callable[[ModuleType], None]:
    def hook(library: ModuleType) -> None:
        with guard(f"follow the event loops of {library.__name__}"):
            # Not by wrapt: it imports asyncio itself, and is then not there yet.
            loop_class = getattr(library, class_name)
            wrapped: Callable[..., None] = loop_class.run_forever

            @wraps(wrapped)
            def run(loop: "AbstractEventLoop", *args: Any, **kwargs: Any) -> None:
                run_forever(partial(wrapped, loop), loop, args, kwargs)

            loop_class.run_forever = run

    return hook


def run_forever(
    wrapped: Callable[..., None], loop: "AbstractEventLoop", args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Run the loop; its frame is where the agent stops looking outward for what the loop is busy with."""
    thread_id, ends = get_ident(), []
    outer = LOOPS.get(thread_id)
    LOOPS[thread_id] = loop
    for observe in _observers:
        with guard("observe an event loop"):
            ends.append(observe(loop))
    try:
        return wrapped(*args, **kwargs)
    finally:
        for end in ends:
            with guard("observe the end of an event loop"):
                end()
        if outer is None:
            LOOPS.pop(thread_id, None)
        else:
            LOOPS[thread_id] = outer
