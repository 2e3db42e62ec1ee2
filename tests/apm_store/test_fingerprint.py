"""Statements that differ in their values only are one statement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apm_store.fingerprint import MAX_TEXT_CHARS, fingerprint


def _text(statement: str, system: str = "postgresql") -> str | None:
    found = fingerprint(statement, system)
    return None if found is None else found.text


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT * FROM t WHERE a = 1 -- by id", "SELECT * FROM t WHERE a = ?"),
        ("SELECT /* x */ a\n  FROM t;", "SELECT a FROM t"),
        ("select 'it''s', x'ff', 1.5e-3, .5, 0x1F", "select ?, ?, ?, ?, ?"),
        ("SELECT a FROM t WHERE b = -5 AND c = a-1", "SELECT a FROM t WHERE b = ? AND c = a - ?"),
        ("SELECT a FROM t1 WHERE b IS NULL AND c = TRUE", "SELECT a FROM t1 WHERE b IS NULL AND c = ?"),
        ("SELECT ?, ?1, %s, %(name)s, :name, $1, @p1", "SELECT ?, ?, ?, ?, ?, ?, ?"),
        ("SELECT x::int FROM t", "SELECT x::int FROM t"),
        ('SELECT "a b", `c d`, [e f] FROM "T"', 'SELECT "a b", `c d`, [e f] FROM "T"'),
        ("SELECT a FROM t WHERE a IN (1, 2, 3)", "SELECT a FROM t WHERE a IN (?)"),
        ("SELECT a FROM t WHERE a IN(?,NULL)", "SELECT a FROM t WHERE a IN (?)"),
        ("SELECT a FROM t WHERE (a, b) IN ((1, 2), (3, 4))", "SELECT a FROM t WHERE (a, b) IN ((?, ?))"),
        ("SELECT a FROM t WHERE a IN (SELECT 1)", "SELECT a FROM t WHERE a IN (SELECT ?)"),
        ("SELECT a = ANY(ARRAY[1, 2])", "SELECT a = ANY (ARRAY[?])"),
        ("INSERT INTO t(a,b) VALUES (1, now()), (2, now())", "INSERT INTO t(a, b) VALUES (?, now())"),
        ("INSERT INTO t VALUES (1), (2) RETURNING id", "INSERT INTO t VALUES (?) RETURNING id"),
        ("SELECT $$any 'text'$$, $tag$ x $$ y $tag$", "SELECT ?, ?"),
        (r"SELECT E'it\'s'", "SELECT ?"),
        ("SELECT 'not closed", "SELECT ?"),
        ("SELECT coalesce(?, ?)", "SELECT coalesce(?, ?)"),
        ("SELECT größe FROM straße", "SELECT größe FROM straße"),
    ],
)
def test_values_become_question_marks(statement: str, expected: str) -> None:
    """Values, comments, lists and blanks are normalised; names and NULL stay."""
    assert _text(statement) == expected


def test_mysql_writes_strings_in_double_quotes() -> None:
    """In MySQL's dialect a double-quoted text is a value, and a backslash escapes."""
    assert _text(r"""SELECT "a", 'it\'s'""", "mysql") == "SELECT ?, ?"


@pytest.mark.parametrize(
    "statement", ["", "  ", "-- only", "PRAGMA main.table_info('x')", "savepoint a", "BEGIN", "commit", "SET x = 1"]
)
def test_what_only_steers_the_connection_is_no_statement(statement: str) -> None:
    """Transaction control, PRAGMA and empty texts are not counted."""
    assert fingerprint(statement, "sqlite") is None


@given(st.integers(1, 50), st.integers(1, 50))
def test_the_hash_is_stable_across_parameter_counts(few: int, many: int) -> None:
    """Lists of any length, and any number of rows, are one statement."""

    def statement(count: int) -> str:
        rows = ", ".join(["(?, ?)"] * count)
        return f"INSERT INTO t (a, b) VALUES {rows} RETURNING a IN ({', '.join('?' * count)})"

    assert fingerprint(statement(few), "sqlite") == fingerprint(statement(many), "sqlite")


def test_the_hash_tells_systems_apart() -> None:
    """The same text in two database systems is two statements, with 16 hex digits each."""
    one, other = fingerprint("SELECT 1", "sqlite"), fingerprint("SELECT 1", "postgresql")

    assert one is not None and other is not None
    assert one.hash != other.hash
    assert len(one.hash) == 16


@given(st.text(max_size=200))
def test_the_lexer_takes_any_text(text: str) -> None:
    """Nothing that anybody calls a statement makes the lexer fail, and its result is its own fingerprint's text."""
    found = fingerprint(text, "sqlite")

    assert found is None or len(found.text) <= MAX_TEXT_CHARS


def test_a_huge_statement_is_cut() -> None:
    """The text of a statement is bounded, its tail is not looked at."""
    columns = ", ".join(f"column_{number}" for number in range(20_000))

    found = fingerprint(f"SELECT {columns} FROM t", "sqlite")

    assert found is not None
    assert len(found.text) == MAX_TEXT_CHARS
    assert found.text.endswith("…")


def test_a_cut_list_is_still_a_list() -> None:
    """A list so long that the cut falls into it collapses like any other."""
    assert _text("SELECT a FROM t WHERE a IN (" + ", ".join("?" * 100_000) + ")") == "SELECT a FROM t WHERE a IN (?)"
