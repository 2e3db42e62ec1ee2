"""The protobuf encoding itself: counts a body's messages before they are built, and repairs text that is not UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

_Fields = dict[int, Any]  # number of a message field -> the _Fields of its type; cyclic, as AnyValue is
_FIXED_SIZES = {1: 8, 5: 4}  # wire type -> bytes
_STRING_VALUE_TAG = 0x0A
_LEAST_MESSAGE_BYTES = 2  # a tag and a length


def has_more_messages(body: bytes, message: type[Message], limit: int) -> bool:
    """Whether a protobuf body holds more than `limit` messages inside messages.

    An AnyValue that is one short string is not counted.
    """
    if len(body) <= limit * _LEAST_MESSAGE_BYTES:
        return False
    return _most_messages(body) > limit and _walk_exceeds(body, _message_fields(message.DESCRIPTOR), limit)


def _most_messages(body: bytes) -> int:
    """An upper bound, at C speed: a message of up to 7 bytes has a length byte of up to 7, any other takes 10 bytes."""
    return len(body) - len(body.translate(None, bytes(range(8)))) + len(body) // 10


def _walk_exceeds(body: bytes, fields: _Fields, limit: int) -> bool:
    """Count the messages over their length prefixes, up to the limit or to a fault, where the parser stops too."""
    count = 0
    stack = [(0, len(body), fields)]
    try:
        while stack:
            position, end, fields = stack.pop()
            while position < end:
                tag = body[position]
                tag, position = (tag, position + 1) if tag < 0x80 else read_varint(body, position)
                wire_type = tag & 7
                if wire_type == 2:
                    length = body[position]
                    length, position = (length, position + 1) if length < 0x80 else read_varint(body, position)
                    inner = fields.get(tag >> 3)
                    if inner is not None and not (inner is _ANY_VALUE and _is_short_string(body, position, length)):
                        count += 1
                        if count > limit:
                            return True
                        if length:
                            stack.append((position, min(position + length, end), inner))
                    position += length
                elif wire_type == 0:
                    position = read_varint(body, position)[1]
                else:  # OTLP has no groups; the parser bounds their depth
                    position += _FIXED_SIZES.get(wire_type, end)
    except IndexError:
        pass
    return False


def _is_short_string(body: bytes, position: int, length: int) -> bool:
    """Whether an AnyValue holds one string of less than 128 bytes and nothing else."""
    return 2 <= length < 128 and body[position] == _STRING_VALUE_TAG and body[position + 1] == length - 2


def read_varint(body: bytes | memoryview, position: int) -> tuple[int, int]:
    """The varint at a position, and the position behind it; raises IndexError where there is none."""
    byte = body[position]
    if byte < 0x80:
        return byte, position + 1
    value = byte & 0x7F
    for shift in range(7, 70, 7):
        position += 1
        byte = body[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
    raise IndexError("a varint has at most 10 bytes")


_KNOWN_FIELDS: dict[str, _Fields] = {}


def _message_fields(descriptor: Any) -> _Fields:
    """The message fields of a type by number."""
    name = descriptor.full_name
    if name not in _KNOWN_FIELDS:
        fields = _KNOWN_FIELDS[name] = {}
        for field in descriptor.fields:
            if field.message_type is not None:
                fields[field.number] = _message_fields(field.message_type)
    return _KNOWN_FIELDS[name]


_ANY_VALUE = _message_fields(AnyValue.DESCRIPTOR)


def repair_text(body: bytes, message: Any) -> tuple[bytes, int]:
    """Replace what is not UTF-8 in the text fields of a protobuf body by U+FFFD; gives the body and how many texts.

    Raises google.protobuf.message.DecodeError when the body is not protobuf.
    """
    twin = _bytes_twin(message)()
    twin.ParseFromString(body)
    repaired = 0
    stack: list[tuple[Message, Any]] = [(twin, message.DESCRIPTOR)]
    while stack:
        parent, original = stack.pop()
        for field, value in parent.ListFields():
            original_field = original.fields_by_number[field.number]
            if field.message_type is not None:
                inner = original_field.message_type
                children = value if field.is_repeated else [value]
                stack.extend((child, inner) for child in children if not _is_readable(child, inner))
            elif field.type == FieldDescriptor.TYPE_BYTES and original_field.type == FieldDescriptor.TYPE_STRING:
                texts = list(value) if field.is_repeated else [value]
                good = [_as_utf8(text) for text in texts]
                if good != texts:
                    repaired += sum(before != after for before, after in zip(texts, good, strict=True))
                    _set(parent, field, good)
    return twin.SerializeToString(), repaired


def _is_readable(twin: Message, original: Any) -> bool:
    """Whether a message of the twin needs no repair: most do not, and to parse them is the quickest way to know."""
    try:
        GetMessageClass(original).FromString(twin.SerializeToString())
    except DecodeError:
        return False
    return True


def _as_utf8(text: bytes) -> bytes:
    return text.decode("utf-8", "replace").encode()


def _set(parent: Message, field: FieldDescriptor, texts: list[bytes]) -> None:
    if field.is_repeated:
        getattr(parent, field.name)[:] = texts
    else:
        setattr(parent, field.name, texts[0])


@cache
def _bytes_twin(message: Any) -> type[Message]:
    """The same message type with bytes in place of every string, so that parsing takes any text."""
    pool = DescriptorPool()
    for file in _files(message.DESCRIPTOR.file, set()):
        proto = FileDescriptorProto()
        file.CopyToProto(proto)
        for message_type in proto.message_type:
            _strings_to_bytes(message_type)
        pool.Add(proto)
    return GetMessageClass(pool.FindMessageTypeByName(message.DESCRIPTOR.full_name))


def _files(file: Any, seen: set[str]) -> Iterator[Any]:
    """A file and all it depends on, those first."""
    if file.name not in seen:
        seen.add(file.name)
        for dependency in file.dependencies:
            yield from _files(dependency, seen)
        yield file


def _strings_to_bytes(message_type: Any) -> None:
    for field in message_type.field:
        if field.type == FieldDescriptorProto.TYPE_STRING:
            field.type = FieldDescriptorProto.TYPE_BYTES
    for nested in message_type.nested_type:
        _strings_to_bytes(nested)
