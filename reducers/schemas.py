"""What a state's type says: which classes stand in it, and how their fields are declared."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, get_args

import msgspec

from eventstore.models import is_model

from .errors import ReducerError
from .json_form import bounded_hash


def classes_in(annotation: Any) -> list[type]:
    """The Structs, pydantic models and enums that an annotation names, with those in their
    fields, each once, in the order of their first mention."""
    found: dict[type, None] = {}
    _collect(annotation, found)
    return list(found)


def field_types(cls: type) -> Iterator[Any]:
    """The annotations of a Struct's or model's fields."""
    if issubclass(cls, msgspec.Struct):
        yield from (field.type for field in _struct_fields(cls))
    elif is_model(cls):
        model: Any = cls
        yield from (field.annotation for field in model.__pydantic_fields__.values())


def schema_text(cls: Any) -> str:
    """Names, types and defaults of a class's fields; an annotation as it is written."""
    if isinstance(cls, type) and issubclass(cls, msgspec.Struct):
        shown = [
            (field.name, field.encode_name, _shown(field.type), constant_text(field.default))
            for field in _struct_fields(cls)
        ]
        return f"{cls.__qualname__} {cls.__struct_fields__} {shown}"
    if is_model(cls):
        shown_model = [
            (name, _shown(field.annotation), constant_text(field.default))
            for name, field in cls.__pydantic_fields__.items()
        ]
        return f"{cls.__qualname__} {shown_model}"
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return f"{cls.__qualname__} {[(each.name, constant_text(each.value)) for each in cls]}"
    return _shown(cls)


def constant_text(value: Any) -> str:
    """A value that code names, if it is plain data and not very large; only its kind otherwise."""
    from .reducer import Reducer  # which imports this module

    kind: type[Any] = type(value)
    if issubclass(kind, (*_WITHOUT_FORM, Reducer)):
        return kind.__qualname__
    try:
        return f"{kind.__qualname__} {bounded_hash(value)}"
    except ReducerError:
        return kind.__qualname__


def _collect(annotation: Any, found: dict[type, None]) -> None:
    for inner in get_args(annotation):
        _collect(inner, found)
    if not isinstance(annotation, type) or annotation in found:
        return
    if issubclass(annotation, (msgspec.Struct, enum.Enum)) or is_model(annotation):
        found[annotation] = None
        for each in field_types(annotation):
            _collect(each, found)


def _struct_fields(cls: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    try:
        return msgspec.structs.fields(cls)
    except (NameError, TypeError):
        # A class inside a function may name types that cannot be looked up from outside.
        return ()


def _shown(annotation: Any) -> str:
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__qualname__
    return repr(annotation)


_WITHOUT_FORM: tuple[type, ...] = (
    *(type(msgspec.NODEFAULT), MappingProxyType, ModuleType),
    *(BuiltinFunctionType, FunctionType, MethodType),
)
"""Kinds that have no JSON form and stand in most reducers. To be told so by pydantic, it would be
imported, which takes as long as a command does."""
