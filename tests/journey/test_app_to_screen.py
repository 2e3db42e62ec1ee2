"""The main job: an app that never heard of OpenTelemetry, instrumented by environment variables alone, on screen."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from stack import SPANWISE, Stack, fetch, free_port, wait_for

from demo_app.processes import Ports, processes

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
FRESH_S = 5.0
# Every third order fails and none is slow, so that the test needs few orders.
FLAKY = {"SHOP_FAIL_RATE": "0.3", "SHOP_SLOW_RATE": "0"}


@dataclass
class Shop:
    """The demo shop on a running stack."""

    stack: Stack
    storefront: str

    def get(self, path: str) -> int:
        """GET from the storefront; give the status."""
        return fetch(self.storefront + path)[0]

    def post(self, path: str, **body: object) -> int:
        """POST to the storefront; give the status."""
        return fetch(self.storefront + path, json.dumps(body).encode(), {"Content-Type": "application/json"})[0]

    def check_out(self, visitor: str) -> int:
        """Fill a cart and check out; give the status of the checkout."""
        assert self.post(f"/cart/{visitor}/items", product_id=3) == 201
        return self.post("/checkout", visitor=visitor)


def _variables(endpoint: str, service: str) -> dict[str, str]:
    """What `spanwise env` prints, as a shell would take it."""
    command = [SPANWISE, "env", "--service", service, "--endpoint", endpoint]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Stack and shop; the shop's processes get nothing but environment variables."""
    directory = tmp_path_factory.mktemp("shop")
    plain = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    ports = Ports(free_port(), free_port())
    with Stack(directory / "data", "--slos", str(ROOT / "demo_app" / "slo")).start() as stack:
        running = []
        for process in processes(sys.executable, directory / "shop", ports=ports):
            if process.name == "load":
                continue
            env = plain | process.env | FLAKY
            env |= _variables(stack.otlp, process.name)
            running.append(subprocess.Popen(process.argv, env=env, cwd=ROOT, stderr=subprocess.DEVNULL))
        storefront = f"http://127.0.0.1:{ports.storefront}"
        wait_for(lambda: _is_up(storefront), 30, "the storefront answers")
        yield Shop(stack, storefront)
        for child in running:
            child.send_signal(signal.SIGTERM)
        for child in running:
            child.wait(10)


def _is_up(url: str) -> bool:
    try:
        return fetch(url + "/healthz")[0] == 200
    except OSError:
        return False


def _within(sent_s: float) -> float:
    """Milliseconds that are left of the five seconds from request to screen."""
    return max(1.0, (sent_s + FRESH_S - time.monotonic()) * 1000)


def test_a_request_is_on_the_screen_within_five_seconds(shop: Shop, page: Page) -> None:
    """A page that is open shows the trace of a request 5 s after it was sent, without a reload."""
    page.goto(shop.stack.ui + "/traces?service=storefront&attr=url.path%3D/products/39")
    expect(page.get_by_text("No trace matches").first).to_be_visible()
    sent = time.monotonic()
    assert shop.get("/products/39") == 200

    link = page.get_by_role("link", name="GET /products/<int:product_id>")
    expect(link.first).to_be_visible(timeout=_within(sent))


def test_the_waterfall_shows_the_spans_of_both_services(shop: Shop, page: Page) -> None:
    """A checkout's waterfall has the storefront's request, its SQL, and the payments service's part of it."""
    shop.check_out("visitor")
    found = wait_for(
        lambda: shop.stack.api("/api/v1/traces?service=storefront&operation=POST%20/checkout")["data"],
        FRESH_S,
        "the checkout's trace is stored",
    )
    page.goto(f"{shop.stack.ui}/traces/{found[0]['trace_id']}")

    tree = page.get_by_role("tree")
    expect(tree.get_by_role("treeitem", name="POST /checkout, storefront").first).to_be_visible()
    expect(tree.get_by_role("treeitem", name="POST /charge, payments").first).to_be_visible()
    expect(tree.get_by_role("treeitem", name="INSERT orders, storefront").first).to_be_visible()


def test_the_seeded_slow_query_tops_slow_queries(shop: Shop, page: Page) -> None:
    """The statement without an index is the first row of Slow queries."""
    for product in range(1, 13):
        assert shop.get(f"/products/{product}") == 200
    wait_for(
        lambda: "stock_movements" in str(shop.stack.api("/api/v1/queries")["data"][:1]),
        FRESH_S,
        "the statement is first",
    )
    page.goto(shop.stack.ui + "/queries")

    expect(page.get_by_role("link", name="SELECT").first).to_contain_text("stock_movements")


def test_the_flaky_endpoint_burns_its_budget(shop: Shop, page: Page) -> None:
    """After failed checkouts the SLOs page says that the checkout objective is burning."""
    statuses = [shop.check_out(f"visitor-{number}") for number in range(120)]
    sent = time.monotonic()
    page.goto(shop.stack.ui + "/slos")

    expect(page.get_by_text("Checkout succeeds").first).to_be_visible(timeout=_within(sent))
    expect(page.get_by_text(re.compile(r"is burning")).first).to_be_visible(timeout=_within(sent))
    assert statuses.count(502) > 1
