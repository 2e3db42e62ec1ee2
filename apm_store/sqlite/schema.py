"""The catalogue's tables as SQLAlchemy Core sees them, for reading; `migrations` makes them, and a test compares both.

The catalogue is `spanwise.db`: names, roll-ups, what there is and was. It outlives the raw data in the segments.
"""

from __future__ import annotations

from sqlalchemy import INTEGER, TEXT, Column, Index, MetaData, PrimaryKeyConstraint, Table

from apm_store.sqlite.columns import blob, integers, row_id, string

METADATA = MetaData()


_OUTCOME = "How the spans ended: `ok`, `4xx` or `failed`"
_STEP = {"step_s": "Length of the step in seconds: 60 or 3600", "start_s": "Start of the step, in seconds since 1970"}
_SERVICE_STEP = {**_STEP, "step_s": "Length of the step in seconds: 60, 300, 900 or 3600"}
_SUMS = {
    "count": "How many spans",
    "sum_ns": "Sum of their durations in nanoseconds",
    "max_ns": "The longest duration in nanoseconds",
}


def _durations() -> tuple[Column[bytes], ...]:
    return (
        blob("max_trace_id", "Trace of the longest span"),
        blob("sketch", "Durations: pairs of bucket (2 bytes) and count (4 bytes), 1 % relative error"),
    )


service = Table(
    "service",
    METADATA,
    row_id("id", "Stands for the name elsewhere"),
    string("name", "`service.name` of the resource"),
    *integers(slot="Number of its colour, from 0 in order of arrival"),
    Column("first_seen_ns", INTEGER, comment="Earliest start of a span, in nanoseconds since 1970; null without spans"),
    Column("last_seen_ns", INTEGER, comment="Latest start of a span, in nanoseconds since 1970; null without spans"),
    Index("ix_service_name", "name", unique=True),
    comment="Services that have sent anything.",
    sqlite_strict=True,
)

operation = Table(
    "operation",
    METADATA,
    row_id("id", "Stands for the name elsewhere"),
    string("name", "Name of a span"),
    Index("ix_operation_name", "name", unique=True),
    comment="Names of spans.",
    sqlite_strict=True,
)

statement = Table(
    "statement",
    METADATA,
    row_id("id", "Stands for the statement elsewhere"),
    string("hash", "Hash of the normalised statement, the same in every store"),
    string("system", "`db.system.name` of its first call"),
    string("namespace", "`db.namespace` of its first call"),
    string("text", "The statement without its values"),
    Index("ix_statement_hash", "hash", unique=True),
    comment="Database statements, normalised.",
    sqlite_strict=True,
)

service_rollup = Table(
    "service_rollup",
    METADATA,
    *integers(**_SERVICE_STEP, service_id="Their `service`"),
    string("outcome", _OUTCOME),
    *integers(**_SUMS),
    *_durations(),
    PrimaryKeyConstraint("step_s", "start_s", "service_id", "outcome"),
    comment="Entry spans summed up by service, and by the minute to the hour of their start.",
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

span_rollup = Table(
    "span_rollup",
    METADATA,
    *integers(
        **_STEP,
        service_id="Their `service`",
        operation_id="Their name, an `operation`",
        kind="Their SpanKind",
        is_entry="1 for entry spans",
    ),
    string("outcome", _OUTCOME),
    *integers(**_SUMS),
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
    *integers(**_STEP, service_id="The calling `service`", statement_id="The `statement`"),
    string("outcome", _OUTCOME),
    *integers(**_SUMS),
    *_durations(),
    PrimaryKeyConstraint("step_s", "start_s", "service_id", "statement_id", "outcome"),
    comment="Database calls summed up by the minute and by the hour of their start.",
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

metric_stream = Table(
    "metric_stream",
    METADATA,
    row_id("id", "Stands for the stream elsewhere"),
    blob("digest", "BLAKE2b of all that tells it from other streams: resource, scope, metric, attributes"),
    *integers(service_id="Its `service`"),
    string("name", "Name of the metric"),
    Index("ix_metric_stream_digest", "digest", unique=True),
    Index("ix_metric_stream_name", "name", "service_id"),
    comment="Metric streams: one metric of one source with one set of attributes.",
    sqlite_strict=True,
)

edge_rollup = Table(
    "edge_rollup",
    METADATA,
    *integers(**_STEP, source_id="The calling `node`", target_id="The called `node`"),
    string("kind", "`http`, `rpc`, `messaging`, `database` or `other`"),
    *integers(count="How many calls", failed_count="How many of them failed"),
    blob("client_sketch", "Durations that the caller saw, packed as in `span_rollup`"),
    blob("server_sketch", "Durations that the callee saw"),
    PrimaryKeyConstraint("step_s", "start_s", "source_id", "target_id", "kind"),
    comment="Calls between nodes of the service map, by the minute and by the hour of their start.",
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

node = Table(
    "node",
    METADATA,
    row_id("id", "Stands for the node elsewhere"),
    string("name", "A service's name, or that of what sends no spans itself: a database, a foreign host, `user`"),
    *integers(is_virtual="1 for a node that sends no spans itself"),
    Index("ix_node_name", "name", "is_virtual", unique=True),
    comment="Nodes of the service map.",
    sqlite_strict=True,
)

segment = Table(
    "segment",
    METADATA,
    row_id("id", "Counts up from 1; the name of its directory below `segments/`, in six digits"),
    *integers(
        created_ns="When it was begun, in nanoseconds since 1970",
        is_kept="1 for the segment of the traces that were kept when others were pruned",
        spans="How many spans it holds",
        data_points="How many data points it holds",
        log_records="How many log records it holds",
    ),
    Column("first_ns", INTEGER, comment="Earliest time of an item, in nanoseconds since 1970; null while empty"),
    Column("last_ns", INTEGER, comment="Latest time of an item, in nanoseconds since 1970; null while empty"),
    Column("first_received_ns", INTEGER, comment="When its first body was received; null while empty"),
    Column("last_received_ns", INTEGER, comment="When its last body was received; null while empty"),
    comment="Segments that hold raw data; each is a directory with a log and an index.",
    sqlite_strict=True,
)

applied = Table(
    "applied",
    METADATA,
    row_id("id", "Always 1"),
    *integers(
        segment_id="The `segment` in which the last body lies that these tables contain",
        seq="Number of that body in the segment's log",
        offset="Where the log goes on behind it",
        version="Counts up with every commit",
    ),
    Column("settled_ns", INTEGER, comment="When calls last counted as lone ones, having waited; null before the first"),
    comment="How far the logs of the segments are contained in this file.",
    sqlite_strict=True,
)

prune = Table(
    "prune",
    METADATA,
    row_id("id", "Counts up from 1"),
    *integers(time_ns="When, in nanoseconds since 1970"),
    string("reason", "`size`, `age`, `disk` or `request`"),
    *integers(
        first_ns="Earliest time of what was removed",
        last_ns="Latest time of what was removed",
        spans="How many spans were removed",
        log_records="How many log records",
        data_points="How many data points",
        freed_bytes="How much space came back",
        kept_traces="How many traces were kept: failed, slow and rare ones",
    ),
    comment="Every removal of raw data.",
    sqlite_strict=True,
)

retention = Table(
    "retention",
    METADATA,
    row_id("id", "Always 1"),
    *integers(budget_bytes="How many bytes the store may take"),
    comment="What bounds the store, as its writer was told.",
    sqlite_strict=True,
)

notice = Table(
    "notice",
    METADATA,
    row_id("id", "Counts up from 1"),
    *integers(time_ns="When, in nanoseconds since 1970"),
    string("state", "`warn` or `critical`"),
    string("text", "What happened, and what to do"),
    comment="What a person must know of the store, such as a damaged file that was set aside.",
    sqlite_strict=True,
)

counter = Table(
    "counter",
    METADATA,
    Column("name", TEXT, primary_key=True, comment="`traces`, `metrics` or `logs`"),
    *integers(
        stored="How many items of the signal were stored",
        duplicates="How many came again and were left out",
        pruned="How many of the stored ones were removed since",
    ),
    comment="Items by signal, since the store was made.",
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
