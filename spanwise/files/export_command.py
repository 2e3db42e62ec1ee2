"""`spanwise export`: writes stored telemetry to a file that `spanwise import` and the OpenTelemetry Collector read."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from apm_collector.file_formats.write_otlp_json import to_json_line
from apm_store.api import Store
from apm_store.model import Signal
from apm_store.otlp_decode import parse_request
from apm_store.query import TimeRange
from spanwise.files.moments import SECOND_NS, counted
from spanwise.files.parquet import ParquetFile, load_pyarrow
from spanwise.files.store_access import CommandError, fail, reading
from spanwise.files.trim import trim
from spanwise.settings import Settings

SIGNALS = ("traces", "metrics", "logs", "all")
EXPORT_FORMATS = ("jsonl", "parquet")
_END_OF_TIME = 2**64  # OTLP's last time is the nanosecond before
_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}\Z")
_LOG_SLACK_NS = 60 * SECOND_NS  # a log record of a trace may be written a little before or after its spans
_NOUNS = {Signal.TRACES: "spans", Signal.METRICS: "data points", Signal.LOGS: "log records"}
_Write = Callable[[Any], None]


def run_export(settings: Settings, args: argparse.Namespace) -> int:
    """Export what `args` asks for; give 0 when something was written, else 1."""
    try:
        signals = _signals(args)
        if args.format == "parquet":
            load_pyarrow()
        with reading(settings.data_dir) as store, _output(args, signals) as write:
            counts = export(store, signals, _range(store, args), args.trace, write)
            if not counts:
                raise CommandError("There is nothing to export: no telemetry was stored in that range.")
    except CommandError as error:
        return fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
        return 0
    except OSError as error:
        return fail(f"{args.output or 'The output'} cannot be written: {error.strerror}.")
    words = ", ".join(counted(count, _NOUNS[signal]) for signal, count in counts.items())
    print(f"{words} exported{f' to {args.output}' if args.output else ''}", file=sys.stderr)
    return 0


def export(
    store: Store, signals: list[Signal], time_range: TimeRange, trace_id: str | None, write: _Write
) -> Counter[Signal]:
    """Hand each stored request, trimmed to the range and trace, to `write`; gives the number of items by signal."""
    wanted = bytes.fromhex(trace_id) if trace_id else None
    counts: Counter[Signal] = Counter()
    for signal in signals:
        for body in store.bodies(signal, time_range):
            request = parse_request(signal, body)
            items = trim(signal, request, time_range, wanted)
            if items:
                write(request)
                counts[signal] += items
    return counts


def _signals(args: argparse.Namespace) -> list[Signal]:
    """The signals to export; raises CommandError for what cannot be had together."""
    if args.format == "parquet" and (args.signal == "all" or not args.output):
        raise CommandError("A Parquet file holds one signal: add --signal traces (or metrics, logs) and -o FILE.")
    if args.trace:
        if not _TRACE_ID.match(args.trace):
            raise CommandError(f"“{args.trace}” is no trace id; it has 32 hexadecimal digits.")
        if args.signal == "metrics":
            raise CommandError("Data points belong to no trace; leave --trace out.")
    if args.signal == "all":
        return [Signal.TRACES, Signal.LOGS] if args.trace else [Signal.TRACES, Signal.METRICS, Signal.LOGS]
    return [Signal(args.signal)]


def _range(store: Store, args: argparse.Namespace) -> TimeRange:
    """The range that was asked for; for a trace no more than the trace's own time."""
    start_ns, end_ns = args.from_ns or 0, args.to_ns or _END_OF_TIME
    if start_ns >= end_ns:
        raise CommandError("--from is not before --to.")
    if args.trace:
        spans = store.traces.get(args.trace.lower())
        if not spans:
            raise CommandError(f"There is no trace {args.trace}.")
        start_ns = max(start_ns, min(span.start_ns for span in spans) - _LOG_SLACK_NS)
        end_ns = min(end_ns, max(span.end_ns for span in spans) + _LOG_SLACK_NS)
    return TimeRange(start_ns, end_ns)


@contextlib.contextmanager
def _output(args: argparse.Namespace, signals: list[Signal]) -> Iterator[_Write]:
    """Where requests are written to: the standard output, or a file that appears when it is whole."""
    if not args.output:
        out = sys.stdout.buffer
        yield _line_writer(out)
        out.flush()
        return
    target = Path(args.output)
    with _new_file(target, is_forced=args.force) as draft:
        if args.format == "parquet":
            with contextlib.closing(ParquetFile(draft, signals[0])) as parquet:
                yield parquet.write
        else:
            with draft.open("wb") as file:
                yield _line_writer(file)
                file.flush()
                os.fsync(file.fileno())


def _line_writer(out: BinaryIO) -> _Write:
    def write(request: Any) -> None:
        out.write(to_json_line(request))

    return write


@contextlib.contextmanager
def _new_file(target: Path, *, is_forced: bool) -> Iterator[Path]:
    """A draft beside the target, for its owner alone, that takes the target's name when the block ends well.

    Raises CommandError when the target is there already and may not be replaced.
    """
    if target.is_dir():
        raise CommandError(f"{target} is a directory; name a file.")
    if target.exists() and not is_forced:
        raise CommandError(f"{target} is there already; add --force to replace it.")
    if not target.parent.is_dir():
        raise CommandError(f"There is no directory {target.parent}.")
    fd, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.", suffix=".partial")
    os.close(fd)
    draft = Path(name)
    try:
        yield draft
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
