"""One handler, and the functions that it leads to, read once; and what becomes of what is found."""

from __future__ import annotations

import functools
import inspect
import logging
import warnings
import weakref
from collections import ChainMap
from types import FunctionType
from typing import Any, get_origin

from ..errors import ReducerError
from ..fingerprints import package_of
from .resolving import Instance, Scope, bindings, method_of, stores
from .sources import tree_of
from .unchecked import reason_of
from .walking import Finding, Walk

FUNCTIONS_MAX = 1_000
"""Functions that are read for one handler: a bound for what names half of a large package."""

_logger = logging.getLogger("eventstore")


class ImpurityWarning(UserWarning):
    """A handler does something that is likely, but not certain, to make two replays differ."""


class Lint:
    """What was found in a handler and behind it: `findings`, the `unchecked` functions,
    whether all `source` was there, and the names that were `missing` yet."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.unchecked: list[Any] = []
        self.source = True
        self.missing: set[str] = set()


class _Read:
    """What one function says, apart from where it is called."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.named: list[tuple[Any, type | None]] = []
        self.missing: set[str] = set()


_known: weakref.WeakKeyDictionary[FunctionType, dict[Any, _Read | None]] = (
    weakref.WeakKeyDictionary()
)
"""A function is read once, for each class that its first parameter is known to be of."""


def lint(function: Any, state_type: Any = None) -> Lint:
    """Reads a handler whose first parameter is a `state_type`. Nothing of it is run, and nothing
    is raised for what is found."""
    found = Lint()
    kind = get_origin(state_type) or state_type
    pending: list[tuple[Any, type | None, bool]] = [
        (function, kind if isinstance(kind, type) else None, False)
    ]
    seen: set[tuple[int, type | None]] = set()
    while pending and len(seen) < FUNCTIONS_MAX:
        each, first, helper = pending.pop(0)
        plain, first = _unwrapped(each, first, found)
        if plain is None or (id(plain), first) in seen:
            continue
        seen.add((id(plain), first))
        read = _read(plain, first, helper)
        if read is None:
            found.source = found.source and helper
            continue
        found.findings += read.findings
        found.missing |= read.missing
        pending += ((other, cls, True) for other, cls in _followed(plain, read))
    return found


def _unwrapped(
    function: Any, first: type | None, found: Lint
) -> tuple[FunctionType | None, type | None]:
    """The plain function in partials, methods, wrappers and callable objects; None where it is
    not to be read."""
    while True:
        if reason_of(function) is not None:
            found.unchecked.append(function)
            return None, None
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            owner = function.__self__
            first = owner if isinstance(owner, type) else type(owner)
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif isinstance(function, FunctionType):
            return function, first
        else:
            called = method_of(type(function), "__call__")
            if called is None:
                found.source = False
                return None, None
            function, first = called, type(function)


def _followed(function: FunctionType, read: _Read) -> list[tuple[Any, type | None]]:
    """Of what a function names, that which is of its own package."""
    package = package_of(function.__module__)
    found: list[tuple[Any, type | None]] = []
    for value, cls in read.named:
        if cls is not None:
            if package_of(cls.__module__) == package and (method := method_of(cls, value)):
                found.append((method, cls))
        elif isinstance(value, (FunctionType, functools.partial)) or inspect.ismethod(value):
            plain = inspect.unwrap(value.func if isinstance(value, functools.partial) else value)
            if package_of(getattr(plain, "__module__", None)) == package:
                found.append((value, None))
        elif hasattr(value, "__wrapped__") and package_of(value.__module__) == package:
            found.append((value, None))
    return found


def _read(function: FunctionType, first: type | None, helper: bool) -> _Read | None:
    reads = _known.setdefault(function, {})
    read = reads.get((first, helper))
    if read is not None and not read.missing:
        return read
    node = tree_of(function)
    if node is None:
        return None
    read = reads[first, helper] = _Read()
    scope = Scope(bindings(node, function.__module__), _outside(function), read.missing)
    code = function.__code__
    name = code.co_varnames[0] if code.co_argcount else None
    body = node.body if isinstance(node.body, list) else [node.body]
    if first is not None and name is not None and name not in stores(body):
        scope.bound[name] = Instance(first)
    walk = Walk(function, scope, lambda value, cls: read.named.append((value, cls)), helper=helper)
    walk.walk(node)
    read.findings = walk.findings
    return read


def _outside(function: FunctionType) -> ChainMap[str, Any]:
    captured = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            captured[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return ChainMap(captured, function.__globals__)


_sourceless_told = False


def refuse(what: str, found: Lint) -> None:
    """Raises `ReducerError` for what is certain, and warns of what is likely, at its own line.
    Where there is no source, it says so, once in a process."""
    for each in found.findings:
        place = f"{each.file}, line {each.line}, in {each.function}"
        if each.certain:
            raise ReducerError(
                f"{what} is not deterministic: {each.what} ({place}); if it is all the same,"
                " write @unchecked(reason=...) below on()"
            )
    for each in found.findings:
        message = f"{what} may not be deterministic: {each.what}, in {each.function}"
        warnings.warn_explicit(message, ImpurityWarning, each.file, each.line)
    if not found.source:
        _tell_sourceless(what)


def _tell_sourceless(what: str) -> None:
    global _sourceless_told
    if not _sourceless_told:
        _sourceless_told = True
        _logger.warning(
            "%s has no source here, as in an interactive session: it is not checked for"
            " determinism, nor are others like it; this is said once",
            what,
        )
