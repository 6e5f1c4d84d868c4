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
from .reaching import Given, Reached, is_near, parameters, reach
from .resolving import GIVEN, UNKNOWN, Instance, Scope, bindings, method_of
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


_known: weakref.WeakKeyDictionary[FunctionType, dict[Any, _Read]] = weakref.WeakKeyDictionary()
"""A function is read once, for each kind of thing that its first parameters are."""


def lint(function: Any, state_type: Any = None) -> Lint:
    """Reads a handler whose first parameter is a `state_type`. Nothing of it is run, and nothing
    is raised for what is found."""
    found = Lint()
    kind = get_origin(state_type) or state_type
    state = Instance(kind) if isinstance(kind, type) else UNKNOWN
    pending: list[tuple[Any, Given, bool]] = [(function, (state, UNKNOWN), False)]
    seen: set[Any] = set()
    while pending and len(seen) < FUNCTIONS_MAX:
        each, given, helper = pending.pop(0)
        if _is_unchecked(each, found):
            continue
        behind, whole = reach(each, given)
        found.source = found.source and whole
        for reached in behind:
            if reached.key() in seen or _is_unchecked(reached.function, found):
                continue
            seen.add(reached.key())
            read = _read(reached, helper)
            if read is None:
                found.source = found.source and helper
                continue
            found.findings += [each for each in read.findings if each not in found.findings]
            found.missing |= read.missing
            pending += ((other, first, True) for other, first in _followed(reached.function, read))
    return found


def _is_unchecked(function: Any, found: Lint) -> bool:
    if reason_of(function) is None:
        return False
    if function not in found.unchecked:
        found.unchecked.append(function)
    return True


def _followed(function: FunctionType, read: _Read) -> list[tuple[Any, Given]]:
    """Of what a function names, that which is of its own package."""
    here = function.__module__
    found: list[tuple[Any, Given]] = []
    for value, cls in read.named:
        if cls is not None:
            method = method_of(cls, value)
            if method is not None and is_near(here, method.__module__):
                found.append((method, (Instance(cls),)))
        elif isinstance(value, (FunctionType, functools.partial)) or inspect.ismethod(value):
            plain = inspect.unwrap(value.func if isinstance(value, functools.partial) else value)
            if is_near(here, getattr(plain, "__module__", None)):
                found.append((value, ()))
        elif hasattr(value, "__wrapped__") and is_near(here, getattr(value, "__module__", None)):
            found.append((value, ()))
    return found


def _read(reached: Reached, helper: bool) -> _Read | None:
    function = reached.function
    reads = _known.setdefault(function, {})
    key = (reached.key(), helper)
    read = reads.get(key)
    if read is not None and not read.missing:
        return read
    node = tree_of(function)
    if node is None:
        return None
    read = _Read()
    if reached.is_lasting():
        reads[key] = read
    local = bindings(node, function.__module__)
    known, chosen = parameters(reached, helper=helper)
    # A parameter that is bound anew, or declared global, is not what it was given.
    kept = {name: value for name, value in known.items() if local.get(name) is GIVEN}
    scope = Scope(local | kept, _outside(function), read.missing)
    walk = Walk(
        function,
        scope,
        lambda value, cls: read.named.append((value, cls)),
        helper=helper,
        chosen=chosen & kept.keys(),
    )
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
