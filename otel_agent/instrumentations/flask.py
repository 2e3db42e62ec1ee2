"""Flask: a SERVER span per request, named after its route."""

import sys
from types import ModuleType
from typing import Any

from otel_agent.guard import guard


def instrument(_library: ModuleType) -> None:
    """Trace every application made from now on."""
    from opentelemetry.instrumentation.flask import FlaskInstrumentor

    # Its SQL comments attach a context to every request that nobody detaches.
    FlaskInstrumentor().instrument(enable_commenter=False, request_hook=name_without_route)


def name_without_route(span: Any, _environ: dict[str, Any]) -> None:
    """Name a request that matches no route "GET", not "GET /any/path": every path would be an operation."""
    with guard("name a request"):
        if span.is_recording() and sys.modules["flask"].request.url_rule is None:
            span.update_name(span.name.partition(" ")[0])
