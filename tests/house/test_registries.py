"""Registries are complete in both directions: every file is in its tuple, every name in a tuple has its file."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import SECOND, make_batch, make_span

from apm_store.api import Store
from apm_ui.filters import parse_filters
from apm_ui.page import Page
from apm_ui.pages import PAGES
from apm_ui.sources import Sources
from otel_agent.instrumentations import INSTRUMENTATIONS

ROOT = Path(__file__).parents[2]
NOW_NS = 1_764_000_000 * SECOND


def _modules(folder: str) -> set[str]:
    return {path.stem for path in (ROOT / folder).glob("*.py") if not path.stem.startswith("_")}


def test_every_page_is_registered() -> None:
    """A file in apm_ui/pages is a page in PAGES, and the other way round."""
    assert {module.__name__.rpartition(".")[2] for module in PAGES} == _modules("apm_ui/pages")


def test_every_instrumentation_is_registered() -> None:
    """A file in otel_agent/instrumentations is in INSTRUMENTATIONS, and the other way round."""
    assert set(INSTRUMENTATIONS) == _modules("otel_agent/instrumentations")


def test_addresses_slugs_and_places_are_unique() -> None:
    """No two pages share a path, a slug or a place in the navigation."""
    pages: list[Page] = [module.PAGE for module in PAGES]

    for field in ("path", "slug", "order"):
        values = [getattr(page, field) for page in pages]
        assert len(values) == len(set(values))


@pytest.mark.parametrize("module", PAGES, ids=lambda module: module.__name__)
@pytest.mark.parametrize("filled", [False, True], ids=["empty store", "filled store"])
def test_a_page_is_three_things_and_renders(module: object, filled: bool, store: Store, tmp_path: Path) -> None:
    """PAGE, load and view are there; the page renders on an empty and on a filled store, and its ids carry its slug."""
    if filled:
        root = make_span("GET /", span=1, start_ns=NOW_NS - 60 * SECOND, failed=True)
        sql = {"db.system.name": "sqlite", "db.query.text": "SELECT a FROM b WHERE c = 1"}
        query = make_span("SELECT b", span=2, parent=1, kind=3, start_ns=NOW_NS - 60 * SECOND, attributes=sql)
        store.traces.write(make_batch([root, query]))
    filters = parse_filters("", NOW_NS).with_params(trace_id=f"{1:032x}")

    view = module.view(module.load(Sources(store, tmp_path), filters))  # type: ignore[attr-defined]

    slug = module.PAGE.slug  # type: ignore[attr-defined]
    ids = [item.id for item in view._traverse() if getattr(item, "id", None) is not None]
    names = [item["name"] if isinstance(item, dict) else item for item in ids]
    assert not [name for name in names if not str(name).startswith(slug)]
