"""A database statement for people: its clauses on lines of their own, its keywords marked."""

from __future__ import annotations

import re

from dash import html
from dash.development.base_component import Component

_CLAUSES = (
    "SELECT|FROM|WHERE|GROUP BY|ORDER BY|HAVING|LIMIT|OFFSET|VALUES|SET|RETURNING|UNION ALL|UNION|EXCEPT|INTERSECT|"
    "LEFT OUTER JOIN|RIGHT OUTER JOIN|FULL OUTER JOIN|LEFT JOIN|RIGHT JOIN|FULL JOIN|INNER JOIN|CROSS JOIN|JOIN|"
    "INSERT INTO|INSERT|UPDATE|DELETE FROM|DELETE|CREATE|DROP|ALTER|ON CONFLICT|WITH"
)
_WORDS = (
    "AND|OR|NOT|IN|IS|NULL|LIKE|ILIKE|BETWEEN|EXISTS|AS|ON|USING|ASC|DESC|DISTINCT|CASE|WHEN|THEN|ELSE|END|ALL|ANY|"
    "CAST|COUNT|SUM|MIN|MAX|AVG|COALESCE|TABLE|INDEX|UNIQUE|PRIMARY KEY|DO NOTHING|DO UPDATE|TRUE|FALSE|BEGIN|COMMIT|"
    "ROLLBACK|PRAGMA|OVER|PARTITION BY|FOR UPDATE"
)
# A quoted name or string is one token, so that a word inside it is not taken for a keyword.
_TOKEN = re.compile(
    rf"""('[^']*'|"[^"]*"|`[^`]*`)|\b({_CLAUSES.replace(" ", r"[ ]")})\b|\b({_WORDS.replace(" ", r"[ ]")})\b|([()])""",
    re.IGNORECASE,
)
_SUBJECT = re.compile(r"\b(FROM|INTO|UPDATE|TABLE|JOIN)\s+([^\s(,;]+)", re.IGNORECASE)
# Up to the FROM of the statement itself: what it selects, with no parenthesis that could hold another FROM.
_COLUMNS = re.compile(r"\s*(SELECT(?:\s+DISTINCT)?)\s+([^()]+?)\s+FROM\b", re.IGNORECASE)
MAX_COLUMNS_LENGTH = 24
MAX_LENGTH = 20_000


def pretty_sql(text: str) -> Component:
    """The statement in a block, a clause per line outside of parentheses; any text is safe, SQL or not."""
    text = " ".join(text[:MAX_LENGTH].split()) + ("…" if len(text) > MAX_LENGTH else "")
    parts: list[Component | str] = []
    position = depth = 0
    for match in _TOKEN.finditer(text):
        between = text[position : match.start()]
        _, clause, word, bracket = match.groups()
        if clause and depth == 0 and match.start():
            between = between.rstrip() + "\n"
        parts += [between, html.B(match.group()) if clause or word else match.group()]
        depth += {"(": 1, ")": -1}.get(bracket or "", 0)
        position = match.end()
    parts.append(text[position:])
    return html.Pre([part for part in parts if part], className="sql")


def short_sql(text: str) -> str:
    """The statement without the columns that it selects, where they are many: what tells one from another comes after.

    As in “SELECT … FROM orders WHERE id = ?”.
    """
    found = _COLUMNS.match(text)
    if found is None or len(found.group(2)) <= MAX_COLUMNS_LENGTH:
        return text
    return f"{found.group(1)} … {text[found.end(2) :].lstrip()}"


def statement_name(text: str) -> str:
    """A few words for a statement: what it does and to which table, as in “SELECT orders”."""
    words = text.split(maxsplit=1)
    if not words:
        return "empty statement"
    subject = _SUBJECT.search(text[:MAX_LENGTH])
    return f"{words[0][:20].upper()} {subject.group(2)[:40]}" if subject else text[:60]
