"""The memory budget and the way through the worker threads."""

from __future__ import annotations

import asyncio
import gzip
import threading

import pytest
from builders import make_request, make_span

from apm_collector.counts import Counts
from apm_collector.errors import PermanentError, TooLargeError, TransientError
from apm_collector.intake import Intake
from apm_store.model import Batch, Signal

BODY = make_request([make_span("a"), make_span("bad", span=0)]).SerializeToString()


class _Noting:
    """A Consumer that notes the batches and the thread."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.threads: set[str] = set()

    def consume(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.threads.add(threading.current_thread().name)


def test_the_budget_is_given_back() -> None:
    """What a request holds can be held again after it; while it is held it cannot."""
    intake = Intake(Counts(), budget_bytes=20_000)

    for _ in range(3):
        with intake.reserve(10_000), pytest.raises(TransientError, match="memory budget"), intake.reserve(10_000):
            pass

    with intake.reserve(15_904):
        pass
    intake.close()


def test_a_reservation_grows_with_the_body() -> None:
    """A body of unknown length takes budget as it arrives, and all of it is given back."""
    intake = Intake(Counts(), budget_bytes=20_000)

    for _ in range(2):
        with intake.reserve(0) as reservation:
            reservation.hold(10_000)
            reservation.hold(15_000)
            reservation.hold(1)
            with pytest.raises(TransientError):
                reservation.hold(16_000)
    intake.close()


@pytest.mark.parametrize("is_gzip", [False, True])
def test_a_body_is_decoded_and_consumed_off_the_event_loop(is_gzip: bool) -> None:
    """The caller gets the outcome after the batch was consumed, and rejected items are counted."""
    counts, consumer = Counts(), _Noting()
    intake = Intake(counts)

    decoded = asyncio.run(
        intake.accept(
            consumer,
            Signal.TRACES,
            gzip.compress(BODY) if is_gzip else BODY,
            "protobuf",
            max_inflated_bytes=1000 if is_gzip else None,
        )
    )

    assert consumer.batches == [decoded.batch]
    assert all(name.startswith("intake") for name in consumer.threads)
    assert (decoded.rejected, counts.snapshot()["traces"]["rejected"]) == (1, 1)
    intake.close()


@pytest.mark.parametrize(
    ("body", "limit", "error"),
    [
        (b"<html>", None, PermanentError),
        (b"plain", 1000, PermanentError),
        (gzip.compress(bytes(2000)), 1000, TooLargeError),
    ],
    ids=["no protobuf", "no gzip", "too large when inflated"],
)
def test_what_cannot_be_decoded_is_not_consumed(body: bytes, limit: int | None, error: type[PermanentError]) -> None:
    """The error reaches the caller, the consumer sees nothing."""
    consumer, intake = _Noting(), Intake(Counts())

    with pytest.raises(error):
        asyncio.run(intake.accept(consumer, Signal.TRACES, body, "protobuf", max_inflated_bytes=limit))

    assert consumer.batches == []
    intake.close()
