"""`@unchecked`: the way around the check, with a reason that stays on the function."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..errors import ReducerError

if TYPE_CHECKING:
    from ..reducer import Reducer

F = TypeVar("F")
_MARK = "__unchecked__"


class Unchecked(msgspec.Struct, frozen=True):
    """A function whose source is not checked, and the `reason` that was given for it."""

    reducer: str
    function: str
    reason: str
    file: str | None
    line: int | None


def unchecked(*, reason: str) -> Callable[[F], F]:
    """Marks a handler, or a function that handlers name, as deterministic although it does not look
    so: its source is not checked.

    It stands below ``@reducer.on(...)``, so that it is there when the handler is registered. A
    whole reducer may be marked too, ``board = unchecked(reason=...)(Reducer(...))``: what is then
    registered with it is not checked. `reason` is a sentence for whoever asks
    ``eventstore doctor --reducer``. Raises `ReducerError` for an empty one, and for what is
    neither or takes no marks.
    """
    if not isinstance(reason, str) or not reason.strip():
        raise ReducerError("unchecked: a reason, in words")

    def mark(function: F) -> F:
        if not callable(function) and not hasattr(function, "handlers"):
            raise ReducerError(f"unchecked: a function or a reducer, not {type(function).__name__}")
        try:
            setattr(function, _MARK, reason.strip())
        except AttributeError:
            raise ReducerError(f"unchecked: a function, not {type(function).__name__}") from None
        return function

    return mark


def reason_of(function: Any) -> str | None:
    """Why a function is not checked; None where it is."""
    return getattr(function, _MARK, None)


def unchecked_in(reducer: Reducer[Any]) -> list[Unchecked]:
    """The functions of a reducer, and of the parts of a combined one, that are not checked, each
    once, by name."""
    from .linter import lint

    found: dict[Unchecked, None] = {}
    for part in getattr(reducer, "parts", {}).values():
        found.update(dict.fromkeys(unchecked_in(part)))
    if (reason := reason_of(reducer)) is not None:
        found[Unchecked(reducer.name, "every handler", reason, None, None)] = None
    for handler in reducer.handlers.values():
        for function in lint(handler.function, reducer.state_type).unchecked:
            code = function.__code__ if isinstance(function, FunctionType) else None
            named = getattr(function, "__qualname__", type(function).__qualname__)
            file = None if code is None else code.co_filename
            line = None if code is None else code.co_firstlineno
            reason = reason_of(function) or ""
            found[Unchecked(reducer.name, named, reason, file, line)] = None
    return sorted(found, key=lambda each: (each.reducer, each.function))
