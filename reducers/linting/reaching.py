"""From what is registered, or named, to the plain functions behind it, and what stands there for
their parameters: through partials, methods, wrappers and callable objects.
"""

from __future__ import annotations

import functools
import inspect
import sys
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

from ..fingerprints import package_of
from .resolving import UNKNOWN, Instance, method_of

Given = tuple[Any, ...]
"""What the first parameters are: objects, an `Instance` of a class, or `UNKNOWN`."""


class Reached(NamedTuple):
    """A plain function, and what its parameters are where that is known: the first ones, and some
    by name."""

    function: Any  # a FunctionType, which as a member would be taken for a method
    given: Given
    named: dict[str, Any]

    def key(self) -> tuple[Any, ...]:
        """Equal for what reads the same."""
        given = tuple(each.cls if isinstance(each, Instance) else id(each) for each in self.given)
        return id(self.function), given, tuple((k, id(v)) for k, v in self.named.items())

    def is_lasting(self) -> bool:
        """Whether it says nothing of single objects, which may be gone when it is asked for
        again."""
        known = all(isinstance(each, Instance) or each is UNKNOWN for each in self.given)
        return known and not self.named


def reach(function: Any, given: Given) -> tuple[list[Reached], bool]:
    """The functions that a call of `function` runs, the outermost first; and whether there was
    something that is none in Python."""
    found: list[Reached] = []
    named: dict[str, Any] = {}
    while True:
        if isinstance(function, functools.partial):
            given, named = (*function.args, *given), {**function.keywords, **named}
            function = function.func
        elif inspect.ismethod(function):
            given = (function.__self__, *given)
            function = function.__func__
        elif isinstance(function, FunctionType):
            inner = getattr(function, "__wrapped__", None)
            if inner is None or is_near(_module_of(inspect.unwrap(inner)), _module_of(function)):
                found.append(Reached(function, given, named))
            if inner is None:
                return found, True
            function = inner
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            called = method_of(type(function), "__call__")
            if called is None:
                return found, False
            function, given = called, (function, *given)


def parameters(reached: Reached, *, helper: bool) -> tuple[dict[str, Any], frozenset[str]]:
    """The parameters that are known, by name; and those of them that are so only where a caller
    gives no other. A handler gets a state and an event, so that its other parameters are what
    stands in its head."""
    code = reached.function.__code__
    positional = code.co_varnames[: code.co_argcount]
    keyword = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    defaults = reached.function.__defaults__ or ()
    found = dict(zip(positional[len(positional) - len(defaults) :], defaults, strict=True))
    found |= {
        name: value
        for name, value in (reached.function.__kwdefaults__ or {}).items()
        if name in keyword
    }
    known = dict(zip(positional, reached.given, strict=False)) | reached.named
    chosen = frozenset(found.keys() - known.keys()) if helper else frozenset()
    return found | known, chosen


def is_near(here: str, there: str | None) -> bool:
    """Whether two modules are of one package, or lie beside each other in one folder of somebody's
    own: what one of them does is then no business of somebody else's."""
    if package_of(here) == package_of(there):
        return True
    folder = _folder(here)
    return folder is not None and folder == _folder(there)


def _module_of(function: Any) -> str:
    # Not its `__module__`: `functools.wraps` gives a wrapper that of what it wraps.
    names = getattr(function, "__globals__", {})
    return str(names.get("__name__") or "")


def _folder(module: str | None) -> Path | None:
    """Where a single file lies that was not installed."""
    held = sys.modules.get(module or "")
    file = getattr(held, "__file__", None)
    if "." in (module or "") or not file or hasattr(held, "__path__"):
        return None
    folder = Path(file).parent
    return None if "site-packages" in folder.parts else folder
