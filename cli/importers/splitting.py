"""A JSON document cut into its parts, each with its exact bytes.

A document of sessions is not parsed as a whole: one record in it that the store refuses (or that
is broken) must not take the others with it, and its bytes are wanted as they are. `msgspec` cuts
where it can. It stops at the first thing that it does not take for JSON, so behind it stands a
cutter that only looks at quotes and brackets.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_key = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode

_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,:\[\]{}\"]+")


class Member(NamedTuple):
    """A key of an object, the bytes it is written with, and the exact bytes of its value."""

    key: str
    key_raw: bytes
    raw: bytes


class Unreadable(Exception):
    """The bytes have not the structure of JSON from `offset` on."""

    def __init__(self, offset: int, what: str) -> None:
        self.offset = offset
        super().__init__(what)


def elements(array: bytes) -> list[bytes]:
    """The elements of a JSON array. Raises `Unreadable`."""
    try:
        return [bytes(raw) for raw in _elements(array)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    found: list[bytes] = []
    at = _open(array, b"[")
    if array[at : at + 1] == b"]":
        _end(array, at + 1)
        return found
    while True:
        start, end = _value(array, at)
        found.append(array[start:end])
        at = _after_comma(array, end, b"]")
        if at < 0:
            return found


def first_element(array: bytes) -> bytes | None:
    """The first element of a JSON array, or None. Raises `Unreadable` for one that is broken."""
    try:
        return next((bytes(raw) for raw in _elements(array)), None)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return next(iter(elements(array)), None)


def members(document: bytes) -> list[Member]:
    """The members of a JSON object in order, a repeated key as often as it stands there.
    Raises `Unreadable`."""
    try:
        pairs = [Member(key, _encode(key), bytes(raw)) for key, raw in _members(document).items()]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pairs = []
    if pairs and _are_all(pairs, document):
        return pairs
    found: list[Member] = []
    at = _open(document, b"{")
    if document[at : at + 1] == b"}":
        _end(document, at + 1)
        return found
    while True:
        match = _STRING.match(document, _skip(document, at))
        if match is None:
            raise Unreadable(at, "a key is missing")
        colon = _skip(document, match.end())
        if document[colon : colon + 1] != b":":
            raise Unreadable(colon, "a colon is missing")
        start, end = _value(document, colon + 1)
        found.append(Member(_read_key(match.group()), match.group(), document[start:end]))
        at = _after_comma(document, end, b"}")
        if at < 0:
            return found


def _are_all(pairs: list[Member], document: bytes) -> bool:
    """Whether an object consists of these members and no others: a repeated key is dropped by who
    reads it. They are compared where they stand, which is faster than any search."""
    at = 0
    for index, pair in enumerate(pairs):
        at = _past(document, at, b"," if index else b"{")
        at = _past(document, at, pair.key_raw)
        at = _past(document, at, b":")
        at = _past(document, at, pair.raw)
        if at < 0:
            return False
    return _past(document, at, b"}") >= 0


def _past(document: bytes, at: int, expected: bytes) -> int:
    """Where the document goes on behind `expected` and the space before it; -1 where something
    else stands."""
    if at < 0:
        return -1
    if not document.startswith(expected, at):
        at = _skip(document, at)
        if not document.startswith(expected, at):
            return -1
    return at + len(expected)


def joined(pairs: list[Member]) -> bytes:
    """An object of these members, the bytes of keys and values unchanged."""
    return b"{" + b", ".join(pair.key_raw + b": " + pair.raw for pair in pairs) + b"}"


def line_of(document: bytes, offset: int) -> int:
    """The line, from 1, that an offset lies in."""
    return document.count(b"\n", 0, offset) + 1


def is_closed(document: bytes) -> bool:
    """Whether the bytes are one value with all its brackets closed and nothing behind it."""
    try:
        _end(document, _value(document, 0)[1])
    except Unreadable:
        return False
    return True


def first_byte(document: bytes) -> bytes:
    """The first byte that is no white space: ``{``, ``[`` or another one; empty when none is."""
    at = _skip(document, 0)
    return document[at : at + 1]


def _read_key(raw: bytes) -> str:
    try:
        return _key(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw[1:-1].decode(errors="replace")


def _skip(document: bytes, at: int) -> int:
    match = _SPACE.match(document, at)
    return at if match is None else match.end()


def _open(document: bytes, bracket: bytes) -> int:
    at = _skip(document, 0)
    if document[at : at + 1] != bracket:
        raise Unreadable(at, f"{bracket.decode()} is missing")
    return _skip(document, at + 1)


def _value(document: bytes, at: int) -> tuple[int, int]:
    """Start and end of the value at or after `at`, however deep it is."""
    start = _skip(document, at)
    opening = document[start : start + 1]
    if opening in (b"{", b"["):
        depth = 0
        for match in _STRUCTURE.finditer(document, start):
            token = match.group()
            if token in (b"{", b"["):
                depth += 1
            elif token in (b"}", b"]"):
                depth -= 1
                if depth == 0:
                    return start, match.end()
        raise Unreadable(start, "a bracket is never closed")
    scalar = (_STRING if opening == b'"' else _SCALAR).match(document, start)
    if scalar is None:
        raise Unreadable(start, "a value is missing")
    return start, scalar.end()


def _after_comma(document: bytes, at: int, closing: bytes) -> int:
    """Where the next part begins, or -1 after the last one."""
    at = _skip(document, at)
    sign = document[at : at + 1]
    if sign == b",":
        return at + 1
    if sign == closing:
        _end(document, at + 1)
        return -1
    raise Unreadable(at, "a comma or the closing bracket is missing")


def _end(document: bytes, at: int) -> None:
    at = _skip(document, at)
    if at < len(document):
        raise Unreadable(at, "something stands behind the end")
