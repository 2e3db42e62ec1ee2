"""Secrets are gone wherever text can stand, and harmless values stay."""

from __future__ import annotations

import random

import pytest
from builders import make_batch, make_span
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apm_collector.processors.redact import RedactConfig, RedactProcessor, read_config
from apm_store.model import Signal

from .conftest import Sink
from .secret_samples import POSITIONS, batch_of, harmless, request_with, secret


def _redacted(config: RedactConfig, signal: Signal, request: object) -> bytes:
    sink = Sink()
    RedactProcessor(config, sink).consume(batch_of(signal, request))
    return sink.batches[0].body


@pytest.mark.parametrize("position", POSITIONS)
def test_seeded_secrets_are_gone(position: str) -> None:
    """Of 100 secrets in each place at least 99 are gone, in the body and in the request alike."""
    rng = random.Random(position)
    left = []
    for text, hidden in [secret(rng) for _ in range(100)]:
        if hidden.encode() in _redacted(RedactConfig(), *request_with(position, text)):
            left.append(text)

    assert len(left) <= 1, left


@pytest.mark.parametrize("position", POSITIONS)
def test_harmless_values_stay(position: str) -> None:
    """Of 400 values as telemetry has them at most 4 are changed."""
    rng = random.Random(position)
    changed = [
        text
        for text in [harmless(rng) for _ in range(400)]
        if text.encode() not in _redacted(RedactConfig(), *request_with(position, text))
    ]

    assert len(changed) <= 4, changed


@pytest.mark.parametrize(
    "key",
    ["http.request.header.authorization", "http.request.header.x-api-key", "db.password", "accessToken", "set-cookie",
     "client_secret", "aws.access_key_id", "PRIVATE_KEY", "user.passwd", "pwd", "jwt", "x-auth-token"],
)  # fmt: skip
@pytest.mark.parametrize("position", ["span attribute", "log attribute", "metric label", "nested log body"])
def test_a_secret_key_hides_its_value(key: str, position: str) -> None:
    """Whatever the value looks like, it is gone because of its key, and so is a list of values."""
    body = _redacted(RedactConfig(), *request_with(position, "hunter-the-second", key))

    assert b"hunter" not in body
    assert b"REDACTED" in body


@pytest.mark.parametrize("key", ["gen_ai.usage.input_tokens", "token.count", "messaging.kafka.message.key", "author"])
def test_a_key_that_only_sounds_secret_hides_nothing(key: str) -> None:
    """Counts of tokens, partition keys and authors are seen."""
    assert b"plain value" in _redacted(RedactConfig(), *request_with("span attribute", "plain value", key))


def test_a_clean_batch_passes_as_it_is() -> None:
    """Nothing is serialised again when there is nothing to hide."""
    sink, batch = Sink(), make_batch([make_span("GET /", attributes={"url.full": "http://shop.local/"})])

    RedactProcessor(RedactConfig(), sink).consume(batch)

    assert sink.batches[0] is batch


def test_only_the_secret_goes() -> None:
    """The rest of the value, the other fields and the other spans stay, and the request is that of the body."""
    sink = Sink()
    batch = make_batch(
        [make_span("a", attributes={"url.full": "https://u:pw123@h/x?sig=abc&page=2", "n": 1}), make_span("b", span=2)]
    )

    RedactProcessor(RedactConfig(), sink).consume(batch)

    first, second = sink.spans()
    assert first.attributes[0].value.string_value == "https://REDACTED:REDACTED@h/x?sig=REDACTED&page=2"
    assert (first.attributes[1].value.int_value, second.name, sink.batches[0].item_count) == (1, "b", 2)
    assert ExportTraceServiceRequest.FromString(sink.batches[0].body) == sink.batches[0].request


def test_sql_literals_go_on_request() -> None:
    """Strings and numbers of statements become `?`, and parameters are hidden; placeholders and names stay."""
    statement = "SELECT a1 FROM t WHERE b = 'it''s' AND c = 12.5 AND d = $1"
    batch = make_batch([make_span("q", attributes={"db.query.text": statement, "db.query.parameter.0": "Ann"})])
    kept, hidden = Sink(), Sink()

    RedactProcessor(RedactConfig(), kept).consume(batch)
    RedactProcessor(RedactConfig(has_sql_literals=True), hidden).consume(batch)

    assert [one.value.string_value for one in hidden.spans()[0].attributes] == [
        "SELECT a1 FROM t WHERE b = ? AND c = ? AND d = $1",
        "REDACTED",
    ]
    assert kept.spans()[0].attributes[0].value.string_value == statement


def test_emails_and_further_keys_go_on_request_and_allowed_keys_stay() -> None:
    """`emails`, `blocked_keys` and `allow_keys` do what they say."""
    config = read_config({"emails": True, "blocked_keys": ["iban"], "allow_keys": ["csrf.token"]}, "redact")
    attributes = {"mail": "to ann@example.com now", "iban": "DE00", "csrf.token": "abc"}
    sink = Sink()

    RedactProcessor(config, sink).consume(make_batch([make_span("q", attributes=attributes)]))

    assert [one.value.string_value for one in sink.spans()[0].attributes] == ["to REDACTED now", "REDACTED", "abc"]


def test_redaction_twice_changes_nothing_more() -> None:
    """A redacted batch that passes again, as after a retry, stays as it is."""
    rng, once, twice = random.Random(5), Sink(), Sink()
    spans = [make_span("op", span=index + 1, attributes={"note": secret(rng)[0]}) for index in range(200)]
    RedactProcessor(RedactConfig(), once).consume(make_batch(spans))

    RedactProcessor(RedactConfig(), twice).consume(once.batches[0])

    assert twice.batches[0].body == once.batches[0].body
