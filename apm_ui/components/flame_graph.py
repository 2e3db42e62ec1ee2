"""A flame graph: stack samples as bars, callers above, as wide as the share of samples in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dash import html
from dash.development.base_component import Component

from apm_analysis.profiles import OTHER, OWN_CODE, PYTHON, Frame, Profile
from apm_ui.components.attributes import hyphenated
from apm_ui.components.text import count, digits3, duration, percent, plural
from apm_ui.theme import SERVICE_SLOTS, service_token

ROW_HEIGHT = 18
MAX_FAMILIES = 8
KEYS_TEXT = "Click a bar to widen it, click “all samples” to go back; arrow keys walk, Enter widens, Esc goes back."


def flame_graph(profile: Profile, what: str) -> Component:
    """The whole drawing: families, bars, what the chosen bar says, and `what` the samples are."""
    colours = family_colours(profile)
    placed = list(_placed(profile.root, 0, 0.0, profile.sample_count))
    depth = max(at for _, at, _ in placed) + 1
    bars = [_bar(frame, at, left, profile.sample_count, colours) for frame, at, left in placed]
    label = f"Flame graph of {plural(profile.sample_count, 'sample')}"
    drawing = html.Div(
        bars,
        className="flame",
        role="tree",
        style={"height": f"{depth * ROW_HEIGHT}px"},
        **hyphenated(aria_label=label),
    )
    foot = [html.P(what), html.P(_summed_up(profile)) if profile.summed_up else None, html.P(KEYS_TEXT)]
    return html.Div(
        [
            _legend(profile, colours),
            html.Div(drawing, className="flame-scroll"),
            html.Div(className="flame-detail", **hyphenated(aria_live="polite")),
            html.Div(foot, className="card-foot"),
        ],
        className="flame-graph",
    )


def samples_text(profile: Profile, *, with_requests: bool = True) -> str:
    """How many samples over which time, and what one is."""
    total, per_second = profile.sample_count, digits3(1e9 / profile.period_ns).removesuffix(".0")
    over = f" over {plural(profile.request_count, 'request')}" if with_requests else ""
    return (
        f"{plural(total, 'sample')}{over}, {per_second} per second while a span was open: about "
        f"{duration(total * profile.period_ns)} of running and waiting. A sample is what one thread was doing."
    )


def family_colours(profile: Profile) -> Mapping[str, str]:
    """The colour token of each family: the app's own code the first, Python grey, packages by their samples."""
    packages = [name for name, _ in profile.families if name not in {OWN_CODE, PYTHON, OTHER}]
    slots = {name: slot for slot, name in enumerate(packages[: SERVICE_SLOTS - 1], 1)}
    return {OWN_CODE: service_token(0), **{name: service_token(slot) for name, slot in slots.items()}}


def _placed(frame: Frame, depth: int, left: float, total: int) -> Iterator[tuple[Frame, int, float]]:
    """Every frame with its row and its left edge as a share of the whole width, callers first."""
    yield frame, depth, left
    for child in frame.children:
        yield from _placed(child, depth + 1, left, total)
        left += child.total / total


def _bar(frame: Frame, depth: int, left: float, total: int, colours: Mapping[str, str]) -> Component:
    name = "all samples" if depth == 0 else frame.function
    lines = [name, *([f"{frame.file}:{frame.line}"] if frame.file else []), _share_text(frame, total)]
    colour = colours.get(frame.family, service_token(-1))
    style: dict[str, Any] = {
        "--x": round(left, 6),
        "--w": round(frame.total / total, 6),
        "--c": f"var(--{colour})",
        "top": f"{depth * ROW_HEIGHT}px",
    }
    attributes = hyphenated(aria_label=", ".join(lines), aria_level=str(depth + 1), data_detail="\n".join(lines))
    return html.Div(
        name,
        className="flame-bar is-all" if depth == 0 else "flame-bar is-other" if not frame.file else "flame-bar",
        role="treeitem",
        title="\n".join(lines),
        tabIndex=0 if depth == 0 else -1,
        style=style,
        **attributes,
    )


def _share_text(frame: Frame, total: int) -> str:
    own = f", {count(frame.self_count)} in itself" if frame.self_count and frame.children else ""
    return f"{plural(frame.total, 'sample')}, {percent(frame.total / total, 1)}{own}"


def _legend(profile: Profile, colours: Mapping[str, str]) -> Component:
    """The families with samples in their own functions and their share, then those that only called others."""
    total = profile.sample_count
    sampled = [entry for entry in profile.families if entry[1]]
    entries = [_entry(name, colours, percent(samples / total, 0)) for name, samples in sampled[:MAX_FAMILIES]]
    if len(sampled) > MAX_FAMILIES:
        rest = sampled[MAX_FAMILIES:]
        share = percent(sum(samples for _, samples in rest) / total, 0)
        entries.append(html.Span([plural(len(rest), "other"), html.Span(share, className="number")]))
    callers = [name for name, samples in profile.families if not samples][: SERVICE_SLOTS - 1]
    if callers:
        entries += [html.Span("Only callers", className="muted"), *(_entry(name, colours) for name in callers)]
    return html.Div([html.Span("Samples in", className="muted"), *entries], className="flame-legend")


def _entry(name: str, colours: Mapping[str, str], share: str = "") -> Component:
    mark = html.I(className="swatch", style={"background": f"var(--{colours.get(name, service_token(-1))})"})
    return html.Span([mark, name, html.Span(share, className="number") if share else None])


def _summed_up(profile: Profile) -> str:
    limit = percent(profile.smallest_share, 1)
    verb = "is" if profile.summed_up == 1 else "are"
    return f"{plural(profile.summed_up, 'bar')} below {limit} of the samples {verb} summed up as “{OTHER}”."
