"""The one table of colours, and what is made from it: CSS variables, the Mantine theme, the layout of figures.

Nothing else in the UI contains a hex value.
"""

from __future__ import annotations

from typing import Any

SERVICE_SLOTS = 10

# name: (light, dark); the ratios that they must keep stand in tests/apm_ui/test_theme.py.
TOKENS: dict[str, tuple[str, str]] = {
    "bg": ("#F6F7F9", "#0F1217"),
    "surface": ("#FFFFFF", "#161A21"),
    "sunken": ("#EEF0F4", "#0B0D11"),
    "raised": ("#FFFFFF", "#1E232C"),
    "hover": ("#F6F7F9", "#1E232C"),
    "track": ("#EEF0F4", "#2A303B"),
    "line": ("#E2E5EB", "#272D38"),
    "ring": ("#E2E5EB", "#323947"),
    "edge": ("#808897", "#697386"),
    "text": ("#161A22", "#E8EBF1"),
    "text2": ("#434B59", "#B9C0CC"),
    "muted": ("#5F6878", "#929BAA"),
    "accent": ("#3F51C7", "#98A6FF"),
    "accent-on": ("#FFFFFF", "#0F1217"),
    "accent-soft": ("#E9ECFB", "#23294A"),
    "ok": ("#0B7A55", "#4CC79A"),
    "ok-fill": ("#12946A", "#2FA67B"),
    "ok-soft": ("#E3F4EC", "#12291F"),
    "warn": ("#8F5A00", "#E5AC45"),
    "warn-fill": ("#C07C06", "#D29A2F"),
    "warn-soft": ("#FBF0DA", "#2E2410"),
    "critical": ("#C0263B", "#FF8089"),
    "critical-fill": ("#D6334A", "#F0505F"),
    "critical-soft": ("#FCE8EA", "#34181D"),
    "unknown": ("#5F6878", "#929BAA"),
    "unknown-fill": ("#808897", "#697386"),
    "svc-0": ("#2F4EA3", "#9BB9FC"),
    "svc-1": ("#D47B25", "#D4A145"),
    "svc-2": ("#539A74", "#92CBAA"),
    "svc-3": ("#7B1558", "#B55E90"),
    "svc-4": ("#197D93", "#85E4FE"),
    "svc-5": ("#665ED0", "#7573CE"),
    "svc-6": ("#8C6208", "#B37139"),
    "svc-7": ("#89495A", "#C68A97"),
    "svc-8": ("#444D17", "#CDE075"),
    "svc-9": ("#5B97C2", "#52A2D9"),
    "svc-other": ("#808897", "#697386"),
    "q1": ("#E6ECF8", "#1B2336"),
    "q2": ("#C3D1EF", "#253358"),
    "q3": ("#9AB2E4", "#31477F"),
    "q4": ("#6F8FD5", "#4261A8"),
    "q5": ("#4A6CC0", "#5F82CF"),
    "q6": ("#2F4EA3", "#87A8EE"),
    "q7": ("#1B3174", "#C0D4FF"),
    "bar": ("#6F8FD5", "#5273BE"),
    "shadow": ("0 1px 2px rgba(20,26,40,.05)", "none"),
    "shadow-float": ("0 8px 28px rgba(20,26,40,.16)", "0 8px 28px rgba(0,0,0,.5),0 0 0 1px #2E3541"),
    # How strongly the pale part of a span's bar is mixed with the surface.
    "tint": ("30%", "34%"),
}

SANS = 'system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",sans-serif'
MONO = 'ui-monospace,SFMono-Regular,Menlo,"Cascadia Mono",Consolas,"DejaVu Sans Mono","Liberation Mono",monospace'

# Runs in the head before anything is drawn, so that neither theme nor navigation flickers.
HEAD_SCRIPT = """(function(){var root=document.documentElement;\
var stored=function(key){try{return localStorage.getItem(key)}catch(error){return null}};\
var choice=stored("mantine-color-scheme-value");\
if(choice!=="dark"&&choice!=="light"){choice=matchMedia("(prefers-color-scheme: dark)").matches?"dark":"light"}\
root.dataset.theme=choice;root.dataset.mantineColorScheme=choice;root.dataset.nav=stored("spanwise-nav")||"auto"})();"""


def css_variables() -> str:
    """The token table as CSS custom properties for both themes."""
    light = "".join(f"--{name}:{pair[0]};" for name, pair in TOKENS.items())
    dark = "".join(f"--{name}:{pair[1]};" for name, pair in TOKENS.items())
    return f":root{{{light}--sans:{SANS};--mono:{MONO};color-scheme:light}}[data-theme=dark]{{{dark}color-scheme:dark}}"


def service_token(slot: int) -> str:
    """The token of a service's colour: its own for the first ten, grey for all later ones."""
    return f"svc-{slot}" if 0 <= slot < SERVICE_SLOTS else "svc-other"


def mantine_theme() -> dict[str, Any]:
    """The theme for MantineProvider; its colours point at our variables, so both follow one switch."""
    return {
        "fontFamily": SANS,
        "fontFamilyMonospace": MONO,
        "primaryColor": "accent",
        "primaryShade": 6,
        "colors": {"accent": ["var(--accent-soft)"] * 3 + ["var(--accent)"] * 7},
        "defaultRadius": 6,
        "fontSizes": {"xs": "12px", "sm": "13px", "md": "13px", "lg": "14px", "xl": "15px"},
        "respectReducedMotion": True,
    }


def figure_layout() -> dict[str, Any]:
    """What every Plotly figure has in common. Colours are token names; the browser puts in the theme's values."""
    axis = {
        "gridcolor": "@line",
        "linecolor": "@line",
        "zeroline": False,
        "showline": False,
        "ticks": "",
        "automargin": False,
        "fixedrange": False,
        "tickangle": 0,
        "tickfont": {"size": 11, "color": "@muted"},
    }
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": SANS, "size": 11, "color": "@muted"},
        "margin": {"l": 52, "r": 14, "t": 8, "b": 26, "pad": 0},
        "showlegend": False,
        "dragmode": "zoom",
        "hovermode": "x unified",
        "hoverlabel": {
            "bgcolor": "@raised",
            "bordercolor": "@ring",
            "font": {"family": SANS, "size": 12, "color": "@text"},
            "align": "left",
        },
        "bargap": 0.12,
        "xaxis": {**axis, "showgrid": False, "spikecolor": "@edge", "spikethickness": 1, "spikedash": "solid"},
        "yaxis": {**axis, "nticks": 4, "rangemode": "tozero", "fixedrange": True},
    }
