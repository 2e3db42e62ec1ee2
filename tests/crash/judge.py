"""Judges a data directory after a crash, in a fresh process: `judge.py DATA_DIR LEDGER_DIR` prints its verdict."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.generator import Generator
from crash.load import Parcel, make_generator, read_ledger
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apm_store.api import Store, StoreError
from apm_store.model import Signal
from apm_store.open import open_store
from apm_store.query import TimeRange

_MAX_TRACES = 20  # of the newest acknowledged parcels: asked for by id, so through the index
_TIMEOUT_S = 300


@dataclass
class Verdict:
    """What is wrong; all of it empty and zero when nothing is."""

    acknowledged: int = 0
    stored: int = 0
    lost: int = 0
    never_sent: int = 0
    not_found: int = 0
    miscounted: str = ""
    unsound: str = ""

    @property
    def is_good(self) -> bool:
        """Whether nothing is lost, invented, unfindable, miscounted or broken."""
        return not (self.lost or self.never_sent or self.not_found or self.miscounted or self.unsound)


def judge(data_dir: Path, ledger_dir: Path) -> Verdict:
    """Open the store (which recovers it), read all of it back, and hold it against the ledger."""
    sent, acknowledged = read_ledger(ledger_dir)
    generator = make_generator()
    wanted = _span_ids(generator, acknowledged)
    verdict = Verdict(acknowledged=len(wanted))
    try:
        store = open_store(data_dir)
    except StoreError as error:
        verdict.lost, verdict.unsound = len(wanted), str(error)
        return verdict
    with closing(store):
        newest = sorted(acknowledged, key=lambda parcel: parcel.wave)[-_MAX_TRACES:]
        traces = [parcel.stamp(generator).trace_id for parcel in newest]
        verdict.not_found = sum(not store.traces.get(trace_id) for trace_id in traces)  # waits for the index
        stored = _ids_of(store.bodies(Signal.TRACES, TimeRange(0, 2**63 - 1)))
        verdict.miscounted = _miscounted(store, len(stored))
    verdict.stored = len(stored)
    verdict.lost = len(wanted - stored)
    verdict.never_sent = len(stored - _span_ids(generator, sent))
    verdict.unsound = _unsound(data_dir)
    return verdict


def judge_apart(data_dir: Path, ledger_dir: Path) -> Verdict:
    """The same in a process of its own."""
    argv = [sys.executable, __file__, str(data_dir), str(ledger_dir)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        return Verdict(unsound=f"the judge ended with {done.returncode}: {done.stderr[-500:]}")
    return Verdict(**json.loads(done.stdout))


def _span_ids(generator: Generator, parcels: Iterable[Parcel]) -> set[bytes]:
    return _ids_of(parcel.stamp(generator).body for parcel in parcels)


def _ids_of(bodies: Iterable[bytes]) -> set[bytes]:
    """Trace id and span id of every span."""
    return {
        span.trace_id + span.span_id
        for body in bodies
        for group in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    }


def _miscounted(store: Store, stored: int) -> str:
    """What is wrong with the store's own counters; "" when they add up and agree with what was read back."""
    health = store.health()
    parts = {name: getattr(health, name)["traces"] for name in ("accepted", "stored", "duplicates", "waiting")}
    is_right = parts["accepted"] == parts["stored"] + parts["duplicates"] + parts["waiting"]
    return "" if is_right and parts["stored"] == stored else f"{parts}, read back {stored}"


def _unsound(data_dir: Path) -> str:
    """What the integrity check says of the databases below a directory; "" when all are sound."""
    findings = []
    for path in sorted(data_dir.rglob("*.db")):
        try:
            with closing(sqlite3.connect(path)) as database:
                answer = str(database.execute("PRAGMA integrity_check").fetchone()[0])
        except sqlite3.Error as error:
            answer = str(error)
        if answer != "ok":
            findings.append(f"{path.name}: {answer}")
    return "; ".join(findings)


if __name__ == "__main__":
    print(json.dumps(asdict(judge(Path(sys.argv[1]), Path(sys.argv[2])))))
