"""Errors as google.rpc.Status."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2, error_details_pb2

from apm_collector.errors import CollectorError, PermanentError, TooLargeError, TransientError
from apm_collector.statuses import status_of


@pytest.mark.parametrize(
    ("error", "code"),
    [(PermanentError("bad"), code_pb2.INVALID_ARGUMENT), (TooLargeError("big"), code_pb2.RESOURCE_EXHAUSTED)],
)
def test_a_permanent_error_asks_for_no_retry(error: CollectorError, code: int) -> None:
    """Without RetryInfo a sender gives up, also on RESOURCE_EXHAUSTED."""
    status = status_of(error)

    assert (status.code, status.message, len(status.details)) == (code, str(error), 0)


def test_a_transient_error_says_when_to_try_again() -> None:
    """UNAVAILABLE carries RetryInfo with the delay in seconds."""
    status = status_of(TransientError("busy", retry_after_s=7))

    info = error_details_pb2.RetryInfo()
    assert status.code == code_pb2.UNAVAILABLE
    assert status.details[0].Unpack(info)
    assert info.retry_delay.seconds == 7


def test_an_error_without_words_has_its_class_speak() -> None:
    """The docstring is the default message; a very long message is cut."""
    assert status_of(TransientError()).message == TransientError.__doc__
    assert len(status_of(PermanentError("x" * 5000)).message) == 1000
