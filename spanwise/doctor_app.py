"""`spanwise doctor -- CMD`: what keeps one command from being traced, asked in the Python that it runs in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from otel_agent.environment import interpreter_options
from spanwise.check import Check
from spanwise.instrumentation_list import list_instrumentations
from spanwise.interpreter import InterpreterError, ask, interpreter_of, take_inventory

_REPORT = "from otel_agent.app_report import print_report; print_report()"


def check_command(argv: Sequence[str], variables: Mapping[str, str]) -> Iterator[Check]:
    """Every check on a command; `variables` is the environment that `spanwise run` would give it."""
    yield from _check_uwsgi(argv)
    yield from _check_options(argv)
    try:
        python = interpreter_of(argv)
        yield from check_environment(python, variables)
        out, said = ask(python, ["-c", _REPORT, *argv], variables)
    except InterpreterError as error:
        yield Check("warn", str(error), "spanwise doctor -- /the/apps/bin/python")
        return
    for line in said:
        if line.startswith("spanwise: "):
            finding = f"The agent says there: {line.removeprefix('spanwise: ')}."
            yield Check("warn", finding, "OTEL_LOG_LEVEL=debug shows more.")
    yield from _check_report(json.loads(out))


def check_environment(python: str, variables: Mapping[str, str]) -> Iterator[Check]:
    """Which libraries of an interpreter are traced, and what keeps the others from it. Raises InterpreterError."""
    found = list_instrumentations(take_inventory(python, variables))
    if found.obstacle:
        problem, _, cure = found.obstacle.partition("; cure: ")
        yield Check("fail", f"Nothing is recorded in {python}: {problem}.", cure or "Use a newer Python for the app.")
        return
    traced: set[str] = set()
    for row in found.rows:
        library = f"{row.library} {row.version}"
        if row.state == "traced" and library in traced:
            continue
        traced.add(library)
        if row.state == "unsuitable":
            finding = f"{library} is outside of what its instrumentation takes ({row.takes}): it is not traced."
            yield Check("warn", finding, f"{python} -m pip install '{row.library}{row.takes}'")
        elif row.state == "traced" and row.source == "agent" and row.takes:
            yield Check("ok", f"{library} is traced by the agent itself (the official package takes {row.takes}).")
        elif row.state == "traced":
            yield Check("ok", f"{library} is traced.")
    if missing := [row.name for row in found.rows if row.state == "missing"]:
        yield Check("ok", f"{', '.join(missing)}: can be added by spanwise instrument --add --python {python}")


def _check_uwsgi(argv: Sequence[str]) -> Iterator[Check]:
    """UWSGI runs no Python threads unless it is told to, and forks without telling Python."""
    if not Path(argv[0]).name.startswith("uwsgi"):
        return
    options = _uwsgi_options(argv[1:])
    if not options & {"enable-threads", "threads", "T"}:
        finding = "uWSGI runs no threads of Python as it is started here: nothing is sent."
        yield Check("fail", finding, "Add --enable-threads (in an ini file: enable-threads = true)")
    if options & {"processes", "workers", "p", "cheaper"} and not options & {"lazy-apps", "lazy"}:
        finding = "uWSGI loads the app before it forks: its workers are one instance, and send no metrics."
        yield Check("warn", finding, "Add --lazy-apps (in an ini file: lazy-apps = true)")


def _uwsgi_options(words: Sequence[str]) -> set[str]:
    """The names of the options on a command line of uWSGI, and in the ini files that it names."""
    options = {word.lstrip("-").partition("=")[0] for word in words if word.startswith("-")}
    for word in words:
        path = Path(word.removeprefix("--ini=").partition(":")[0])
        if path.suffix == ".ini" and path.is_file():
            lines = [line.partition("=") for line in path.read_text("utf-8", "replace").splitlines()]
            off = {"false", "0", "off", "no"}
            options |= {name.strip() for name, _, value in lines if value.strip().lower() not in off}
    return options


def _check_options(argv: Sequence[str]) -> Iterator[Check]:
    """Options of the interpreter that make it ignore PYTHONPATH or sitecustomize."""
    for word in _interpreter_options(argv):
        for letter in set("EIS") & set(word[1:] if not word.startswith("--") else ""):
            finding = f"With python -{letter} the agent is not started: it ignores what spanwise run sets."
            cure = "Leave it out, or install spanwise there and call otel_agent.boot.boot() first thing in the app."
            yield Check("fail", finding, cure)


def _interpreter_options(argv: Sequence[str]) -> list[str]:
    """The options before the script of a Python command line, or those in the first line of a script."""
    words = list(argv)
    if not Path(words[0]).name.startswith("python"):
        path = Path(words[0])
        head = path.read_bytes()[:1000].partition(b"\n")[0].decode("utf-8", "replace") if path.is_file() else ""
        words = head[2:].split() if head.startswith("#!") else []
    return [word for word in interpreter_options(words[1:]) if word.startswith("-")]


def _check_report(report: Mapping[str, Any]) -> Iterator[Check]:
    for early in report["imported_too_early"]:
        finding = f"{early} was imported before the agent started: what is made of it is not traced."
        cure = "Look for a .pth file or a sitecustomize that imports it, and have it imported later."
        yield Check("warn", finding, cure)
    if report["distros"]:
        finding = f"Another OpenTelemetry distro is installed there: {', '.join(report['distros'])}."
        yield Check("warn", finding, "Start the app with spanwise run, not with opentelemetry-instrument.")
    if answer := report["answer"]:
        yield _check_answer(answer["endpoint"], answer["status"], answer["error"])


def _check_answer(endpoint: str, status: int | None, error: str) -> Check:
    if status == 200:
        return Check("ok", f"An export from there is taken by {endpoint}.")
    if status in {401, 403}:
        cure = "Start the app with spanwise run, which passes the token, or set OTEL_EXPORTER_OTLP_HEADERS."
        return Check("fail", f"{endpoint} asks for a token.", cure)
    if status is not None:
        cure = "See OTEL_EXPORTER_OTLP_ENDPOINT; where a proxy is set, except the host in NO_PROXY."
        return Check("fail", f"{endpoint} answers {status} to an export: that is no OTLP receiver.", cure)
    cure = "Start it with: spanwise up"
    if error.startswith(("BadStatusLine", "RemoteDisconnected", "HTTPException", "ConnectionResetError")):
        cure = "Another protocol is spoken there: HTTP has port 4318, gRPC has 4317."
    return Check("fail", f"An export from there to {endpoint} fails ({error}).", cure)
