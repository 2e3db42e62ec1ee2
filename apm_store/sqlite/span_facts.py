"""What the attributes of spans say that the indexes need: HTTP status, peer, and the statement of a database call.

Reading attributes as messages would cost more than all else that is done with a span, and they recur from span to
span; so they are cut out of the serialised bytes and looked up, those of many spans at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from apm_store.fingerprint import MAX_PLAIN_CHARS, Statement, fingerprint
from apm_store.sqlite.peers import PEER_ATTRIBUTES, Peer, peer_of

_HTTP_STATUS = ("http.response.status_code", "http.status_code")
_STATEMENT = ("db.query.text", "db.statement")
_SYSTEM = ("db.system.name", "db.system")
_NAMESPACE = ("db.namespace", "db.name")
_KEYS = frozenset((*_HTTP_STATUS, *_SYSTEM, *_NAMESPACE, *_STATEMENT)) | PEER_ATTRIBUTES
_KEY_BYTES = frozenset(key.encode() for key in _KEYS)
_HEADS = frozenset((bytes((len(key),)) + key)[:8] for key in _KEY_BYTES)  # of their keys, as they are serialised
_TAG = b"J"  # of Span.attributes: field 9, length-delimited
_KEY_TAG = 0x0A
_LENGTH = rb"[\x80-\xff]{0,3}[\0-\x7f]"
_TEXT = re.compile(  # the statement's attribute up to its text
    rb"\n.(%b)\x12%b\n%b" % (b"|".join(key.encode() for key in _STATEMENT), _LENGTH, _LENGTH), re.DOTALL
)
_RANKS = {key.encode(): rank for rank, key in enumerate(_STATEMENT)}
_STRING = re.compile(rb"'[^'\0]*'")
_NUMBER = re.compile(rb"[0-9](?<![\w.?@][0-9])[0-9]*(?:\.[0-9]+)?(?![\w.])")  # begins with a digit: is found by a scan
_TRICKY, _COMMENTS = b'\0"`\\$[', (b"--", b"/*")
_MAX_KNOWN, _MAX_KNOWN_BYTES = 20_000, 256  # pieces
_MAX_FACTS = 2_000

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What a span says: 0, None and "" where it does not. Spans that say the same mostly share one object."""

    http_status: int = 0
    peer: Peer | None = None
    system: str = ""
    namespace: str = ""
    statement: Statement | None = None


_Text = tuple[int, bytes]
"""The text of a statement, mostly without its values, behind the rank of the attribute: 0 for its present name."""

_Used = bytes | _Text
"""An attribute that matters: serialised, unless it is a statement."""

_BROKEN = b""  # an attribute of which the piece has the beginning only, because there is a "J" within


class SpanFacts:
    """Reads spans and remembers what it has read; for one thread."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes | None] = {}
        self._facts = _FactsByUse()

    def read(self, spans: Iterable[bytes]) -> tuple[list[Facts], set[bytes]]:
        """The facts of spans by their canonical bytes, and the pieces between the tags of their attributes."""
        cut = [span.split(_TAG)[1:] for span in spans]
        pieces: set[bytes] = set().union(*cut)
        used = self._used_among(pieces)
        if _BROKEN in used.values():
            used |= self._used_among(_mend(cut, {piece for piece, one in used.items() if one == _BROKEN}))
        get = used.get
        found: list[tuple[_Used, ...]] = [tuple(filter(None, map(get, row))) for row in cut]
        return list(map(self._facts.__getitem__, found)), pieces

    def _used_among(self, pieces: Iterable[bytes]) -> dict[bytes, _Used]:
        """The attributes that matter among pieces, by piece."""
        used: dict[bytes, _Used] = {}
        texts: dict[bytes, _Text] = {}
        known = self._known
        for piece in _likely(pieces):
            if piece in known:
                one = known[piece]
            else:
                start, end = _bounds(piece)
                if end <= len(piece) and (statement := _TEXT.match(piece, start)):
                    texts[piece] = (_RANKS[statement[1]], piece[statement.end() : end])
                    continue
                one = _used_in(piece, start, end)
                if len(piece) <= _MAX_KNOWN_BYTES:
                    _remember(known, piece, one, _MAX_KNOWN)
            if one is not None:
                used[piece] = one
        normal = _without_values([text for _, text in texts.values() if len(text) <= MAX_PLAIN_CHARS])
        used.update({piece: (rank, normal.get(text, text)) for piece, (rank, text) in texts.items()})
        return used


class _FactsByUse(dict[tuple[_Used, ...], Facts]):
    """The facts that follow from attributes; they are remembered."""

    def __missing__(self, used: tuple[_Used, ...]) -> Facts:
        facts = _facts_of(used)
        if not any(type(one) is tuple and len(one[1]) > MAX_PLAIN_CHARS for one in used):
            _remember(self, used, facts, _MAX_FACTS)
        return facts


def _likely(pieces: Iterable[bytes]) -> list[bytes]:
    """Those of the pieces of which the key, behind a length of one to three bytes, begins like one that matters."""
    heads = _HEADS
    return [
        one
        for one in pieces
        if (one[2:10] if one < b"\x80" else one[3:11] if one[1:2] < b"\x80" else one[4:12]) in heads
    ]


def _used_in(piece: bytes, start: int, end: int) -> bytes | None:
    """The attribute that a piece begins with, if it matters."""
    if piece[start] != _KEY_TAG or piece[start + 2 : start + 2 + piece[start + 1]] not in _KEY_BYTES:
        return None
    return _BROKEN if end > len(piece) else piece[start:end]


def _bounds(piece: bytes) -> tuple[int, int]:
    """Between which bytes the attribute lies that a piece begins with: behind its length, and as far as that says."""
    number, start = piece[0], 1
    while piece[start - 1] > 0x7F:
        number += (piece[start] - 1) << 7 * start  # less the flag of the byte before
        start += 1
    return start, start + number


def _mend(cut: Iterable[list[bytes]], broken: set[bytes]) -> set[bytes]:
    """Put whole attributes, which are returned, in the places of the pieces that have the beginning of one."""
    whole: set[bytes] = set()
    for row in cut:
        if not broken.isdisjoint(row):
            for index, piece in enumerate(row):
                if piece in broken:
                    row[index] = _TAG.join(row[index:])[: _bounds(piece)[1]]
                    whole.add(row[index])
    return whole


def _without_values(texts: Sequence[bytes]) -> dict[bytes, bytes]:
    """Statements with other values, which have the same fingerprints, by the statements as they are.

    One in which a quote may mean something else than a text is left out.
    """
    plain = texts if _is_plain(b"".join(texts)) else [text for text in texts if _is_plain(text)]
    normal = _NUMBER.sub(b"0", _STRING.sub(b"''", b"\0".join(plain)))
    return dict(zip(plain, normal.split(b"\0"), strict=False))


def _is_plain(text: bytes) -> bool:
    is_simple = text.isascii() and len(text.translate(None, _TRICKY)) == len(text)
    return is_simple and not any(sign in text for sign in _COMMENTS)


def _facts_of(used: Iterable[_Used]) -> Facts:
    attributes = {pair.key: pair.value for pair in (KeyValue.FromString(one) for one in used if type(one) is bytes)}
    texts = sorted(one for one in used if type(one) is tuple and one[1])
    status = attributes.get(_HTTP_STATUS[0]) or attributes.get(_HTTP_STATUS[1])
    number = status.int_value if status is not None else 0
    system = _text(attributes, _SYSTEM)
    return Facts(
        number if 100 <= number <= 999 else 0,
        peer_of(attributes),
        system,
        _text(attributes, _NAMESPACE),
        fingerprint(texts[0][1].decode(), system) if texts else None,
    )


def _text(attributes: Mapping[str, Any], keys: tuple[str, str]) -> str:
    """The text of an attribute under its present or its former name; "" when neither is a string."""
    for key in keys:
        value = attributes.get(key)
        if value is not None and value.string_value:
            return str(value.string_value)
    return ""


def _remember(known: dict[_Key, _Value], key: _Key, value: _Value, limit: int) -> None:
    if len(known) >= limit:
        known.clear()
    known[key] = value
