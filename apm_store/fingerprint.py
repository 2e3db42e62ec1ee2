"""Normalises database statements, so that calls which differ in their values only count as one statement.

A lexer, not a parser: it never fails, whatever the dialect.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

MAX_STATEMENT_CHARS = 65_536
"""What lies beyond is not looked at: statements that agree so far count as one."""

MAX_TEXT_CHARS = 8_192
"""A longer normalised text is cut here and ends in "…"; its hash still tells it from others."""

MAX_PLAIN_CHARS = 4_096  # with 1,024 entries the cache stays below 10 MB
"""Statements up to this length are remembered."""

_NOISE = frozenset({"PRAGMA", "SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "COMMIT", "START", "SET"})
_OPENS_AFTER_SPACE = frozenset(
    [
        *("ALL", "AND", "ANY", "AS", "BETWEEN", "BY", "CASE", "ELSE", "EXISTS", "FROM", "HAVING", "IN", "INTO"),
        *("JOIN", "LIKE", "LIMIT", "NOT", "OFFSET", "ON", "OR", "OVER", "RETURNING", "SELECT", "SET", "THEN"),
        *("UNION", "USING", "VALUES", "WHEN", "WHERE", "WITH"),
    ]
)

_GRAMMAR = r"""
    (?P<skip>    \s+ | --[^\n]* | /\*.*?(?:\*/|\Z) )
  | (?P<literal> (?:[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)) | [nNxXbB]?{string} | \$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z) )
  | (?P<quoted>  {quoted}`[^`]*(?:`|\Z) | \[[^\W\d][^\]\n]*\] )
  | (?P<mark>    \?\d* | %s | %\(\w+\)s | \$\d+ | @\w+ | (?<![:\w]):[^\W\d]\w* )
  | (?P<number>  0[xX][0-9a-fA-F]+ | (?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)? )
  | (?P<word>    [^\W\d][\w$]* )
  | (?P<sign>    ::|:=|<=>|<>|<=|>=|!=|\|\||->>|->|\#>>|\#>|@>|<@|. )
"""
_FLAGS = re.VERBOSE | re.DOTALL
_STANDARD = re.compile(_GRAMMAR.format(string=r"'(?:[^']|'')*(?:'|\Z)", quoted=r'"(?:[^"]|"")*(?:"|\Z) | '), _FLAGS)
_MYSQL = re.compile(
    _GRAMMAR.format(string=r"""(?:'(?:[^'\\]|\\.|'')*(?:'|\Z)|"(?:[^"\\]|\\.|"")*(?:"|\Z))""", quoted=""), _FLAGS
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A normalised statement: `hash` is the first 16 hex digits of SHA-256 over system and text."""

    hash: str
    text: str


def fingerprint(text: str, system: str) -> Statement | None:
    """Normalise one statement of a database `system` (as OpenTelemetry names it).

    None for an empty text and for what only steers the connection (PRAGMA, SAVEPOINT, BEGIN, SET …).
    """
    if len(text) > MAX_PLAIN_CHARS:
        return _fingerprint(text[:MAX_STATEMENT_CHARS], system)
    return _fingerprint_cached(text, system)


def _fingerprint(text: str, system: str) -> Statement | None:
    tokens = _tokens(text, _MYSQL if system in ("mysql", "mariadb") else _STANDARD)
    if not tokens or tokens[0].upper() in _NOISE:
        return None
    normal = _join(_collapse_lists(tokens))
    digest = hashlib.sha256(f"{system}\0{normal}".encode()).hexdigest()[:16]
    return Statement(digest, normal if len(normal) <= MAX_TEXT_CHARS else normal[: MAX_TEXT_CHARS - 1] + "…")


_fingerprint_cached = lru_cache(maxsize=1024)(_fingerprint)


def _tokens(text: str, lexer: re.Pattern[str]) -> list[str]:
    """The tokens that count, every value among them as "?"."""
    tokens: list[str] = []
    for match in lexer.finditer(text):
        kind = match.lastgroup
        if kind == "skip":
            continue
        lexeme = match.group()
        is_value = kind in ("literal", "mark", "number") or lexeme.upper() in ("TRUE", "FALSE")
        if is_value and kind == "number" and _is_signed(tokens):
            tokens.pop()
        tokens.append("?" if is_value else lexeme)
    while tokens and tokens[-1] == ";":
        tokens.pop()
    return tokens


def _is_signed(tokens: list[str]) -> bool:
    """Whether the last lexeme is the sign of a number that follows, and not an operator between two operands."""
    if not tokens or tokens[-1] not in ("-", "+"):
        return False
    before = tokens[-2] if len(tokens) > 1 else "("
    return before.upper() in _OPENS_AFTER_SPACE or not (before[-1].isalnum() or before[-1] in '_?)]"`')


def _collapse_lists(tokens: list[str]) -> list[str]:
    """Shorten `IN (?, ?, …)` and `ARRAY[?, …]` to one value, and the rows of `VALUES (…), (…)` to the first one."""
    out: list[str] = []
    i = 0
    while i < len(tokens):
        lexeme = tokens[i]
        out.append(lexeme)
        i += 1
        opener = tokens[i] if i < len(tokens) else ""
        word = lexeme.upper()
        if (word == "IN" and opener == "(") or (word == "ARRAY" and opener == "["):
            end = _group_end(tokens, i)
            out += _shorten(tokens[i:end])
            i = end
        elif word == "VALUES" and opener == "(":
            end = _group_end(tokens, i)
            out += tokens[i:end]
            while end + 1 < len(tokens) and tokens[end] == "," and tokens[end + 1] == "(":
                end = _group_end(tokens, end + 1)
            i = end
    return out


def _group_end(tokens: list[str], start: int) -> int:
    """The index behind the bracket that closes the one at `start`; the end where none does."""
    depth = 0
    for i in range(start, len(tokens)):
        if tokens[i] in ("(", "["):
            depth += 1
        elif tokens[i] in (")", "]"):
            depth -= 1
            if depth == 0:
                return i + 1
    return len(tokens)


def _shorten(group: list[str]) -> list[str]:
    """A list of nothing but values (or rows of values) with its first member alone; any other group as it is."""
    if any(lexeme not in ("?", ",", "(", ")", "[", "]") and lexeme.upper() != "NULL" for lexeme in group):
        return group
    if len(group) > 1 and group[1] == "(":
        return [group[0], *group[1 : _group_end(group, 1)], ")"]
    return [group[0], "?", "]" if group[0] == "[" else ")"]


def _join(tokens: list[str]) -> str:
    """The tokens with single blanks where people write them."""
    parts: list[str] = []
    before = ""
    for lexeme in tokens:
        is_tight = (
            not before
            or lexeme in (",", ")", ".", "]", "::", ";")
            or before in ("(", ".", "[", "::")
            or lexeme == "["
            or (lexeme == "(" and before[-1].isidentifier() and before.upper() not in _OPENS_AFTER_SPACE)
        )
        parts.append(lexeme if is_tight else " " + lexeme)
        before = lexeme
    return "".join(parts)
