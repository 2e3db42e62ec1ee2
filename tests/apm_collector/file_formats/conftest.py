"""Reads bytes as a telemetry file."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from apm_collector.file_formats.contents import Remarks
from apm_collector.file_formats.formats import HEAD_BYTES, detect_format, read_batches
from apm_collector.file_formats.unpack import open_unpacked
from apm_store.model import Batch, Signal, Span
from apm_store.otlp_decode import decode_spans


@dataclass(frozen=True)
class Read:
    """What came of a file."""

    format_name: str
    batches: list[Batch]
    remarks: Remarks

    @property
    def spans(self) -> list[Span]:
        """Every span, decoded."""
        batches = [batch for batch in self.batches if batch.signal is Signal.TRACES]
        return [span for batch in batches for _, span in decode_spans(batch.request)]

    def items(self, signal: Signal) -> int:
        """How many items of a signal there are."""
        return sum(batch.item_count for batch in self.batches if batch.signal is signal)

    def span(self, name: str) -> Span:
        """The span of a name."""
        return next(span for span in self.spans if span.name == name)


@pytest.fixture(scope="session")
def read() -> Callable[..., Read]:
    """Read bytes as a file; the format is detected unless it is named."""

    def read_bytes(data: bytes, format_name: str | None = None) -> Read:
        stream: Any = open_unpacked(io.BytesIO(data))
        name = format_name or detect_format(stream.peek(HEAD_BYTES)[:HEAD_BYTES])
        remarks = Remarks()
        return Read(name, list(read_batches(stream, name, remarks)), remarks)

    return read_bytes
