"""What one SQL statement does, and to which table first: enough for a span name of low cardinality, not a parser."""

import re
from typing import NamedTuple

# ORMs write long column lists before FROM; beyond this many characters the table stays unknown.
_SEARCHED_LENGTH = 20_000
_OPERATION = re.compile(r"(?:[\s(]|--[^\n]*\n|/\*.*?\*/)*([A-Za-z]+)", re.DOTALL)
_TABLE = r"((?:[\w$]+|\"[^\"]+\"|`[^`]+`|\[[^\]]+\])(?:\.(?:[\w$]+|\"[^\"]+\"|`[^`]+`|\[[^\]]+\]))*)"
_IF_EXISTS = r"(?:IF\s+(?:NOT\s+)?EXISTS\s+)?"
_TABLE_AFTER = {
    "SELECT": re.compile(rf"\bFROM\s+{_TABLE}", re.IGNORECASE),
    "WITH": re.compile(rf"\bFROM\s+{_TABLE}", re.IGNORECASE),
    "DELETE": re.compile(rf"\bFROM\s+{_TABLE}", re.IGNORECASE),
    "INSERT": re.compile(rf"\bINTO\s+{_TABLE}", re.IGNORECASE),
    "REPLACE": re.compile(rf"\bINTO\s+{_TABLE}", re.IGNORECASE),
    "UPDATE": re.compile(rf"\bUPDATE\s+(?:OR\s+\w+\s+|ONLY\s+)?{_TABLE}", re.IGNORECASE),
    "CREATE": re.compile(rf"\bTABLE\s+{_IF_EXISTS}{_TABLE}", re.IGNORECASE),
    "ALTER": re.compile(rf"\bTABLE\s+{_IF_EXISTS}{_TABLE}", re.IGNORECASE),
    "DROP": re.compile(rf"\bTABLE\s+{_IF_EXISTS}{_TABLE}", re.IGNORECASE),
}


class Statement(NamedTuple):
    """The operation in capitals ("SELECT") and the first table ("items"); either is "" when it is not to be seen."""

    operation: str
    table: str

    @property
    def span_name(self) -> str:
        """Join what is known, for example "SELECT items"; "SQL" when nothing is."""
        return " ".join(part for part in self if part) or "SQL"


def read_statement(text: str) -> Statement:
    """Read the operation and the first table out of the text of a SQL statement."""
    head = text[:_SEARCHED_LENGTH]
    found = _OPERATION.match(head)
    operation = found.group(1).upper() if found else ""
    pattern = _TABLE_AFTER.get(operation)
    table = pattern.search(head, found.start(1)) if pattern and found else None
    return Statement(operation, re.sub(r"[\"`\[\]]", "", table.group(1)) if table else "")
