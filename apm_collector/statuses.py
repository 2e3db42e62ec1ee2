"""How an outcome is told to a sender: google.rpc codes and messages, the same over HTTP and gRPC."""

from __future__ import annotations

import orjson
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2, error_details_pb2, status_pb2

from apm_collector.errors import CollectorError, TooLargeError, TransientError, UnauthorizedError
from apm_collector.otlp import Encoding

_MAX_MESSAGE_CHARS = 1000  # gRPC has 8 KiB for a status, twice: as text and in the details


def status_of(error: CollectorError) -> status_pb2.Status:
    """The Status of an error.

    A RetryInfo in it asks the sender to try again; a BadRequest says what is wrong with the data.
    """
    message = _short(str(error))
    if isinstance(error, TransientError):
        status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message=message)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=error.retry_after_s)))
    elif isinstance(error, TooLargeError):
        status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message=message)
    elif isinstance(error, UnauthorizedError):
        status = status_pb2.Status(code=code_pb2.UNAUTHENTICATED, message=message)
    else:
        status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=message)
        violation = error_details_pb2.BadRequest.FieldViolation(field="body", description=message)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    return status


def plain_status(code: int, message: str) -> status_pb2.Status:
    """A Status without details."""
    return status_pb2.Status(code=code, message=_short(message))


def encode_status(status: status_pb2.Status, encoding: Encoding) -> bytes:
    """A Status as the body of an HTTP response."""
    if encoding == "json":
        return orjson.dumps(MessageToDict(status))
    body: bytes = status.SerializeToString()
    return body


def _short(message: str) -> str:
    return message if len(message) <= _MAX_MESSAGE_CHARS else message[: _MAX_MESSAGE_CHARS - 1] + "…"
