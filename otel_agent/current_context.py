"""The current context of OpenTelemetry, asked for directly: its own function makes three calls of one."""

from collections.abc import Callable

from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

_runtime = context._RUNTIME_CONTEXT
_variable = getattr(_runtime, "_current_context", None) if type(_runtime) is ContextVarsRuntimeContext else None

get_current: Callable[[], Context] = context.get_current if _variable is None else _variable.get
