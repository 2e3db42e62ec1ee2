"""Headless Chromium for the browser tests; they skip plainly where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import CHROMIUM_FLAGS, chromium_path
from playwright.sync_api import Browser, Page, sync_playwright


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of a module: while it runs, so does its event loop, which other tests must not meet."""
    path = chromium_path()
    if path is None:
        pytest.skip("there is no Chromium on this machine; `make test` installs it where it may")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page that fails the test on any uncaught script error."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors
