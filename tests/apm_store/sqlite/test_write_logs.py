"""Log records become narrow rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from builders import SECOND
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from apm_store.model import Batch
from apm_store.sqlite.bodies import item_id
from apm_store.sqlite.connections import connect_writer
from apm_store.sqlite.dictionaries import Dictionaries
from apm_store.sqlite.migrations import CATALOGUE, SEGMENT
from apm_store.sqlite.write_logs import INSERT_LOG_RECORD, log_record_rows

TRACE_ID, SPAN_ID = b"t" * 16, b"s" * 8


def test_a_row_says_where_its_record_lies_and_to_what_it_belongs(
    tmp_path: Path, make_logs: Callable[..., Batch]
) -> None:
    """Id, time, observed, link, service, severity and event; a missing time is replaced, a missing link is null."""
    records = [
        LogRecord(time_unix_nano=5, observed_time_unix_nano=7, trace_id=TRACE_ID, span_id=SPAN_ID, severity_number=17),
        LogRecord(observed_time_unix_nano=7, event_name="cart.emptied"),
        LogRecord(),
        LogRecord(time_unix_nano=2**64 - 1, severity_number=99),
    ]
    with closing(connect_writer(tmp_path / "spanwise.db", CATALOGUE)) as catalogue:
        catalogue.execute("BEGIN")
        names = Dictionaries(catalogue)
        rows = log_record_rows(names, make_logs(records).request, 3, 999 * SECOND)

    assert rows == [
        (item_id(3, 0), 5, 7, TRACE_ID, SPAN_ID, 1, 17, None),
        (item_id(3, 1), 7, 7, None, None, 1, 0, "cart.emptied"),
        (item_id(3, 2), 999 * SECOND, 0, None, None, 1, 0, None),
        (item_id(3, 3), 2**63 - 1, 0, None, None, 1, 99, None),
    ]
    with closing(connect_writer(tmp_path / "index.db", SEGMENT)) as segment:
        segment.executemany(INSERT_LOG_RECORD, rows)
        segment.executemany(INSERT_LOG_RECORD, rows)
        stored = segment.execute("SELECT * FROM log_record ORDER BY id").fetchall()

    assert stored == rows
