"""YAML 1.2 values, and the environment in them."""

from __future__ import annotations

from typing import Any

import pytest

from apm_collector.strict_yaml import YamlError, load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("No", "No"),
        ("y", "y"),
        ("12", 12),
        ("-7", -7),
        ("0123", "0123"),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("190:20:30", "190:20:30"),
        ("1.5", 1.5),
        ("-.5e3", -500.0),
        ("1.5.2", "1.5.2"),
        ("~", None),
        ("", None),
        ("2001-01-01", "2001-01-01"),
        ("<<", "<<"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    """No booleans called on and off, no octal 0123, no base 60, no dates."""
    loaded = load_yaml(f"key: {text}", {})

    assert loaded == {"key": value}
    assert type(loaded["key"]) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env:N}", 7),
        ('"${env:N}"', "7"),
        ("${env:N}/x", "7/x"),
        ("${N}", 7),
        ("${env:EMPTY}", None),
        ("${env:NONE:-5}", 5),
        ("${env:NONE:-}", None),
        ("a$$b", "a$b"),
        ("$N", "$N"),
    ],
)
def test_the_environment_is_filled_in(text: str, value: Any) -> None:
    """A plain scalar gets the type of its new text, a quoted one stays text."""
    assert load_yaml(f"key: {text}", {"N": "7", "EMPTY": ""}) == {"key": value}


@pytest.mark.parametrize("text", ["${env:MISSING}", "${file:/etc/passwd}", "${}", "${env:9X}"])
def test_what_cannot_be_filled_in_is_refused(text: str) -> None:
    """An unset variable without a default and every other source are refused with their line."""
    with pytest.raises(YamlError, match="line 2: "):
        load_yaml(f"\nkey: {text}", {})


def test_two_documents_are_refused() -> None:
    """A file is one document."""
    with pytest.raises(YamlError):
        load_yaml("a: 1\n---\nb: 2\n", {})
