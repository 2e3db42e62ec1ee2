"""One CLIENT span and one duration data point per SQL statement, alike for every database library."""

import time
from contextvars import Token
from functools import lru_cache
from types import TracebackType
from typing import Any, NamedTuple

from opentelemetry import context, metrics, trace
from opentelemetry.instrumentation import _semconv
from opentelemetry.instrumentation.utils import _SUPPRESS_INSTRUMENTATION_KEY_PLAIN
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from otel_agent.attribute_values import CleanAttributes, cleaned
from otel_agent.current_context import attach, detach, get_current, with_span
from otel_agent.guard import guard
from otel_agent.statements import read_statement

# What libraries ask the database about itself: not the host's work.
_NOISE = frozenset({"PRAGMA"})
# Whoever sets one of these in a context wants no spans of what runs in it.
_SUPPRESSED, _SUPPRESSED_PLAIN = context._SUPPRESS_INSTRUMENTATION_KEY, _SUPPRESS_INSTRUMENTATION_KEY_PLAIN
# A host runs few different statements, and each of them often.
_KNOWN_STATEMENTS = 500
_LONGEST_KNOWN = 4096
# Seconds, as the semantic conventions advise for db.client.operation.duration.
_DURATION_BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)

_starting, _ending = guard("start the span of a statement"), guard("end the span of a statement")


class Database(NamedTuple):
    """The database a statement goes to: semantic-convention system name, database name, and server if known."""

    system: str
    name: str = ""
    host: str = ""
    port: int | None = None


class Description(NamedTuple):
    """Operation ("SELECT") and span name of a statement, and the attributes of its span and of its data point."""

    operation: str
    span_name: str
    attributes: dict[str, Any]
    dimensions: CleanAttributes


class StatementTracer:
    """Makes the spans and the duration instrument of one database library, named by `scope`.

    What `is_leaf` runs nothing within its statements that is instrumented itself.
    """

    def __init__(self, scope: str, is_leaf: bool = False) -> None:
        self.is_leaf = is_leaf
        stability = _semconv._OpenTelemetrySemanticConventionStability
        stability._initialize()  # type: ignore[no-untyped-call]  # the library left it unannotated
        signal = _semconv._OpenTelemetryStabilitySignalType
        self.database_mode = stability._get_opentelemetry_stability_opt_in_mode(signal.DATABASE)
        self.http_mode = stability._get_opentelemetry_stability_opt_in_mode(signal.HTTP)
        self.tracer = trace.get_tracer(scope)
        self._describe_known = lru_cache(maxsize=_KNOWN_STATEMENTS)(self._describe)
        self.duration = metrics.get_meter(scope).create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=_DURATION_BUCKETS_S,
        )

    def describe(self, text: str, database: Database) -> "Description":
        """Return what is known of the statement `text` before it runs; the caller must not change it."""
        if type(text) is str and len(text) <= _LONGEST_KNOWN:
            return self._describe_known(text, database)
        description = self._describe(text, database)
        return description._replace(attributes=dict(description.attributes))  # which nobody shares

    def _describe(self, text: str, database: Database) -> "Description":
        statement, mode = read_statement(text), self.database_mode
        attributes: dict[str, AttributeValue] = {}
        _semconv._set_db_system(attributes, database.system, mode)
        _semconv._set_db_name(attributes, database.name, mode)
        _semconv._set_db_statement(attributes, text, mode)
        _semconv._set_db_operation(attributes, statement.operation, mode)
        if statement.table:
            attributes["db.collection.name"] = statement.table
        if database.host:
            _semconv._set_http_net_peer_name_client(attributes, database.host, self.http_mode)
        if database.port:
            _semconv._set_http_peer_port_client(attributes, database.port, self.http_mode)
        dimensions: dict[str, AttributeValue] = {
            "db.system.name": database.system,
            "db.operation.name": statement.operation,
        }
        if database.name:
            dimensions["db.namespace"] = database.name
        if statement.table:
            dimensions["db.collection.name"] = statement.table
        clean = CleanAttributes(cleaned(attributes)), CleanAttributes(cleaned(dimensions))
        return Description(statement.operation, statement.span_name, *clean)


class Execution:
    """One execution of a statement: entered before it runs and exited after.

    While it runs, no other instrumentation counts the same statement again.
    """

    __slots__ = ("_context", "_database", "_dimensions", "_span", "_start_s", "_text", "_token", "_tracer")

    def __init__(self, tracer: StatementTracer, text: str, database: Database) -> None:
        self._tracer = tracer
        self._text = text
        self._database = database
        self._span: Span | None = None
        self._token: Token[context.Context] | None = None

    def __enter__(self) -> "Execution":
        """Start the span, unless a layer above has already counted this statement."""
        with _starting:
            current = get_current()
            if not (current.get(_SUPPRESSED) or current.get(_SUPPRESSED_PLAIN)):
                tracer, self._context = self._tracer, current
                operation, name, attributes, self._dimensions = tracer.describe(self._text, self._database)
                if operation not in _NOISE:
                    self._span = tracer.tracer.start_span(name, current, SpanKind.CLIENT, attributes)
                if not tracer.is_leaf:
                    self._token = attach(context.set_value(_SUPPRESSED, True, current))
                self._start_s = time.perf_counter()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """End the span, with the error of the statement if it had one."""
        with _ending:
            token, self._token = self._token, None
            if token is not None:
                detach(token)
            span, self._span = self._span, None
            if span is not None:
                duration_s = time.perf_counter() - self._start_s
                dimensions = self._dimensions if error is None else self._fail(span, error)
                self._tracer.duration.record(duration_s, dimensions, with_span(span, self._context))
                span.end()

    def _fail(self, span: Span, error: BaseException) -> CleanAttributes:
        """Write the error on the span; return the attributes of the data point."""
        kind = type(error).__qualname__
        span.set_attribute("error.type", kind)
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, str(error)))
        return CleanAttributes(cleaned({**self._dimensions, "error.type": kind}))
