"""Faults of an app that hurts itself, from its own process to the screen: file and line are named there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from stack import SPANWISE, Stack, fetch, free_port, listens, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

APP = """
import os, sys, time
import uvicorn
from fastapi import FastAPI

app = FastAPI()

@app.get("/sleepy")
async def sleepy():
    time.sleep(0.5)  # blocks the event loop
    return {}

@app.get("/stuck")
def stuck():
    time.sleep(600)  # never ends
    return {}

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
"""


def _line(text: str) -> int:
    return next(number for number, line in enumerate(APP.splitlines(), 1) if text in line)


@dataclass
class Host:
    """The app under `spanwise run` on a running stack."""

    stack: Stack
    url: str
    process: subprocess.Popen[bytes]

    def trace_page(self, operation: str) -> str:
        """Wait for a trace of the operation; give the address of its page."""
        where = f"/api/v1/traces?service=host&operation={operation.replace(' ', '%20')}"
        found = wait_for(lambda: self.stack.api(where)["data"], 15, f"{operation} is stored")
        return f"{self.stack.ui}/traces/{found[0]['trace_id']}"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Stack and app; the app knows nothing of tracing."""
    (tmp_path / "shop.py").write_text(APP, encoding="utf-8")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON"))}
    port = free_port()
    with Stack(tmp_path / "data").start() as stack:
        run = [SPANWISE, "run", "--service", "host", "--endpoint", stack.otlp, "--"]
        command = [*run, sys.executable, "shop.py", str(port)]
        process = subprocess.Popen(command, cwd=tmp_path, env=plain, stderr=subprocess.DEVNULL)
        wait_for(lambda: listens(port), 30, "the app listens")
        yield Host(stack, f"http://127.0.0.1:{port}", process)
        process.kill()
        process.wait(10)


def test_a_sleep_in_an_async_view_is_named_on_the_screen(host: Host, page: Page) -> None:
    """The details of the request's span name file and line of the call that held up the event loop."""
    assert fetch(f"{host.url}/sleepy")[0] == 200

    page.goto(host.trace_page("GET /sleepy"))
    page.get_by_role("treeitem", name="GET /sleepy").first.click()

    events = page.get_by_role("group").filter(has_text="blocking_call").first
    expect(events).to_contain_text("shop.py", timeout=15_000)
    expect(events).to_contain_text(f", line {_line('blocks the event loop')}, in sleepy")


def test_kill_9_in_mid_request_leaves_the_open_span_on_the_screen(host: Host, page: Page) -> None:
    """The page Traces lists the request that never finished, and its own page says in which line it was."""
    stuck = subprocess.Popen([sys.executable, "-c", f"import urllib.request as r; r.urlopen('{host.url}/stuck')"])
    page.goto(f"{host.stack.ui}/traces?service=host")
    link = page.get_by_role("link", name="GET /stuck").first
    expect(link).to_be_visible(timeout=20_000)

    host.process.kill()
    host.process.wait(10)
    stuck.wait(10)
    link.click()

    expect(page.get_by_role("treeitem", name="GET /stuck").first).to_be_visible(timeout=15_000)
    page.get_by_role("treeitem", name="GET /stuck").first.click()
    expect(page.get_by_text(f"shop.py:{_line('never ends')} in").first).to_be_visible(timeout=15_000)
