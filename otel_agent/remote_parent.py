"""A request has one caller: with two `traceparent` headers it begins a trace of its own, as the W3C says.

It has none where OTEL_PROPAGATORS is `none`: OpenTelemetry then makes `None` the current context, and requests fail.
"""

from types import ModuleType
from typing import Any

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, default_getter

from otel_agent.imports import when_imported

_NAME = "traceparent"


class _OneCaller(Getter[Any]):
    """Reads as another getter does, but no `traceparent` that comes more than once: OpenTelemetry takes the first."""

    __slots__ = ("_getter",)

    def __init__(self, getter: Getter[Any]) -> None:
        self._getter = getter

    def get(self, carrier: Any, key: str) -> list[str] | None:
        """Return the values of a header."""
        values = self._getter.get(carrier, key)
        is_one = key != _NAME or not isinstance(values, (list, tuple)) or len(values) == 1
        return values if is_one else None

    def keys(self, carrier: Any) -> list[str]:
        """Return the names of the headers."""
        return self._getter.keys(carrier)


def install() -> None:
    """Have callers looked for in this way, as soon as anybody looks for them."""
    when_imported("opentelemetry.trace.propagation.tracecontext", _replace_extract)
    when_imported("opentelemetry.propagators.composite", _give_a_context)


def _give_a_context(library: ModuleType) -> None:
    propagator: Any = library.CompositePropagator
    official = propagator.extract

    def extract(
        self: Any, carrier: Any, context: Context | None = None, getter: Getter[Any] = default_getter
    ) -> Context:
        extracted: Context | None = official(self, carrier, context, getter)
        return Context() if extracted is None else extracted

    propagator.extract = extract


def _replace_extract(library: ModuleType) -> None:
    propagator: Any = library.TraceContextTextMapPropagator
    official = propagator.extract

    def extract(
        self: Any, carrier: Any, context: Context | None = None, getter: Getter[Any] = default_getter
    ) -> Context:
        extracted: Context = official(self, carrier, context, _OneCaller(getter))
        return extracted

    propagator.extract = extract
