"""The store of a data directory for one command: to read beside whoever runs, or to write when nobody does."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from apm_collector.log_text import printable
from apm_store.api import SchemaError, Store, StoreError
from apm_store.open import open_store
from apm_store.query import Retention
from spanwise.data_dir import DataDirError, claimed
from spanwise.settings import Settings

_NO_BUDGET = 1 << 62


class CommandError(Exception):
    """A command cannot do what it was asked; the message is one sentence for people."""


def fail(message: str) -> int:
    """Print why a command failed; give its exit status, 1."""
    print(f"spanwise: {printable(message, 1000)}", file=sys.stderr)
    return 1


@contextlib.contextmanager
def reading(data_dir: Path) -> Iterator[Store]:
    """A store for reading only, also while Spanwise runs on it; raises CommandError where there is none."""
    if not data_dir.is_dir():
        raise CommandError(f"There is no data directory {data_dir}. Name another with --data.")
    with _opened(data_dir, lambda: open_store(data_dir, read_only=True)) as store:
        yield store


@contextlib.contextmanager
def writing(settings: Settings) -> Iterator[Store]:
    """A store for writing while nobody else has it.

    Where the settings name no budget it removes nothing by itself: the next `spanwise up` does, by its own.
    Raises CommandError, also when `spanwise up` began meanwhile.
    """
    data_dir = settings.data_dir
    retention = Retention(budget_bytes=settings.max_bytes or _NO_BUDGET, max_age_s=settings.max_age_s)
    with _claimed(data_dir), _opened(data_dir, lambda: open_store(data_dir, retention=retention)) as store:
        yield store


@contextlib.contextmanager
def _opened(data_dir: Path, open_it: Callable[[], Store]) -> Iterator[Store]:
    """A store until the end of the block; what it cannot do, from opening on, is told as a CommandError."""
    try:
        with contextlib.closing(open_it()) as store:
            yield store
    except StoreError as error:
        raise CommandError(_why(data_dir, error)) from error


def _why(data_dir: Path, error: StoreError) -> str:
    if isinstance(error, SchemaError):
        return f"The store in {data_dir} cannot be opened: {error}"
    return str(error)


@contextlib.contextmanager
def _claimed(data_dir: Path) -> Iterator[None]:
    try:
        with claimed(data_dir):
            yield
    except DataDirError as error:
        raise CommandError(str(error)) from error
