"""What requests to an HTTP server have in common, under the stable conventions, whichever framework answers them.

The official instrumentations find out anew with every request what is the same for most of them.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import _start_internal_or_server_span
from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation import _SPAN_KEY
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.http import detect_synthetic_user_agent

from otel_agent.attribute_values import CleanAttributes, cleaned
from otel_agent.current_context import attach, detach, get_current, with_span

# These are written as they are; what to make of any other method the official code decides.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})

METHOD, SCHEME, VERSION = "http.request.method", "url.scheme", "network.protocol.version"
STATUS_CODE, ERROR_TYPE, ROUTE = "http.response.status_code", "error.type", "http.route"

_W3C = {TraceContextTextMapPropagator, W3CBaggagePropagator}
_MOST_KNOWN = 1_000
_LONGEST_KNOWN_AGENT = 512
_FIRST_CODE, _FIRST_SERVER_ERROR = 100, 500

_known_synthetic_type = lru_cache(256)(detect_synthetic_user_agent)


def add_user_agent(attributes: dict[str, Any], user_agent: str | None) -> None:
    """Add what the client says it is, and whether that is a "bot" or a "test"."""
    if user_agent:
        attributes["user_agent.original"] = user_agent
        is_short = len(user_agent) <= _LONGEST_KNOWN_AGENT
        kind = (_known_synthetic_type if is_short else detect_synthetic_user_agent)(user_agent)
        if kind:
            attributes["user_agent.synthetic.type"] = kind


def number_of(port: Any) -> int:
    """Return the number of a port; 0 where there is none."""
    try:
        return int(port or 0)
    except (ValueError, TypeError):
        return 0


def active_dimensions(attributes: Mapping[str, Any]) -> CleanAttributes:
    """Return those attributes of a request that `http.server.active_requests` has."""
    get = attributes.get
    return _active_dimensions(get(METHOD), get(SCHEME))


@lru_cache(_MOST_KNOWN)
def _active_dimensions(*values: str | None) -> CleanAttributes:
    return _present((METHOD, SCHEME), values)


def dimensions(attributes: Mapping[str, Any]) -> CleanAttributes:
    """Return those attributes of a request that `http.server.request.duration` has."""
    get = attributes.get
    return _dimensions(get(METHOD), get(SCHEME), get(VERSION), get(STATUS_CODE), get(ERROR_TYPE), get(ROUTE))


@lru_cache(_MOST_KNOWN)
def _dimensions(*values: str | int | None) -> CleanAttributes:
    return _present((METHOD, SCHEME, VERSION, STATUS_CODE, ERROR_TYPE, ROUTE), values)


def _present(names: tuple[str, ...], values: tuple[Any, ...]) -> CleanAttributes:
    pairs = zip(names, values, strict=True)
    return CleanAttributes(cleaned({name: value for name, value in pairs if value is not None}))


def set_status(span: Any, attributes: dict[str, Any], code: int) -> None:
    """Write on a SERVER span, and in the attributes of its request, how that is answered: an int above 0."""
    attributes[STATUS_CODE] = code
    is_failure = code >= _FIRST_SERVER_ERROR or code < _FIRST_CODE
    if is_failure:
        attributes[ERROR_TYPE] = str(code)
    if span.is_recording():
        span.set_attribute(STATUS_CODE, code)
        if is_failure:
            span.set_attribute(ERROR_TYPE, str(code))
            span.set_status(Status(StatusCode.ERROR))


class Activation:
    """Makes a span the current one in a block, and writes on it what the block raises; it does not end the span."""

    __slots__ = ("_token", "context", "span")

    def __init__(self, span: Any, context: Context) -> None:
        self.span, self.context = span, with_span(span, context)

    def __enter__(self) -> None:
        """Begin the block."""
        self._token = attach(self.context)

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        """End the block."""
        detach(self._token)
        if error is not None:  # written as OpenTelemetry would have, down to its own frame in the stack trace
            activation: Any = trace.use_span(self.span)
            activation.__enter__()
            activation.__exit__(type(error), error, error.__traceback__)


def _is_w3c(textmap: Any) -> bool:
    """Tell whether it looks for nothing in a request but the headers `traceparent` and `baggage`."""
    return type(textmap) is CompositePropagator and _W3C.issuperset(map(type, textmap._propagators))


def start_span(
    what: tuple[Any, str, int | None],
    carrier: Any,
    getter: Getter[Any],
    attributes: dict[str, Any],
    may_have_caller: bool,
) -> tuple[Any, Context]:
    """Start the span of a request, and return it and the context that it begins in.

    `what` is its tracer, its name, and when it began (Unix ns; None is now); `may_have_caller` tells whether the
    request has a header `traceparent` or `baggage`.
    """
    tracer, name, start_ns = what
    if may_have_caller or get_current().get(_SPAN_KEY) is not None or not _is_w3c(get_global_textmap()):
        official: Any = _start_internal_or_server_span
        span, token = official(tracer, name, start_ns, carrier, getter, attributes)
        context = get_current()
        if token is not None:
            detach(token)
        return span, context
    context = Context()
    return tracer.start_span(name, context, SpanKind.SERVER, attributes, start_time=start_ns), context
