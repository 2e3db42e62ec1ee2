"""Numbers, times and ids as the reader sees them. "–" means that there is no value; it is never used for zero."""

from __future__ import annotations

from datetime import datetime

NARROW = "\u202f"
MISSING = "–"
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS

_SMALL_UNITS = (("ns", 1), ("µs", 1_000), ("ms", 1_000_000), ("s", SECOND_NS))
_LARGE_UNITS = (("d", DAY_NS, "h", HOUR_NS), ("h", HOUR_NS, "min", MINUTE_NS), ("min", MINUTE_NS, "s", SECOND_NS))


def digits3(value: float) -> str:
    """A number with three significant digits, and a real minus sign."""
    size = abs(value)
    decimals = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    while 0 < size < 0.1 ** (decimals - 2) * 0.9995 and decimals < 12:
        decimals += 1
    return f"{value:,.{decimals}f}".replace("-", "−")


def duration(ns: float | None) -> str:
    """A duration from nanoseconds: 812 ns, 7.80 ms, 1.84 s, 2 min 05 s, 3 h 20 min, 4 d 6 h."""
    if ns is None:
        return MISSING
    if ns < 0:
        return "−" + duration(-ns)
    if ns == 0:
        return f"0{NARROW}ms"
    for unit, size in _SMALL_UNITS:
        limit = 59.95 if unit == "s" else 999.5
        if ns / size < limit:
            return f"{round(ns) if unit == 'ns' else digits3(ns / size)}{NARROW}{unit}"
    return _long_duration(ns)


def _long_duration(ns: float) -> str:
    for unit, size, small_unit, small_size in _LARGE_UNITS:
        small_count = round(ns / small_size)
        per_unit = size // small_size
        if small_count >= per_unit:
            whole, rest = divmod(small_count, per_unit)
            rest_text = f"{rest:02d}" if small_unit == "s" else str(rest)
            return f"{whole}{NARROW}{unit}" + (f"{NARROW}{rest_text}{NARROW}{small_unit}" if rest else "")
    return f"1{NARROW}min"


def count(n: float | None) -> str:
    """A count: in full with commas to 999,999, then three digits and M or G."""
    if n is None:
        return MISSING
    if abs(n) < 999_999.5:
        return f"{round(n):,}".replace("-", "−")
    return _scaled(n, (("M", 1e6), ("G", 1e9), ("T", 1e12)))


def _scaled(n: float, units: tuple[tuple[str, float], ...]) -> str:
    for unit, size in units:
        if abs(n) / size < 999.5:
            return f"{digits3(n / size)}{NARROW}{unit}"
    unit, size = units[-1]
    return f"{digits3(n / size)}{NARROW}{unit}"


def percent(share: float | None, decimals: int = 2) -> str:
    """A share of 1 as percent; it never rounds to 0 or 100 unless it is, and beyond 100 it has no decimals."""
    if share is None:
        return MISSING
    if share in {0, 1}:
        return f"{share * 100:.0f}{NARROW}%"
    if abs(share) > 1:
        return f"{share * 100:,.0f}{NARROW}%".replace("-", "−")
    step = float(10**-decimals)
    value = round(share * 100, decimals)
    if value == 0:
        return f"{'<' if share > 0 else '>−'}{step:.{decimals}f}{NARROW}%"
    if value == 100:
        return f">{100 - step:.{decimals}f}{NARROW}%"
    return f"{value:.{decimals}f}{NARROW}%".replace("-", "−")


def rate(per_second: float | None, noun: str = "") -> str:
    """Events per second (41.8 req/s), or per minute when they are rare (2.40 /min)."""
    if per_second is None:
        return MISSING
    if per_second == 0:
        return f"0{NARROW}{noun}/s"
    if per_second < 0.1:
        return f"{digits3(per_second * 60)}{NARROW}{noun}/min"
    return f"{digits3(per_second)}{NARROW}{noun}/s"


def burn(x: float | None) -> str:
    """A burn rate: 18.2×, 0.92×."""
    if x is None:
        return MISSING
    if 0 < x < 0.005:
        return "<0.01×"
    return "0×" if x == 0 else f"{x:.2f}×" if x < 1 else f"{digits3(x)}×"


def bytes_(n: float | None) -> str:
    """A size in decimal units: 34.1 MB."""
    if n is None:
        return MISSING
    if n < 999.5:
        return f"{round(n)}{NARROW}B"
    return _scaled(n, (("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)))


def clock(ns: int | None, now_ns: int) -> str:
    """A moment in local time: 14:31:52 today, else 12 Nov 14:31, with the year when it is another one."""
    if ns is None:
        return MISSING
    then, now = _local(ns), _local(now_ns)
    if then.date() == now.date():
        return f"{then:%H:%M:%S}"
    year = "" if then.year == now.year else f" {then.year}"
    return f"{then.day} {then:%b}{year} {then:%H:%M}"


def minute_clock(ns: int, now_ns: int) -> str:
    """A moment in local time to the minute: 14:31 today, else 12 Nov 14:31."""
    shown = clock(ns, now_ns)
    return shown if " " in shown else shown[:5]


def resolved_range(start_ns: int, end_ns: int, now_ns: int) -> str:
    """A time range in local time: 13:32–14:32 today, with days where they are needed."""
    start, end, today = _local(start_ns), _local(end_ns), _local(now_ns).date()
    if start.date() == end.date() == today:
        return f"{start:%H:%M}–{end:%H:%M}"
    if start.date() == end.date():
        return f"{start.day} {start:%b} {start:%H:%M}–{end:%H:%M}"
    return f"{start.day} {start:%b} {start:%H:%M}–{end.day} {end:%b} {end:%H:%M}"


def relative(ns: int | None, now_ns: int) -> str:
    """How long ago a moment was (40 s ago), up to 48 h; the date beyond."""
    if ns is None:
        return MISSING
    distance = abs(now_ns - ns)
    if distance < SECOND_NS:
        return "now"
    if distance >= 48 * HOUR_NS:
        return clock(ns, now_ns)
    unit, size = next(pair for pair in (("h", HOUR_NS), ("min", MINUTE_NS), ("s", SECOND_NS)) if distance >= pair[1])
    amount = f"{distance // size}{NARROW}{unit}"
    return f"{amount} ago" if ns <= now_ns else f"in {amount}"


def short_id(hex_id: str) -> str:
    """The first eight digits of an id."""
    return f"{hex_id[:8]}…" if len(hex_id) > 8 else hex_id or MISSING


def plural(n: int, one: str, many: str | None = None) -> str:
    """A count with its noun: 1 span, 2 spans."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def _local(ns: int) -> datetime:
    return datetime.fromtimestamp(min(max(ns, 0) // SECOND_NS, 253_370_764_800)).astimezone()
