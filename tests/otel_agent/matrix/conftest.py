"""Real apps started as their users start them, the servers they talk to, and the table of what worked."""

import fcntl
import hashlib
import http.client
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from stack import free_port, listens

from otel_agent.environment import agent_environment

APPS = Path(__file__).parent / "apps"
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
BIN = Path(sys.executable).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "spanwise-tests"


@dataclass
class App:
    """A running command of a user, whose stderr goes to a file."""

    process: subprocess.Popen[bytes]
    port: int
    errors: Path

    def wait_until_it_listens(self, timeout_s: float = 20) -> None:
        """Wait for the port, without a request that would be traced."""
        deadline_s = time.monotonic() + timeout_s
        while not listens(self.port):
            assert self.process.poll() is None, f"it ended at once: {self.errors.read_text()}"
            assert time.monotonic() < deadline_s, f"it does not listen: {self.errors.read_text()}"
            time.sleep(0.05)

    def wait_for_workers(self, count: int, timeout_s: float = 20) -> None:
        """Wait until so many workers of gunicorn take requests and signals."""
        deadline_s = time.monotonic() + timeout_s
        while self.errors.read_text().count("worker is ready") < count:
            assert time.monotonic() < deadline_s, f"too few workers: {self.errors.read_text()}"
            time.sleep(0.05)

    def wait_for_output(self, text: str, timeout_s: float = 20) -> None:
        """Wait until its stdout begins with the text."""
        deadline_s = time.monotonic() + timeout_s
        while not self.errors.with_name("stdout.txt").read_text().startswith(text):
            assert self.process.poll() is None, f"it ended: {self.errors.read_text()}"
            assert time.monotonic() < deadline_s, f"it does not get ready: {self.errors.read_text()}"
            time.sleep(0.05)

    def get(self, path: str) -> bytes:
        """Return the body of the answer to a GET, which has to be a 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, body.decode(errors="replace")[-2000:]
            return body
        finally:
            connection.close()

    def get_all(self, paths: list[str]) -> list[bytes]:
        """Send eight requests at a time."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(self.get, paths))

    def terminate(self, group: bool = False, limit_s: float = 8) -> int:
        """Send SIGTERM, to the children too with `group`; return the exit code once all of them have ended."""
        family = self.family()
        (os.killpg if group else os.kill)(self.process.pid, signal.SIGTERM)
        return self.wait(limit_s, family)

    def wait(self, limit_s: float = 8, family: Iterable[psutil.Process] = ()) -> int:
        """Wait for the end of the process and its family; return the exit code."""
        deadline_s = time.monotonic() + limit_s
        try:
            code = self.process.wait(limit_s)
            while left := [process for process in family if _is_alive(process)]:
                assert time.monotonic() < deadline_s, f"still there: {left}"
                time.sleep(0.02)
        finally:
            self.kill()
        return code

    def abort(self) -> str:
        """End it where it hangs; return what it has written to stderr, last of all the stack of each thread."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        return self.errors.read_text()

    def family(self) -> list[psutil.Process]:
        """Return all processes that it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self) -> None:
        """End what is left of it and of its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _run_app(command: list[object], folder: Path, port: int, **options: Any) -> App:
    with (folder / "stdout.txt").open("wb") as output, (folder / "stderr.txt").open("wb") as errors:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=errors, start_new_session=True, **options)
    return App(process, port, folder / "stderr.txt")


@pytest.fixture(scope="session")
def start_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., App]]:
    """Return a function that starts a command under the agent in a directory with all the apps and their database.

    In the command, {port} is the port to listen on; the variables are added to the environment.
    """
    started = []

    def start(command: list[str], endpoint: str, name: str = "shop", **variables: str) -> App:
        folder = tmp_path_factory.mktemp(name)
        shutil.copytree(APPS, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        with sqlite3.connect(folder / "shop.db") as database:
            database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)")
            database.executemany("INSERT INTO items VALUES (?, 'tea')", [(number,) for number in range(1, 1000)])
        database.close()
        port = free_port()
        steering = ("OTEL_", "PYTHON", "SPANWISE_", "COV_", "PYTEST_", "DJANGO_", "FLASK_")
        base = {key: value for key, value in os.environ.items() if not key.startswith(steering)}
        base |= {"PYTHONPATH": str(folder), "SHOP_DB": str(folder / "shop.db"), "PYTHONUNBUFFERED": "1"}
        base |= {"PYTHONFAULTHANDLER": "1"} | variables
        program = shutil.which(command[0], path=BIN) or command[0]
        words = [word.replace("{port}", str(port)) for word in command[1:]]
        started.append(_run_app([program, *words], folder, port, env=base | agent_environment(name, endpoint, base)))
        return started[-1]

    yield start
    for app in started:
        app.kill()


@dataclass
class Stock:
    """The other service, which every app calls, and the spans that it sends."""

    url: str
    sink: Any

    def has_answered(self, calls: Iterable[Any]) -> bool:
        """Wait for one SERVER span below each of the CLIENT spans, in its trace; return whether all have come."""
        wanted = Counter((span.trace_id, span.span_id) for span in calls)
        return bool(wanted) and self.sink.wait_for(lambda: self._answers(wanted.keys()) == wanted)

    def _answers(self, calls: Iterable[tuple[bytes, bytes]]) -> Counter[tuple[bytes, bytes]]:
        servers = [span for _, _, span in self.sink.spans if span.kind == 2 and span.name == "GET /stock"]
        answers = Counter((span.trace_id, span.parent_span_id) for span in servers)
        return Counter({call: answers[call] for call in calls if answers[call]})


@pytest.fixture(scope="session")
def stock(start_app, session_sink) -> Stock:
    """Return the other service, running."""
    app = start_app(["waitress-serve", "--listen=127.0.0.1:{port}", "flask_app:app"], session_sink.url, "stock")
    app.wait_until_it_listens()
    return Stock(f"http://127.0.0.1:{app.port}", session_sink)


@pytest.fixture(scope="session")
def redis_url(redis_port: int) -> str:
    """Return the URL of the session's Redis server."""
    return f"redis://127.0.0.1:{redis_port}/0"


@pytest.fixture(scope="session")
def postgres_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Yield the port of a PostgreSQL server of this session; user and database are called postgres."""
    if not POSTGRES:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("postgres")
    as_user: dict[str, str] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        as_user = {"user": "postgres"}
        for path in (folder, *folder.parents[:3]):
            if path.stat().st_uid == 0 and path != Path("/tmp"):
                path.chmod(0o755)
        shutil.chown(folder, "postgres")
    data, port = folder / "data", free_port()
    initialise = [POSTGRES[-1].with_name("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-N"]
    subprocess.run(initialise, check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user)
    command = [POSTGRES[-1], "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-c", "fsync=off"]
    server = _run_app(command, folder, port, **as_user)
    server.wait_until_it_listens()
    yield port
    server.kill()


@pytest.fixture(scope="session")
def packages() -> Callable[[str], Path]:
    """Return a function that gives the directory of a release, fetched once; it skips where that cannot be had."""

    def fetch(requirement: str) -> Path:
        tag = hashlib.sha256(f"{requirement} {sys.version_info[:2]}".encode()).hexdigest()[:12]
        directory = CACHE / f"{requirement.partition('=')[0]}-{tag}" / "site-packages"
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the other worker of this run may be fetching it
            if not directory.is_dir():
                command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(directory), requirement]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    shutil.rmtree(directory.parent, ignore_errors=True)
                    pytest.skip(f"{requirement} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        return directory

    return fetch


MODES = ("plain", "reload", "4 workers", "preload or pre-fork", "spawn")
STARTS, CLIENTS, DATABASES = "Ways to start", "HTTP clients", "Databases"
XDIST = "pytest has none; what pytest-xdist starts are programs of their own"
NOT_THERE = {
    ("aiohttp server", "spawn"): "none of its servers spawns its workers",
    ("Celery", "reload"): "Celery has no reloader",
    ("Celery", "preload or pre-fork"): "its pool always pre-forks: that is the cell of the four workers",
    ("Celery", "spawn"): "its pool always forks",
    ("plain script", "reload"): "nothing reloads a script",
    ("pytest run", "reload"): "pytest has no reloader",
    ("pytest run", "4 workers"): XDIST,
    ("pytest run", "preload or pre-fork"): XDIST,
    ("pytest run", "spawn"): XDIST,
}


class MatrixReport:
    """Collects the cells that the tests name by `record_property("cell", (table, row, column))`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[tuple[str, str, str], set[str]] = {}
        self._commands: dict[tuple[str, str], set[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of a test that stands for a cell, and the command it ran."""
        properties = dict(report.user_properties)
        if "cell" in properties and (report.when == "call" or report.failed):
            self._results.setdefault(properties["cell"], set()).add(report.outcome)
            if "command" in properties:
                self._commands.setdefault(properties["cell"][1:], set()).add(f"`{properties['command']}`")

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        lines = ["<!-- Generated by `make matrix`; do not edit. -->", "", "# What the agent is tried with", ""]
        lines += [
            "Each cell is a test with real processes and servers: exact spans with their kinds, parents and names,",
            "one trace over both services, an instance id per worker, and a clean end on SIGTERM, the last spans sent.",
            "",
            "✓ works, ✗ does not, – is a combination that does not exist, · was not run.",
        ]
        lines += self._table(STARTS, MODES)
        lines += ["", "Where there is a –:", ""]
        lines += [f"- {row}, {mode}: {reason}." for (row, mode), reason in NOT_THERE.items()]
        for table in (CLIENTS, DATABASES):
            lines += self._table(table, sorted({column for name, _, column in self._results if name == table}))
        lines += ["", "## The commands", "", "| app | way | command |", "|---|---|---|"]
        order = sorted(self._commands, key=lambda cell: (cell[0].lower(), MODES.index(cell[1])))
        lines += [f"| {row} | {mode} | {'<br>'.join(sorted(self._commands[row, mode]))} |" for row, mode in order]
        self._path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _table(self, table: str, columns: Sequence[str]) -> list[str]:
        rows = sorted({row for name, row, _ in self._results if name == table}, key=str.lower)
        lines = ["", f"## {table}", "", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        return lines + [
            f"| {row} | {' | '.join(self._mark(table, row, column) for column in columns)} |" for row in rows
        ]

    def _mark(self, table: str, row: str, column: str) -> str:
        if (row, column) in NOT_THERE:
            return "–"
        outcomes = self._results.get((table, row, column), {"skipped"})
        return "✗" if "failed" in outcomes else "·" if "skipped" in outcomes else "✓"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the table of this run."""
    parser.addoption("--matrix-report", metavar="PATH", help="write what worked with what as a Markdown table")


def pytest_configure(config: pytest.Config) -> None:
    """Collect the cells when the table is asked for."""
    path = config.getoption("--matrix-report", default=None)
    if path:
        config.pluginmanager.register(MatrixReport(Path(path)))
