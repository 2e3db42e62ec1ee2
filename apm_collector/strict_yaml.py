"""YAML 1.2 scalars and nothing that surprises: no duplicate keys, no aliases, no tags; `${env:NAME}` is filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

MAX_FILE_BYTES = 256 * 1024
_REFERENCE = re.compile(r"\$\$|\$\{(?:env:)?(?P<name>[^}]*?)(?P<default>:-[^}]*)?\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_RESOLVERS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
}


class YamlError(ValueError):
    """The text is not the YAML that is accepted here."""


def load_yaml(text: str, env: Mapping[str, str]) -> Any:
    """Parse one YAML document into dicts, lists and scalars; `env` answers `${env:NAME}` and `${env:NAME:-default}`.

    Raises YamlError with the line at fault.
    """
    if len(text) > MAX_FILE_BYTES:
        raise YamlError(f"the file is larger than {MAX_FILE_BYTES:,} bytes")
    try:
        loader = _StrictLoader(text, env)
    except yaml.YAMLError as error:
        raise YamlError(str(error).splitlines()[0]) from error
    try:
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise YamlError(f"{line}{error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(str(error).splitlines()[0]) from error
    except RecursionError as error:
        raise YamlError("it is nested too deeply") from error
    finally:
        loader.dispose()


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, made strict."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # overrides 1.1's

    def __init__(self, text: str, env: Mapping[str, str]) -> None:
        super().__init__(text)
        self._env = env

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Refuse aliases, which can make a small file huge."""
        if self.check_event(yaml.AliasEvent):
            self._fail("aliases (*name) are not accepted", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: dict[Any, Node]) -> ScalarNode:
        """Fill in environment variables; a plain scalar then gets the type of its new text."""
        node = super().compose_scalar_node(anchor)
        if "$" in node.value:
            node.value = _REFERENCE.sub(lambda match: self._filled(match, node), node.value)
            if node.style is None:
                node.tag = self.resolve(ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse duplicate keys."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                self._fail(f'the key "{key.value}" stands twice', key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def _filled(self, match: re.Match[str], node: ScalarNode) -> str:
        """What stands for one `$$`, `${NAME}`, `${env:NAME}` or `${env:NAME:-default}`."""
        if match[0] == "$$":
            return "$"
        name, default = match["name"], match["default"]
        if not _NAME.match(name):
            self._fail(f"{match[0]} is not ${{env:NAME}} or ${{env:NAME:-default}}", node.start_mark)
        if name in self._env:
            return self._env[name]
        if default is None:
            self._fail(f"the environment variable {name} is not set, and {match[0]} has no default", node.start_mark)
        return default[2:]

    def _fail(self, problem: str, mark: yaml.Mark) -> None:
        raise yaml.constructor.ConstructorError(problem=problem, problem_mark=mark)


for _tag, (_pattern, _first) in _RESOLVERS.items():
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))
