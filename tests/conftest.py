"""What every test may use: a real store in a directory of its own, and the third-party fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from apm_store.api import Store
from apm_store.open import open_store

FIXTURES = Path(__file__).parents[1] / ".." / "shared" / "fixtures" / "otlp"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store that can be written and read."""
    opened = open_store(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def fixtures() -> Path:
    """The directory of OTLP fixtures that lie beside the checkout."""
    if not FIXTURES.is_dir():
        pytest.skip("the OTLP fixtures are not beside this checkout (../shared/fixtures/otlp)")
    return FIXTURES.resolve()
