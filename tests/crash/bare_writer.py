"""A bare SQLite writer, the control of the power-cut rig: `bare_writer.py DATABASE SYNCHRONOUS LEDGER`, until killed.

Commits 200 rows of 300 random bytes at a time, and notes each commit's number in the ledger after it.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path

ROWS_PER_COMMIT = 200


def main() -> None:
    """Write until killed."""
    path, synchronous, ledger_path = sys.argv[1:]
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(f"PRAGMA synchronous = {synchronous}")
    database.execute("CREATE TABLE row (number INTEGER, data BLOB)")
    with Path(ledger_path).open("a", buffering=1) as ledger:
        number = 0
        while True:
            number += 1
            database.execute("BEGIN IMMEDIATE")
            rows = [(number, os.urandom(300)) for _ in range(ROWS_PER_COMMIT)]
            database.executemany("INSERT INTO row VALUES (?, ?)", rows)
            database.execute("COMMIT")
            ledger.write(f"{number}\n")


if __name__ == "__main__":
    main()
