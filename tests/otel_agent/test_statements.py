"""Reading operation and table out of SQL."""

import time

import pytest

from otel_agent.statements import Statement, read_statement


@pytest.mark.parametrize(
    ("text", "operation", "table"),
    [
        ("SELECT a, b FROM items WHERE id = ?", "SELECT", "items"),
        ("select 1", "SELECT", ""),
        ("  /* who */ -- why\n SELECT x FROM shop.items i JOIN y", "SELECT", "shop.items"),
        ('SELECT x FROM "order items"', "SELECT", "order items"),
        ("SELECT x FROM (SELECT y FROM inner_table)", "SELECT", "inner_table"),
        ("(SELECT x FROM a) UNION (SELECT x FROM b)", "SELECT", "a"),
        ("INSERT OR IGNORE INTO `items` (a) VALUES (1)", "INSERT", "items"),
        ("UPDATE ONLY items SET a = 1", "UPDATE", "items"),
        ("UPDATE OR REPLACE items SET a = 1", "UPDATE", "items"),
        ("DELETE FROM [items]", "DELETE", "items"),
        ("CREATE TABLE IF NOT EXISTS items (id INTEGER)", "CREATE", "items"),
        ("CREATE UNIQUE INDEX i ON items (id)", "CREATE", ""),
        ("WITH t AS (SELECT 1 FROM items) SELECT * FROM t", "WITH", "items"),
        ("BEGIN IMMEDIATE", "BEGIN", ""),
        ("", "", ""),
        ("-- only a comment", "", ""),
        ("?", "", ""),
    ],
)
def test_operation_and_first_table(text, operation, table):
    """The first word and the first table name the statement; what cannot be seen stays empty."""
    assert read_statement(text) == Statement(operation, table)


def test_span_name_joins_what_is_known():
    """A span name is never empty."""
    assert [Statement("SELECT", "items").span_name, Statement("BEGIN", "").span_name, Statement("", "").span_name] == [
        "SELECT items",
        "BEGIN",
        "SQL",
    ]


@pytest.mark.parametrize("text", ["/*" * 500_000, "(" * 1_000_000, "-- \n" * 300_000, "SELECT " + "a," * 1_000_000])
def test_hostile_text_costs_little(text):
    """A huge statement is read in milliseconds, for it runs in the host's own thread."""
    start_s = time.thread_time()
    read_statement(text)

    assert time.thread_time() - start_s < 0.1
