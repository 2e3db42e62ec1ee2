"""Exceptions as text, bounded, and without evaluating what they carry."""

import traceback
from types import TracebackType
from typing import Any

from opentelemetry.sdk.trace import Span

from otel_agent.attribute_values import MOST_CHARACTERS, clean_text, clean_value
from otel_agent.guard import guard

_MOST_CAUSES = 5


def type_name(error: BaseException) -> str:
    """Return the qualified name of the exception's class, without "builtins."."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """Return what `str(error)` says; where that would evaluate arguments of the host, they are named by their type."""
    if type(error).__str__ is BaseException.__str__:
        arguments = clean_value(error.args)
        text = str(arguments[0]) if len(arguments) == 1 else str(arguments) if arguments else ""
        return clean_text(text)
    with guard("read the message of an exception"):
        return clean_text(str(error))
    return ""


def stacktrace_of(error: BaseException, trace: TracebackType | None = None) -> str:
    """Return the traceback as Python prints it, with the first few causes; the middle of a long one is cut out."""
    texts: list[str] = []
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and len(seen) < _MOST_CAUSES and not any(current is one for one in seen):
        seen.append(current)
        frames = traceback.format_tb(current.__traceback__ or (trace if current is error else None))
        head = "Traceback (most recent call last):\n" if frames else ""
        texts.append(f"{head}{''.join(frames)}{type_name(current)}: {message_of(current)}\n")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return cut_middle("\n".join(reversed(texts)))


def cut_middle(text: str) -> str:
    """Return the text within MOST_CHARACTERS: of a traceback, both ends matter most."""
    half = MOST_CHARACTERS // 2 - 10
    return text if len(text) <= MOST_CHARACTERS else f"{text[:half]}\n[…]\n{text[-half:]}"


def install() -> None:
    """Make spans record exceptions in this way."""
    Span.record_exception = _record_exception  # type: ignore[method-assign]


def _record_exception(
    self: Span, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
) -> None:
    """Stand in for the SDK's method, which raises into the host what the exception's `__str__` raises."""
    with guard("record an exception"):
        event = {
            "exception.type": type_name(exception),
            "exception.message": message_of(exception),
            "exception.stacktrace": stacktrace_of(exception),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", event | dict(attributes or {}), timestamp)
