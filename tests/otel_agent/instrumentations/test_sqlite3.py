"""sqlite3 used directly."""


def test_every_way_to_execute_is_one_span(sink, run_host):
    """Cursor methods, the connection's shortcuts and scripts give one span each; PRAGMA gives none."""
    outcome = run_host(
        """
import sqlite3
connection = sqlite3.connect("shop.db")
connection.execute("PRAGMA foreign_keys = ON")
connection.executescript("CREATE TABLE a (x); CREATE TABLE b (x)")
connection.executemany("INSERT INTO a VALUES (?)", [(1,), (2,)])
cursor = connection.cursor()
cursor.execute("UPDATE a SET x = ? WHERE x = ?", (3, 1))
cursor.executemany("DELETE FROM b WHERE x = ?", [(1,)])
connection.row_factory = sqlite3.Row
print(connection.execute("SELECT x FROM a").fetchone()["x"], cursor.rowcount)
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert (outcome.out, outcome.err) == ("3 0\n", "")
    assert sink.span_names() == ["CREATE a", "INSERT a", "UPDATE a", "DELETE b", "SELECT a"]
    attributes = sink.attributes_of(sink.spans_named("UPDATE a")[0])
    assert {name: value for name, value in attributes.items() if not name.startswith("code.")} == {
        "db.system.name": "sqlite",
        "db.namespace": "shop.db",
        "db.query.text": "UPDATE a SET x = ? WHERE x = ?",
        "db.operation.name": "UPDATE",
        "db.collection.name": "a",
    }


def test_connection_is_a_real_one(sink, run_host):
    """Type checks, backup, a with block and factories of the host's own work as without the agent."""
    script = """
import sqlite3, warnings
warnings.simplefilter("ignore")  # positional parameters are deprecated, and still have to work
class Mine(sqlite3.Connection):
    pass
class MyCursor(sqlite3.Cursor):
    pass
source, target = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
with source:
    source.execute("CREATE TABLE a (x)")
source.backup(target)
print(isinstance(source, sqlite3.Connection), target.execute("SELECT count(*) FROM a").fetchone())
print(type(sqlite3.connect(":memory:", factory=Mine)))
print(type(source.cursor(MyCursor)), type(source.cursor(factory=MyCursor)))
print(type(sqlite3.connect(":memory:", 5.0, 0, "", True, Mine)))
"""
    without = run_host(script, agent=False)

    outcome = run_host(script, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url)

    assert (outcome.code, outcome.out, outcome.err) == (0, without.out, without.err)
    assert sink.span_names() == ["CREATE a", "SELECT a"]


def test_failed_statement_is_an_error_span(sink, run_host):
    """An error reaches the host unchanged and marks the span, and statements after it are still traced."""
    outcome = run_host(
        """
import sqlite3
connection = sqlite3.connect(":memory:")
try:
    connection.execute("SELECT x FROM nowhere")
except sqlite3.OperationalError as error:
    print(error)
connection.execute("SELECT 1")
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    (failed,) = sink.spans_named("SELECT nowhere")
    assert outcome.out == "no such table: nowhere\n"
    assert (failed.status.code, sink.attributes_of(failed)["error.type"]) == (2, "OperationalError")
    assert sink.span_names() == ["SELECT nowhere", "SELECT"]
