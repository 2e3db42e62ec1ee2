"""The tables that migrations make are the tables that questions are asked of."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, create_engine

from apm_store.sqlite import schema as catalogue_schema
from apm_store.sqlite import segment_schema
from apm_store.sqlite.connections import connect_writer
from apm_store.sqlite.migrations import CATALOGUE, SEGMENT, Schema


def _shape(connection: sqlite3.Connection) -> dict[str, Any]:
    """Tables with their columns, indexes and options."""
    shape: dict[str, Any] = {}
    for _, name, _, _, without_rowid, is_strict in connection.execute("PRAGMA table_list").fetchall():
        if not name.startswith("sqlite_"):
            columns = [column[1:] for column in connection.execute(f"PRAGMA table_info({name})")]
            shape[name] = (without_rowid, is_strict, columns, _indexes(connection, name))
    return shape


def _indexes(connection: sqlite3.Connection, table: str) -> set[Any]:
    found = set()
    for _, name, is_unique, origin, is_partial in connection.execute(f"PRAGMA index_list({table})").fetchall():
        sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        columns = tuple(row[2] for row in connection.execute(f"PRAGMA index_info({name})"))
        condition = sql[0].partition("WHERE")[2] if sql and sql[0] else ""
        found.add((name, is_unique, origin, is_partial, columns, condition))
    return found


@pytest.mark.parametrize(
    ("schema", "metadata", "table"),
    [(CATALOGUE, catalogue_schema.METADATA, "span_rollup"), (SEGMENT, segment_schema.METADATA, "block")],
    ids=["catalogue", "segment"],
)
def test_a_migrated_database_has_the_tables_of_the_metadata(
    tmp_path: Path, schema: Schema, metadata: MetaData, table: str
) -> None:
    """Migrating from nothing gives the tables, columns, types and indexes that are declared."""
    migrated = connect_writer(tmp_path / "migrated.db", schema)
    engine = create_engine(f"sqlite:///{tmp_path / 'declared.db'}")
    metadata.create_all(engine)
    engine.dispose()
    declared = sqlite3.connect(tmp_path / "declared.db")

    shapes = _shape(migrated), _shape(declared)

    migrated.close()
    declared.close()
    assert shapes[0] == shapes[1]
    assert table in shapes[0]
