"""Errors as google.rpc.Status."""

from __future__ import annotations

import orjson
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from apm_collector.errors import CollectorError, PermanentError, TooLargeError, TransientError, UnauthorizedError
from apm_collector.statuses import encode_status, status_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermanentError("bad"), code_pb2.INVALID_ARGUMENT),
        (TooLargeError("big"), code_pb2.RESOURCE_EXHAUSTED),
        (UnauthorizedError("who"), code_pb2.UNAUTHENTICATED),
    ],
)
def test_a_permanent_error_asks_for_no_retry(error: CollectorError, code: int) -> None:
    """Without RetryInfo a sender gives up, also on RESOURCE_EXHAUSTED."""
    status = status_of(error)

    assert (status.code, status.message) == (code, str(error))
    assert not any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


def test_data_that_cannot_be_used_is_a_bad_request() -> None:
    """The details say so in either encoding of the Status."""
    status = status_of(PermanentError("bad"))

    bad = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad)
    assert [violation.description for violation in bad.field_violations] == ["bad"]
    assert status_pb2.Status.FromString(encode_status(status, "protobuf")) == status
    assert orjson.loads(encode_status(status, "json")) == {
        "code": code_pb2.INVALID_ARGUMENT,
        "message": "bad",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": "body", "description": "bad"}],
            }
        ],
    }


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
