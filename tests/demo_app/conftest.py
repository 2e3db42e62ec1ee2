"""The shop's seeded data, its two services in this process, and the statements they execute."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, event
from werkzeug.serving import make_server

from demo_app import payments, storefront
from demo_app.faults import Faults
from demo_app.seed import seed


@pytest.fixture
def quiet() -> Faults:
    """All faults off."""
    return Faults(n_plus_one=False, missing_index=False, flaky_payments=False, chatty_cache=False, memory_leak=False)


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded directory, to be copied."""
    directory = tmp_path_factory.mktemp("seeded") / "shop"
    seed(directory)
    return directory


@pytest.fixture
def shop_data(seeded: Path, tmp_path: Path) -> Path:
    """A seeded directory of the test's own."""
    return Path(shutil.copytree(seeded, tmp_path / "shop"))


@pytest.fixture(autouse=True)
def closed_engines() -> Iterator[None]:
    """Every engine that a test makes has closed its files when the test is over."""
    engines: set[Engine] = set()

    def remember(connection: object) -> None:
        engines.add(connection.engine)  # type: ignore[attr-defined]

    event.listen(Engine, "engine_connect", remember)
    yield
    event.remove(Engine, "engine_connect", remember)
    for engine in engines:
        engine.dispose()


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """All SQL that is executed in this process, in order."""
    executed: list[str] = []

    def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        executed.append(statement)

    event.listen(Engine, "before_cursor_execute", record)
    yield executed
    event.remove(Engine, "before_cursor_execute", record)


@pytest.fixture
def serve() -> Iterator[Callable[[Flask], str]]:
    """Serves Flask apps on free ports of 127.0.0.1 for one test; gives the address."""
    servers = []

    def start(app: Flask) -> str:
        server = make_server("127.0.0.1", 0, app, threaded=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def shop(shop_data: Path, serve: Callable[[Flask], str]) -> Callable[[Faults], FlaskClient]:
    """Makes a client of a storefront with these faults, whose payments is served over HTTP."""

    def make(faults: Faults) -> FlaskClient:
        payments_url = serve(payments.create_app(shop_data, faults))
        return storefront.create_app(shop_data, payments_url, faults).test_client()

    return make
