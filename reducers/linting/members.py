"""What classes say of their members: declared types, and what makes a member that is not given."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from eventstore.models import is_model


def kind_of(cls: type, name: str) -> type | None:
    """The class of a member as it is declared; None where that is not known, and for what holds
    numbers alone, whose hash is the same everywhere."""
    try:
        declared = _declared(cls, name)
    except (NameError, TypeError, AttributeError):
        return None
    kind = get_origin(declared) or declared
    if not isinstance(kind, type) or get_args(declared)[:1] in ((int,), (float,), (bool,)):
        return None
    return kind


def _declared(cls: type, name: str) -> Any:
    if issubclass(cls, msgspec.Struct):
        if name not in cls.__struct_fields__:
            return None
        return next(each.type for each in msgspec.structs.fields(cls) if each.name == name)
    if is_model(cls):
        field = cls.__pydantic_fields__.get(name)  # type: ignore[attr-defined]  # as is_model says
        return None if field is None else field.annotation
    if dataclasses.is_dataclass(cls) and name in {each.name for each in dataclasses.fields(cls)}:
        return get_type_hints(cls).get(name)
    return None


def factories(cls: type) -> Iterator[tuple[int | None, str, Any]]:
    """For each member that a call makes when it is not given: its place among the positional
    arguments (None for one that is given by name alone), its name, and what is called for it."""
    if issubclass(cls, msgspec.Struct):
        for number, field in enumerate(_struct_fields(cls)):
            if field.default_factory not in (msgspec.NODEFAULT, list, dict, set, bytearray):
                yield number, field.name, field.default_factory
    elif is_model(cls):
        for name, field in cls.__pydantic_fields__.items():  # type: ignore[attr-defined]  # as above
            if field.default_factory is not None:
                yield None, field.alias or name, field.default_factory
    elif dataclasses.is_dataclass(cls):
        made = [each for each in dataclasses.fields(cls) if each.init]
        positional = [each.name for each in made if not each.kw_only]
        for each in made:
            if each.default_factory is not dataclasses.MISSING:
                place = None if each.kw_only else positional.index(each.name)
                yield place, each.name, each.default_factory


def _struct_fields(cls: type[msgspec.Struct]) -> tuple[Any, ...]:
    try:
        return msgspec.structs.fields(cls)
    except (NameError, TypeError):
        return ()
