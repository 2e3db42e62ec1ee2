"""The tables as SQLAlchemy Core sees them, for reading; `migrations` makes them, and a test holds both together."""

from __future__ import annotations

from sqlalchemy import BLOB, INTEGER, TEXT, Column, Index, MetaData, PrimaryKeyConstraint, Table, text

METADATA = MetaData()
_ENTRY_COLUMNS = ("start_ns", text("duration_ns DESC"), "trace_id", "is_entry", "kind", "status", "http_status")


def _integers(**comments: str) -> tuple[Column[int], ...]:
    """Columns of integers that are never null, by name, each with its meaning."""
    return tuple(Column(name, INTEGER, nullable=False, comment=comment) for name, comment in comments.items())


def _id(comment: str) -> Column[int]:
    # SQLite's alias of the rowid, which is never null
    return Column("id", INTEGER, primary_key=True, nullable=True, comment=comment)


def _text(name: str, comment: str) -> Column[str]:
    return Column(name, TEXT, nullable=False, comment=comment)


def _bytes(name: str, comment: str, *, nullable: bool = False) -> Column[bytes]:
    return Column(name, BLOB, nullable=nullable, comment=comment)


_ITEM_ID = "Its body's id times 2^20, plus its position in the body"
_OUTCOME = "How the spans ended: `ok`, `4xx` or `failed`"
_STEP = {"step_s": "Length of the step in seconds: 60 or 3600", "start_s": "Start of the step, in seconds since 1970"}
_SUMS = {
    "count": "How many spans",
    "sum_ns": "Sum of their durations in nanoseconds",
    "max_ns": "The longest duration in nanoseconds",
}


def _durations() -> tuple[Column[bytes], ...]:
    return (
        _bytes("max_trace_id", "Trace of the longest span"),
        _bytes("sketch", "Durations: pairs of bucket (2 bytes) and count (4 bytes), 1 % relative error"),
    )


body = Table(
    "body",
    METADATA,
    _id("Counts up from 1"),
    _text("signal", "`traces`, `metrics` or `logs`"),
    *_integers(
        received_ns="When it was received, in nanoseconds since 1970",
        first_ns="Earliest time of an item, in nanoseconds since 1970",
        last_ns="Latest time of an item, in nanoseconds since 1970",
        item_count="How many items it holds, duplicates included",
    ),
    _text("codec", "How `data` is compressed: `zstd`"),
    _bytes("digest", "BLAKE2b of signal and content, by which a repeated request is known"),
    _bytes("data", "The compressed protobuf"),
    Index("ix_body_digest", "digest", unique=True),
    Index("ix_body_time", "signal", "last_ns", "first_ns"),
    Index("ix_body_received", "signal", "received_ns", "item_count"),
    comment="OTLP export requests as they were received; all that the other tables leave out is read from here.",
    sqlite_strict=True,
)

service = Table(
    "service",
    METADATA,
    _id("Stands for the name elsewhere"),
    _text("name", "`service.name` of the resource"),
    *_integers(slot="Number of its colour, from 0 in order of arrival"),
    Column("first_seen_ns", INTEGER, comment="Earliest start of a span, in nanoseconds since 1970; null without spans"),
    Column("last_seen_ns", INTEGER, comment="Latest start of a span, in nanoseconds since 1970; null without spans"),
    Index("ix_service_name", "name", unique=True),
    comment="Services that have sent anything.",
    sqlite_strict=True,
)

operation = Table(
    "operation",
    METADATA,
    _id("Stands for the name elsewhere"),
    _text("name", "Name of a span"),
    Index("ix_operation_name", "name", unique=True),
    comment="Names of spans.",
    sqlite_strict=True,
)

statement = Table(
    "statement",
    METADATA,
    _id("Stands for the statement elsewhere"),
    _text("hash", "Hash of the normalised statement, the same in every store"),
    _text("system", "`db.system.name` of its first call"),
    _text("namespace", "`db.namespace` of its first call"),
    _text("text", "The statement without its values"),
    Index("ix_statement_hash", "hash", unique=True),
    comment="Database statements, normalised.",
    sqlite_strict=True,
)

span = Table(
    "span",
    METADATA,
    _id(_ITEM_ID),
    _bytes("trace_id", "16 bytes"),
    _bytes("span_id", "8 bytes"),
    _bytes("parent_span_id", "8 bytes; null for a root span", nullable=True),
    *_integers(
        start_ns="Start in nanoseconds since 1970; when it was received, if the span has no start",
        duration_ns="Duration in nanoseconds, never below 0",
        service_id="Its `service`",
        operation_id="Its name, an `operation`",
        kind="SpanKind of OTLP: 1 internal, 2 server, 3 client, 4 producer, 5 consumer",
        status="Status code of OTLP: 0 unset, 1 ok, 2 error",
        is_entry="1 for a request to its service: kind server or consumer, no parent, or a remote parent",
    ),
    Column("http_status", INTEGER, comment="HTTP response status; null when it has none"),
    Column("statement_id", INTEGER, comment="Its `statement`; null for no database call, or one seen twice"),
    Index("ix_span_identity", "trace_id", "span_id", "kind", unique=True),
    Index("ix_span_operation", "operation_id", "start_ns", "service_id"),
    Index("ix_span_entry", *_ENTRY_COLUMNS, sqlite_where=text("is_entry = 1")),
    Index("ix_span_service_entry", "service_id", *_ENTRY_COLUMNS, sqlite_where=text("is_entry = 1")),
    Index("ix_span_statement", "statement_id", "start_ns", sqlite_where=text("statement_id IS NOT NULL")),
    comment="One narrow row per span, for finding it; a span is known by trace, span id and kind.",
    sqlite_strict=True,
)

span_rollup = Table(
    "span_rollup",
    METADATA,
    *_integers(
        **_STEP,
        service_id="Their `service`",
        operation_id="Their name, an `operation`",
        kind="Their SpanKind",
        is_entry="1 for entry spans",
    ),
    _text("outcome", _OUTCOME),
    *_integers(**_SUMS),
    *_durations(),
    PrimaryKeyConstraint("step_s", "start_s", "service_id", "operation_id", "kind", "is_entry", "outcome"),
    comment="Spans summed up by the minute and by the hour of their start.",
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

minute = Table(
    "minute",
    METADATA,
    Column("start_s", INTEGER, primary_key=True, nullable=True, comment="Start of the minute, in seconds since 1970"),
    comment="Minutes in which at least one span starts.",
    sqlite_strict=True,
)

statement_rollup = Table(
    "statement_rollup",
    METADATA,
    *_integers(**_STEP, service_id="The calling `service`", statement_id="The `statement`"),
    _text("outcome", _OUTCOME),
    *_integers(**_SUMS),
    *_durations(),
    PrimaryKeyConstraint("step_s", "start_s", "service_id", "statement_id", "outcome"),
    comment="Database calls summed up by the minute and by the hour of their start.",
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

log_record = Table(
    "log_record",
    METADATA,
    _id(_ITEM_ID),
    *_integers(
        time_ns="Its time in nanoseconds since 1970; without one when it was observed, or else received",
        observed_ns="When it was observed, in nanoseconds since 1970; 0 when unknown",
    ),
    _bytes("trace_id", "16 bytes; null outside a trace", nullable=True),
    _bytes("span_id", "8 bytes; null outside a span", nullable=True),
    *_integers(service_id="Its `service`", severity_number="Severity of OTLP, 1 to 24; 0 when unknown"),
    Index("ix_log_record_time", "time_ns"),
    Index("ix_log_record_service", "service_id", "time_ns"),
    Index("ix_log_record_trace", "trace_id", "time_ns", sqlite_where=text("trace_id IS NOT NULL")),
    comment="One narrow row per log record, for finding it.",
    sqlite_strict=True,
)

metric_stream = Table(
    "metric_stream",
    METADATA,
    _id("Stands for the stream elsewhere"),
    _bytes("digest", "BLAKE2b of all that tells it from other streams: resource, scope, metric, attributes"),
    *_integers(service_id="Its `service`"),
    _text("name", "Name of the metric"),
    Index("ix_metric_stream_digest", "digest", unique=True),
    Index("ix_metric_stream_name", "name", "service_id"),
    comment="Metric streams: one metric of one source with one set of attributes.",
    sqlite_strict=True,
)

data_point = Table(
    "data_point",
    METADATA,
    _id(_ITEM_ID),
    *_integers(
        stream_id="Its `metric_stream`",
        time_ns="Its time in nanoseconds since 1970; when it was received, if it has none",
        start_ns="Start of what it sums up, in nanoseconds since 1970; 0 when unknown",
        content="63 bits of a digest of the whole point, so that only a true copy is a duplicate",
    ),
    Index("ix_data_point_identity", "stream_id", "time_ns", "start_ns", "content", unique=True),
    comment="One narrow row per metric data point, for finding it.",
    sqlite_strict=True,
)

counter = Table(
    "counter",
    METADATA,
    Column("name", TEXT, primary_key=True, comment="`traces`, `metrics` or `logs`"),
    *_integers(value="How many items of the signal are stored"),
    comment="Items stored, by signal.",
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
