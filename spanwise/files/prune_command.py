"""`spanwise prune`: removes the oldest raw telemetry, through the running collector or in the store itself."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from typing import Any

from spanwise.control import ControlError, ask_collector
from spanwise.data_dir import running_instance
from spanwise.files.moments import counted, moment_words, size_words
from spanwise.files.store_access import CommandError, fail, writing
from spanwise.settings import Settings


def run_prune(settings: Settings, args: argparse.Namespace) -> int:
    """Prune as `args` asks; give 0 when it was done, or there was nothing to remove, else 1."""
    question = _question(args)
    try:
        _confirm(question, args)
        entry = _prune(settings, question)
    except (CommandError, ControlError) as error:
        return fail(str(error))
    print(_words(entry) if entry else "There was nothing to remove.")
    return 0


def _question(args: argparse.Namespace) -> dict[str, int]:
    """What to remove, as the control route has it."""
    if args.to_bytes is not None:
        return {"to_bytes": args.to_bytes}
    if args.older_than_ns is not None:
        return {"before_ns": max(0, time.time_ns() - args.older_than_ns)}
    return {"before_ns": args.before_ns}


def _confirm(question: dict[str, int], args: argparse.Namespace) -> None:
    """Have a person agree; raises CommandError when nobody does."""
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise CommandError("This removes telemetry for good; add --yes.")
    if "before_ns" in question:
        what = f"all raw telemetry received before {moment_words(question['before_ns'])}"
    else:
        what = f"the oldest raw telemetry until the store takes {size_words(question['to_bytes'])}"
    try:
        answer = input(f"Remove {what} for good? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was removed.")


def _prune(settings: Settings, question: dict[str, int]) -> dict[str, Any] | None:
    """What was removed, with the fields of PruneEntry; None when there was nothing. Raises one of the two errors."""
    instance = running_instance(settings.data_dir)
    if instance is not None:
        pruned: dict[str, Any] | None = ask_collector(instance, settings.data_dir, "prune", question)["pruned"]
        return pruned
    if not settings.data_dir.is_dir():
        raise CommandError(f"There is no data directory {settings.data_dir}. Name another with --data.")
    with writing(settings) as store:
        entry = store.prune(before_ns=question.get("before_ns"), to_bytes=question.get("to_bytes"))
    return asdict(entry) if entry else None


def _words(entry: dict[str, Any]) -> str:
    items = [(entry[name], name.replace("_", " ")) for name in ("spans", "data_points", "log_records")]
    removed = ", ".join(counted(count, nouns) for count, nouns in items)
    time_range = f"{moment_words(entry['first_ns'])} to {moment_words(entry['last_ns'])}"
    lines = [f"Removed {removed}, from {time_range}; {size_words(entry['freed_bytes'])} are free again."]
    if entry["kept_traces"]:
        lines.append(f"Kept {counted(entry['kept_traces'], 'traces')} of that time: those with errors, slow or rare.")
    lines.append("The roll-ups of that time stay: rates, errors and durations can still be read.")
    return "\n".join(lines)
