"""The doors through which the standard `opentelemetry-instrument` command starts the agent."""

from importlib.metadata import EntryPoint
from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]  # the module opts out of types
from opentelemetry.sdk._configuration import _BaseConfigurator

from otel_agent.boot import boot


class SpanwiseDistro(BaseDistro):  # type: ignore[misc]  # untyped, see above
    """Boots the agent before anything else is configured, so that its defaults are in place."""

    def _configure(self, **_kwargs: Any) -> None:
        boot()

    def load_instrumentor(self, entry_point: EntryPoint, **_kwargs: Any) -> None:
        """Load nothing more: booting has already instrumented every library, the agent's own and the others."""


class SpanwiseConfigurator(_BaseConfigurator):
    """Boots the agent, for those who name our configurator but another distro."""

    def _configure(self, **_kwargs: Any) -> None:
        boot()
