"""Reads the spans of a trace request as rows of a block, with all that the indexes need to know of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress, count, repeat
from operator import attrgetter, sub
from typing import Any, NamedTuple, Protocol, TypeVar

from apm_store.fingerprint import Statement
from apm_store.model import Signal, SpanKind, StatusCode
from apm_store.otlp_decode import decode_resource, parse_request
from apm_store.sqlite.block import CLIENT_ERROR, FAILED, NO_PARENT, OK, BlockSpan
from apm_store.sqlite.bodies import MAX_INT, clamp
from apm_store.sqlite.database_calls import DatabaseCall, seen_twice
from apm_store.sqlite.edges import EDGE_KINDS
from apm_store.sqlite.peers import Peer
from apm_store.sqlite.span_facts import Facts, SpanFacts
from apm_store.sqlite.token_filter import canonical, token_of, tokens_in
from apm_store.sqlite.weights import weight_of

_SERVER, _CONSUMER = int(SpanKind.SERVER), int(SpanKind.CONSUMER)
_ENTRY_KINDS = (_SERVER, _CONSUMER)
_CALLING_KINDS = (int(SpanKind.CLIENT), int(SpanKind.PRODUCER), _CONSUMER)
_ERROR = int(StatusCode.ERROR)
_STATUS_ERROR = b"\x18\x02"  # Status.code as it is serialised
_MAX_LENGTH_BITS = 35  # no request is longer; what looks like more is none
_PARENT_IS_REMOTE = 0x300  # flags: "is_remote is known" (0x100) and "is_remote" (0x200)
_FACTS = SpanFacts()  # for the one thread that indexes
_Key = TypeVar("_Key")
_new_tuple = tuple.__new__
_fields = attrgetter(
    "trace_id",
    "span_id",
    "parent_span_id",
    "name",
    "kind",
    "start_time_unix_nano",
    "end_time_unix_nano",
    "flags",
    "trace_state",
)


class Names(Protocol):
    """Gives ids to names."""

    def service_id(self, name: str) -> int:
        """The id of a service."""
        ...

    def operation_id(self, name: str, service_id: int) -> int:
        """The id of a span name of a service."""
        ...

    def statement_id(self, statement: Statement, system: str, namespace: str) -> int:
        """The id of a normalised statement."""
        ...


@dataclass(slots=True)
class RequestSpans:
    """The spans of a request in their order, and the tokens of the request for the filter.

    `ends` are the positions of the spans that are an end of an edge, with their peers; `services` names services by id.
    `weights` tells by position how many spans a sampled one stands for.
    """

    spans: list[BlockSpan] = field(default_factory=list)
    ends: list[tuple[int, Peer | None]] = field(default_factory=list)
    tokens: set[bytes] = field(default_factory=set)
    services: dict[int, str] = field(default_factory=dict)
    weights: dict[int, int] = field(default_factory=dict)


def read_spans(names: Names, request: Any, body: bytes, seq: int, received_ns: int) -> RequestSpans:
    """All spans of a trace request whose serialised form is `body`."""
    found = RequestSpans()
    reader = _Reader(names, found, canonical(request, body), seq, received_ns)
    for group in request.resource_spans:
        found.tokens.update(token_of(pair.SerializeToString()) for pair in group.resource.attributes)
        service = decode_resource(group).service_name
        service_id = names.service_id(service)
        found.services[service_id] = service
        found.tokens.add(service_token(service))
        for scope in group.scope_spans:
            if scope.spans:
                reader.read_scope(scope, service_id)
    if again := set(reader.seen_twice()):
        for index in again:
            found.spans[index] = found.spans[index]._replace(statement_id=0)
        found.ends = [end for end in found.ends if end[0] not in again]
    return found


def request_tokens(body: bytes) -> set[bytes]:
    """The tokens of a stored trace request, as `read_spans` finds them."""
    return read_spans(_NoNames(), parse_request(Signal.TRACES, body), body, 0, 0).tokens


class _NoNames:
    """Stands in where nobody asks for ids."""

    def service_id(self, *_: object) -> int:
        """No id."""
        return 0

    operation_id = statement_id = service_id


def operation_token(name: str) -> bytes:
    """The token of spans with a name."""
    return b"o" + name.encode()


def statement_token(statement_hash: str) -> bytes:
    """The token of database calls with a normalised statement."""
    return b"s" + statement_hash.encode()


def service_token(name: str) -> bytes:
    """The token of spans of a service."""
    return b"r" + name.encode()


class _Calls(NamedTuple):
    """Columns of the spans of one scope, beginning at position `first`; statement 0 is no database call."""

    scope: str
    first: int
    statement_ids: Sequence[int]
    span_ids: Sequence[bytes]
    parents: Sequence[bytes]


def _may_see_twice(scopes: Iterable[_Calls]) -> bool:
    """Whether a call is the parent of another, or a statement comes from two scopes; far cheaper than looking."""
    span_ids: set[bytes] = set()
    parents: set[bytes] = set()
    scope_of: dict[int, str] = {}
    for one in scopes:
        span_ids.update(compress(one.span_ids, one.statement_ids))
        parents.update(compress(one.parents, one.statement_ids))
        if any(scope_of.setdefault(statement, one.scope) != one.scope for statement in set(one.statement_ids) - {0}):
            return True
    return not span_ids.isdisjoint(parents)


class _Reader:
    """Walks the spans of one request, column by column: a loop over spans would cost twice as much."""

    def __init__(self, names: Names, found: RequestSpans, content: bytes, seq: int, received_ns: int) -> None:
        self._names = names
        self._found = found
        self._content = content
        self._at = 0
        self._seq = seq
        self._received_ns = received_ns
        self._calls: list[_Calls] = []

    def read_scope(self, scope: Any, service_id: int) -> None:
        """Add the spans of one scope."""
        messages, first = list(scope.spans), len(self._found.spans)
        columns = zip(*map(_fields, messages), strict=True)
        trace_ids, span_ids, parents, names, kinds, starts, ends, flags, states = columns
        contents = self._contents(messages)
        facts, pieces = _FACTS.read(contents)
        self._found.tokens.update(tokens_in(pieces))
        http = [one.http_status for one in facts]
        statement_ids = _ids(facts, self._statement_id)
        self._calls.append(_Calls(scope.scope.name, first, statement_ids, span_ids, parents))
        if any(states):
            weights = map(weight_of, states, span_ids)
            self._found.weights |= {index: weight for index, weight in enumerate(weights, first) if weight != 1}
        rows = zip(
            trace_ids,
            span_ids,
            [parent or NO_PARENT for parent in parents],
            *self._times(starts, ends),
            repeat(service_id),
            _ids(names, lambda name: self._operation_id(name, service_id)),
            kinds,
            _outcomes(messages, contents, kinds, http),
            http,
            statement_ids,
            _are_entries(kinds, parents, flags),
            repeat(self._seq),
        )
        self._found.spans += map(_new_tuple, repeat(BlockSpan), rows)
        self._found.ends += [
            (index, one.peer if kind in _CALLING_KINDS else None)
            for index, (kind, one) in enumerate(zip(kinds, facts, strict=True), first)
            if kind in EDGE_KINDS
        ]

    def seen_twice(self) -> Iterable[int]:
        """The positions of the database calls that two instrumentations saw."""
        spans, calls = self._found.spans, self._calls
        if not _may_see_twice(calls):
            return ()
        return seen_twice(
            _call(at, spans[at], one.scope) for one in calls for at in compress(count(one.first), one.statement_ids)
        )

    def _contents(self, messages: Sequence[Any]) -> list[bytes]:
        """The canonical bytes of the spans of one scope."""
        first, last = messages[0], messages[-1]
        at = self._content.find(_head(first), self._at)
        try:
            spans, end = _consecutive(self._content, at, first.ByteSize(), len(messages))
        except IndexError:
            spans, end = [b""], at
        if at >= 0 and spans[-1].startswith(_head(last)):
            self._at = end
            return spans
        return [message.SerializeToString() for message in messages]  # their sender wrote them in a form of its own

    def _times(self, starts: Sequence[int], ends: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        """Starts and durations; a span without a start is found where it arrived, and lasts 0 ns."""
        durations = list(map(sub, ends, starts))
        if min(starts) > 0 and max(ends) <= MAX_INT and min(durations) >= 0:
            return starts, durations
        durations = [clamp(max(0, end - start)) if start else 0 for start, end in zip(starts, ends, strict=True)]
        return [clamp(start or self._received_ns) for start in starts], durations

    def _operation_id(self, name: str, service_id: int) -> int:
        self._found.tokens.add(operation_token(name))
        return self._names.operation_id(name, service_id)

    def _statement_id(self, facts: Facts) -> int:
        if facts.statement is None:
            return 0
        self._found.tokens.add(statement_token(facts.statement.hash))
        return self._names.statement_id(facts.statement, facts.system, facts.namespace)


def _head(span: Any) -> bytes:
    """What a canonically serialised span begins with."""
    return b"\n\x10%b\x12\x08%b" % (span.trace_id, span.span_id)


def _consecutive(content: bytes, at: int, size: int, count: int) -> tuple[list[bytes], int]:
    """Spans that follow each other, each behind a tag and its length, and where they end.

    The first one's place and size are given. Raises IndexError when they do not lie like that.
    """
    end = at + size
    spans = [content[at:end]]
    for _ in range(1, count):
        byte = size = content[end + 1]
        at, shift = end + 2, 7
        while byte > 0x7F and shift < _MAX_LENGTH_BITS:
            byte = content[at]
            size += (byte - 1) << shift  # less the flag of the byte before
            at, shift = at + 1, shift + 7
        end = at + size
        spans.append(content[at:end])
    return spans, end


def _ids(keys: Sequence[_Key], id_of: Callable[[_Key], int]) -> list[int]:
    """The ids of keys, each asked for once."""
    ids = {key: id_of(key) for key in dict.fromkeys(keys)}
    return [ids[key] for key in keys]


def _outcomes(
    messages: Iterable[Any], contents: Iterable[bytes], kinds: Iterable[int], http: Iterable[int]
) -> list[int]:
    """The outcome of each span; only where its bytes may hold a failure is its status worth reading."""
    return [
        FAILED
        if _STATUS_ERROR in content and message.status.code == _ERROR
        else (CLIENT_ERROR if 400 <= http_status < 500 and kind == _SERVER else OK)
        for message, content, kind, http_status in zip(messages, contents, kinds, http, strict=True)
    ]


def _are_entries(kinds: Iterable[int], parents: Iterable[bytes], flags: Iterable[int]) -> list[bool]:
    return [
        kind in _ENTRY_KINDS or not parent_id or flag & _PARENT_IS_REMOTE == _PARENT_IS_REMOTE
        for kind, parent_id, flag in zip(kinds, parents, flags, strict=True)
    ]


def _call(index: int, row: BlockSpan, scope: str) -> DatabaseCall:
    statement = (row.trace_id, row.service_id, row.statement_id)
    end_ns = row.start_ns + row.duration_ns
    parent = b"" if row.parent_span_id == NO_PARENT else row.parent_span_id
    return DatabaseCall(index, statement, row.span_id, parent, row.start_ns, end_ns, scope)
