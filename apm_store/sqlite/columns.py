"""Columns as the tables of the catalogue and of a segment declare them, each with its meaning."""

from __future__ import annotations

from sqlalchemy import BLOB, INTEGER, TEXT, Column


def integers(**comments: str) -> tuple[Column[int], ...]:
    """Integers that are never null, by name."""
    return tuple(Column(name, INTEGER, nullable=False, comment=comment) for name, comment in comments.items())


def row_id(name: str, comment: str) -> Column[int]:
    """SQLite's alias of the rowid, which is never null."""
    return Column(name, INTEGER, primary_key=True, nullable=True, comment=comment)


def string(name: str, comment: str) -> Column[str]:
    """A text that is never null."""
    return Column(name, TEXT, nullable=False, comment=comment)


def blob(name: str, comment: str, *, nullable: bool = False) -> Column[bytes]:
    """Bytes."""
    return Column(name, BLOB, nullable=nullable, comment=comment)
