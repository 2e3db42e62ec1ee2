"""The spans of a request are read as they are, however their sender wrote them."""

from __future__ import annotations

from typing import Any

import pytest
from builders import SECOND, attribute
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apm_store.model import Signal
from apm_store.otlp_decode import parse_request
from apm_store.sqlite.block import CLIENT_ERROR, FAILED, OK
from apm_store.sqlite.token_filter import token_of
from apm_store.sqlite.write_traces import RequestSpans, read_spans

SERVER, CLIENT = 2, 3


class Names:
    """Gives ids in the order in which names come."""

    def __init__(self) -> None:
        self._ids: dict[object, int] = {}

    def service_id(self, name: object, *_: object) -> int:
        """The id of a name."""
        return self._ids.setdefault(name, len(self._ids) + 1)

    operation_id = statement_id = service_id


def request_of(sizes: list[int], status: int = 200, scopes: int = 2) -> Any:
    """A request with spans of various sizes in each scope."""
    request: Any = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    for scope in range(scopes):
        spans = group.scope_spans.add().spans
        for number, size in enumerate(sizes, 1):
            span = spans.add(trace_id=bytes([scope + 1]) * 16, span_id=bytes([number]) * 8, name="GET /", kind=SERVER)
            span.start_time_unix_nano, span.end_time_unix_nano = number * SECOND, number * SECOND + 5
            span.attributes.append(attribute("note", "J" + "x" * size))
            span.attributes.append(attribute("http.response.status_code", status))
    return request


def read(body: bytes) -> RequestSpans:
    """The spans of a serialised request."""
    return read_spans(Names(), parse_request(Signal.TRACES, body), body, 7, 0)


@given(sizes=st.lists(st.sampled_from([0, 10, 100, 127, 128, 5_000, 17_000]), min_size=1, max_size=8))
def test_every_span_is_read_whatever_its_length_takes(sizes: list[int]) -> None:
    """Lengths take one byte to three; each span has the facts and the tokens of its own bytes."""
    request = request_of(sizes, status=404)

    found = read(request.SerializeToString())

    assert [span.span_id[0] for span in found.spans] == [*range(1, len(sizes) + 1)] * 2
    assert {(span.http_status, span.outcome, span.duration_ns) for span in found.spans} == {(404, CLIENT_ERROR, 5)}
    attributes = [
        pair for scope in request.resource_spans[0].scope_spans for span in scope.spans for pair in span.attributes
    ]
    assert {token_of(pair.SerializeToString()) for pair in attributes} <= found.tokens


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_a_span_in_a_form_of_its_own_is_read_like_the_others(odd: int) -> None:
    """A field that the protocol does not know, or fields in another order, stand in the way of no span."""
    request = request_of([10, 20, 30], scopes=1)
    span = request.resource_spans[0].scope_spans[0].spans[odd].SerializeToString()
    other = span[18:28] + span[:18] + span[28:]  # the span id before the trace id

    found = read(request.SerializeToString().replace(span, other))

    assert found.spans == read(request.SerializeToString()).spans
    assert found.tokens == read(request.SerializeToString()).tokens


@pytest.mark.parametrize(
    ("status", "code", "expected"), [(200, 0, OK), (404, 0, CLIENT_ERROR), (404, 2, FAILED), (200, 1, OK)]
)
def test_the_outcome_follows_from_the_status(status: int, code: int, expected: int) -> None:
    """A status of "error" counts before the HTTP status; other bytes that look like it do not."""
    request = request_of([1], status, scopes=1)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.status.code = code
    span.attributes.append(attribute("text", "\x18\x02"))

    assert [one.outcome for one in read(request.SerializeToString()).spans] == [expected]
