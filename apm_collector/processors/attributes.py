"""The `attributes` processor: adds, changes, deletes and hashes attributes of spans, data points and log records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from apm_collector.config_keys import ConfigKeyError, Keys
from apm_collector.items import changed_batch, data_points, scopes
from apm_collector.pipeline import Consumer, ProcessorSettings
from apm_store.model import Batch, Signal

KEYS = {
    "actions.key": "the attribute to act upon",
    "actions.action": (
        "`insert` (where it is absent), `update` (where it is there), `upsert` (both), `delete`, "
        "or `hash` (SHA-1 of the value as text, in hexadecimal)"
    ),
    "actions.value": "text, number or boolean; for insert, update and upsert",
}
SIGNALS = tuple(Signal)
_WITH_VALUE = ("insert", "update", "upsert")
_KINDS = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}


@dataclass(frozen=True, slots=True)
class Action:
    """One change of one attribute; `value` is None for delete and hash."""

    key: str
    action: str
    value: str | bool | int | float | None


@dataclass(frozen=True, slots=True)
class AttributesConfig:
    """Actions, carried out in their order."""

    actions: tuple[Action, ...]

    def build(self, following: Consumer, _component_id: str, _settings: ProcessorSettings) -> Consumer:
        """The processor."""
        return AttributesProcessor(self, following)


def read_config(value: Any, path: str) -> AttributesConfig:
    """The processor's section; raises ConfigKeyError."""
    keys = Keys(value, path, ("actions",), needed="it")
    actions = tuple(keys.each("actions", _read_action))
    if not actions:
        raise keys.fault("actions", "a list of actions")
    return AttributesConfig(actions)


def _read_action(body: Any, path: str) -> Action:
    keys = Keys(body, path, ("key", "action", "value"), needed="it")
    action = keys.choice("action", "", (*_WITH_VALUE, "delete", "hash"))
    if action not in _WITH_VALUE and "value" in keys:
        raise ConfigKeyError(f"{path}.value", f"{action} takes none")
    if action in _WITH_VALUE and type(keys.values.get("value")) not in _KINDS:
        raise keys.fault("value", "a text, a number or a boolean")
    if type(value := keys.values.get("value")) is int and not -(2**63) <= value < 2**63:
        raise keys.fault("value", "an integer of 64 bits")
    return Action(keys.text("key"), action, value)


class AttributesProcessor:
    """A Consumer that changes attributes and hands the batch on; it has no state."""

    def __init__(self, config: AttributesConfig, following: Consumer) -> None:
        self._actions = config.actions
        self._following = following

    def consume(self, batch: Batch) -> None:
        """Carry out the actions on every item of a batch, and hand it on."""
        for attributes in _attribute_lists(batch):
            for action in self._actions:
                _act(action, attributes)
        self._following.consume(changed_batch(batch))


def _attribute_lists(batch: Batch) -> Iterator[Any]:
    """The repeated attributes of every item."""
    for _, _, items in scopes(batch.signal, batch.request):
        for item in items:
            if batch.signal is Signal.METRICS:
                for point in data_points(item):
                    yield point.attributes
            else:
                yield item.attributes


def _act(action: Action, attributes: Any) -> None:
    found = next((attribute for attribute in attributes if attribute.key == action.key), None)
    if found is None:
        if action.action in ("insert", "upsert"):
            _set(attributes.add(key=action.key).value, action.value)
    elif action.action == "delete":
        attributes.remove(found)
    elif action.action == "hash":
        found.value.string_value = hashlib.sha1(_text(found.value).encode(), usedforsecurity=False).hexdigest()
    elif action.action in ("update", "upsert"):
        _set(found.value, action.value)


def _set(any_value: Any, value: Any) -> None:
    setattr(any_value, _KINDS[type(value)], value)


def _text(any_value: Any) -> str:
    """An attribute's value as text: strings as they are, other values as Python writes them."""
    kind = any_value.WhichOneof("value")
    return str(getattr(any_value, kind)) if kind else ""
