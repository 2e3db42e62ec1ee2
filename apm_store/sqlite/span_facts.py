"""What the attributes of spans say that the indexes need: HTTP status, peer, and the statement of a database call.

Reading attributes as messages would cost more than all else that is done with a span, and they recur from span to
span; so they are cut out of the serialised bytes and looked up, those of many spans at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from apm_store.fingerprint import MAX_PLAIN_CHARS, Statement, fingerprint
from apm_store.sqlite.edges import PEER_ATTRIBUTES, Peer, peer_of

_HTTP_STATUS = ("http.response.status_code", "http.status_code")
_STATEMENT = ("db.query.text", "db.statement")
_SYSTEM = ("db.system.name", "db.system")
_NAMESPACE = ("db.namespace", "db.name")
_KEYS = frozenset((*_HTTP_STATUS, *_SYSTEM, *_NAMESPACE, *_STATEMENT)) | PEER_ATTRIBUTES
_KEY_BYTES = frozenset(key.encode() for key in _KEYS)
_PREFIXES = frozenset(key[:3] for key in _KEY_BYTES)
_TAG = b"J"  # of Span.attributes: field 9, length-delimited
_KEY_TAG = 0x0A
_TEXT = re.compile(  # the statement's attribute up to its text; each length takes up to four bytes
    rb"\n.(%b)\x12[\x80-\xff]{0,3}[\0-\x7f]\n[\x80-\xff]{0,3}[\0-\x7f]" % b"|".join(key.encode() for key in _STATEMENT),
    re.DOTALL,
)
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


class _Text(NamedTuple):
    """The text of a statement, mostly without its values; `rank` is 0 for the present name of the attribute."""

    rank: int
    text: bytes


_Used = bytes | _Text
"""An attribute that matters: serialised, unless it is a statement."""

_BROKEN = b""  # an attribute of which the piece has the beginning only, because there is a "J" within


class SpanFacts:
    """Reads spans and remembers what it has read; for one thread."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Used | None] = {}
        self._facts: dict[tuple[_Used, ...], Facts] = {}

    def read(self, spans: Iterable[bytes]) -> tuple[list[Facts], set[bytes]]:
        """The facts of spans by their canonical bytes, and the pieces between the tags of their attributes."""
        cut = [span.split(_TAG)[1:] for span in spans]
        pieces: set[bytes] = set().union(*cut)
        used = self._used_among(pieces)
        if _BROKEN in used.values():
            used |= self._used_among(_mend(cut, {piece for piece, one in used.items() if one == _BROKEN}))
        get = used.get
        found: list[tuple[_Used, ...]] = [tuple(filter(None, map(get, row))) for row in cut]
        facts = self._facts_among(set(found))
        return [facts[picked] for picked in found], pieces

    def _used_among(self, pieces: Iterable[bytes]) -> dict[bytes, _Used]:
        """The attributes that matter among pieces, by piece."""
        used: dict[bytes, _Used] = {}
        texts: dict[bytes, _Text] = {}
        known = self._known
        for piece in pieces:
            if piece[3:6] in _PREFIXES or piece[4:7] in _PREFIXES or piece[5:8] in _PREFIXES:
                one = known[piece] if piece in known else _used_in(piece)
                if type(one) is _Text:
                    texts[piece] = one
                    continue
                if len(piece) <= _MAX_KNOWN_BYTES:
                    _remember(known, piece, one, _MAX_KNOWN)
                if one is not None:
                    used[piece] = one
        normal = _without_values([one.text for one in texts.values() if len(one.text) <= MAX_PLAIN_CHARS])
        return used | {piece: _Text(rank, normal.get(text, text)) for piece, (rank, text) in texts.items()}

    def _facts_among(self, found: Iterable[tuple[_Used, ...]]) -> dict[tuple[_Used, ...], Facts]:
        facts = {}
        for picked in found:
            known = self._facts.get(picked)
            if known is None:
                known = _facts_of(picked)
                if not any(type(one) is _Text and len(one.text) > MAX_PLAIN_CHARS for one in picked):
                    _remember(self._facts, picked, known, _MAX_FACTS)
            facts[picked] = known
        return facts


def _used_in(piece: bytes) -> _Used | None:
    """The attribute that a piece begins with, if it matters."""
    size, at = _length(piece)
    attribute = piece[at : at + size]
    if len(attribute) < 3 or attribute[0] != _KEY_TAG or attribute[2 : 2 + attribute[1]] not in _KEY_BYTES:
        return None
    if len(attribute) < size:
        return _BROKEN
    statement = _TEXT.match(attribute)
    return (
        attribute if statement is None else _Text(_STATEMENT.index(statement[1].decode()), attribute[statement.end() :])
    )


def _length(piece: bytes) -> tuple[int, int]:
    """The varint at the beginning of a piece, and how many bytes it takes."""
    number = 0
    for size, byte in enumerate(piece[:4], 1):
        number |= (byte & 0x7F) << 7 * (size - 1)
        if byte < 0x80:
            return number, size
    return number, 4


def _mend(cut: Iterable[list[bytes]], broken: set[bytes]) -> set[bytes]:
    """Put whole attributes, which are returned, in the places of the pieces that have the beginning of one."""
    whole: set[bytes] = set()
    for row in cut:
        if not broken.isdisjoint(row):
            for index, piece in enumerate(row):
                if piece in broken:
                    row[index] = _TAG.join(row[index:])[: sum(_length(piece))]
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
    texts = sorted(one for one in used if type(one) is _Text and one.text)
    status = attributes.get(_HTTP_STATUS[0]) or attributes.get(_HTTP_STATUS[1])
    number = status.int_value if status is not None else 0
    system = _text(attributes, _SYSTEM)
    return Facts(
        number if 100 <= number <= 999 else 0,
        peer_of(attributes),
        system,
        _text(attributes, _NAMESPACE),
        fingerprint(texts[0].text.decode(), system) if texts else None,
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
