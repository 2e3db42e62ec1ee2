"""`spanwise import`: reads telemetry files of any known format into the store."""

from __future__ import annotations

import argparse
import io
import stat
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from apm_collector.errors import PermanentError
from apm_collector.file_formats.contents import FileFormatError, Remarks
from apm_collector.file_formats.formats import FORMATS, HEAD_BYTES, detect_format, read_batches
from apm_collector.file_formats.unpack import open_unpacked
from apm_collector.log_text import printable
from apm_collector.pipeline import Consumer
from apm_store.model import Batch, Signal
from spanwise.files.destination import deliver, open_destination
from spanwise.files.moments import counted
from spanwise.files.store_access import CommandError, fail
from spanwise.settings import Settings

_NOUNS = {Signal.TRACES: "spans", Signal.METRICS: "data points", Signal.LOGS: "log records"}
_PROGRESS_S = 1.0


@dataclass(slots=True)
class FileReport:
    """What became of one file. `error` says why it could not be read, or not to its end; "" when it was."""

    name: str
    title: str = ""
    stored: Counter[Signal] = field(default_factory=Counter)
    remarks: Remarks = field(default_factory=Remarks)
    error: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether everything in the file was stored."""
        return not (self.error or self.remarks.faults or self.remarks.rejected)


def run_import(settings: Settings, args: argparse.Namespace) -> int:
    """Import each of `args.files` ("-" is the standard input); give 0 when all they hold was stored, else 1."""
    reports: list[FileReport] = []
    try:
        with open_destination(settings) as destination:
            for name in args.files:
                report = FileReport(name)
                reports.append(report)
                import_file(report, destination.consumer, args.format)
                print("\n".join(_lines(report)), flush=True)
    except CommandError as error:
        return fail(str(error))
    except KeyboardInterrupt:
        stored = sum(report.stored.total() for report in reports)
        return fail(f"Broken off; {counted(stored, 'items')} stored. Importing the files again adds what is missing.")
    if len(reports) > 1:
        print(_summary(reports))
    for reason, items in destination.dropped.items():
        print(f"Let go on the way, by the configuration: {counted(items, 'items')} ({reason})")
    print(f"To: {destination.place}")
    return 0 if all(report.is_whole for report in reports) else 1


def import_file(report: FileReport, consumer: Consumer, format_name: str | None = None) -> None:
    """Read the report's file, hand its batches to a consumer, and note in the report what became of them.

    The format is detected unless it is named. Raises CommandError when nothing more can be stored.
    """
    try:
        with _open(report.name) as file:
            stream = open_unpacked(file)
            head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
            format_name = format_name or detect_format(head)
            report.title = FORMATS[format_name].title
            progress = _Progress(report, file)
            for batch in read_batches(stream, format_name, report.remarks):
                _store(report, consumer, batch)
                progress.show()
    except FileFormatError as error:
        report.error = str(error)
    except OSError as error:
        report.error = _CAUSES.get(type(error), f"it cannot be read: {error.strerror or error}")


_CAUSES: dict[type[OSError], str] = {
    FileNotFoundError: "there is no such file",
    IsADirectoryError: "it is a directory; name the files in it",
    PermissionError: "you may not read it (permission denied)",
}


def _open(name: str) -> BinaryIO:
    """A file or the standard input; raises FileFormatError for what never ends."""
    if name == "-":
        if sys.stdin.isatty():
            raise FileFormatError("nothing is piped into the standard input")
        return io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False))
    file = Path(name).open("rb")  # noqa: SIM115  closed by the caller
    if stat.S_ISCHR(Path(name).stat().st_mode) or stat.S_ISBLK(Path(name).stat().st_mode):
        file.close()
        raise FileFormatError("it is a device, not a file")
    return file


def _store(report: FileReport, consumer: Consumer, batch: Batch) -> None:
    try:
        deliver(consumer, batch)
        report.stored[batch.signal] += batch.item_count
    except PermanentError as error:
        report.remarks.reject("", str(error), batch.item_count)


class _Progress:
    """Says on a terminal how far a large file is read, once a second."""

    def __init__(self, report: FileReport, file: BinaryIO) -> None:
        self._report, self._file = report, file
        self._shown_s = time.monotonic()

    def show(self) -> None:
        """Print the state if the last one is a second old."""
        now_s = time.monotonic()
        if now_s - self._shown_s < _PROGRESS_S or not sys.stderr.isatty() or not self._file.seekable():
            return
        self._shown_s = now_s
        size, read = Path(self._report.name).stat().st_size, self._file.tell()
        items = self._report.stored.total()
        print(f"\r  {100 * read // max(size, 1)} %  {items:,} items stored", end="\r", file=sys.stderr, flush=True)


def _lines(report: FileReport) -> list[str]:
    """What to print of a file."""
    remarks = report.remarks
    stored = ", ".join(counted(count, _NOUNS[signal]) for signal, count in report.stored.items()) or "nothing"
    head = f"{printable(report.name)}: "
    if report.title:
        warnings = counted(remarks.warnings.total(), "warnings")
        head += f"{report.title}, {stored} stored, {remarks.rejected:,} rejected, {warnings}"
    error = printable(report.error, 500)
    lines = [head + f"; {error}" if report.title and error else head + error]
    lines += [f"  converted: {what} ({times:,})" for what, times in remarks.warnings.most_common(5)]
    lines += [
        f"  {printable(note)}" + (f" ({times:,} times)" if times > 1 else "") for note, times in remarks.notes.items()
    ]
    return lines


def _summary(reports: list[FileReport]) -> str:
    stored = counted(sum(report.stored.total() for report in reports), "items")
    rejected = sum(report.remarks.rejected for report in reports)
    warnings = counted(sum(report.remarks.warnings.total() for report in reports), "warnings")
    unread = sum(bool(report.error) for report in reports)
    tail = f", {unread} not read" if unread else ""
    return f"{len(reports)} files: {stored} stored, {rejected:,} rejected, {warnings}{tail}"
