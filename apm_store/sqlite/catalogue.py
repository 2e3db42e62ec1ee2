"""Writes the catalogue: names, roll-ups, counts, the list of segments, and how far their logs are contained in it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import astuple, replace
from pathlib import Path

from apm_store.model import Signal
from apm_store.query import PruneEntry
from apm_store.sqlite.block import CLIENT_ERROR, FAILED, OK, BlockSpan
from apm_store.sqlite.connections import connect_writer
from apm_store.sqlite.dictionaries import Dictionaries
from apm_store.sqlite.edges import EdgePairing, EdgeRollup
from apm_store.sqlite.migrations import CATALOGUE
from apm_store.sqlite.peers import Peer
from apm_store.sqlite.rollups import (
    MINUTE_S,
    SERVICE_KEY,
    SERVICE_STEPS_S,
    SPAN_KEY,
    STATEMENT_KEY,
    Rollup,
    requests_by_service,
)
from apm_store.sqlite.segments import CATALOGUE_NAME

_NS_PER_MINUTE = MINUTE_S * 1_000_000_000
_OUTCOMES = {OK: "ok", CLIENT_ERROR: "4xx", FAILED: "failed"}
_ITEM_COLUMNS = {Signal.TRACES: "spans", Signal.METRICS: "data_points", Signal.LOGS: "log_records"}
_SEE_SERVICE = (
    "UPDATE service SET first_seen_ns = min(coalesce(first_seen_ns, ?1), ?1), "
    "last_seen_ns = max(coalesce(last_seen_ns, ?2), ?2) WHERE id = ?3"
)
_SEE_SEGMENT = (
    "UPDATE segment SET first_ns = min(coalesce(first_ns, ?1), ?1), last_ns = max(coalesce(last_ns, ?2), ?2), "
    "first_received_ns = min(coalesce(first_received_ns, ?3), ?3), "
    "last_received_ns = max(coalesce(last_received_ns, ?3), ?3) WHERE id = ?4"
)
_UPDATE_KEPT = (
    "UPDATE segment SET spans = ?, log_records = ?, first_ns = ?, last_ns = ?, first_received_ns = ?, "
    "last_received_ns = ? WHERE id = ?"
)
_PRUNE = "UPDATE counter SET pruned = pruned + ? WHERE name = ?"
_NEWLY_PRUNED = """
SELECT (SELECT pruned FROM counter WHERE name = 'traces') - coalesce(sum(spans), 0),
       (SELECT pruned FROM counter WHERE name = 'logs') - coalesce(sum(log_records), 0)
FROM prune
"""


class Catalogue:
    """The catalogue as its only writer sees it; a transaction is open from `begin` to `commit`."""

    def __init__(self, data_dir: Path) -> None:
        self.connection = connect_writer(data_dir / CATALOGUE_NAME, CATALOGUE)
        self.identity = (data_dir / CATALOGUE_NAME).stat().st_ino
        """By which it is seen that another file took its place."""
        self.names = Dictionaries(self.connection)
        self.edges = EdgePairing()
        self.lacks_calls = True
        """Whether `edges` does not know yet what waited when the file was closed; `recall_calls` tells it."""
        self._edge_rollup = EdgeRollup()
        self._requests = Rollup("service_rollup", SERVICE_KEY, SERVICE_STEPS_S)
        self._spans = Rollup("span_rollup", SPAN_KEY)
        self._statements = Rollup("statement_rollup", STATEMENT_KEY)
        self._services: dict[int, tuple[int, int]] = {}
        self._counts: Counter[tuple[str, Signal, int]] = Counter()
        self._segment_times: dict[int, tuple[int, int, int]] = {}
        applied = self.connection.execute("SELECT segment_id, seq, offset, settled_ns FROM applied").fetchone()
        self.segment_id, self.seq, self.offset, self.settled_ns = applied

    def begin(self) -> None:
        """Open a transaction, unless one is open."""
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN IMMEDIATE")

    def add_segment(self, segment_id: int, created_ns: int, *, is_kept: bool = False) -> None:
        """List a segment that was begun; nothing happens when it is listed already."""
        row = (segment_id, created_ns, is_kept)
        self.connection.execute("INSERT OR IGNORE INTO segment VALUES (?, ?, ?, 0, 0, 0, NULL, NULL, NULL, NULL)", row)

    def set_kept(self, segment_id: int, spans: int, log_records: int, *times: int | None) -> None:
        """List what a kept segment holds now; `times` are the columns from `first_ns` on. No transaction may be open.

        What is kept is not counted as pruned.
        """
        self.begin()
        self.add_segment(segment_id, time.time_ns(), is_kept=True)
        before = self.connection.execute(
            "SELECT spans, log_records FROM segment WHERE id = ?", (segment_id,)
        ).fetchone()
        self.connection.execute(_UPDATE_KEPT, (spans, log_records, *times, segment_id))
        self.connection.execute(_PRUNE, (before[0] - spans, Signal.TRACES.value))
        self.connection.execute(_PRUNE, (before[1] - log_records, Signal.LOGS.value))
        self.connection.execute("COMMIT")

    def forget_segment(self, segment_id: int, entry: PruneEntry) -> PruneEntry:
        """Strike a segment from the list and note its removal; no transaction may be open.

        The entry comes with all that the segment holds; it is returned, and noted, without what was kept.
        """
        self.begin()
        counts = {Signal.TRACES: entry.spans, Signal.LOGS: entry.log_records, Signal.METRICS: entry.data_points}
        self.connection.executemany(_PRUNE, [(count, signal.value) for signal, count in counts.items()])
        [(spans, log_records)] = self.connection.execute(_NEWLY_PRUNED)
        entry = replace(entry, spans=max(0, spans), log_records=max(0, log_records))
        if any(counts.values()):
            values = astuple(entry)
            self.connection.execute(f"INSERT INTO prune VALUES (NULL{', ?' * len(values)})", values)  # noqa: S608 – question marks alone
        self.connection.execute("DELETE FROM segment WHERE id = ?", (segment_id,))
        self.connection.execute("UPDATE applied SET version = version + 1")
        self.connection.execute("COMMIT")
        return entry

    def set_budget(self, budget_bytes: int) -> None:
        """Note for other processes what bounds the store."""
        self.connection.execute("INSERT OR REPLACE INTO retention VALUES (1, ?)", (budget_bytes,))

    def count_spans(self, spans: Iterable[BlockSpan]) -> None:
        """Add new spans to the roll-ups."""
        cells, calls, services = self._spans.added, self._statements.added, self._services
        outcomes = _OUTCOMES
        for (
            trace_id,
            _,
            _,
            start_ns,
            duration_ns,
            service_id,
            operation_id,
            kind,
            result,
            _,
            call,
            is_entry,
            _,
        ) in spans:
            start_s = start_ns // _NS_PER_MINUTE * MINUTE_S
            outcome = outcomes[result]
            durations_ns, trace_ids = cells[start_s, service_id, operation_id, kind, is_entry, outcome]
            durations_ns.append(duration_ns)
            trace_ids.append(trace_id)
            if call:
                durations_ns, trace_ids = calls[start_s, service_id, call, outcome]
                durations_ns.append(duration_ns)
                trace_ids.append(trace_id)
            seen = services.get(service_id)
            if seen is None:
                services[service_id] = (start_ns, start_ns)
            elif not seen[0] <= start_ns <= seen[1]:
                services[service_id] = (min(seen[0], start_ns), max(seen[1], start_ns))

    def count_again(self, span: BlockSpan, times: int) -> None:
        """Add a span to the roll-ups that stands for more than itself, as often as that."""
        start_s, outcome = span.start_ns // _NS_PER_MINUTE * MINUTE_S, _OUTCOMES[span.outcome]
        key = (start_s, span.service_id, span.operation_id, span.kind, int(span.is_entry), outcome)
        self._spans.add_again(key, span.duration_ns, times)
        if span.statement_id:
            self._statements.add_again((start_s, span.service_id, span.statement_id, outcome), span.duration_ns, times)

    def count_edges(self, ends: Iterable[tuple[BlockSpan, Peer | None]], services: Mapping[int, str]) -> None:
        """Pair the ends of edges among new spans; each comes with the peer that it names."""
        add = self.edges.add
        for span, peer in ends:
            add(span, services[span.service_id], peer)

    def go_on_with(self, edges: EdgePairing) -> None:
        """Pair calls with those that another writer of this file knows."""
        self.edges, self.lacks_calls = edges, False

    def settle_edges(self, now_ns: int) -> None:
        """Count the ends of edges as lone ones that have waited long enough at a time of receipt, in nanoseconds."""
        self.settled_ns = now_ns
        self.edges.expire(now_ns)

    def count_items(self, signal: Signal, segment_id: int, stored: int, duplicates: int) -> None:
        """Count items of one body."""
        self._counts["stored", signal, segment_id] += stored
        self._counts["duplicates", signal, segment_id] += duplicates

    def see_body(self, segment_id: int, first_ns: int, last_ns: int, received_ns: int) -> None:
        """Note between which times the items of a segment lie."""
        seen = self._segment_times.get(segment_id, (first_ns, last_ns, received_ns))
        self._segment_times[segment_id] = (min(seen[0], first_ns), max(seen[1], last_ns), received_ns)

    def notice(self, state: str, text: str) -> None:
        """Note what a person must know; outside of a transaction it is committed at once."""
        self.connection.execute(
            "INSERT INTO notice (time_ns, state, text) VALUES (?, ?, ?)", (time.time_ns(), state, text)
        )

    def commit(self, segment_id: int, seq: int, offset: int) -> None:
        """Write what was gathered up to a body, behind which the log goes on at an offset, and commit it."""
        self.begin()
        execute, executemany = self.connection.execute, self.connection.executemany
        executemany("INSERT OR IGNORE INTO minute VALUES (?)", [(start_s,) for start_s in self._spans.minutes()])
        self._requests.write(requests_by_service(self._spans.flush(self.connection)), self.connection)
        self._statements.flush(self.connection)
        self._edge_rollup.flush(self.connection, self.names, self.edges.take())
        self.names.write_notices(time.time_ns())
        executemany(_SEE_SERVICE, [(*times, service_id) for service_id, times in self._services.items()])
        for (column, signal, segment), items in self._counts.items():
            execute(f"UPDATE counter SET {column} = {column} + ? WHERE name = ?", (items, signal.value))  # noqa: S608 – names from this file
            if column == "stored":
                name = _ITEM_COLUMNS[signal]
                execute(f"UPDATE segment SET {name} = {name} + ? WHERE id = ?", (items, segment))  # noqa: S608 – names from this file
        executemany(_SEE_SEGMENT, [(*times, segment) for segment, times in self._segment_times.items()])
        position = (segment_id, seq, offset)
        values = (*position, self.settled_ns)
        execute("UPDATE applied SET segment_id = ?, seq = ?, offset = ?, settled_ns = ?, version = version + 1", values)
        execute("COMMIT")
        self.segment_id, self.seq, self.offset = position
        self._services, self._segment_times = {}, {}
        self._counts.clear()

    def rows(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """The rows of a SELECT."""
        return self.connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Let go of the file; what was not committed is undone."""
        self.connection.close()
