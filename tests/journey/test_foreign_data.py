"""The main job on data that is not ours: OTLP's own examples are received, counted, and shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from stack import Stack, fetch, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
KINDS = {"resourceSpans": "traces", "resourceMetrics": "metrics", "resourceLogs": "logs"}
REJECTED = {"traces": "rejectedSpans", "metrics": "rejectedDataPoints", "logs": "rejectedLogRecords"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack."""
    with Stack(tmp_path_factory.mktemp("foreign")).start() as stack:
        yield stack


def _documents(fixtures: Path) -> list[tuple[str, str]]:
    """(signal, JSON text) of every request in the three fixture sets."""
    found = []
    for directory in sorted(fixtures.glob("01*")) + sorted(fixtures.glob("12*")) + sorted(fixtures.glob("16*")):
        for path in sorted(directory.glob("*.json*")):
            text = path.read_text(encoding="utf-8")
            documents = text.splitlines() if path.suffix == ".jsonl" else [text]
            found += [(KINDS[next(iter(json.loads(document)))], document) for document in documents]
    return found


def test_every_file_is_accepted_and_every_item_counted(stack: Stack, fixtures: Path) -> None:
    """Each request is answered 200; only the eight spans without ids are rejected, and they are counted."""
    rejected = 0
    for signal_name, document in _documents(fixtures):
        status, body = stack.send(signal_name, document.encode(), "application/json")
        assert status == 200, body
        rejected += int(json.loads(body).get("partialSuccess", {}).get(REJECTED[signal_name], 0))

    assert rejected == 8


@pytest.mark.parametrize(
    ("trace_id", "name"),
    [("5b8efff798038103d269b633813fc60c", "I'm a server span"), ("0102030405060708090a0b0c0d0e0f10", "test-span")],
)
def test_the_traces_open_in_the_ui(stack: Stack, fixtures: Path, page: Page, trace_id: str, name: str) -> None:
    """A trace from another program's example opens with its span in the waterfall."""
    for signal_name, document in _documents(fixtures):
        stack.send(signal_name, document.encode(), "application/json")
    wait_for(lambda: fetch(f"{stack.ui}/api/v1/traces/{trace_id}")[0] == 200, 5, "the trace is stored")

    page.goto(f"{stack.ui}/traces/{trace_id}")

    expect(page.get_by_role("treeitem", name=name).first).to_be_visible()
