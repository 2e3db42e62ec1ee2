"""Every database library, with a real server where it needs one: one CLIENT span per statement or command."""

import pytest

CRUD = ["CREATE items", "INSERT items", "SELECT items"]

SQLITE3 = """
import sqlite3
connection = sqlite3.connect(":memory:")
connection.execute("CREATE TABLE items (id INTEGER)")
connection.cursor().executemany("INSERT INTO items VALUES (?)", [(1,), (2,)])
print(connection.execute("SELECT id FROM items").fetchall())
"""
SQLALCHEMY = """
import os
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, select
engine = create_engine(os.environ["DATABASE_URL"])
items = Table("items", MetaData(), Column("id", Integer), prefixes=["TEMPORARY"])
with engine.begin() as connection:
    items.create(connection)
    connection.execute(items.insert(), [{"id": 1}, {"id": 2}])
    print([tuple(row) for row in connection.execute(select(items) if VERSION_2 else select([items]))])
"""
PSYCOPG = """
import os, psycopg
from psycopg import sql
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    connection.execute("CREATE TEMPORARY TABLE items (id INTEGER)")
    with connection.cursor() as cursor:
        cursor.executemany(b"INSERT INTO items VALUES (%s)", [(1,), (2,)])
        query = sql.SQL("SELECT id FROM {}").format(sql.Identifier("items"))
        print(cursor.execute(query).fetchall())
"""
PSYCOPG_ASYNC = """
import asyncio, os, psycopg
async def main():
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as connection:
        await connection.execute("CREATE TEMPORARY TABLE items (id INTEGER)")
        async with connection.cursor() as cursor:
            await cursor.executemany("INSERT INTO items VALUES (%s)", [(1,), (2,)])
            await cursor.execute("SELECT id FROM items")
            print(await cursor.fetchall())
asyncio.run(main())
"""
REDIS = """
import os, redis
client = redis.Redis.from_url(os.environ["REDIS_URL"])
client.set("tea", 7)
print(client.get("tea"))
client.close()
"""


def spans_of(app, sink, output):
    """Wait for the end of the script, which prints the output; return the names of its spans, all CLIENT and roots."""
    assert (app.wait(15), app.errors.read_text()) == (0, "")
    assert app.errors.with_name("stdout.txt").read_text() == f"{output}\n"
    assert {(span.kind, span.parent_span_id) for _, _, span in sink.spans} == {(3, b"")}
    return sink.span_names()


def test_sqlite3(start_app, sink, record_property):
    """The standard library's sqlite3."""
    record_property("cell", ("Databases", "sqlite3", "each statement once"))

    app = start_app(["python", "-c", SQLITE3], sink.url)

    assert spans_of(app, sink, "[(1,), (2,)]") == CRUD


@pytest.mark.parametrize("version", ["1.4", "2.0", "2.1"])
def test_sqlalchemy(version, start_app, packages, sink, record_property):
    """SQLAlchemy, past and present, over SQLite: no statement is counted again by the driver below."""
    record_property("cell", ("Databases", f"SQLAlchemy {version}", "each statement once"))
    directory = "" if version == "2.1" else str(packages(f"sqlalchemy=={version}.*"))
    path = f"import sys\nsys.path.insert(0, {directory!r})\n" if directory else ""
    check = f"import sqlalchemy\nassert sqlalchemy.__version__.startswith('{version}')\n"

    app = start_app(
        ["python", "-c", f"{path}{check}VERSION_2 = {version != '1.4'}\n{SQLALCHEMY}"],
        sink.url,
        DATABASE_URL="sqlite://",
        SQLALCHEMY_SILENCE_UBER_WARNING="1",
    )

    assert spans_of(app, sink, "[(1,), (2,)]") == CRUD


@pytest.mark.parametrize(("library", "script"), [("psycopg 3", PSYCOPG), ("psycopg 3, async", PSYCOPG_ASYNC)])
def test_psycopg(library, script, start_app, postgres_port, sink, record_property):
    """Psycopg with a real PostgreSQL, statements as text, bytes and composed."""
    record_property("cell", ("Databases", library, "each statement once"))
    url = f"postgresql://postgres@127.0.0.1:{postgres_port}/postgres"

    app = start_app(["python", "-c", script], sink.url, DATABASE_URL=url)

    assert spans_of(app, sink, "[(1,), (2,)]") == CRUD
    attributes = sink.attributes_of(sink.spans_named("SELECT items")[0])
    assert (attributes["db.system.name"], attributes["db.namespace"]) == ("postgresql", "postgres")
    assert (attributes["server.address"], attributes["server.port"]) == ("127.0.0.1", postgres_port)


def test_failed_statement_of_psycopg(start_app, postgres_port, sink):
    """An error reaches the host unchanged and marks the span; so does one that psycopg finds before it asks anybody."""
    script = """
import os, psycopg
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
    for arguments in (("SELECT x FROM nowhere",), (7,), ("SELECT %s", 1)):
        try:
            connection.execute(*arguments)
        except (psycopg.Error, TypeError) as error:
            print(type(error).__name__)
    print(connection.execute("SELECT 1").fetchone())
"""
    url = f"postgresql://postgres@127.0.0.1:{postgres_port}/postgres"

    app = start_app(["python", "-c", script], sink.url, DATABASE_URL=url)

    assert spans_of(app, sink, "UndefinedTable\nTypeError\nTypeError\n(1,)") == ["SELECT nowhere", "SELECT", "SELECT"]
    assert [span.status.code for _, _, span in sink.spans] == [2, 2, 0]


def test_sqlalchemy_on_psycopg(start_app, postgres_port, sink, record_property):
    """SQLAlchemy over psycopg: no statement of the host is counted again by the driver below."""
    record_property("cell", ("Databases", "SQLAlchemy 2.1 on psycopg 3", "each statement once"))
    url = f"postgresql+psycopg://postgres@127.0.0.1:{postgres_port}/postgres"

    app = start_app(["python", "-c", f"VERSION_2 = True\n{SQLALCHEMY}"], sink.url, DATABASE_URL=url)

    spans_of(app, sink, "[(1,), (2,)]")
    # Beside them are the statements by which SQLAlchemy gets to know the server, traced by the driver alone.
    statements = [(scope.rpartition(".")[2], span.name) for _, scope, span in sink.spans if "items" in span.name]
    assert statements == [("sqlalchemy", name) for name in CRUD]


def test_redis(start_app, redis_url, sink, record_property):
    """redis-py with a real Redis: one span per command of the host, none for the connection."""
    record_property("cell", ("Databases", "Redis", "each statement once"))

    app = start_app(["python", "-c", REDIS], sink.url, REDIS_URL=redis_url)

    assert spans_of(app, sink, "b'7'") == ["SET", "GET"]
