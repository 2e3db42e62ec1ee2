"""SQLAlchemy 2.1 on SQLite."""


def test_each_statement_is_counted_once(sink, run_host):
    """The ORM gives one span per statement, from SQLAlchemy alone; a driver call beside it gives one from sqlite3."""
    outcome = run_host(
        """
from sqlalchemy import create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
class Base(DeclarativeBase): pass
class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
engine = create_engine("sqlite:///shop.db")
@event.listens_for(engine, "connect")
def set_up(connection, record):
    connection.execute("PRAGMA synchronous = OFF")
Base.metadata.create_all(engine)
with Session(engine) as session:
    session.add_all([Item(id=1), Item(id=2)])
    session.commit()
    print(session.get(Item, 2).id)
raw = engine.raw_connection()
raw.cursor().execute("SELECT id FROM items")
raw.close()
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert (outcome.out, outcome.err) == ("2\n", "")
    names = [(scope.rpartition(".")[2], span.name) for _, scope, span in sink.spans]
    assert names == [
        ("sqlalchemy", "CREATE items"),
        ("sqlalchemy", "INSERT items"),
        ("sqlalchemy", "SELECT items"),
        ("sqlite3", "SELECT items"),
    ]


def test_failed_statement_is_an_error_span(sink, run_host):
    """An error reaches the host unchanged and marks the span, and what runs after it is traced as before."""
    outcome = run_host(
        """
import sqlite3
from sqlalchemy import create_engine, exc, text
engine = create_engine("sqlite://")
with engine.connect() as connection:
    try:
        connection.execute(text("SELECT x FROM nowhere"))
    except exc.OperationalError as error:
        print(error.orig)
    connection.execute(text("SELECT 1"))
sqlite3.connect(":memory:").execute("SELECT 2")
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert outcome.out == "no such table: nowhere\n"
    assert sink.span_names() == ["SELECT nowhere", "SELECT", "SELECT"]
    failed = sink.spans_named("SELECT nowhere")[0]
    assert (failed.status.code, sink.attributes_of(failed)["error.type"]) == (2, "OperationalError")
    assert sink.attributes_of(failed)["db.namespace"] == ":memory:"


def test_old_names_on_request(sink, run_host):
    """Whoever opts out of the stable names gets the old ones."""
    run_host(
        "from sqlalchemy import create_engine, text\ncreate_engine('sqlite://').connect().execute(text('SELECT 1'))",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
        OTEL_SEMCONV_STABILITY_OPT_IN="http",
    )

    assert sink.attributes_of(sink.spans[0][2]).keys() >= {"db.system", "db.statement", "db.operation"}
