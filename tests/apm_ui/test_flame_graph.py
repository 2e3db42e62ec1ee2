"""The flame graph: where its bars lie and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dash.development.base_component import Component
from runtime_records import make_log_batch, make_samples_record

from apm_analysis.profiles import Profile, build_profile
from apm_store.otlp_decode import decode_log_records
from apm_ui.components import flame_graph as module
from apm_ui.components.flame_graph import family_colours, flame_graph, samples_text

NNBSP = "\u202f"
VIEW, STOCK = "/srv/shop/views.py:checkout:30", "/srv/shop/stock.py:reserve:41"
SQL = "sqlalchemy/orm/session.py:Session.execute:2351"
SCRIPT = Path(module.__file__).parents[1] / "assets" / "flame.js"


@pytest.fixture
def profile() -> Profile:
    """Ten samples: six in a statement below the stock, three in the view's templates, one lost."""
    stacks = {f"{VIEW};{STOCK};{SQL}": 6, f"{VIEW};jinja2/environment.py:render:9": 3, "other": 1}
    request = make_log_batch([make_samples_record(stacks)]).request
    built = build_profile([record for _, record in decode_log_records(request)])
    assert built is not None
    return built


def bars(profile: Profile) -> dict[str, Any]:
    """The bars of the drawing by their label."""
    parts = [part for part in flame_graph(profile, "")._traverse() if isinstance(part, Component)]
    drawn = [part for part in parts if str(getattr(part, "className", "")).startswith("flame-bar")]
    return {str(bar.children): bar for bar in drawn}


def text_of(component: Any) -> str:
    """All texts of a component in order."""
    if isinstance(component, list):
        return "".join(map(text_of, component))
    if isinstance(component, Component):
        return text_of(getattr(component, "children", None))
    return component or ""


def test_bars_lie_below_their_callers(profile: Profile) -> None:
    """A bar is as wide as its share, begins where its caller does, and lies one row lower."""
    drawn = {name: (bar.style["--x"], bar.style["--w"], bar.style["top"]) for name, bar in bars(profile).items()}

    assert drawn == {
        "all samples": (0, 1, "0px"),
        "checkout": (0, 0.9, "18px"),
        "reserve": (0, 0.6, "36px"),
        "Session.execute": (0, 0.6, "54px"),
        "render": (0.6, 0.3, "36px"),
        "other": (0.9, 0.1, "18px"),
    }


def test_a_bar_says_function_place_samples_and_share(profile: Profile) -> None:
    """Hover and screen reader get the same words."""
    bar = bars(profile)["reserve"].to_plotly_json()["props"]

    words = ["reserve", "/srv/shop/stock.py:41", f"6 samples, 60.0{NNBSP}%"]
    assert (bar["title"], bar["aria-label"], bar["aria-level"]) == ("\n".join(words), ", ".join(words), "3")


def test_one_bar_takes_the_focus(profile: Profile) -> None:
    """Tab stops once at the drawing; the arrow keys walk from there."""
    assert [name for name, bar in bars(profile).items() if bar.tabIndex == 0] == ["all samples"]


def test_families_have_colours(profile: Profile) -> None:
    """The app's own code has the first colour, packages the next ones by samples, the rest is grey."""
    assert family_colours(profile) == {"your code": "svc-0", "sqlalchemy": "svc-1", "jinja2": "svc-2"}
    assert bars(profile)["other"].style["--c"] == "var(--svc-other)"


def test_the_legend_tells_callers_from_what_took_the_time(profile: Profile) -> None:
    """Families with samples in their own functions have a share, those that only called others have none."""
    legend = text_of(flame_graph(profile, "").children[0])

    assert legend == f"Samples insqlalchemy60{NNBSP}%jinja230{NNBSP}%other10{NNBSP}%Only callersyour code"


def test_what_a_sample_is_is_said(profile: Profile) -> None:
    """Number, rate and the time that the samples stand for."""
    text = samples_text(profile)

    assert text.startswith("10 samples over 1 request, 49 per second while a span was open: about 204")


def test_the_script_never_parses_markup() -> None:
    """What the app calls its functions stays text."""
    source = SCRIPT.read_text(encoding="utf-8")

    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval("):
        assert way not in source
