"""What the tests of the UI share: sources over an empty and a filled store, and a way to call the refresh callback."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import MS, SECOND, make_batch, make_span
from dash import Dash

from apm_store.api import Store
from apm_store.model import SpanKind
from apm_ui.sources import Sources

OBJECTIVE = """\
apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout-succeeds, displayName: Checkout succeeds}
spec:
  service: storefront
  indicator:
    spec:
      ratioMetric:
        bad: {metricSource: {type: spanwise, spec: {operation: POST /checkout, outcome: failed}}}
        total: {metricSource: {type: spanwise, spec: {operation: POST /checkout}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.995}]
"""


@pytest.fixture
def empty_sources(store: Store, tmp_path: Path) -> Sources:
    """Sources over a store that never got anything; its ports are closed."""
    return Sources(store, tmp_path / "slo", otlp_http="127.0.0.1:9", otlp_grpc="127.0.0.1:9")


@pytest.fixture
def filled_sources(empty_sources: Sources) -> Sources:
    """Half an hour of two services: every fifth checkout fails, one statement takes all database time."""
    now_ns, storefront, inventory = time.time_ns(), [], []
    for number in range(1, 101):
        start_ns = now_ns - number * 18 * SECOND
        common = {"trace": number, "start_ns": start_ns}
        storefront += [
            make_span("POST /checkout", span=1, duration_ns=700 * MS, failed=number % 5 == 0, **common),
            make_span("GET /products", span=2, trace=number + 1000, start_ns=start_ns, duration_ns=40 * MS),
        ]
        query = {"db.system.name": "sqlite", "db.query.text": "SELECT * FROM stock WHERE sku = ?"}
        inventory += [
            make_span("POST /reserve", span=3, parent=1, duration_ns=500 * MS, **common),
            make_span(
                "SELECT", span=4, parent=3, duration_ns=400 * MS, kind=SpanKind.CLIENT, attributes=query, **common
            ),
        ]
    empty_sources.store.traces.write(make_batch(storefront, "storefront"))
    empty_sources.store.traces.write(make_batch(inventory, "inventory"))
    empty_sources.objectives_dir.mkdir()
    (empty_sources.objectives_dir / "checkout.yaml").write_text(OBJECTIVE, "utf-8")
    return empty_sources


@pytest.fixture
def refresh(refresh_body: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Calls the refresh callback over HTTP as the browser does; gives the outputs that changed."""

    def call(app: Dash, pathname: str = "/", search: str = "", seen: Any = None) -> dict[str, Any]:
        body = refresh_body(app, pathname, search, seen)
        answer = app.server.test_client().post("/_dash-update-component", json=body, headers={"Host": "localhost"})
        assert answer.status_code == 200
        changed: dict[str, Any] = json.loads(answer.data)["response"]
        return changed

    return call


@pytest.fixture
def refresh_body() -> Callable[..., dict[str, Any]]:
    """Builds the body of a refresh request."""
    return _refresh_body


def _refresh_body(app: Dash, pathname: Any = "/", search: Any = "", seen: Any = None) -> dict[str, Any]:
    output = next(key for key in app.callback_map if "page-next" in key and "page-seen" in key)
    parts = [part.rsplit(".", 1) for part in output.strip(".").split("...")]
    return {
        "output": output,
        "outputs": [{"id": name, "property": prop} for name, prop in parts],
        "inputs": [
            {"id": "shell-url", "property": "pathname", "value": pathname},
            {"id": "shell-url", "property": "search", "value": search},
            {"id": "shell-tick", "property": "n_intervals", "value": 1},
        ],
        "state": [{"id": "page-seen", "property": "data", "value": seen}],
        "changedPropIds": ["shell-tick.n_intervals"],
    }
