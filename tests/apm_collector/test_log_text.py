"""Text of strangers in our log."""

from __future__ import annotations

from apm_collector.log_text import printable


def test_harmless_text_stays() -> None:
    """Letters of every script stay as they are."""
    assert printable("GET /größe 値 🙂") == "GET /größe 値 🙂"


def test_control_characters_are_escaped() -> None:
    """Line breaks, escape sequences, bidirectional marks and lone surrogates cannot do anything."""
    assert printable("a\r\n\x1b[31m\u202e\u2028\ud800") == r"a\r\n\x1b[31m\u202e\u2028\ud800"


def test_long_text_is_cut() -> None:
    """What is cut off leaves a mark."""
    assert printable("x" * 300, 10) == "x" * 9 + "…"
