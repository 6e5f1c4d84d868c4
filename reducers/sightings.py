"""Whether a handler may see the name of its event's stream.

It is told by what the source does with the event: parts of it are taken by name, or it is passed
to a function whose source can be read as well. Everything else that can be done with an event (it
is printed, encoded, matched, kept under another name) may show its stream.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from types import FunctionType, MethodType, ModuleType
from typing import Any

from .linting.resolving import Function
from .linting.sources import tree_of

Place = int | str
"""An argument: its number, or its keyword."""

_EVENT_PLACE = 1
_TELLING = {"stream", "untyped"}
"""What of an event is its stream's name, or another event."""

_FRAMES = {"locals", "vars", "eval", "exec", "dir"}
"""Functions that reach variables which stand nowhere in the source."""


def may_see_stream(handlers: Iterable[Callable[..., Any]]) -> bool:
    """Whether one of these handlers may. Where it cannot be told, it may."""
    followed: set[tuple[int, Place]] = set()
    return any(_sees(handler, _EVENT_PLACE, followed) for handler in handlers)


def _sees(called: Any, place: Place, followed: set[tuple[int, Place]]) -> bool:
    """Whether what is called may look at the stream of the event in this place."""
    if isinstance(called, MethodType):
        called, place = called.__func__, _behind_self(place)
    elif not isinstance(called, (FunctionType, type)):
        called, place = type(called).__call__, _behind_self(place)
    if not isinstance(called, FunctionType) or hasattr(called, "__wrapped__"):
        return True
    if (id(called), place) in followed:
        return False
    followed.add((id(called), place))
    tree = tree_of(called)
    name = None if tree is None else _parameter(tree, place)
    if tree is None or name is None:
        return True
    return _shows(called, tree, name, followed)


def _behind_self(place: Place) -> Place:
    return place if isinstance(place, str) else place + 1


def _parameter(tree: Function, place: Place) -> str | None:
    numbered = [*tree.args.posonlyargs, *tree.args.args]
    if isinstance(place, int):
        return numbered[place].arg if place < len(numbered) else None
    return place if place in {each.arg for each in (*numbered, *tree.args.kwonlyargs)} else None


def _shows(
    function: FunctionType, tree: Function, name: str, followed: set[tuple[int, Place]]
) -> bool:
    """Whether a function does more with one of its arguments than to take harmless parts."""
    harmless: set[int] = set()
    named: list[ast.Name] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if node.id in _FRAMES:
                return True
            if node.id == name:
                named.append(node)
        elif isinstance(node, ast.Attribute):
            if node.attr not in _TELLING and not node.attr.startswith("__"):
                harmless.add(id(node.value))
        elif isinstance(node, ast.Subscript):
            harmless.add(id(node.value))
        elif isinstance(node, ast.Call):
            for given, place in _given(node):
                if isinstance(given, ast.Name) and given.id == name:
                    if _sees(_resolved(function, tree, node.func), place, followed):
                        return True
                    harmless.add(id(given))
    return any(id(node) not in harmless for node in named)


def _given(call: ast.Call) -> list[tuple[ast.expr, Place]]:
    """The arguments of a call whose places are known."""
    if any(isinstance(each, ast.Starred) for each in call.args):
        return []
    found: list[tuple[ast.expr, Place]] = [(each, at) for at, each in enumerate(call.args)]
    return found + [(each.value, each.arg) for each in call.keywords if each.arg is not None]


def _resolved(function: FunctionType, tree: Function, called: ast.expr) -> Any:
    """What a call calls, where it is a function of a module; None where it cannot be told."""
    if isinstance(called, ast.Attribute):
        module = _resolved(function, tree, called.value)
        return getattr(module, called.attr, None) if isinstance(module, ModuleType) else None
    if not isinstance(called, ast.Name) or called.id in _bound(tree):
        return None
    if called.id not in function.__code__.co_freevars:
        return function.__globals__.get(called.id)
    cell = (function.__closure__ or ())[function.__code__.co_freevars.index(called.id)]
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _bound(tree: Function) -> set[str]:
    """Names that stand for something else inside the function, or inside one within it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node is not tree:
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update((each.asname or each.name).partition(".")[0] for each in node.names)
        elif isinstance(node, (ast.MatchAs, ast.MatchStar, ast.ExceptHandler)) and node.name:
            found.add(node.name)
    return found
