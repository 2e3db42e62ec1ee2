"""Why a batch was not taken, in the two kinds that a sender must tell apart: do not send again, or do."""

from __future__ import annotations


class CollectorError(Exception):
    """The request was not taken. `reason` is the word that it is counted under."""

    reason = "other"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class PermanentError(CollectorError):
    """The data cannot be used; sending it again does not help."""

    reason = "undecodable"


class TooLargeError(PermanentError):
    """The request is larger than the collector takes."""

    reason = "too_large"


class UnauthorizedError(PermanentError):
    """The token is missing or wrong."""

    reason = "unauthorized"


class TransientError(CollectorError):
    """The collector cannot take the data now; send it again later."""

    reason = "overload"

    def __init__(self, message: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DiskFullError(TransientError):
    """The disk is full; the collector takes data again when there is space."""

    reason = "disk_full"


class StoreFailedError(TransientError):
    """The store cannot write."""

    reason = "store_failed"


class StartError(CollectorError):
    """The collector could not start."""
