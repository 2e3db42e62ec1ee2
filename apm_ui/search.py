"""The query bar: its text ↔ conditions ↔ the URL's parameters, and the trace query that they ask."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from apm_store.query import Outcome, TraceQuery
from apm_ui.filters import FilterError, Filters

MAX_TEXT = 4_000
MAX_CONDITIONS = 20
STATUSES: dict[str, Outcome] = {"error": Outcome.FAILED, "ok": Outcome.OK, "4xx": Outcome.CLIENT_ERROR}

_PLAIN_KEYS = ("service", "operation", "status", "statement")
_OWN_KEYS = (*_PLAIN_KEYS, "duration")
_DURATION_PARAMS = {">": "min_duration_ms", "<": "max_duration_ms"}
_PARAMS = ("operation", "status", "statement", "attr", *_DURATION_PARAMS.values())
_MAX_NS = 2**63 - 1
_MAX_DIGITS = 40

_UNITS = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,
    "ns": 1,
}
_DURATION = re.compile(r"(?:\d{1,19}(?:\.\d{1,19})?(?:ms|us|µs|ns|h|m|s))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)", re.ASCII)
_MILLISECONDS = re.compile(r"\d{1,19}(?:\.\d{1,9})?", re.ASCII)
_OPERATOR = re.compile(r"!=|>=|<=|[=<>:~]")
_PLAIN_KEY = re.compile(r'[^\s"!=<>:~]+')
_PLAIN_VALUE = re.compile(r'[^\s"]+')


class SearchError(FilterError):
    """A part of the query does not say what it should; `part` is that part as it stands in the text."""

    def __init__(self, message: str, part: str = "") -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of the query.

    `key` is service, operation, status, statement or duration, or, with `is_attribute`, an attribute's key.
    `op` is "=", for duration ">" or "<". `value` is text; for duration a duration such as 1m30s.
    """

    key: str
    op: str
    value: str
    is_attribute: bool = False

    @property
    def slot(self) -> tuple[str, str, bool]:
        """What the condition is about; a newer condition of the same slot takes its place."""
        return (self.key, self.op, self.is_attribute)

    def __str__(self) -> str:
        """The condition as the query bar writes it."""
        is_plain = _PLAIN_KEY.fullmatch(self.key) and self.is_attribute == (self.key not in _OWN_KEYS)
        value = self.value if _PLAIN_VALUE.fullmatch(self.value) else _quote(self.value)
        return f"{self.key if is_plain else _quote(self.key)}{self.op}{value}"


def parse_search(text: str) -> tuple[Condition, ...]:
    """The conditions of a query bar's text, in order.

    Raises SearchError where a part is not something that a trace query can answer.
    """
    if len(text) > MAX_TEXT:
        raise SearchError(f"The query has {len(text):,} characters; {MAX_TEXT:,} are the most.")
    conditions = tuple(map(_condition, _terms(text)))
    if len(conditions) > MAX_CONDITIONS:
        raise SearchError(f"The query has {len(conditions)} conditions; {MAX_CONDITIONS} are the most.")
    slots = [condition.slot for condition in conditions if not condition.is_attribute]
    for condition in conditions:
        if slots.count(condition.slot) > 1:
            raise SearchError(f"“{condition.key}{condition.op}” stands twice. Keep one of them.", str(condition))
    return conditions


def format_search(conditions: Iterable[Condition]) -> str:
    """The text of a query bar; the inverse of `parse_search`."""
    return " ".join(str(condition) for condition in conditions)


def filters_to_conditions(filters: Filters) -> tuple[Condition, ...]:
    """The conditions that the URL holds: service, operation, status, durations, statement, then attributes.

    Raises SearchError where a parameter has no valid value.
    """
    found = [Condition("service", "=", filters.service)] if filters.service else []
    plain = ((key, filters.get(key)) for key in _PLAIN_KEYS[1:])
    found += [_own(key, "=", value, f"{key}={value}") for key, value in plain if value]
    for op, name in _DURATION_PARAMS.items():
        if value := filters.get(name):
            found.append(Condition("duration", op, format_duration(_milliseconds(name, value))))
    for pair in filters.get_all("attr"):
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise SearchError(f"“{pair}” is not an attribute. Write attr=key=value.", pair)
        found.append(Condition(key, "=", value, is_attribute=True))
    return tuple(found)


def conditions_to_filters(conditions: Sequence[Condition], filters: Filters) -> Filters:
    """`filters` with its service and search parameters replaced by these conditions; range and the rest stay."""
    params: dict[str, str | list[str] | None] = dict.fromkeys(_PARAMS)
    service = None
    for condition in conditions:
        if condition.is_attribute:
            params["attr"] = [*(params["attr"] or ()), f"{condition.key}={condition.value}"]
        elif condition.key == "duration":
            params[_DURATION_PARAMS[condition.op]] = _to_milliseconds(parse_duration(condition.value))
        elif condition.key == "service":
            service = condition.value
        else:
            params[condition.key] = condition.value
    return replace(filters.with_params(**params), service=service)


def merge(conditions: Iterable[Condition], newer: Iterable[Condition]) -> tuple[Condition, ...]:
    """The conditions with newer ones added; a newer one takes the place of an older one of the same slot."""
    newer = tuple(newer)
    taken = {condition.slot for condition in newer}
    return (*(condition for condition in conditions if condition.slot not in taken), *newer)


def trace_query(conditions: Iterable[Condition], query: TraceQuery) -> TraceQuery:
    """`query` with the conditions set."""
    changes: dict[str, Any] = {}
    attributes = []
    for condition in conditions:
        if condition.is_attribute:
            attributes.append((condition.key, condition.value))
        elif condition.key == "duration":
            changes["min_duration_ns" if condition.op == ">" else "max_duration_ns"] = parse_duration(condition.value)
        elif condition.key == "status":
            changes["outcome"] = STATUSES[condition.value]
        else:
            changes["statement_id" if condition.key == "statement" else condition.key] = condition.value
    return replace(query, attributes=tuple(attributes), **changes)


def parse_duration(text: str) -> int:
    """Nanoseconds of a duration such as 2s, 250ms, 1.5s or 1m30s. Raises SearchError."""
    total = Decimal(0)
    if _DURATION.fullmatch(text) and len(text) <= _MAX_DIGITS:
        total = sum((Decimal(n) * _UNITS[unit] for n, unit in _DURATION_PART.findall(text)), start=total)
        if total <= _MAX_NS:
            return int(total)
    raise SearchError(f"“{text}” is not a duration. Write 2s, 250ms or 1m30s.", text)


def format_duration(duration_ns: int) -> str:
    """The shortest exact text of a duration; the inverse of `parse_duration`."""
    text = ""
    rest = duration_ns
    if rest >= _UNITS["m"]:
        for unit in ("h", "m"):
            whole, rest = divmod(rest, _UNITS[unit])
            text += f"{whole}{unit}" if whole else ""
    if text and not rest:
        return text
    unit = next((name for name in ("s", "ms", "us") if rest >= _UNITS[name]), "ns")
    return f"{text}{_decimal(rest, _UNITS[unit])}{unit}"


def _decimal(amount: int, unit: int) -> str:
    whole, rest = divmod(amount, unit)
    digits = str(rest).zfill(len(str(unit)) - 1).rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def _to_milliseconds(duration_ns: int) -> str:
    return _decimal(duration_ns, _UNITS["ms"])


def _milliseconds(name: str, text: str) -> int:
    duration_ns = int(Decimal(text) * _UNITS["ms"]) if _MILLISECONDS.fullmatch(text) else -1
    if not 0 <= duration_ns <= _MAX_NS:
        raise SearchError(f"“{text}” is not a number of milliseconds for {name}. Write 250 or 0.5.", text)
    return duration_ns


@dataclass(frozen=True, slots=True)
class _Term:
    """One term as written. A quoted key is an attribute's; `op` is "" and `value` None where they are absent."""

    text: str
    key: str
    is_quoted: bool
    op: str
    value: str | None


def _terms(text: str) -> Iterable[_Term]:
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        term = _term(text, position)
        position += len(term.text)
        yield term


def _term(text: str, start: int) -> _Term:
    key, position = _word(text, start, is_key=True)
    operator = _OPERATOR.match(text, position)
    value = None
    if operator:
        value, position = _word(text, operator.end(), is_key=False)
    if position < len(text) and not text[position].isspace():
        part = text[start:].split(maxsplit=1)[0]
        raise SearchError(f"“{part}” is not a condition. Write a space between conditions.", part)
    return _Term(text[start:position], key, text[start] == '"', operator.group() if operator else "", value)


def _word(text: str, start: int, *, is_key: bool) -> tuple[str, int]:
    """The bare or quoted word at `start`, and where it ends."""
    if text[start : start + 1] == '"':
        return _quoted(text, start)
    end = start
    while end < len(text) and not text[end].isspace() and text[end] != '"':
        if is_key and end > start and _OPERATOR.match(text, end):
            break
        end += 1
    return text[start:end], end


def _quoted(text: str, start: int) -> tuple[str, int]:
    letters = []
    end = start + 1
    while end < len(text) and text[end] != '"':
        end += text[end] == "\\"
        letters.append(text[end : end + 1])
        end += 1
    if end >= len(text):
        part = text[start:]
        raise SearchError(f'The quote that starts at “{part[:20]}” is not closed. Write " at its end.', part)
    return "".join(letters), end + 1


def _condition(term: _Term) -> Condition:
    text, key = term.text, term.key
    if (key.startswith("!") and not term.is_quoted) or term.op.startswith("!"):
        raise SearchError(f"“{text}” excludes. Only what a trace has can be searched: leave out the “!”.", text)
    if not term.op:
        example = "Write key=value, for example http.route=/checkout, or duration>500ms."
        raise SearchError(f"“{text}” is not a condition. {example}", text)
    if key in _OWN_KEYS and not term.is_quoted:
        return _own(key, term.op, term.value or "", text)
    if term.op != "=":
        raise SearchError(f"“{text}” cannot be searched: an attribute takes “=” alone, as in {key}=….", text)
    if not key or "=" in key:
        raise SearchError(f"“{text}” cannot be searched: an attribute's key is not empty and has no “=”.", text)
    if not term.value and not text.endswith('""'):
        raise SearchError(f"“{text}” has no value. Write one behind the “=”.", text)
    return Condition(key, "=", term.value or "", is_attribute=True)


def _own(key: str, op: str, value: str, term: str) -> Condition:
    if key == "duration":
        op = {">=": ">", "<=": "<"}.get(op, op)
        if op not in _DURATION_PARAMS:
            raise SearchError(f"“{term}” needs a side: write duration>{value} or duration<{value}.", term)
        return Condition("duration", op, format_duration(parse_duration(value)))
    if op != "=":
        raise SearchError(f"“{term}” cannot be searched: {key} takes “=” alone, as in {key}=….", term)
    if not value:
        raise SearchError(f"“{term}” has no value. Write one behind the “=”.", term)
    if key == "status" and value not in STATUSES:
        raise SearchError(f"“{value}” is not a status. Write error, ok or 4xx.", value)
    return Condition(key, "=", value)


def _quote(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
