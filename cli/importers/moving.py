"""Storing a source record once: what its events say is moved out of it, the rest rides along.

A mapper turns a record into events that hold its texts, arguments and results. What is left of
the record goes under the key `source_record` of the first of these events, with a pointer for
every value that was moved::

    {"at": 7, "rest": {"role": "user"}, "moved": {"/content": "0/parts/0/content"}}

`at` is the record's number in its source (from 1; "head" and "tail" are the fields of the session
beside its records). `moved` says, by RFC 6901 pointer into the record, which event (counted from
this one) holds the value, and where in its data; `json 1/tool_call_arguments` is the value there,
written as compact JSON with sorted keys. Handlers of events ignore the key. `put_together` gives
the record back; the importer checks that for each record before it is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .parsing import Json, encode_sorted

SOURCE_RECORD: Final = "source_record"

_MOVED_CHARACTERS_MIN = 64
"""A shorter text costs less where it is than as a pointer (two paths and their punctuation)."""

_JSON_CHARACTERS_MIN = 32
"""The same for a text that is the JSON of a call's arguments: these are short, and many."""

_SHORT_CHARACTERS = 16
"""A container of one or two texts up to this length is as short as a pointer to it."""

_JSON = "json "

Place = str
At = int | str
HEAD: Final = "head"
TAIL: Final = "tail"


class NotOurs(Exception):
    """What stands under `source_record` was not written by this module."""


def take_apart(at: At, record: Json, datas: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """What the first event keeps of `record`, given the data of all its events.

    The values are found by themselves: a container that is the very object which stands in the
    record, a long text that is equal, a text that is the JSON of a call's arguments. What is kept
    may share containers with the record: neither is to be changed.
    """
    if len(datas) == 1 and "record" in datas[0] and datas[0]["record"] is record:
        return {"at": at, "moved": {"": "0/record"}}
    places = _Places()
    for offset, data in enumerate(datas):
        places.add(data, str(offset))
        arguments = data.get("tool_call_arguments")
        if isinstance(arguments, dict):
            text = encode_sorted(arguments).decode()
            if len(text) >= _JSON_CHARACTERS_MIN:
                places.characters += len(text)
                places.texts.setdefault(text, f"{_JSON}{offset}/tool_call_arguments")
    if not _is_container(record) or not (places.texts or places.containers):
        return {"at": at, "rest": record}
    taken: dict[str, Place] = {}
    rest = _without(record, None, places.texts, places.containers, taken)
    # Pointers repeat keys, and a source may have keys of any length.
    if not taken or sum(map(len, taken)) > places.characters:
        return {"at": at, "rest": record}
    return {"at": at, "rest": rest, "moved": taken}


def put_together(kept: Mapping[str, Json], datas: Sequence[Json]) -> Json:
    """The record of which `kept` is what the first event kept, and `datas` the data of this event
    and those after it (more may follow). Raises `NotOurs` where they do not fit."""
    try:
        record = kept.get("rest")
        ours: set[int] = set()
        for pointer, place in kept.get("moved", {}).items():
            value = _value_at(place, datas)
            if pointer == "":
                record = value
                continue
            *path, last = _keys(pointer)
            holder = record = _own(record, ours)
            for key in path:
                step = int(key) if type(holder) is list else key
                inner = holder[step] = _own(holder[step], ours)
                holder = inner
            holder[int(last) if type(holder) is list else last] = value
    except (LookupError, TypeError, ValueError, AttributeError) as exc:
        raise NotOurs(f"{SOURCE_RECORD} does not fit its events") from exc
    return record


def _own(container: Json, ours: set[int]) -> Json:
    """A container that may be changed: a copy, made once. Whatever else it shares stays as it is
    (`ours`: the copies by identity; they live in the record while it is put together)."""
    if id(container) in ours:
        return container
    if not _is_container(container):
        raise TypeError("a pointer leads through a value that holds none")
    copy = container.copy()
    ours.add(id(copy))
    return copy


def events_spanned(kept: Mapping[str, Json]) -> int:
    """How many events, from the one that holds `kept`, are needed to put its record together."""
    raw_events = kept.get("raw")
    if isinstance(raw_events, int):
        return raw_events
    moved = kept.get("moved")
    if not isinstance(moved, dict):
        return 1
    try:
        return 1 + max(int(place.removeprefix(_JSON).split("/", 1)[0]) for place in moved.values())
    except (ValueError, AttributeError) as exc:
        raise NotOurs(f"{SOURCE_RECORD} does not name its events") from exc


class _Places:
    """Where each value of the events stands."""

    __slots__ = ("characters", "containers", "texts")

    def __init__(self) -> None:
        self.texts: dict[str, Place] = {}
        self.containers: dict[int, Place] = {}
        self.characters = 0

    def add(self, data: Mapping[str, Json], place: Place) -> None:
        """Notes every text and container of an event's data."""
        for key, item in data.items():
            if type(item) is str:
                self._text(item, place, key)
            elif key == "parts":
                # The parts themselves are made by mappers; only what is in them may be a record's.
                for index, part in enumerate(item):
                    for name, value in part.items():
                        if type(value) is str:
                            self._text(value, f"{place}/parts/{index}", name)
                        elif _is_container(value):
                            self._container(value, f"{place}/parts/{index}", name)
            elif _is_container(item) and key not in _OURS:
                self._container(item, place, key)

    def _text(self, text: str, place: Place, key: Json) -> None:
        if len(text) >= _MOVED_CHARACTERS_MIN:
            self.characters += len(text)
            self.texts.setdefault(text, f"{place}/{_escape(key)}")

    def _container(self, container: Json, place: Place, key: Json) -> None:
        here = f"{place}/{_escape(key)}"
        if not _is_small(container):
            self.containers.setdefault(id(container), here)
            self.characters += _MOVED_CHARACTERS_MIN
        items: Any = container.items() if type(container) is dict else enumerate(container)
        for name, item in items:
            kind = type(item)
            if kind is str:
                self._text(item, here, name)
            elif kind is dict or kind is list:
                self._container(item, here, name)


_OURS = frozenset({"usage", "source", "finish_reasons"})
"""Fields that mappers make anew, small and never a part of the record."""


def _is_small(container: Json) -> bool:
    """Whether a container costs less where it is than as a pointer."""
    if len(container) > 2:
        return False
    for item in container.values() if type(container) is dict else container:
        if _is_container(item) or (type(item) is str and len(item) > _SHORT_CHARACTERS):
            return False
    return True


def _is_container(value: Json) -> bool:
    return type(value) is dict or type(value) is list


_Path = tuple[Any, str | int] | None
"""The way to a container: that of the one around it, and the key. A pointer is made of it only
where something was moved."""


def _without(
    value: Json,
    path: _Path,
    texts: dict[str, Place],
    containers: dict[int, Place],
    taken: dict[str, Place],
) -> Json:
    """A container without what stands in the events, in whose stead a list has None; the same
    object where there is nothing of that. `taken` gets the pointers.

    It sees every value of every record, hence the flat loop: most are short texts and numbers,
    which cost one look each.
    """
    rest: Any = None
    is_list = type(value) is list
    items: Any = enumerate(value) if is_list else value.items()
    for key, item in items:
        kind = type(item)
        if kind is str:
            if len(item) < _JSON_CHARACTERS_MIN:
                continue
            place = texts.get(item)
            if place is None:
                continue
        elif kind is dict or kind is list:
            place = containers.get(id(item))
            if place is None:
                left = _without(item, (path, key), texts, containers, taken)
                if left is not item:
                    if rest is None:
                        rest = value.copy()
                    rest[key] = left
                continue
        else:
            continue
        taken[_pointer((path, key))] = place
        if rest is None:
            rest = value.copy()
        if is_list:
            rest[key] = None
        else:
            del rest[key]
    return value if rest is None else rest


def _pointer(path: _Path) -> str:
    keys = []
    while path is not None:
        path, key = path
        keys.append(_escape(key))
    return "/" + "/".join(reversed(keys))


def _value_at(place: Place, datas: Sequence[Json]) -> Json:
    as_json = place.startswith(_JSON)
    offset, _, pointer = place.removeprefix(_JSON).partition("/")
    value = datas[int(offset)]
    for key in _keys("/" + pointer):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return encode_sorted(value).decode() if as_json else value


def _escape(key: Json) -> str:
    if type(key) is int:
        return str(key)
    text: str = key
    if "~" in text or "/" in text:
        text = text.replace("~", "~0").replace("/", "~1")
    return text


def _keys(pointer: str) -> list[str]:
    keys = pointer.split("/")[1:]
    if "~" in pointer:
        keys = [key.replace("~1", "/").replace("~0", "~") for key in keys]
    return keys
