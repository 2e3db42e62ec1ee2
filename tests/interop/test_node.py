"""A Node app traced by npm's OpenTelemetry packages and environment variables alone, in one trace with a Python app."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from interop.node.packages import HERE, INSTALLED, missing
from stack import SPANWISE, Stack, fetch, free_port, wait_for

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "they are there")
START_TIMEOUT_S = 20.0
PROTOCOLS = ["http/protobuf", "http/json", "grpc"]


@contextmanager
def running(command: list[str], url: str, cwd: Path, **variables: str) -> Iterator[None]:
    """A process that answers at a URL, told what to do by these variables; it is ended behind the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "NODE_"))}
    process = subprocess.Popen(command, cwd=cwd, env=environment | variables)
    try:
        wait_for(lambda: _answers(url), START_TIMEOUT_S, f"{command} answers at {url}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return fetch(url)[0] > 0
    except OSError:
        return False


@dataclass(frozen=True)
class Prices:
    """A running stack, and the address of a Flask app that sends to it."""

    stack: Stack
    url: str


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prices]:
    """The real `spanwise up`, and the Python app under `spanwise run`."""
    directory, port = tmp_path_factory.mktemp("node"), free_port()
    url = f"http://127.0.0.1:{port}"
    with Stack(directory / "data").start() as stack:
        command = [str(SPANWISE), "run", "--service", "prices", "--endpoint", stack.otlp, "--"]
        with running([*command, sys.executable, str(HERE / "prices.py"), str(port)], url, directory):
            yield Prices(stack, url)


@pytest.fixture(scope="module", params=PROTOCOLS)
def trace(request: pytest.FixtureRequest, prices: Prices) -> list[dict[str, Any]]:
    """The spans of one request to the Node app, which asks the Python app, as the API tells them."""
    stack, port, product = prices.stack, free_port(), f"/products/{PROTOCOLS.index(request.param)}"
    shop = f"http://127.0.0.1:{port}"
    variables = {
        "NODE_OPTIONS": "--require @opentelemetry/auto-instrumentations-node/register",
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_EXPORTER_OTLP_PROTOCOL": request.param,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{stack.grpc_port}" if request.param == "grpc" else stack.otlp,
        "OTEL_NODE_RESOURCE_DETECTORS": "env,host,os,process",  # the others ask the network for a cloud
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "PORT": str(port),
        "PRICES_URL": prices.url,
    }
    with running(["node", str(HERE / "app.js")], shop, INSTALLED, **variables):
        assert fetch(shop + product)[0] == 200

        spans: list[dict[str, Any]] = wait_for(
            lambda: _whole_trace(stack, product), 15, "the trace has the spans of both services"
        )
        return spans


def _whole_trace(stack: Stack, product: str) -> list[dict[str, Any]] | None:
    """The spans of the trace in which the Python app was asked for a product, once the Node app's are there too."""
    for found in stack.api(f"/api/v1/traces?service=prices&attr=url.path%3D{product}")["data"]:
        spans: list[dict[str, Any]] = stack.api(f"/api/v1/traces/{found['trace_id']}")["data"]["spans"]
        if len(spans) >= 3:
            return spans
    return None


def test_one_trace_holds_both_services(trace: list[dict[str, Any]]) -> None:
    """Node's server span is the root, its client span below it, and the Flask app's span below that one."""
    chain = [(span["service"], span["kind"], span["name"]) for span in trace]

    assert chain == [
        ("shop", "server", "GET"),
        ("shop", "client", "GET"),
        ("prices", "server", "GET /products/<int:product_id>"),
    ]
    assert [span["parent_span_id"] for span in trace] == ["", trace[0]["span_id"], trace[1]["span_id"]]


def test_nothing_is_lost_on_the_way(trace: list[dict[str, Any]]) -> None:
    """Attributes and resource of the JavaScript SDK arrive, and the request lies within the one that caused it."""
    server, client, asked = trace

    assert server["attributes"]["url.path"] == asked["attributes"]["url.path"]
    assert server["attributes"]["http.response.status_code"] == 200
    assert {span["resource"]["telemetry.sdk.language"] for span in (server, client)} == {"nodejs"}
    assert asked["resource"]["telemetry.sdk.language"] == "python"
    assert server["start_ns"] <= client["start_ns"] < client["end_ns"] <= server["end_ns"]
