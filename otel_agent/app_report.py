"""What `spanwise doctor -- CMD` asks inside the app's interpreter once the agent is there, as one JSON object."""

import json
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from otel_agent import boot
from otel_agent.settings import process_environment, tls_files

if TYPE_CHECKING:
    from opentelemetry.exporter.http.transport._base import BaseHTTPResult

# What an instrumentation puts its own in the place of: who has imported it by name before keeps the untraced one.
_REPLACED = (("flask", "Flask"), ("sqlite3", "connect"))
_TIMEOUT_S = 3.0


def print_report() -> None:
    """Print the report; `answer` is what the collector says to an empty export, null where none can be sent."""
    is_started = "otel_agent.providers" in sys.modules
    is_http = process_environment().get("OTEL_EXPORTER_OTLP_PROTOCOL") != "grpc"
    report = {
        "is_started": is_started,
        "obstacle": boot.obstacle,
        "imported_too_early": _imported_too_early(),
        "distros": sorted({one.name for one in entry_points(group="opentelemetry_distro")} - {"spanwise"}),
        "answer": _answer() if is_started and is_http else None,
    }
    print(json.dumps(report))  # noqa: T201 - this is its answer


def _imported_too_early() -> list[str]:
    """The names of _REPLACED that modules hold which were imported before the agent, as "flask.Flask by shop"."""
    found = []
    for library, name in _REPLACED:
        traced = vars(sys.modules[library]).get(name) if library in sys.modules else None
        for module in sorted(boot.modules_before & sys.modules.keys()) if traced else ():
            held = vars(sys.modules[module]).get(name)
            if module.partition(".")[0] != library and _is_from(held, library) and held is not traced:
                found.append(f"{library}.{name} by {module}")
    return found


def _is_from(thing: Any, library: str) -> bool:
    origin = getattr(thing, "__module__", None)
    return isinstance(origin, str) and origin.lstrip("_").partition(".")[0] == library


def _answer() -> dict[str, Any]:
    """Send an empty export the way that the agent sends a full one: a status, or an error."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from otel_agent.transport import HttpResult, HttpTransport, Tls

    answer: dict[str, Any] = {}

    class Transport(HttpTransport):
        def request(self, method: str, url: str, **more: Any) -> "BaseHTTPResult":
            result = super().request(method, url, **more)
            error = f"{type(result.error).__name__}: {result.error}" if result.error else ""
            answer.update(endpoint=url, status=result.status_code, error=error)
            return HttpResult(400, None, None, {})  # asked once is enough

    OTLPSpanExporter(_transport=Transport(Tls(*tls_files("TRACES"))), timeout=_TIMEOUT_S).export([])
    return answer
