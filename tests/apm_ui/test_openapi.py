"""The OpenAPI document against the server's routes, and the schemas of types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import flask
import jsonschema
import pytest

from apm_store.api import Store
from apm_ui.api import ROUTES, register_api
from apm_ui.openapi import describe, schema_of
from apm_ui.sources import Sources


def test_document_and_routes_agree_in_both_directions(store: Store, tmp_path: Path) -> None:
    """Every address of the server is described, and every described address is served."""
    server = flask.Flask(__name__)
    register_api(server, Sources(store, tmp_path))
    served = {_described(rule.rule) for rule in server.url_map.iter_rules()}

    described = set(describe(ROUTES, "1")["paths"])

    assert described == served - {"/static/{filename}", "/api/{_rest}"}


def _described(rule: str) -> str:
    """A Flask rule as OpenAPI writes it."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def test_every_parameter_is_described() -> None:
    """The document has each route's parameters with their schemas, defaults and texts."""
    paths = describe(ROUTES, "1")["paths"]

    for route in ROUTES:
        path = _described(route.path)
        described = {item["name"]: item for item in paths[path]["get"]["parameters"]}
        in_path = set(re.findall(r"<(?:\w+:)?(\w+)>", route.path))
        assert set(described) == {parameter.name for parameter in route.parameters} | in_path
        assert all(described[name]["required"] for name in in_path)
        assert all(described[parameter.name]["description"] for parameter in route.parameters)
    traces = {item["name"]: item["schema"] for item in paths["/api/v1/traces"]["get"]["parameters"]}
    assert traces["limit"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    assert traces["attr"] == {"type": "array", "items": {"type": "string"}, "maxItems": 20}


def test_operation_ids_are_unique() -> None:
    """Generated clients name their functions after them."""
    operations = [path["get"]["operationId"] for path in describe(ROUTES, "1")["paths"].values()]

    assert len(set(operations)) == len(operations)


def test_every_reference_leads_somewhere() -> None:
    """All `$ref`s point to schemas of the document, and all of those are valid."""
    document = describe(ROUTES, "1")

    names = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert names == set(document["components"]["schemas"])
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


@dataclass
class Leaf:
    size: int


@dataclass
class Branch:
    leaves: list[Leaf]
    fixed: tuple[int, str]
    many: tuple[float, ...]
    maybe: bool | None
    word: Literal["a", "b"]
    table: Mapping[str, Any]
    anything: Any


@pytest.mark.parametrize(
    ("change", "is_valid"),
    [
        ({}, True),
        ({"leaves": [{"size": 1.5}]}, False),
        ({"leaves": [{"size": 1, "more": 2}]}, False),
        ({"fixed": [1, "x", 2]}, False),
        ({"fixed": ["x", 1]}, False),
        ({"many": ["x"]}, False),
        ({"maybe": None}, True),
        ({"maybe": 0}, False),
        ({"word": "c"}, False),
        ({"table": []}, False),
        ({"anything": [1, {"a": None}]}, True),
        ({"extra": 1}, False),
    ],
)
def test_a_dataclass_becomes_a_schema(change: dict[str, Any], is_valid: bool) -> None:
    """The schema takes what the type says and nothing else."""
    schemas: dict[str, Any] = {}
    schema = {**schema_of(Branch, schemas), "components": {"schemas": schemas}}
    value = {
        "leaves": [{"size": 1}],
        "fixed": [1, "x"],
        "many": [0.5, 1],
        "maybe": True,
        "word": "a",
        "table": {"k": 1},
        "anything": "x",
    }

    found = list(jsonschema.Draft202012Validator(schema).iter_errors(value | change))

    assert (not found) == is_valid
