"""Signatures as text for the reference: of functions, methods, classes and Structs."""

from __future__ import annotations

import enum
import inspect
import re
import sys
import types
from collections.abc import Callable
from typing import Any

import msgspec


def signature(name: str, value: Any, *, is_method: bool = False, is_given: bool = False) -> str:
    """As a reader would write the call; one parameter a line when it is long.

    `is_method`: its first parameter is self; `is_given`: only the library makes instances.
    """
    if isinstance(value, type) and issubclass(value, msgspec.Struct):
        parameters = _fields(value)
    elif isinstance(value, type):
        parameters = [] if is_given else _constructor(value)
    else:
        listed = list(inspect.signature(value).parameters.values())
        parameters = _parameters(listed[1:] if is_method else listed, _scope(value))
    if isinstance(value, type) and not parameters:
        return name
    prefix = "async " if inspect.iscoroutinefunction(value) else ""
    after = "" if isinstance(value, type) else returns(value)
    short = f"{prefix}{name}({', '.join(parameters)}){after}"
    if len(short) <= 96:
        return short
    return f"{prefix}{name}(\n    " + ",\n    ".join(parameters) + f",\n){after}"


def _scope(function: Any) -> dict[str, Any]:
    return getattr(inspect.unwrap(function), "__globals__", {})


def returns(function: Any) -> str:
    """What a function gives back, with its arrow; nothing where it does not say."""
    note = getattr(function, "__annotations__", {}).get("return")
    return "" if note is None else f" -> {_annotation(note, _scope(function))}"


def _constructor(cls: type) -> list[str]:
    """What a class is made from; nothing where that is private."""
    protocol = getattr(cls, "_is_protocol", False)
    if protocol or issubclass(cls, enum.Enum) or not inspect.isfunction(cls.__init__):
        return []
    listed = list(inspect.signature(cls.__init__).parameters.values())[1:]
    parameters = _parameters(listed, _scope(cls.__init__))
    return [] if any(": _" in parameter for parameter in parameters) else parameters


def _fields(cls: type[msgspec.Struct]) -> list[str]:
    annotations = {
        name: note
        for base in reversed(cls.__mro__)
        for name, note in getattr(base, "__annotations__", {}).items()
    }
    names = cls.__struct_fields__
    defaults = dict(
        zip(
            names[len(names) - len(cls.__struct_defaults__) :], cls.__struct_defaults__, strict=True
        )
    )
    shown = []
    for name in names:
        if name.startswith("_"):
            continue
        default = defaults.get(name, msgspec.NODEFAULT)
        text = f"{name}: {_annotation(annotations[name], vars(sys.modules[cls.__module__]))}"
        shown.append(text if default is msgspec.NODEFAULT else f"{text} = {_default(default)}")
    return shown


_ALIASES = (
    types.GenericAlias,
    types.UnionType,
    type(Callable[[], int]),
    type(dict[str, int] | None),
)

_STARS: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


def _parameters(listed: list[inspect.Parameter], scope: dict[str, Any]) -> list[str]:
    shown: list[str] = []
    for parameter in listed:
        starred = any(text.startswith("*") for text in shown)
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            shown.append("*")
        stars = _STARS.get(parameter.kind, "")
        text = f"{stars}{parameter.name}"
        if parameter.annotation is not parameter.empty:
            text += f": {_annotation(parameter.annotation, scope)}"
        if parameter.default is not parameter.empty:
            text += f" = {_default(parameter.default)}"
        shown.append(text)
    return shown


def _annotation(note: Any, scope: dict[str, Any]) -> str:
    """An annotation as text, with the aliases of its module written out."""
    text = note if isinstance(note, str) else inspect.formatannotation(note)
    for name in dict.fromkeys(re.findall(r"\b[A-Z]\w+\b", text)):
        if isinstance(scope.get(name), _ALIASES):
            meant = re.sub(r"ForwardRef\('(.*?)'\)", r"\1", inspect.formatannotation(scope[name]))
            text = re.sub(rf"\b{name}\b", lambda _, meant=meant: meant, text)  # type: ignore[misc]
    text = re.sub(r"(?:[a-z_]+\.)+(?=[A-Za-z])", "", text)
    return text.replace("'", "") if "Literal" not in text else text


def _default(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return str(type(value).__name__) + "." + value.name
    if inspect.isroutine(value) or isinstance(value, type):
        return str(value.__name__)
    if type(value).__module__ == "msgspec._core":
        return "..." if value is not msgspec.UNSET else "UNSET"
    return repr(value)
