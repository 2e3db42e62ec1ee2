"""The token table keeps its contrast, and everything made from it is complete."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from apm_ui import theme

THEMES = (0, 1)
TEXTS = ("text", "text2", "muted", "accent", "ok", "warn", "critical", "unknown")
SHAPES = (
    "edge",
    "ok-fill",
    "warn-fill",
    "critical-fill",
    "unknown-fill",
    *(f"svc-{i}" for i in range(10)),
    "svc-other",
)
GROUNDS = ("bg", "surface")


def luminance(color):
    """Relative luminance, WCAG 2.2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first, second, which):
    """The contrast ratio of two tokens in one theme, WCAG 2.2."""
    lights = sorted((luminance(theme.TOKENS[first][which]), luminance(theme.TOKENS[second][which])), reverse=True)
    return (lights[0] + 0.05) / (lights[1] + 0.05)


@pytest.mark.parametrize(("name", "ground", "which"), list(product(TEXTS, GROUNDS, THEMES)))
def test_text_stands_out_from_its_ground(name, ground, which):
    """Every text colour has at least 4.5:1 on cards and on the page."""
    assert contrast(name, ground, which) >= 4.5


@pytest.mark.parametrize(("name", "which"), list(product(("ok", "warn", "critical", "accent"), THEMES)))
def test_text_stands_out_from_its_soft_ground(name, which):
    """Tags and selected rows keep 4.5:1."""
    assert contrast(name, f"{name}-soft", which) >= 4.5


@pytest.mark.parametrize(("name", "which"), list(product(SHAPES, THEMES)))
def test_shapes_stand_out_from_cards(name, which):
    """Shapes, borders of inputs and service colours have at least 3:1."""
    assert contrast(name, "surface", which) >= 3


@pytest.mark.parametrize("which", THEMES)
def test_words_on_the_primary_button_can_be_read(which):
    """Text on the accent has at least 4.5:1."""
    assert contrast("accent-on", "accent", which) >= 4.5


@pytest.mark.parametrize(
    ("name", "ground", "which", "ratio"),
    [
        ("text", "surface", 0, 17.4),
        ("muted", "bg", 0, 5.2),
        ("accent", "surface", 1, 7.7),
        ("svc-3", "surface", 1, 4.1),
    ],
)
def test_ratios_are_those_of_the_design(name, ground, which, ratio):
    """A few ratios that the design gives, so that a changed colour is noticed."""
    assert contrast(name, ground, which) == pytest.approx(ratio, abs=0.06)


def test_both_themes_write_every_token():
    """The stylesheet defines every token once per theme."""
    css = theme.css_variables()

    assert [css.count(f"--{name}:") for name in theme.TOKENS] == [2] * len(theme.TOKENS)


def test_services_beyond_the_tenth_share_grey():
    """The eleventh service has no colour of its own."""
    assert [theme.service_token(slot) for slot in (0, 9, 10, 500)] == ["svc-0", "svc-9", "svc-other", "svc-other"]


def test_every_colour_is_in_the_table():
    """No stylesheet, script or module of the UI has a colour of its own, or names a token that does not exist."""
    root = Path(theme.__file__).parent
    files = [path for path in root.rglob("*") if path.suffix in {".py", ".css", ".js"} and path.name != "theme.py"]
    texts = {path.name: path.read_text("utf-8") for path in files}

    hexes = {
        name: re.findall(r"#[0-9A-Fa-f]{6}\b|#[0-9A-Fa-f]{3}\b(?=[;\"' ])", found) for name, found in texts.items()
    }
    tokens = {token for found in texts.values() for token in re.findall(r'"@([a-z][a-z0-9-]*)', found)}
    assert {name: found for name, found in hexes.items() if found} == {}
    assert tokens - theme.TOKENS.keys() - {"svc-", "token"} == set()
