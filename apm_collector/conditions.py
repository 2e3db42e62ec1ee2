"""Conditions on spans, metrics, data points and log records, in a small part of OTTL, the language of the Collector.

    condition  = term { "or" term }          term = factor { "and" factor }
    factor     = [ "not" ] ( "(" condition ")" | IsMatch(path, "pattern") | path ( "==" | "!=" ) literal )
    path       = attributes["key"] | resource.attributes["key"] | instrumentation_scope.name | a field of the item
    literal    = "text" | number | true | false | nil | SPAN_KIND_… | STATUS_CODE_…

An attribute that is absent is nil.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from apm_collector.config_keys import hint

_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<number>-?[0-9]+(?:\.[0-9]+)?)|(?P<word>[A-Za-z_][A-Za-z0-9_.]*)'
    r"|(?P<sign>==|!=|[()\[\],]))"
)
_MAX_LENGTH = 2000
_MAX_DEPTH = 20
_MAX_PATTERN = 200
_MAX_MATCHED = 256  # characters of a text that a pattern sees, so that no text can make it slow
_UNBOUNDED = re.compile(r"(?<!\\)[*+]|\{[0-9]*,\}")
_SLOW_OR_FOREIGN = re.compile(r"\)(?:[*+?]|\{)|\(\?(?!:|i\))|\\[1-9]")
_LITERALS: Mapping[str, Any] = {
    "true": True,
    "false": False,
    "nil": None,
    **{
        f"SPAN_KIND_{name}": number
        for number, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
    },
    **{f"STATUS_CODE_{name}": number for number, name in enumerate(("UNSET", "OK", "ERROR"))},
}


class ConditionError(ValueError):
    """The condition is not one of this grammar; the message names the word at fault."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a condition is asked about: an item with its scope and resource; `metric` for a data point only."""

    item: Any
    scope: Any
    resource: Any
    metric: Any = None


Condition = Callable[[Subject], bool]
_Path = Callable[[Subject], Any]

ITEM_FIELDS: Mapping[str, Mapping[str, str]] = {
    "span": {"name": "item.name", "kind": "item.kind", "status.code": "item.status.code"},
    "metric": {"name": "item.name", "unit": "item.unit"},
    "datapoint": {"metric.name": "metric.name"},
    "log_record": {
        "body": "item.body",
        "severity_number": "item.severity_number",
        "severity_text": "item.severity_text",
    },
}
"""The fields of each kind of item that a path may name, and where a Subject has them."""


def parse_condition(text: str, kind: str) -> Condition:
    """A condition on items of a kind (a key of ITEM_FIELDS); raises ConditionError."""
    if len(text) > _MAX_LENGTH:
        raise ConditionError(f"a condition may have {_MAX_LENGTH:,} characters")
    return _Parser(text, kind).parse()


def value_of(any_value: Any) -> Any:
    """The text, number or boolean of an AnyValue; the AnyValue itself for lists and mappings, None when it is empty."""
    kind = any_value.WhichOneof("value")
    if kind is None:
        return None
    value = getattr(any_value, kind)
    return any_value if kind in ("array_value", "kvlist_value") else value


class _Parser:
    """Recursive descent over the words of one condition."""

    def __init__(self, text: str, kind: str) -> None:
        self._kind = kind
        self._words: list[tuple[str, str]] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise ConditionError(f"{text[position : position + 20].strip()!r} is not understood")
            self._words.append((str(match.lastgroup), match[str(match.lastgroup)]))
            position = match.end()
        self._next = 0
        self._depth = 0

    def parse(self) -> Condition:
        condition = self._either()
        if self._next < len(self._words):
            raise ConditionError(f"{self._peek()!r} is one word too many")
        return condition

    def _either(self) -> Condition:
        terms = [self._all()]
        while self._take_if("or"):
            terms.append(self._all())
        return terms[0] if len(terms) == 1 else lambda subject: any(term(subject) for term in terms)

    def _all(self) -> Condition:
        factors = [self._factor()]
        while self._take_if("and"):
            factors.append(self._factor())
        return factors[0] if len(factors) == 1 else lambda subject: all(factor(subject) for factor in factors)

    def _factor(self) -> Condition:
        if self._take_if("not"):
            negated = self._factor()
            return lambda subject: not negated(subject)
        if self._take_if("("):
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                raise ConditionError(f"there are more than {_MAX_DEPTH} parentheses in one another")
            condition = self._either()
            self._expect(")")
            self._depth -= 1
            return condition
        return self._is_match() if self._take_if("IsMatch") else self._comparison()

    def _is_match(self) -> Condition:
        self._expect("(")
        path = self._path()
        self._expect(",")
        pattern = _compile(self._text())
        self._expect(")")

        def is_match(subject: Subject) -> bool:
            value = path(subject)
            return isinstance(value, str) and pattern.search(value[:_MAX_MATCHED]) is not None

        return is_match

    def _comparison(self) -> Condition:
        path = self._path()
        sign = self._take()[1]
        if sign not in ("==", "!="):
            raise ConditionError(f"{sign!r} is no comparison; == and != are, and IsMatch(path, pattern)")
        literal = self._literal()
        is_bool = isinstance(literal, bool)

        def equals(subject: Subject) -> bool:
            value = path(subject)
            return isinstance(value, bool) == is_bool and bool(value == literal)

        return equals if sign == "==" else lambda subject: not equals(subject)

    def _path(self) -> _Path:
        word = self._take()[1]
        if word in ("attributes", "resource.attributes"):
            self._expect("[")
            key = self._text()
            self._expect("]")
            return _attribute(attrgetter("item.attributes" if word == "attributes" else "resource.attributes"), key)
        if word == "instrumentation_scope.name":
            return attrgetter("scope.name")
        fields = ITEM_FIELDS[self._kind]
        if word not in fields:
            accepted = (*fields, 'attributes["key"]', 'resource.attributes["key"]', "instrumentation_scope.name")
            raise ConditionError(f"{word!r} is no path of a {self._kind}{hint(word, accepted)}")
        get = attrgetter(fields[word])
        return (lambda subject: value_of(get(subject))) if word == "body" else get

    def _literal(self) -> Any:
        kind, word = self._take()
        if kind == "text":
            return _unquoted(word)
        if kind == "number":
            return float(word) if "." in word else int(word)
        if word not in _LITERALS:
            raise ConditionError(f"{word!r} is no literal: text in double quotes, a number, true, false or nil")
        return _LITERALS[word]

    def _text(self) -> str:
        kind, word = self._take()
        if kind != "text":
            raise ConditionError(f"text in double quotes is needed, not {word!r}")
        return _unquoted(word)

    def _peek(self) -> str:
        return self._words[self._next][1] if self._next < len(self._words) else ""

    def _take(self) -> tuple[str, str]:
        if self._next == len(self._words):
            raise ConditionError("the condition ends too early")
        self._next += 1
        return self._words[self._next - 1]

    def _take_if(self, word: str) -> bool:
        is_there = self._peek() == word
        self._next += is_there
        return is_there

    def _expect(self, word: str) -> None:
        taken = self._take()[1]
        if taken != word:
            raise ConditionError(f"{word!r} is needed, not {taken!r}")


def _attribute(attributes: Callable[[Subject], Any], key: str) -> _Path:
    def get(subject: Subject) -> Any:
        return next((value_of(one.value) for one in attributes(subject) if one.key == key), None)

    return get


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", lambda match: match[1] if match[1] in '"\\' else match[0], word[1:-1])


def _compile(pattern: str) -> re.Pattern[str]:
    """A regular expression that no text of 256 characters can make slow; raises ConditionError."""
    if len(pattern) > _MAX_PATTERN:
        raise ConditionError(f"a pattern may have {_MAX_PATTERN} characters")
    if _SLOW_OR_FOREIGN.search(pattern) or len(_UNBOUNDED.findall(pattern)) > 2:
        raise ConditionError(
            f"the pattern {pattern!r} can be slow: two of * and + are accepted, none after a group; no lookaround"
        )
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConditionError(f"the pattern {pattern!r} is wrong: {error}") from error
