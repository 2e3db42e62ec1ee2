"""Requests at chosen moments, written to a real store."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest
from builders import MS, make_batch, make_span

from apm_store.api import Store

Write = Callable[..., None]
"""`write(service, [(start_ns, duration_ms, is_failed), …], operation=…, **span_fields)`"""


@pytest.fixture
def write(store: Store) -> Write:
    """A function that writes server spans, each a trace of its own, in one batch."""
    numbers = itertools.count(1)

    def write(
        service: str, requests: Iterable[tuple[int, float, bool]], operation: str = "GET /", **fields: object
    ) -> None:
        spans = [
            make_span(
                operation,
                trace=next(numbers),
                start_ns=start_ns,
                duration_ns=round(duration_ms * MS),
                failed=is_failed,
                **fields,  # type: ignore[arg-type]
            )
            for start_ns, duration_ms, is_failed in requests
        ]
        store.traces.write(make_batch(spans, service))

    return write
