"""A stack that is open on all addresses, as a browser and an app meet it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page
from stack import SPANWISE, Stack, fetch, wait_for

APP = "from opentelemetry import trace; trace.get_tracer('t').start_span('GET /exposed').end()"


def test_a_browser_and_an_app_get_in_with_the_token_alone(page: Page, tmp_path: Path) -> None:
    """A wrong token leads nowhere; the right one opens the pages, System too; an app run here needs no more words."""
    with Stack(tmp_path / "data", "--host", "0.0.0.0").start() as stack:
        token = (stack.data_dir / "token").read_text().strip()
        command = [SPANWISE, "run", "--service", "app", "--data", str(stack.data_dir), "--", sys.executable, "-c", APP]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        subprocess.run(command, env=kept, check=True, timeout=60)
        page.goto(stack.ui + "/traces")
        page.fill("input", "wrong")
        with page.expect_navigation():
            page.click("button")
        page.fill("input", token)
        page.click("button")
        page.wait_for_selector("#page h1")

        assert token not in page.url
        wait_for(lambda: "app" in _services(stack, token), 10, "the app's span is there")
        page.goto(stack.ui + "/system")
        page.wait_for_selector("#page h1:has-text('Everything received is stored')", timeout=15_000)


def _services(stack: Stack, token: str) -> str:
    status, body = fetch(stack.ui + "/api/v1/services", headers={"Authorization": f"Bearer {token}"})
    assert status == 200
    return body.decode()
