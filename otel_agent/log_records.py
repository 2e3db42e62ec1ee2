"""Log records of the host as the OpenTelemetry handler may have them: formatted already, and holding nothing alive."""

import copy
import logging
from typing import Any

from otel_agent.attribute_values import clean_text, clean_value
from otel_agent.exception_text import cut_middle, message_of, stacktrace_of, type_name


def settled_copy(record: logging.LogRecord) -> logging.LogRecord:
    """Return a copy whose message is final and whose exception is attributes.

    What a handler of the host has formatted is taken over. Otherwise arguments that are the host's own objects are
    named by their type: nobody but us has asked for their text.
    """
    settled = copy.copy(record)
    settled.msg, settled.args = _message(record), None
    error = record.exc_info[1] if record.exc_info else None
    settled.exc_info = None
    if error is not None:
        trace = record.exc_text or stacktrace_of(error)
        vars(settled).update(
            {
                "exception.type": type_name(error),
                "exception.message": message_of(error),
                "exception.stacktrace": clean_text(cut_middle(trace)),
            }
        )
    return settled


def _message(record: logging.LogRecord) -> str:
    formatted = vars(record).get("message")
    if type(formatted) is str:
        return clean_text(formatted)
    if type(record.msg) is not str:
        return str(clean_value(record.msg))
    try:
        return clean_text(record.msg % _settled(record.args) if record.args else record.msg)
    except (TypeError, ValueError, KeyError):  # arguments that do not fit, or were named instead of printed
        return clean_text(record.msg)


def _settled(arguments: Any) -> Any:
    if type(arguments) is dict:
        return {key: _settled_argument(value) for key, value in arguments.items()}
    return tuple(_settled_argument(value) for value in arguments)


def _settled_argument(value: Any) -> Any:
    if issubclass(type(value), BaseException):
        return message_of(value)
    return value if type(value) in (int, float, bool) else clean_value(value)
