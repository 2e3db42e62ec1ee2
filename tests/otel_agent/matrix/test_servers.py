"""Every web framework under every way to start it: what its requests become, and how it ends."""

import json
import time
from collections import Counter
from dataclasses import dataclass

import pytest

SERVER, CLIENT = 2, 3
CALLS = 4
PLAIN, RELOAD, WORKERS, PRELOAD, SPAWN = "plain", "reload", "4 workers", "preload or pre-fork", "spawn"

GUNICORN = ["gunicorn", "--bind=127.0.0.1:{port}", "--threads=4", "--no-control-socket"]
UVICORN = ["uvicorn", "--host=127.0.0.1", "--port={port}", "--log-level=warning"]
RUNSERVER = ["python", "django_app.py", "runserver", "127.0.0.1:{port}"]
ASGI = ["--worker-class=asgi"]
AIOHTTP = ["--worker-class=aiohttp.GunicornWebWorker"]
FOUR, SIGTERM = "--workers=4", -15


@dataclass(frozen=True)
class Cell:
    """A framework, a way to start it, the command, and the exit code that SIGTERM gives it without the agent."""

    framework: str
    mode: str
    command: list[str]
    code: int = 0


CELLS = [
    Cell("Flask", PLAIN, ["flask", "--app=flask_app", "run", "--port={port}"], SIGTERM),
    Cell("Flask", RELOAD, ["flask", "--app=flask_app", "--debug", "run", "--port={port}"]),
    Cell("Flask", WORKERS, [*GUNICORN, FOUR, "flask_app:app"]),
    Cell("Flask", PRELOAD, [*GUNICORN, FOUR, "--preload", "flask_app:app"]),
    Cell("Flask", SPAWN, [*UVICORN, FOUR, "--interface=wsgi", "flask_app:app"]),
    Cell("Django", PLAIN, [*RUNSERVER, "--noreload"], SIGTERM),
    Cell("Django", RELOAD, RUNSERVER),
    Cell("Django", WORKERS, [*GUNICORN, FOUR, "django_app:wsgi"]),
    Cell("Django", PRELOAD, [*GUNICORN, FOUR, "--preload", "django_app:wsgi"]),
    Cell("Django", SPAWN, [*UVICORN, FOUR, "django_app:asgi"]),
    Cell("FastAPI", PLAIN, [*UVICORN, "fastapi_app:app"], SIGTERM),
    Cell("FastAPI", RELOAD, [*UVICORN, "--reload", "fastapi_app:app"]),
    Cell("FastAPI", WORKERS, [*GUNICORN, *ASGI, FOUR, "fastapi_app:app"]),
    Cell("FastAPI", PRELOAD, [*GUNICORN, *ASGI, FOUR, "--preload", "fastapi_app:app"]),
    Cell("FastAPI", SPAWN, [*UVICORN, FOUR, "fastapi_app:app"]),
    Cell("Starlette", PLAIN, [*UVICORN, "starlette_app:app"], SIGTERM),
    Cell("Starlette", RELOAD, [*UVICORN, "--reload", "starlette_app:app"]),
    Cell("Starlette", WORKERS, [*GUNICORN, *ASGI, FOUR, "starlette_app:app"]),
    Cell("Starlette", PRELOAD, [*GUNICORN, *ASGI, FOUR, "--preload", "starlette_app:app"]),
    Cell("Starlette", SPAWN, [*UVICORN, FOUR, "starlette_app:app"]),
    Cell("aiohttp server", PLAIN, ["python", "aiohttp_app.py", "{port}"]),
    Cell("aiohttp server", RELOAD, [*GUNICORN, *AIOHTTP, "--reload", "aiohttp_app:app"]),
    Cell("aiohttp server", WORKERS, [*GUNICORN, *AIOHTTP, FOUR, "aiohttp_app:app"]),
    Cell("aiohttp server", PRELOAD, [*GUNICORN, *AIOHTTP, FOUR, "--preload", "aiohttp_app:app"]),
]


def item_route(framework):
    """Return the name of the requests for an item, whose route each framework writes in its own way."""
    typed = {"Flask": "<int:item_id>", "Django": "<int:item_id>", "Starlette": "{item_id:int}"}
    return "GET /items/" + typed.get(framework, "{item_id}")


def ask_for_items(app, worker_count):
    """Ask for items until that many workers have answered; return their pids and the number of requests."""
    workers, item_count, deadline_s = set(), 0, time.monotonic() + 20
    while item_count == 0 or len(workers) < worker_count:
        assert time.monotonic() < deadline_s, f"only {workers} answer"
        answers = app.get_all([f"/items/{number + 1}" for number in range(12)])
        workers |= {json.loads(answer)["pid"] for answer in answers}
        item_count += len(answers)
    return workers, item_count


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.framework}-{cell.mode}")
def test_requests_become_traces(cell, start_app, stock, sink, record_property):
    """Each request is one trace with one SERVER span, over both services; all spans arrive, the app ends cleanly."""
    record_property("cell", ("Ways to start", cell.framework, cell.mode))
    record_property("command", " ".join(cell.command).replace("{port}", "8000"))
    app = start_app(cell.command, sink.url, STOCK_URL=stock.url)
    app.wait_until_it_listens()

    workers, item_count = ask_for_items(app, 1 if cell.mode in {PLAIN, RELOAD} else 4)
    answers = app.get_all(["/call"] * CALLS)
    if cell.mode == RELOAD:  # Flask's and Django's kill their child with SIGKILL, so nothing can be sent at the end
        sink.wait_for(lambda: sink.span_names().count("GET") == CALLS)
    code = app.terminate(group=cell.mode == RELOAD)

    assert [json.loads(answer) for answer in answers] == [{"amount": 7}] * CALLS
    servers = [span for _, _, span in sink.spans if span.kind == SERVER]
    assert Counter(span.name for span in servers) == {item_route(cell.framework): item_count, "GET /call": CALLS}
    children = Counter((span.name, span.kind, span.trace_id, span.parent_span_id) for _, _, span in sink.spans)
    names = {"GET /call": "GET"}
    assert children - Counter((s.name, s.kind, s.trace_id, b"") for s in servers) == {
        (names.get(span.name, "SELECT items"), CLIENT, span.trace_id, span.span_id): 1 for span in servers
    }
    assert len({span.trace_id for span in servers}) == len(servers)
    assert stock.has_answered(span for _, _, span in sink.spans if span.name == "GET")
    instances = {(resource["process.pid"], resource["service.instance.id"]) for resource, _, _ in sink.spans}
    assert {pid for pid, _ in instances} >= workers
    assert len(instances) == len(dict(instances)) == len({instance for _, instance in instances})
    assert (code, "spanwise" in app.errors.read_text()) == (cell.code, False)
