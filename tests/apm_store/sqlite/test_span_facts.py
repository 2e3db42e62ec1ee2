"""What is looked up instead of read is what reading gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apm_store.fingerprint import fingerprint
from apm_store.sqlite.span_facts import _without_values

_WORDS = ["SELECT", "a1", "t", ".", ",", "(", ")", "=", "-", "+", "IN", "VALUES", "LIMIT", "--", "/*", "*/", "\n", " "]
_VALUES = [
    "5",
    "15",
    "1.5",
    "1e5",
    ".5",
    "0x1F",
    "'x'",
    "'it''s'",
    "'",
    '"q"',
    "$1",
    "?",
    "@",
    ":a",
    "[",
    "]",
    "\\",
    "`b`",
]
_STATEMENTS = st.lists(st.sampled_from([*_WORDS, *_VALUES, "é", "\0"]), max_size=14).map("".join)


@given(st.lists(_STATEMENTS, min_size=1, max_size=4), st.sampled_from(["", "mysql", "postgresql"]))
def test_leaving_out_values_changes_no_fingerprint(statements: list[str], system: str) -> None:
    """However many statements are looked at together, each without its plain values is the same statement."""
    shortened = _without_values([statement.encode() for statement in statements])

    assert shortened.keys() <= {statement.encode() for statement in statements}
    for before, after in shortened.items():
        assert fingerprint(after.decode(), system) == fingerprint(before.decode(), system)
