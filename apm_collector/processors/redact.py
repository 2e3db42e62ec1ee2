"""The `redact` processor: takes credentials and card numbers out of all text before anything is written or sent on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from apm_collector.config_keys import Keys
from apm_collector.items import changed_batch, scopes
from apm_collector.pipeline import Consumer, ProcessorSettings
from apm_collector.secrets import (
    REDACTED,
    folded_key,
    is_secret_even_as_number,
    is_secret_key,
    may_hold_secrets,
    redact_emails,
    redact_sql_literals,
    redact_text,
)
from apm_store.model import Batch, Signal

KEYS = {
    "enabled": "`false` switches redaction off; it is on in every pipeline, also in one that does not name it",
    "sql_literals": "`true` puts `?` in place of strings and numbers in SQL statements, and takes out their parameters",
    "emails": "`true` takes out e-mail addresses as well",
    "allow_keys": "attributes that are left as they are",
    "blocked_keys": "attributes whose values are taken out besides those of passwords, tokens and the like",
}
SIGNALS = tuple(Signal)
_SQL_KEYS = ("db.query.text", "db.statement")
_SQL_PARAMETER = "db.query.parameter."
_NUMBERS = ("bool_value", "int_value", "double_value")


@dataclass(frozen=True, slots=True)
class RedactConfig:
    """What is redacted besides credentials and card numbers, and what is not."""

    is_enabled: bool = True
    has_sql_literals: bool = False
    has_emails: bool = False
    allow_keys: frozenset[str] = frozenset()
    blocked_keys: frozenset[str] = frozenset()

    def build(self, following: Consumer, _component_id: str, _settings: ProcessorSettings) -> Consumer:
        """The processor, or the following Consumer itself when redaction is switched off."""
        return RedactProcessor(self, following) if self.is_enabled else following


def read_config(value: Any, path: str) -> RedactConfig:
    """The processor's section; raises ConfigKeyError."""
    keys = Keys(value, path, KEYS)
    return RedactConfig(
        is_enabled=keys.flag("enabled", True),
        has_sql_literals=keys.flag("sql_literals", False),
        has_emails=keys.flag("emails", False),
        allow_keys=frozenset(keys.texts("allow_keys")),
        blocked_keys=frozenset(keys.texts("blocked_keys")),
    )


class RedactProcessor:
    """A Consumer that redacts and hands on; it has no state.

    Most batches pass untouched after one look over their bytes. In the others, the same look over each item tells
    which ones are walked through field by field.
    """

    def __init__(self, config: RedactConfig, following: Consumer) -> None:
        self._config = config
        self._following = following
        words = [*config.blocked_keys, *((*_SQL_KEYS, _SQL_PARAMETER) if config.has_sql_literals else ())]
        self._more_words = tuple(folded_key(word) for word in words)

    def consume(self, batch: Batch) -> None:
        """Redact a batch and hand it on."""
        if self._is_suspicious(batch.body):
            changes = sum([self._redact(message) for message in self._suspicious_messages(batch)])
            if changes:
                batch = changed_batch(batch)
        self._following.consume(batch)

    def _is_suspicious(self, body: bytes) -> bool:
        return may_hold_secrets(body, self._more_words) or (self._config.has_emails and b"@" in body)

    def _suspicious_messages(self, batch: Batch) -> Iterator[Any]:
        """The resources and scopes of a batch, and those spans, metrics and log records that may hold secrets."""
        for resource, scope, items in scopes(batch.signal, batch.request):
            yield resource
            yield scope
            for item in items:
                if self._is_suspicious(item.SerializeToString()):
                    yield item

    def _redact(self, message: Any) -> int:
        """Redact all text in a message and in those inside it; gives the number of changes."""
        changes = 0
        for field, value in message.ListFields():
            if field.message_type is not None:
                for one in value if field.is_repeated else (value,):
                    changes += self._redact_pair(one) if field.message_type.name == "KeyValue" else self._redact(one)
            elif field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
                changes += _replace(message, field.name, value, self._redact_text)
        return changes

    def _redact_pair(self, pair: Any) -> int:
        """Redact one attribute, or one entry of a nested mapping."""
        key, kind = pair.key, pair.value.WhichOneof("value")
        if key in self._config.allow_keys or kind is None:
            return 0
        if self._is_blocked(key) or (is_secret_key(key) and (kind not in _NUMBERS or is_secret_even_as_number(key))):
            if kind == "string_value" and pair.value.string_value in ("", REDACTED):
                return 0
            pair.value.string_value = REDACTED
            return 1
        if self._config.has_sql_literals and key in _SQL_KEYS and kind == "string_value":
            return _replace(pair.value, kind, pair.value.string_value, self._redact_sql)
        return self._redact(pair.value)

    def _is_blocked(self, key: str) -> bool:
        return key in self._config.blocked_keys or (self._config.has_sql_literals and key.startswith(_SQL_PARAMETER))

    def _redact_text(self, text: str) -> str:
        redacted = redact_text(text)
        return redact_emails(redacted) if self._config.has_emails else redacted

    def _redact_sql(self, statement: str) -> str:
        return self._redact_text(redact_sql_literals(statement))


def _replace(message: Any, field: str, text: str, redact: Callable[[str], str]) -> int:
    """Put the redacted text in place of a field's; gives 1 when it differs."""
    redacted = redact(text)
    if redacted == text:
        return 0
    setattr(message, field, redacted)
    return 1
