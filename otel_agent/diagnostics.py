"""What the agent and the SDK under it say about themselves: never through the host's logging, and rarely at all."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LOGGER_NAMES = ("opentelemetry", "otel_agent")
_SILENT = logging.CRITICAL + 1
# The SDK quotes a value that does not work as a whole, be it a megabyte.
_LONGEST_OF_OTHERS = 380


class DiagnosticsHandler(logging.Handler):
    """Writes one line per message, beginning with "spanwise:", to stderr; with `is_once`, no message twice."""

    is_silent = False

    def __init__(self, is_once: bool) -> None:
        super().__init__()
        self._is_once = is_once
        self._written: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the first line of the message; a traceback follows it at the debug level alone."""
        if self.is_silent:
            return
        message = record.getMessage().partition("\n")[0]
        if not record.name.startswith("otel_agent"):
            message = message[:_LONGEST_OF_OTHERS]
        if self._is_once:
            if message in self._written:
                return
            self._written.add(message)
        text = f"spanwise: {message}\n"
        if record.exc_info and self.level <= logging.DEBUG:
            text += f"{logging.Formatter().formatException(record.exc_info)}\n"
        if sys.stderr is not None:
            with suppress(OSError, ValueError):  # the host may have closed it
                sys.stderr.write(text)


@contextmanager
def open_diagnostics(level: int | None) -> Iterator[None]:
    """Take the agent's and the SDK's loggers out of the host's logging and show warnings, or `level`, on stderr.

    Without a level they fall silent when the block ends: a collector that is down is no news for the host's stderr.
    """
    handler = DiagnosticsHandler(is_once=level is None)
    handler.setLevel(logging.WARNING if level is None else level)
    for name in LOGGER_NAMES:
        logger = logging.getLogger(name)
        for earlier in [one for one in logger.handlers if isinstance(one, DiagnosticsHandler)]:
            logger.removeHandler(earlier)
        logger.addHandler(handler)
        # A record about a failed export must reach neither the host's console nor, through OTLP, the next export.
        logger.propagate = False
        if level is not None:
            logger.setLevel(level)
    yield
    if level is None:
        handler.setLevel(_SILENT)


def fall_silent() -> None:
    """Say nothing from now on, at whatever level."""
    DiagnosticsHandler.is_silent = True
