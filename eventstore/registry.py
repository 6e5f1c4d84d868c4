"""Typed events and upcasters: which class a stored name becomes, and how old versions get there.

The registry is the process's own, filled by decorators at import. Stored events never depend on
it: a name without a class is a dict, and the payload's bytes stay what was appended.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from . import canonical
from .errors import InvalidEvent, SchemaTooNew
from .limits import SCHEMA_VERSION_MAX
from .models import is_model
from .names import check_name

T = TypeVar("T")
_MSGSPEC_PLAIN = re.compile(
    r"(Expected `[^`]*`, got `[^`]*`|Object missing required field `[^`]*`)( - at `\$[^`]*`)?"
)
_MSGSPEC_PLACE = re.compile(r" - at `(\$[^`]*)`$")
_PLAIN_FIELDS = {str, int, float, bool, str | None, int | None, float | None, bool | None}
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
TagsOf = Callable[[Any], Iterable[str]]


class EventType(msgspec.Struct, frozen=True):
    """A registered class: its stored name, its current schema version, its codec."""

    name: str
    version: int
    cls: type
    tags: TagsOf | None
    decoder: msgspec.json.Decoder[Any] | None
    nests: bool
    """Whether a field may hold more than a plain value."""

    def to_payload(self, instance: Any, where: str) -> bytes:
        """Canonical bytes of an instance. Raises `InvalidEvent` when they do not decode to an
        equal instance."""
        if self.nests:
            canonical.refuse_endless(instance, f"{where} $")
        if self.decoder is None:
            payload = canonical.encode(_dump(instance, where), f"{where} $")
        else:
            payload = canonical.encode_typed(instance, f"{where} $")
        if self._decode(payload, where) != instance:
            raise InvalidEvent(f"{where}: this {self.cls.__name__} would not come back equal")
        return payload

    def from_payload(self, payload: bytes, where: str) -> Any:
        """The instance in `payload`, which is of the current schema version."""
        return self._decode(payload, where)

    def _decode(self, payload: bytes, where: str) -> Any:
        try:
            if self.decoder is not None:
                return self.decoder.decode(payload)
            return self.cls.model_validate_json(payload)  # type: ignore[attr-defined]  # pydantic
        except ValueError as exc:
            raise InvalidEvent(f"{where}: does not fit {self.cls.__name__}{_why(exc)}") from None


class Registry:
    """Names, classes and upcasters. One name, one class; registering it twice is an error."""

    def __init__(self) -> None:
        self.by_name: dict[str, EventType] = {}
        self.by_class: dict[type, EventType] = {}
        self.upcasters: dict[str, dict[int, Upcaster]] = {}

    def register(self, cls: type[T], name: str, version: int, tags: TagsOf | None) -> type[T]:
        """Ties `cls` to a stored name at its current schema version."""
        check_name("type", name)
        _check_version(name, version)
        if name in self.by_name:
            raise InvalidEvent(f"event type {name!r}: registered twice")
        if cls in self.by_class:
            raise InvalidEvent(f"event type {name!r}: {cls.__name__} has a name already")
        entry = EventType(name, version, cls, tags, _decoder_of(cls), _nests(cls))
        self.by_name[name] = entry
        self.by_class[cls] = entry
        return cls

    def register_upcast(self, name: str, from_version: int, function: Upcaster) -> None:
        """Adds the step from `from_version` to the next version."""
        check_name("type", name)
        _check_version(name, from_version)
        steps = self.upcasters.setdefault(name, {})
        if from_version in steps:
            raise InvalidEvent(f"upcast {name!r} from version {from_version}: registered twice")
        steps[from_version] = function

    def current_version(self, name: str) -> int:
        """The schema version that an append of this name writes now."""
        entry = self.by_name.get(name)
        if entry is not None:
            return entry.version
        steps = self.upcasters.get(name)
        return max(steps) + 1 if steps else 1

    def check(self) -> None:
        """Raises `InvalidEvent` for a gap in any chain of upcasters."""
        for name, steps in self.upcasters.items():
            current = self.current_version(name)
            for version in range(min(steps), current):
                if version not in steps:
                    raise InvalidEvent(
                        f"event type {name!r}: no upcast from version {version},"
                        f" but from {min(steps)}; the current version is {current}"
                    )
            if max(steps) >= current:
                raise InvalidEvent(
                    f"event type {name!r}: upcast from version {max(steps)},"
                    f" but the registered version is {current}"
                )

    def decode_dict(self, name: str, schema_version: int, payload: bytes) -> Any:
        """The payload as read-only data at the current version."""
        if not self._is_old(name, schema_version):
            return canonical.decode(payload)
        return canonical.freeze(self._upcast(name, schema_version, payload))

    def decode_current(self, name: str, schema_version: int, payload: bytes) -> Any:
        """The instance or, where neither class nor upcast is registered, read-only data; where
        anything is in the way `msgspec.UNSET`, and `decode` does it or says what is wrong. Folds
        and views spend their time here.
        """
        entry = self.by_name.get(name)
        if entry is None and name not in self.upcasters:
            return canonical.decode(payload)
        if entry is None or entry.version != schema_version or entry.decoder is None:
            return msgspec.UNSET
        try:
            return entry.decoder.decode(payload)
        except ValueError:
            return msgspec.UNSET

    def decode(self, name: str, schema_version: int, payload: bytes, where: str) -> Any:
        """The registered class's instance, or read-only data for a name without a class.

        Raises `SchemaTooNew` for a version above the registered one, `InvalidEvent` for a gap in
        the upcasters and for a payload that does not fit.
        """
        entry = self.by_name.get(name)
        if entry is None:
            return self.decode_dict(name, schema_version, payload)
        if schema_version > entry.version:
            raise SchemaTooNew(
                f"{where}: {name!r} has schema version {schema_version},"
                f" this program knows up to {entry.version}"
            )
        if schema_version < entry.version:
            payload = canonical.encode(
                self._upcast(name, schema_version, payload), f"{where} ({name}) $"
            )
        return entry.from_payload(payload, where)

    def _is_old(self, name: str, schema_version: int) -> bool:
        if name not in self.upcasters and name not in self.by_name:
            return False
        return schema_version < self.current_version(name)

    def _upcast(self, name: str, schema_version: int, payload: bytes) -> Any:
        data = canonical.decode_mutable(payload)
        steps = self.upcasters.get(name, {})
        for version in range(schema_version, self.current_version(name)):
            step = steps.get(version)
            if step is None:
                raise InvalidEvent(f"event type {name!r}: no upcast from version {version}")
            data = step(data)
        return data


registry = Registry()
"""The process's registry, which the decorators fill."""


def event_type(
    name: str, version: int = 1, tags: TagsOf | None = None
) -> Callable[[type[T]], type[T]]:
    """Registers a frozen `msgspec.Struct` or a pydantic model as the event type `name`.

    `version` is the schema version that appends write; `tags`, a function of the instance, gives
    tags that every such event bears. Raises `InvalidEvent` for a name or class registered before.
    """

    def decorate(cls: type[T]) -> type[T]:
        return registry.register(cls, name, version, tags)

    return decorate


def upcast(name: str, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Registers a pure function that turns a dict of `from_version` into one of the next version.

    Steps are chained; a gap is an error when a store is opened and at the first use.
    """

    def decorate(function: Upcaster) -> Upcaster:
        registry.register_upcast(name, from_version, function)
        return function

    return decorate


@contextmanager
def isolated_registry() -> Iterator[Registry]:
    """For tests: an empty registry inside the block, the former one after it."""
    saved = registry.by_name, registry.by_class, registry.upcasters
    registry.by_name, registry.by_class, registry.upcasters = {}, {}, {}
    try:
        yield registry
    finally:
        registry.by_name, registry.by_class, registry.upcasters = saved


def _decoder_of(cls: type) -> msgspec.json.Decoder[Any] | None:
    if is_model(cls):
        return None
    if not issubclass(cls, msgspec.Struct):
        raise InvalidEvent(f"{cls.__name__}: a typed event is a msgspec.Struct or a pydantic model")
    if not cls.__struct_config__.frozen:
        raise InvalidEvent(f"{cls.__name__}: a typed event is frozen (frozen=True)")
    return msgspec.json.Decoder(cls)


def _nests(cls: type) -> bool:
    if not issubclass(cls, msgspec.Struct):
        return True
    return not {field.type for field in msgspec.structs.fields(cls)} <= _PLAIN_FIELDS


def _dump(instance: Any, where: str) -> Any:
    try:
        return instance.model_dump(mode="json")
    except ValueError as exc:
        raise InvalidEvent(f"{where}: cannot be stored as JSON ({type(exc).__name__})") from None


def _why(exc: ValueError) -> str:
    """What of a decoder's error may be shown: where and which types, never the value.

    "Invalid enum value", a class's own `__post_init__` and pydantic's messages quote the input.
    """
    from pydantic_core import ValidationError  # here, and not whenever a program starts

    if isinstance(exc, ValidationError):
        errors = exc.errors(include_input=False)
        places = dict.fromkeys(".".join(map(str, error["loc"])) for error in errors)
        return "".join(f", at $.{place}" for place in list(places)[:3])
    found = _MSGSPEC_PLAIN.fullmatch(str(exc))
    if found:
        return f": {exc}"
    place = _MSGSPEC_PLACE.search(str(exc))
    return f", at {place[1]}" if place else ""


def _check_version(name: str, version: object) -> None:
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION_MAX:
        raise InvalidEvent(f"event type {name!r}: versions are ints from 1 to {SCHEMA_VERSION_MAX}")
