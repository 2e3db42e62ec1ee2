"""The grammar of conditions: what it says, and that all else is refused by name."""

from __future__ import annotations

import pytest
from builders import attribute, make_span
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from apm_collector.conditions import ConditionError, Subject, parse_condition

SPAN = make_span(
    "GET /healthz", failed=True, attributes={"http.route": "/healthz", "n": 3, "f": 0.5, "b": True, 'q"': "x"}
)
SUBJECT = Subject(
    SPAN, InstrumentationScope(name="flask"), Resource(attributes=[attribute("service.name", "shop")])
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('name == "GET /healthz"', True),
        ('name != "GET /healthz"', False),
        ('attributes["http.route"] == "/healthz"', True),
        ('attributes["absent"] == nil', True),
        ('attributes["absent"] != "x"', True),
        ('attributes["n"] == 3 and attributes["f"] == 0.5', True),
        ('attributes["b"] == true', True),
        ('attributes["b"] == 1', False),
        ('attributes["n"] == "3"', False),
        (r'attributes["q\""] == "x"', True),
        ('resource.attributes["service.name"] == "shop"', True),
        ('instrumentation_scope.name == "flask"', True),
        ("kind == SPAN_KIND_SERVER and status.code == STATUS_CODE_ERROR", True),
        ('IsMatch(name, "^GET /h.*z$")', True),
        (r'IsMatch(attributes["http.route"], "^/\w+$")', True),
        ('IsMatch(attributes["n"], "3")', False),
        ('not name == "x" and name == "GET /healthz"', True),
        ('name == "x" or name == "y" or kind == 2', True),
        ('name == "GET /healthz" or name == "y" and name == "z"', True),
        ('(name == "GET /healthz" or name == "y") and name == "z"', False),
    ],
)
def test_a_condition_holds_or_not(text: str, holds: bool) -> None:
    """Comparisons, patterns, `not` before `and` before `or`, parentheses."""
    assert parse_condition(text, "span")(SUBJECT) is holds


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('nmae == "x"', "nmae.*did you mean .name."),
        ("name > 3", "> 3"),
        ('name ~ "x"', "~"),
        ("name == x", "'x' is no literal"),
        ('name == "x" name', "'name' is one word too many"),
        ("name ==", "ends too early"),
        ('attributes[http.route] == "x"', "http.route"),
        ('attributes["a"] == "b', '"b'),
        ('Concat(name, "x") == "y"', "Concat"),
        ('IsMatch(name, "(a+)+$")', "can be slow"),
        ('IsMatch(name, ".*a.*b.*c")', "can be slow"),
        ('IsMatch(name, "(?=x)")', "can be slow"),
        ('IsMatch(name, "[")', "is wrong"),
        ("severity_number == 1", "severity_number"),
        ("(" * 21 + 'name == "x"' + ")" * 21, "20 parentheses"),
        ('name == "' + "x" * 2000 + '"', "2,000 characters"),
        ("", "ends too early"),
    ],
)
def test_what_is_outside_the_grammar_is_refused_by_name(text: str, named: str) -> None:
    """The message holds the word at fault."""
    with pytest.raises(ConditionError, match=named):
        parse_condition(text, "span")


def test_a_pattern_sees_the_beginning_of_a_text() -> None:
    """No text makes a pattern slow: 256 characters are looked at."""
    span = make_span("a" * 100_000 + "!")

    assert not parse_condition('IsMatch(name, "a*a*!")', "span")(Subject(span, None, None))
