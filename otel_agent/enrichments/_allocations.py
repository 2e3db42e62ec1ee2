"""Where memory is allocated that stays: tracemalloc, switched on for a window only."""

import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from opentelemetry.util.types import AnyValue

from otel_agent.enrichments._records import send
from otel_agent.source_files import is_host_file

if TYPE_CHECKING:
    from tracemalloc import Snapshot

# Deep enough to reach the host's line through the libraries it calls; each frame costs memory on every allocation.
_FRAMES = 5
_MAX_SITES = 20
# The pause after a window, in windows: a process is slower by a multiple while its allocations are traced.
_PAUSE = 9

Line = tuple[str, int]
Key = TypeVar("Key")


@dataclass
class _Site:
    """What a line of code has allocated within the window and not freed."""

    size_bytes: int = 0
    count: int = 0


class AllocationWindows:
    """A window at a time, each ending with a log record of what has grown in its second half, by line and endpoint.

    Two halves, because in the first one modules are imported and caches filled. A host that traces its allocations
    itself keeps doing so. `take_growth()` returns bytes by endpoint since it was last called.
    """

    def __init__(self, window_s: float, is_repeated: bool, take_growth: Callable[[], dict[str, int]]) -> None:
        self._window_s, self._is_repeated, self._take_growth = window_s, is_repeated, take_growth
        self._is_open = self._is_ours = False
        self._pauses = self._steps()

    def tick(self) -> float | None:
        """Take the next step; return how long to wait for the one after it, None when there is none."""
        return next(self._pauses, None)

    def traced_bytes(self) -> int:
        """Return what is allocated and traced now, 0 while no window is open."""
        if not self._is_open:
            return 0
        import tracemalloc

        return tracemalloc.get_traced_memory()[0]

    def begin(self) -> None:
        """Stop tracing at once, as a forked child must; the next tick opens a window."""
        with suppress(ValueError):  # it was under way in another thread, which the child does not have
            self._pauses.close()
        self._stop()
        self._pauses = self._steps()

    def _start(self) -> None:
        import tracemalloc

        if not tracemalloc.is_tracing():
            tracemalloc.start(_FRAMES)
            self._is_ours = True
        self._is_open = True

    def _stop(self) -> None:
        self._is_open = False
        if self._is_ours:
            import tracemalloc

            self._is_ours = False
            tracemalloc.stop()

    def _steps(self) -> Generator[float | None, None, None]:
        while True:
            self._start()
            try:
                yield from _until(time.monotonic() + self._window_s / 2)
                before = _snapshot()
                self._take_growth()
                yield from _until(time.monotonic() + self._window_s / 2)
                growth, after = self._take_growth(), _snapshot()
            finally:
                self._stop()
            _send(_sites(before), _sites(after), growth, self._window_s)
            if self._is_repeated:
                yield from _until(time.monotonic() + _PAUSE * self._window_s)
            else:
                yield None


def _until(end_s: float) -> Generator[float, None, None]:
    while (left_s := end_s - time.monotonic()) > 0:
        yield left_s


def _snapshot() -> "Snapshot":
    import tracemalloc

    return tracemalloc.take_snapshot()


def _sites(snapshot: "Snapshot") -> dict[Line, _Site]:
    """Add up what is allocated by the host's innermost line, or the innermost of all if the host has none."""
    sites: dict[Line, _Site] = {}
    for statistic in snapshot.statistics("traceback"):
        frames = statistic.traceback[::-1]  # the innermost first
        if frames[0].filename == __file__ or frames[0].filename.endswith("tracemalloc.py"):
            continue  # what the window itself has allocated
        frame = next((frame for frame in frames if is_host_file(frame.filename)), frames[0])
        site = sites.setdefault((frame.filename, frame.lineno), _Site())
        site.size_bytes += statistic.size
        site.count += statistic.count
    return sites


def _send(before: dict[Line, _Site], after: dict[Line, _Site], by_endpoint: dict[str, int], window_s: float) -> None:
    growth = {line: site.size_bytes - before.get(line, _Site()).size_bytes for line, site in after.items()}
    lines: list[AnyValue] = [
        {
            "code.file.path": line[0],
            "code.line.number": line[1],
            "size_bytes": after[line].size_bytes,
            "count": after[line].count,
            "growth_bytes": growth[line],
        }
        for line in _top(growth)
    ]
    endpoints: list[AnyValue] = [
        {"http.route": endpoint, "growth_bytes": by_endpoint[endpoint]} for endpoint in _top(by_endpoint)
    ]
    attributes: dict[str, AnyValue] = {
        "memory.window_s": window_s,
        "memory.allocations.size_bytes": sum(site.size_bytes for site in after.values()),
        "memory.allocations.growth_bytes": sum(growth.values()),
    }
    send("memory", "memory.allocations", None, attributes, {"lines": lines, "endpoints": endpoints})


def _top(growth_bytes: dict[Key, int]) -> list[Key]:
    """Return the keys that grew most, the greatest first."""
    grown = [key for key, value in growth_bytes.items() if value > 0]
    return sorted(grown, key=lambda key: growth_bytes[key], reverse=True)[:_MAX_SITES]
