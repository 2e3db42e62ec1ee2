"""How an outcome is told to a sender: google.rpc codes and messages, the same over HTTP and gRPC."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from apm_collector.errors import CollectorError, TooLargeError, TransientError

_MAX_MESSAGE_CHARS = 1000


def status_of(error: CollectorError) -> status_pb2.Status:
    """The Status of an error; a RetryInfo in it asks the sender to try again."""
    if isinstance(error, TransientError):
        status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message=str(error))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=error.retry_after_s)))
        return status
    code = code_pb2.RESOURCE_EXHAUSTED if isinstance(error, TooLargeError) else code_pb2.INVALID_ARGUMENT
    return status_pb2.Status(code=code, message=str(error)[:_MAX_MESSAGE_CHARS])
