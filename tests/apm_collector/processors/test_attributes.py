"""Actions on attributes of every signal."""

from __future__ import annotations

import hashlib

import pytest
from builders import make_batch, make_span

from apm_collector.processors.attributes import AttributesProcessor, read_config
from apm_store.model import Signal

from .conftest import Sink
from .secret_samples import batch_of, request_with


@pytest.mark.parametrize(
    ("action", "after"),
    [
        ({"key": "a", "action": "insert", "value": 2}, {"a": "old"}),
        ({"key": "b", "action": "insert", "value": True}, {"a": "old", "b": True}),
        ({"key": "a", "action": "update", "value": 2.5}, {"a": 2.5}),
        ({"key": "b", "action": "update", "value": 2}, {"a": "old"}),
        ({"key": "a", "action": "upsert", "value": "new"}, {"a": "new"}),
        ({"key": "b", "action": "upsert", "value": 7}, {"a": "old", "b": 7}),
        ({"key": "a", "action": "delete"}, {}),
        ({"key": "a", "action": "hash"}, {"a": hashlib.sha1(b"old").hexdigest()}),
        ({"key": "b", "action": "hash"}, {"a": "old"}),
    ],
)
def test_an_action_does_what_upstream_does(sink: Sink, action: dict, after: dict) -> None:
    """Insert where it is absent, update where it is there, upsert both, delete, hash; body and request agree."""
    config = read_config({"actions": [action]}, "attributes")

    AttributesProcessor(config, sink).consume(make_batch([make_span("op", attributes={"a": "old"})]))

    attributes = sink.spans()[0].attributes
    assert {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in attributes} == after
    assert sink.batches[0].request.SerializeToString() == sink.batches[0].body


@pytest.mark.parametrize("position", ["span attribute", "log attribute", "metric label"])
def test_every_signal_has_its_attributes_changed(sink: Sink, position: str) -> None:
    """Spans, log records and data points alike; actions run in their order."""
    actions = [{"key": "k", "action": "hash"}, {"key": "k", "action": "upsert", "value": "second"}]

    signal, request = request_with(position, "first", "k")
    AttributesProcessor(read_config({"actions": actions}, "attributes"), sink).consume(batch_of(signal, request))

    assert b"second" in sink.batches[0].body
    assert b"first" not in sink.batches[0].body
    assert sink.batches[0].signal is Signal(signal)
