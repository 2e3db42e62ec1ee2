"""The tables of a segment's index as SQLAlchemy Core would see them: the reference; reading them is plain SQL."""

from __future__ import annotations

from sqlalchemy import INTEGER, REAL, TEXT, Column, Index, MetaData, PrimaryKeyConstraint, Table, text

from apm_store.sqlite.columns import blob, integers, row_id, string

METADATA = MetaData()


_ITEM_ID = "Number of its body times 2^20, plus its position in the body"

state = Table(
    "state",
    METADATA,
    row_id("id", "Always 1"),
    *integers(
        seq="Number of the last body that is indexed",
        offset="Where the log goes on behind it",
        first_unsettled_block="From this block on there may be traces that `trace` does not hold, or not whole",
    ),
    comment="How far the log is indexed.",
    sqlite_strict=True,
)

body = Table(
    "body",
    METADATA,
    row_id("seq", "Counts up from 1"),
    *integers(offset="Where its frame begins in `bodies.log`", length="How many bytes the frame has"),
    string("signal", "`traces`, `metrics` or `logs`"),
    *integers(
        received_ns="When it was received, in nanoseconds since 1970",
        first_ns="Earliest time of an item, in nanoseconds since 1970",
        last_ns="Latest time of an item, in nanoseconds since 1970",
        item_count="How many items it holds, duplicates included",
    ),
    blob("digest", "BLAKE2b of signal and content, by which repeated metrics and logs are known", nullable=True),
    Index("ix_body_digest", "digest", unique=True, sqlite_where=text("digest IS NOT NULL")),
    comment="OTLP export requests as they were received; all that the other tables leave out is read from there.",
    sqlite_strict=True,
)

block = Table(
    "block",
    METADATA,
    row_id("id", "Counts up from 1"),
    *integers(
        first_seq="The first body that its spans come from",
        last_seq="The last one",
        first_ns="Earliest start of its spans, in nanoseconds since 1970",
        last_ns="Latest start of its spans",
        span_count="How many spans it has",
        entry_count="How many of them are entry spans",
        is_open="1 while more spans are to come; a full block replaces all open ones",
    ),
    blob("zones", "JSON: [service, outcome, entry spans, longest duration in nanoseconds], …"),
    blob("data", "The spans as columns, compressed; entry spans first"),
    Index("ix_block_time", "last_ns"),
    comment="Spans by the thousand, for finding, listing and measuring them.",
    sqlite_strict=True,
)

block_filter = Table(
    "block_filter",
    METADATA,
    row_id("block_id", "A full `block`"),
    blob("bits", "Bloom filter of all attributes, operations, statements and services of its spans"),
    comment="What a block can contain.",
    sqlite_strict=True,
)

trace = Table(
    "trace",
    METADATA,
    blob("trace_id", "16 bytes"),
    *integers(
        first_ns="Start of its first span, in nanoseconds since 1970",
        last_ns="End of its last span",
        span_count="How many spans it has in this segment",
        error_count="How many of them failed",
        root_service_id="Its root's `service` in the catalogue; 0 before the root has come",
        root_operation_id="Its root's `operation` in the catalogue",
    ),
    blob("bodies", "JSON: [number of a body, its spans of the trace, failed ones among them], …"),
    PrimaryKeyConstraint("trace_id"),
    comment="Traces: where their spans lie, and their measures; written when a trace has been quiet for a while.",
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

log_record = Table(
    "log_record",
    METADATA,
    row_id("id", _ITEM_ID),
    *integers(
        time_ns="Its time in nanoseconds since 1970; without one when it was observed, or else received",
        observed_ns="When it was observed, in nanoseconds since 1970; 0 when unknown",
    ),
    blob("trace_id", "16 bytes; null outside a trace", nullable=True),
    blob("span_id", "8 bytes; null outside a span", nullable=True),
    *integers(service_id="Its `service` in the catalogue", severity_number="Severity of OTLP, 1 to 24; 0 when unknown"),
    Column("event", TEXT, comment="The beginning of its event name; null when it has none"),
    Index("ix_log_record_time", "time_ns"),
    Index("ix_log_record_service", "service_id", "time_ns"),
    Index("ix_log_record_trace", "trace_id", "time_ns", sqlite_where=text("trace_id IS NOT NULL")),
    Index("ix_log_record_event", "event", "time_ns", sqlite_where=text("event IS NOT NULL")),
    comment="One narrow row per log record, for finding it.",
    sqlite_strict=True,
)

data_point = Table(
    "data_point",
    METADATA,
    *integers(
        stream_id="Its `metric_stream` in the catalogue",
        time_ns="Its time in nanoseconds since 1970; when it was received, if it has none",
        start_ns="Start of what it sums up, in nanoseconds since 1970; 0 when unknown",
        content="63 bits of a digest of the whole point, so that only a true copy is a duplicate",
        id=_ITEM_ID,
    ),
    Column("value", REAL, comment="Its value, or the sum of a distribution; null when it has none"),
    Column("value_count", INTEGER, comment="How many values a distribution has; null for others"),
    PrimaryKeyConstraint("stream_id", "time_ns", "start_ns", "content"),
    comment="One narrow row per metric data point, for finding it.",
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
