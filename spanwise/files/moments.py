"""Moments, durations, sizes and counts as people write and read them on a command line."""

from __future__ import annotations

import argparse
import re
import time
from datetime import datetime

SECOND_NS = 1_000_000_000
_DURATION = re.compile(r"([0-9]{1,9})\s*(s|m|min|h|d|w)\Z")
_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)?\Z", re.IGNORECASE)
_SIZES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def parse_moment(text: str) -> int:
    """A moment in ns since the epoch from "2026-11-01", "2026-11-01T12:30:00Z", or "2h", that long ago.

    Without a time zone it is this machine's. Raises argparse.ArgumentTypeError.
    """
    if _DURATION.match(text):
        return time.time_ns() - parse_duration(text)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        nanoseconds = round(moment.astimezone().timestamp() * 1_000_000) * 1000
    except (ValueError, OverflowError, OSError):
        nanoseconds = -1
    if not 0 <= nanoseconds < 2**63:
        raise argparse.ArgumentTypeError(
            f"“{text}” is no moment; write 2026-11-01, 2026-11-01T12:30:00Z, or 2h for ago"
        )
    return nanoseconds


def parse_duration(text: str) -> int:
    """A duration in ns from "90s", "15m", "2h", "7d" or "4w"; raises argparse.ArgumentTypeError."""
    match = _DURATION.match(text)
    if not match:
        raise argparse.ArgumentTypeError(f"“{text}” is no duration; write 90s, 15m, 2h, 7d or 4w")
    return int(match[1]) * _UNITS_S[match[2]] * SECOND_NS


def parse_size(text: str) -> int:
    """A size in bytes from "2GB", "500 MB" or "1.5GiB"; raises argparse.ArgumentTypeError."""
    match = _SIZE.match(text)
    if not match:
        raise argparse.ArgumentTypeError(f"“{text}” is no size; write 500MB, 2GB or 1.5GiB")
    return int(float(match[1]) * _SIZES[(match[2] or "B").lower()])


def counted(count: int, nouns: str) -> str:
    """A number of things for people; `nouns` is the plural with an s."""
    return f"{count:,} {nouns.removesuffix('s') if count == 1 else nouns}"


def size_words(size: int) -> str:
    """A size in bytes for people."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def moment_words(time_ns: int) -> str:
    """A moment for people, in this machine's time zone, to the second."""
    return datetime.fromtimestamp(time_ns // SECOND_NS).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
