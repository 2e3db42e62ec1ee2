"""The tables as SQLAlchemy Core sees them, for reading; `migrations` makes them, and a test holds both together."""

from __future__ import annotations

from sqlalchemy import BLOB, INTEGER, TEXT, Column, Index, MetaData, PrimaryKeyConstraint, Table, text

METADATA = MetaData()


def _integers(*names: str) -> tuple[Column[int], ...]:
    return tuple(Column(name, INTEGER, nullable=False) for name in names)


def _id() -> Column[int]:
    return Column("id", INTEGER, primary_key=True, nullable=True)  # SQLite's alias of the rowid, which is never null


body = Table(
    "body",
    METADATA,
    _id(),
    Column("signal", TEXT, nullable=False),
    *_integers("received_ns", "first_ns", "last_ns", "item_count"),
    Column("codec", TEXT, nullable=False),
    Column("digest", BLOB, nullable=False),
    Column("data", BLOB, nullable=False),
    Index("ix_body_digest", "digest", unique=True),
    Index("ix_body_time", "signal", "last_ns", "first_ns"),
    Index("ix_body_received", "signal", "received_ns", "item_count"),
    sqlite_strict=True,
)

service = Table(
    "service",
    METADATA,
    _id(),
    Column("name", TEXT, nullable=False),
    *_integers("slot"),
    Column("first_seen_ns", INTEGER),
    Column("last_seen_ns", INTEGER),
    Index("ix_service_name", "name", unique=True),
    sqlite_strict=True,
)

operation = Table(
    "operation",
    METADATA,
    _id(),
    Column("name", TEXT, nullable=False),
    Index("ix_operation_name", "name", unique=True),
    sqlite_strict=True,
)

statement = Table(
    "statement",
    METADATA,
    _id(),
    *(Column(name, TEXT, nullable=False) for name in ("hash", "system", "namespace", "text")),
    Index("ix_statement_hash", "hash", unique=True),
    sqlite_strict=True,
)

span = Table(
    "span",
    METADATA,
    _id(),
    Column("trace_id", BLOB, nullable=False),
    Column("span_id", BLOB, nullable=False),
    Column("parent_span_id", BLOB),
    *_integers("start_ns", "duration_ns", "service_id", "operation_id", "kind", "status", "is_entry"),
    Column("http_status", INTEGER),
    Column("statement_id", INTEGER),
    Index("ix_span_identity", "trace_id", "span_id", "kind", unique=True),
    Index("ix_span_operation", "operation_id", "start_ns", "service_id"),
    Index("ix_span_entry", "start_ns", "duration_ns", "trace_id", "is_entry", sqlite_where=text("is_entry = 1")),
    Index(
        "ix_span_service_entry",
        "service_id",
        "start_ns",
        "duration_ns",
        "trace_id",
        "is_entry",
        sqlite_where=text("is_entry = 1"),
    ),
    Index("ix_span_statement", "statement_id", "start_ns", sqlite_where=text("statement_id IS NOT NULL")),
    sqlite_strict=True,
)

span_rollup = Table(
    "span_rollup",
    METADATA,
    *_integers("step_s", "start_s", "service_id", "operation_id", "kind", "is_entry"),
    Column("outcome", TEXT, nullable=False),
    *_integers("count", "sum_ns", "max_ns"),
    Column("max_trace_id", BLOB, nullable=False),
    Column("sketch", BLOB, nullable=False),
    PrimaryKeyConstraint("step_s", "start_s", "service_id", "operation_id", "kind", "is_entry", "outcome"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

statement_rollup = Table(
    "statement_rollup",
    METADATA,
    *_integers("step_s", "start_s", "service_id", "statement_id"),
    Column("outcome", TEXT, nullable=False),
    *_integers("count", "sum_ns", "max_ns"),
    Column("max_trace_id", BLOB, nullable=False),
    Column("sketch", BLOB, nullable=False),
    PrimaryKeyConstraint("step_s", "start_s", "service_id", "statement_id", "outcome"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

log_record = Table(
    "log_record",
    METADATA,
    _id(),
    *_integers("time_ns", "observed_ns"),
    Column("trace_id", BLOB),
    Column("span_id", BLOB),
    *_integers("service_id", "severity_number"),
    Index("ix_log_record_time", "time_ns"),
    Index("ix_log_record_service", "service_id", "time_ns"),
    Index("ix_log_record_trace", "trace_id", "time_ns", sqlite_where=text("trace_id IS NOT NULL")),
    sqlite_strict=True,
)

metric_stream = Table(
    "metric_stream",
    METADATA,
    _id(),
    Column("digest", BLOB, nullable=False),
    *_integers("service_id"),
    Column("name", TEXT, nullable=False),
    Index("ix_metric_stream_digest", "digest", unique=True),
    Index("ix_metric_stream_name", "name", "service_id"),
    sqlite_strict=True,
)

data_point = Table(
    "data_point",
    METADATA,
    _id(),
    *_integers("stream_id", "time_ns", "start_ns", "content"),
    Index("ix_data_point_identity", "stream_id", "time_ns", "start_ns", "content", unique=True),
    sqlite_strict=True,
)

counter = Table(
    "counter",
    METADATA,
    Column("name", TEXT, primary_key=True),
    *_integers("value"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
