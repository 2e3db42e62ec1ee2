"""Text of strangers in our log: one line, of bounded length, without control characters."""

from __future__ import annotations


def printable(text: str, max_chars: int = 200) -> str:
    """The text with control, bidirectional and line-break characters escaped, cut to a length.

    A line break would forge a log line, and an escape sequence would command the terminal that shows the log.
    """
    if len(text) > max_chars:
        text = text[: max_chars - 1] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
