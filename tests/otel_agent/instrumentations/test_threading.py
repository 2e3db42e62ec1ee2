"""Work handed to threads."""


def test_statement_of_a_worker_thread_stays_in_its_trace(sink, run_host):
    """A statement that a request hands to an executor is a part of that request's trace."""
    run_host(
        """
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from flask import Flask
app = Flask("shop")
def work():
    connection = sqlite3.connect(":memory:")
    connection.execute("SELECT 1")
    connection.close()
@app.get("/")
def home():
    with ThreadPoolExecutor() as executor:
        executor.submit(work).result()
    return "ok"
app.test_client().get("/")
""",
        OTEL_EXPORTER_OTLP_ENDPOINT=sink.url,
    )

    assert sink.spans_named("SELECT")[0].parent_span_id == sink.spans_named("GET /")[0].span_id
