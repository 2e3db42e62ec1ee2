"""The memory budget and the way through the worker threads."""

from __future__ import annotations

import asyncio
import gzip
import threading
from typing import Any, Literal

import pytest
from builders import make_request, make_span

from apm_collector.counts import Counts
from apm_collector.errors import PermanentError, TooLargeError, TransientError, UnauthorizedError
from apm_collector.intake import Intake
from apm_collector.otlp import Decoded
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


def _accept(intake: Intake, consumer: Any, body: bytes, max_inflated_bytes: int | None = None) -> Decoded:
    """Take a request of spans through, as a receiver does."""

    async def accept() -> Decoded:
        with intake.reserve(len(body)) as reservation:
            return await intake.accept(
                consumer,
                Signal.TRACES,
                body,
                "protobuf",
                reservation=reservation,
                max_inflated_bytes=max_inflated_bytes,
            )

    return asyncio.run(accept())


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

    decoded = _accept(intake, consumer, gzip.compress(BODY) if is_gzip else BODY, 1000 if is_gzip else None)

    assert consumer.batches == [decoded.batch]
    assert all(name.startswith("intake") for name in consumer.threads)
    traces = counts.snapshot()["traces"]
    assert (decoded.rejected, traces["rejected"], traces["received"]) == (1, {"invalid_span_id": 1}, 2)
    assert intake.in_flight_bytes == 0
    intake.close()


def test_gzip_counts_with_what_comes_out_of_it() -> None:
    """A small body that swells is refused for now when the budget has no room for it, long before it is inflated."""
    body = gzip.compress(make_request([make_span("x" * 4_000_000)]).SerializeToString())
    consumer, intake = _Noting(), Intake(Counts(), budget_bytes=1_000_000)

    with pytest.raises(TransientError, match="memory budget"):
        _accept(intake, consumer, body, 8_000_000)

    assert len(body) < 10_000
    assert consumer.batches == []
    assert intake.in_flight_bytes == 0
    intake.close()


def test_a_consumer_sees_its_request_in_the_budget() -> None:
    """While a gzip body is worked on, its compressed and its inflated form are held."""
    plain = make_request([make_span("x" * 100_000)]).SerializeToString()
    held: list[int] = []
    intake = Intake(Counts())

    class Looking:
        def consume(self, batch: Batch) -> None:
            held.append(intake.in_flight_bytes)

    _accept(intake, Looking(), gzip.compress(plain), 200_000)

    assert len(plain) < held[0] < 3 * len(plain)
    assert intake.in_flight_bytes == 0
    intake.close()


def test_a_mistake_of_ours_keeps_the_data_with_the_sender(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody foresaw asks for another try, is counted, and is logged once with its traceback."""
    counts = Counts()
    intake = Intake(counts)

    class Broken:
        def consume(self, batch: Batch) -> None:
            raise RuntimeError("a mistake")

    for _ in range(3):
        with pytest.raises(TransientError, match="made a mistake") as raised:
            _accept(intake, Broken(), BODY)

    traces = counts.snapshot()["traces"]
    assert (raised.value.reason, raised.value.retry_after_s) == ("failure", 5)
    assert (traces["refused"], traces["pending"]) == ({"failure": 6}, 0)
    assert [record.exc_info is not None for record in caplog.records] == [True]
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
        _accept(intake, consumer, body, limit)

    assert consumer.batches == []
    intake.close()


@pytest.mark.parametrize("authorization", ["Bearer right", "bearer right", "BEARER  right "])
def test_the_right_token_is_let_in(authorization: str) -> None:
    """The scheme's case does not matter, and the peer is handed on."""
    asked: list[tuple[str, str]] = []

    def check(token: str, peer: str) -> Literal["ok", "wrong"]:
        asked.append((token, peer))
        return "ok" if token == "right" else "wrong"

    intake = Intake(Counts(), check_token=check)
    intake.check_token(authorization, "10.0.0.5")
    intake.close()

    assert asked == [("right", "10.0.0.5")]


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic right", "right", "Bearerright"])
def test_other_tokens_are_refused(authorization: str) -> None:
    """Only a bearer token counts; what was sent is not repeated."""
    intake = Intake(Counts(), check_token=lambda token, _peer: "ok" if token == "right" else "wrong")

    with pytest.raises(UnauthorizedError, match="A token is needed") as raised:
        intake.check_token(authorization, "peer")

    assert "wrong" not in str(raised.value)
    intake.close()


def test_who_guesses_is_told_to_wait_and_keeps_its_data() -> None:
    """A sender that is locked out with others of its address may send again."""
    intake = Intake(Counts(), check_token=lambda _token, _peer: "wait")

    with pytest.raises(TransientError):
        intake.check_token("Bearer right", "peer")
    intake.close()


def test_without_tokens_everybody_is_let_in() -> None:
    """On loopback nothing is asked for."""
    intake = Intake(Counts())

    intake.check_token("", "peer")

    assert intake.in_flight_bytes == 0
    intake.close()
