"""What a telemetry file holds, in the words that every reader of a format shares: requests, remarks and limits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from apm_collector.otlp import Encoding
from apm_store.model import Signal

MAX_RECORD_BYTES = 64 * 1024 * 1024  # one line or one framed message, as over the network
MAX_DOCUMENT_BYTES = 256 * 1024 * 1024  # a JSON document is read whole
_MAX_NOTES = 20


class FileFormatError(ValueError):
    """Nothing can be read from a file; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class FileRequest:
    """One export request of a file, as a sender would have brought it; `place` says where it stood ("line 7" or "")."""

    signal: Signal
    body: bytes
    encoding: Encoding
    place: str = ""


@dataclass(slots=True)
class Remarks:
    """What a person should hear of a file.

    `warnings` counts what was converted, by kind; `rejected` are the items left out, `faults` the places that could not
    be read; `notes` says why, with how often: of many the first 20.
    """

    warnings: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    faults: int = 0

    def warn(self, kind: str, times: int = 1) -> None:
        """Note that something was converted or repaired."""
        self.warnings[kind] += times

    def reject(self, place: str, cause: str, items: int = 1) -> None:
        """Note that items were left out."""
        self.rejected += items
        self._note(place, cause)

    def fault(self, place: str, message: str) -> None:
        """Note that a place of the file could not be read; its neighbours are."""
        self.faults += 1
        self._note(place, message)

    def _note(self, place: str, message: str) -> None:
        note = f"{place}: {message}" if place else message
        if note in self.notes or len(self.notes) < _MAX_NOTES:
            self.notes[note] += 1
