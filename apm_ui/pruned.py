"""Whether a question reaches back before the raw data that the store still has."""

from __future__ import annotations

from datetime import datetime, timezone

from apm_store.query import Coverage


def pruned_before_ns(coverage: Coverage) -> int | None:
    """The time before which raw data of the range was pruned; None when the range has all that ever was."""
    raw_since_ns, first_ns = coverage.raw_since_ns, coverage.first_ns
    if raw_since_ns is None or first_ns is None:
        return None
    return raw_since_ns if max(coverage.time_range.start_ns, first_ns) < raw_since_ns else None


def prune_notice(before_ns: int | None) -> str:
    """One sentence for programs and logs, with the time in UTC; "" when nothing was pruned."""
    if before_ns is None:
        return ""
    time = datetime.fromtimestamp(before_ns // 1_000_000_000, timezone.utc)
    return f"Raw data before {time:%Y-%m-%dT%H:%M:%SZ} was pruned; counts and durations stay."
