"""The JSON API's own description: an OpenAPI 3.1 document made from its routes, their parameters and answer types."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from apm_ui.answers import CoverageAnswer

Schema = dict[str, Any]
_SCALARS: dict[object, Schema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
}
_PATH_VARIABLE = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter. `parse` turns its text into the value, or raises ValueError saying what is accepted."""

    name: str
    description: str
    schema: Schema
    parse: Callable[[str], Any]
    default: Any = None
    max_times: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    """One address. `path` is a Flask rule, whose variables are texts.

    `answer` is the type of `data`, or of the whole body if that is not enveloped in `data` and `coverage`.
    """

    path: str
    summary: str
    answer: Any
    handler: Callable[..., Any]
    parameters: Sequence[Parameter] = ()
    is_enveloped: bool = True

    @property
    def name(self) -> str:
        """The handler's name, unique among the routes."""
        return self.handler.__name__


def describe(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The OpenAPI document of the routes."""
    schemas: dict[str, Schema] = {}
    paths = {_PATH_VARIABLE.sub(r"{\1}", route.path): {"get": _operation(route, schemas)} for route in routes}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Spanwise",
            "version": version,
            "description": "Read-only. Times are nanoseconds since 1970, durations are nanoseconds.",
        },
        "paths": paths,
        "components": {"schemas": {**schemas, "Error": _ERROR}},
    }


_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}},
    },
}


def _operation(route: Route, schemas: dict[str, Schema]) -> dict[str, Any]:
    body = schema_of(route.answer, schemas)
    if route.is_enveloped:
        body = {
            "type": "object",
            "required": ["data", "coverage"],
            "properties": {"data": body, "coverage": schema_of(CoverageAnswer, schemas)},
            "additionalProperties": False,
        }
    error = {"description": "What is wrong", "content": _json({"$ref": "#/components/schemas/Error"})}
    return {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [_path_parameter(name) for name in _PATH_VARIABLE.findall(route.path)]
        + [_query_parameter(parameter) for parameter in route.parameters],
        "responses": {"200": {"description": "The answer", "content": _json(body)}, "default": error},
    }


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    schema = dict(parameter.schema)
    if parameter.default is not None:
        schema["default"] = parameter.default
    if parameter.max_times > 1:
        schema = {"type": "array", "items": schema, "maxItems": parameter.max_times}
    return {"name": parameter.name, "in": "query", "description": parameter.description, "schema": schema}


def schema_of(kind: Any, schemas: dict[str, Schema]) -> Schema:
    """The JSON Schema of a type as orjson writes it; dataclasses are added to `schemas` and referred to by name."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, UnionType):
        return {"anyOf": [schema_of(argument, schemas) for argument in arguments]}
    if origin in (list, tuple):
        return _array_schema(arguments, schemas, is_fixed=origin is tuple and arguments[-1] is not Ellipsis)
    if is_dataclass(kind):
        return _dataclass_schema(kind, schemas)
    return {"type": "object"} if origin and issubclass(origin, Mapping) else {}


def _array_schema(kinds: Sequence[Any], schemas: dict[str, Schema], *, is_fixed: bool) -> Schema:
    if not is_fixed:
        return {"type": "array", "items": schema_of(kinds[0], schemas)}
    items = [schema_of(kind, schemas) for kind in kinds]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _dataclass_schema(kind: Any, schemas: dict[str, Schema]) -> Schema:
    if kind.__name__ not in schemas:
        schema: Schema = {"type": "object", "additionalProperties": False}
        schemas[kind.__name__] = schema  # before its fields, which may refer to it
        hints = get_type_hints(kind)
        names = [item.name for item in fields(kind)]
        schema["required"] = names
        schema["properties"] = {name: schema_of(hints[name], schemas) for name in names}
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
