"""Zipkin's JSON becomes OTLP by OpenTelemetry's mapping, field by field."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from apm_collector.file_formats.contents import FileFormatError
from apm_store.model import SpanKind, StatusCode

TRACE = "5982fe77008310cc80f1da5e10147519"
SHOP, BANK = {"serviceName": "shop"}, {"serviceName": "bank"}


def make_span(**fields: Any) -> dict[str, Any]:
    """One Zipkin span."""
    made = {"traceId": TRACE, "id": "bd7a977555f6b982", "name": "get", "timestamp": 1_700_000_000_000_001}
    return made | {"duration": 2_500, "localEndpoint": SHOP} | fields


def make_file(*spans: Any) -> bytes:
    """A download of Zipkin's UI."""
    return json.dumps(list(spans)).encode()


def test_a_span_keeps_its_fields(read: Callable[..., Any]) -> None:
    """Ids, name, kind, microseconds, endpoints and tags come over."""
    local = {"serviceName": "shop", "ipv4": "10.0.0.1", "port": 8080}
    remote = {"serviceName": "bank", "ipv6": "2001:db8::1", "port": 443}
    source = make_span(
        kind="CLIENT", parentId="aa", localEndpoint=local, remoteEndpoint=remote, tags={"http.method": "GET"}
    )

    found = read(make_file(source))

    (span,) = found.spans
    assert found.format_name == "zipkin-json"
    assert (span.trace_id, span.span_id, span.parent_span_id) == (TRACE, "bd7a977555f6b982", "aa".zfill(16))
    assert (span.name, span.kind, span.service) == ("get", SpanKind.CLIENT, "shop")
    assert (span.start_ns, span.duration_ns) == (1_700_000_000_000_001_000, 2_500_000)
    assert span.attributes == {
        "network.local.address": "10.0.0.1",
        "network.local.port": 8080,
        "network.peer.address": "2001:db8::1",
        "network.peer.port": 443,
        "peer.service": "bank",
        "http.method": "GET",
    }


def test_a_span_without_kind_is_internal(read: Callable[..., Any]) -> None:
    """OpenTelemetry leaves the kind out for INTERNAL, so its absence means that."""
    (span,) = read(make_file(make_span())).spans

    assert span.kind == SpanKind.INTERNAL


def test_the_tag_peer_service_wins(read: Callable[..., Any]) -> None:
    """peer.service is the remote endpoint's name unless a tag says it."""
    (span,) = read(make_file(make_span(remoteEndpoint=BANK, tags={"peer.service": "vault"}))).spans

    assert span.attributes == {"peer.service": "vault"}


@pytest.mark.parametrize(
    ("tags", "code", "message"),
    [
        ({"error": ""}, StatusCode.ERROR, ""),
        ({"error": "true"}, StatusCode.ERROR, ""),
        ({"error": "no money"}, StatusCode.ERROR, "no money"),
        ({"error": "false"}, StatusCode.UNSET, ""),
        ({"otel.status_code": "OK"}, StatusCode.OK, ""),
        ({"otel.status_code": "ERROR", "error": "no money"}, StatusCode.ERROR, "no money"),
        ({}, StatusCode.UNSET, ""),
    ],
)
def test_status_comes_from_tags(tags: dict[str, str], code: StatusCode, message: str, read: Callable[..., Any]) -> None:
    """The presence of `error` is a failure, its value the message; otel.status_code says OK."""
    (span,) = read(make_file(make_span(tags=tags))).spans

    assert (span.status_code, span.status_message, span.attributes) == (code, message, {})


def test_annotations_become_events(read: Callable[..., Any]) -> None:
    """A value is the event's name; the attributes that OpenTelemetry wrote behind it are taken apart."""
    values = ["cache miss", '"retry": { "n" : 2 }', "odd: {not json}"]
    annotations = [{"timestamp": 1_700_000_000_000_000 + n, "value": value} for n, value in enumerate(values)]

    (span,) = read(make_file(make_span(annotations=annotations))).spans

    assert [(event.name, event.attributes) for event in span.events] == [
        ("cache miss", {}),
        ("retry", {"n": 2}),
        ("odd: {not json}", {}),
    ]
    assert span.events[1].time_ns == 1_700_000_000_000_001_000


def test_shared_spans_are_made_two(read: Callable[..., Any]) -> None:
    """The server's half of a shared span gets its own id below the client's, and keeps its children."""
    client = make_span(name="client", kind="CLIENT")
    server = make_span(name="server", kind="SERVER", localEndpoint=BANK, shared=True)
    below_server = make_span(name="query", id="c1", parentId="bd7a977555f6b982", localEndpoint=BANK)
    below_client = make_span(name="retry", id="c2", parentId="bd7a977555f6b982")
    data = make_file(below_server, server, client, below_client)

    found = read(data)

    ids = {span.name: (span.span_id, span.parent_span_id) for span in found.spans}
    new_id = ids["server"][0]
    assert ids["client"] == ("bd7a977555f6b982", "")
    assert ids["server"] == (new_id, "bd7a977555f6b982")
    assert new_id != "bd7a977555f6b982"
    assert (ids["query"][1], ids["retry"][1]) == (new_id, "bd7a977555f6b982")
    assert found.remarks.warnings == {"spans that client and server share were made two": 1}
    assert read(data).span("server").span_id == new_id


def test_a_lone_half_stays_as_it_is(read: Callable[..., Any]) -> None:
    """A server's half whose client is in no file keeps id and parent."""
    found = read(make_file(make_span(kind="SERVER", shared=True, parentId="aa")))

    assert (found.spans[0].span_id, found.spans[0].parent_span_id) == ("bd7a977555f6b982", "aa".zfill(16))
    assert found.remarks.warnings == {}


def test_lists_of_traces_are_read(read: Callable[..., Any]) -> None:
    """Zipkin's /traces answers with a list of lists."""
    found = read(make_file([make_span()], [make_span(traceId="1"), make_span(traceId="1", id="2")]))

    assert len(found.spans) == 3


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"timestamp": None}, "timestamp is missing"),
        ({"timestamp": "soon"}, "timestamp is no number"),
        ({"id": "xyz"}, "id is not an id"),
        ({"id": None}, "span id is empty"),
        ({"tags": []}, "tags is not an object"),
        ({"annotations": "a"}, "annotations is not a list"),
        ({"localEndpoint": "shop"}, "localEndpoint is not an object"),
        ({"name": {}}, "name is not a string"),
    ],
)
def test_a_bad_span_is_rejected_alone(change: dict[str, Any], cause: str, read: Callable[..., Any]) -> None:
    """A span that cannot be converted is counted with its cause; its neighbour is read."""
    found = read(make_file(make_span(**change), make_span(id="2")))

    assert len(found.spans) == found.remarks.rejected == 1
    assert cause in next(iter(found.remarks.notes))


def test_tags_that_are_no_text_become_their_json(read: Callable[..., Any]) -> None:
    """Zipkin's tags are strings; what others write is kept as JSON text."""
    (span,) = read(make_file(make_span(tags={"n": 5, "list": [1], "none": None}))).spans

    assert span.attributes == {"n": "5", "list": "[1]", "none": "null"}


def test_version_1_says_what_to_do(read: Callable[..., Any]) -> None:
    """Zipkin v1 is told from v2 and refused with the way out."""
    with pytest.raises(FileFormatError, match="/api/v2/traces"):
        read(make_file(make_span(binaryAnnotations=[])))


def test_other_shapes_are_refused(read: Callable[..., Any]) -> None:
    """What is no Zipkin file is told what one looks like."""
    with pytest.raises(FileFormatError, match="list of spans"):
        read(b'[{"traceId": "1"}, 7]')
