"""`spanwise backup`: a consistent copy of the store, also while it is written to."""

from __future__ import annotations

import argparse
from pathlib import Path

from spanwise.files.moments import size_words
from spanwise.files.store_access import CommandError, fail, reading
from spanwise.settings import Settings


def run_backup(settings: Settings, args: argparse.Namespace) -> int:
    """Copy the store to the new directory `args.directory`; give 0 when it is whole, else 1."""
    target = Path(args.directory).absolute()
    try:
        _check(settings.data_dir, target)
        with reading(settings.data_dir) as store:
            store.backup(target)
    except CommandError as error:
        return fail(str(error))
    except OSError as error:
        return fail(f"The backup to {target} failed: {error.strerror or error}.")
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target} holds all that was acknowledged before, {size_words(size)}. Look into it with:")
    print(f"  spanwise up --data {target}")
    return 0


def _check(data_dir: Path, target: Path) -> None:
    """Raise CommandError for a place where no backup can be put."""
    if target.exists():
        raise CommandError(f"{target} is there already; a backup goes to a new directory.")
    if not target.parent.is_dir():
        raise CommandError(f"There is no directory {target.parent}.")
    if data_dir.resolve() in target.resolve().parents:
        raise CommandError(f"{target} lies in the data directory itself; a backup belongs elsewhere.")
