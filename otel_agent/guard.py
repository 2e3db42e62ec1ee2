"""The one place of the agent that swallows exceptions: whatever goes wrong in here, the host carries on."""

import logging
from types import TracebackType

_logger = logging.getLogger(__name__)
_reported: set[str] = set()

# Tests set this to True: a fault of the agent then fails the test instead of passing unseen.
is_strict = False


class guard:  # noqa: N801 - it reads as the statement that it is; a generator in its place costs four times as much
    """Swallow whatever the block raises and log it once per `action` (a few words such as "start the agent").

    The first fault of an action is a warning, every further one a debug record; with `is_strict` it is raised.
    """

    __slots__ = ("_action",)

    def __init__(self, action: str) -> None:
        self._action = action

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        """Swallow the exception, if it is one that a program handles."""
        if error is None or is_strict or not isinstance(error, Exception):
            return False
        is_news = self._action not in _reported
        _reported.add(self._action)
        _logger.log(
            logging.WARNING if is_news else logging.DEBUG,
            "could not %s: %s: %s",
            self._action,
            type(error).__name__,
            error,
            exc_info=None if is_news else error,
        )
        return True
