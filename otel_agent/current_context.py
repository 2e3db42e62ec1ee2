"""The current context of OpenTelemetry, asked for and changed directly: its own functions make three calls of one."""

from collections.abc import Callable
from contextvars import Token
from typing import Any

from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace.propagation import _SPAN_KEY

_runtime = context._RUNTIME_CONTEXT
_variable = getattr(_runtime, "_current_context", None) if type(_runtime) is ContextVarsRuntimeContext else None

get_current: Callable[[], Context] = context.get_current if _variable is None else _variable.get
attach: Callable[[Context], Token[Context]] = context.attach if _variable is None else _variable.set
_reset: Callable[[Token[Context]], None] = context.detach if _variable is None else _variable.reset


def detach(token: Token[Context]) -> None:
    """Make current again what was so before the `attach` that gave the token; where that fails, it is logged."""
    try:
        _reset(token)
    except (ValueError, RuntimeError):
        context.detach(token)


def with_span(span: Any, outer: Context) -> Context:
    """Return the context `outer` with another current span."""
    return Context({**outer, _SPAN_KEY: span})
