"""A deliberately wrong `spanwise`: its collector acknowledges before the commit. The crash rigs must catch it."""

from __future__ import annotations

import queue
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apm_store.open
from spanwise import cli, part, run
from spanwise.settings import Settings
from spanwise.supervisor import Part

_DELAY_S = 0.1


class EarlyTraces:
    """The span store, but `write` returns at once; a thread writes later."""

    def __init__(self, traces: Any) -> None:
        self._traces = traces
        self._waiting: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._write_later, daemon=True).start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._traces, name)

    def write(self, batch: Any) -> Any:
        """Say that the batch is stored."""
        self._waiting.put(batch)
        return SimpleNamespace(stored=batch.item_count, duplicates=0)

    def _write_later(self) -> None:
        while True:
            batch = self._waiting.get()
            time.sleep(_DELAY_S)
            self._traces.write(batch)


class EarlyStore:
    """The store with `EarlyTraces` in it."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.traces = EarlyTraces(store.traces)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def _wrong_parts(settings: Settings) -> list[Part]:
    """The real parts; the collector's process starts in this file."""
    collector, *others = _right_parts(settings)
    return [replace(collector, argv=[sys.executable, __file__, *collector.argv[3:]]), *others]


_right_parts = run.parts
_right_open = apm_store.open.open_store


def _wrong_open(data_dir: Path, **options: Any) -> Any:
    return EarlyStore(_right_open(data_dir, **options))


if __name__ == "__main__":
    if sys.argv[1] == "collector":
        apm_store.open.open_store = _wrong_open
        sys.exit(part.main())
    run.parts = _wrong_parts
    sys.exit(cli.main())
