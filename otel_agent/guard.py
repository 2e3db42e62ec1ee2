"""The one place of the agent that swallows exceptions: whatever goes wrong in here, the host carries on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_logger = logging.getLogger(__name__)
_reported: set[str] = set()

# Tests set this to True: a fault of the agent then fails the test instead of passing unseen.
is_strict = False


@contextmanager
def guard(action: str) -> Iterator[None]:
    """Swallow whatever the block raises and log it once per `action` (a few words such as "start the agent").

    The first fault of an action is a warning, every further one a debug record; with `is_strict` it is raised.
    """
    try:
        yield
    except Exception as error:
        if is_strict:
            raise
        level = logging.DEBUG if action in _reported else logging.WARNING
        _reported.add(action)
        _logger.log(level, "could not %s: %s: %s", action, type(error).__name__, error, exc_info=level == logging.DEBUG)
