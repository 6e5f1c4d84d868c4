"""Where things lie in memory, and what text hashes to: what of it can come into a state."""

from __future__ import annotations

import ast
import datetime
import inspect
from collections.abc import Sequence
from typing import Any

from . import rules
from .resolving import Instance, Scope, full_name, resolve
from .rules import Rule


def address_of(node: ast.Call, above: Sequence[ast.AST], scope: Scope) -> Rule | None:
    """What is to be said of a call of `id` that stands in these nodes, the outermost first: None
    where only the same place or not is asked for, or where it is raised."""
    parent = above[-1]
    if isinstance(parent, ast.Compare) or _is_raised(above):
        return None
    if isinstance(parent, ast.Subscript) or _is_kept_apart(parent):
        return rules.LIKELY_ADDRESS
    gathered = _gathered(node, above, scope)
    if gathered is None:
        return rules.ADDRESS
    around = above[gathered - 1]
    if isinstance(around, ast.Call) and _name(around, scope) == "builtins.len":
        return None
    if isinstance(around, ast.Compare):
        return None
    return rules.ADDRESS if isinstance(around, _GIVEN_BACK) else rules.LIKELY_ADDRESS


def seeded(node: ast.Call, above: Sequence[ast.AST], scope: Scope) -> Rule | None:
    """The same of a call of `hash`: None where two hashes are held against each other."""
    parent = above[-1]
    if _is_raised(above) or (isinstance(parent, ast.Compare) and _of_hashes(parent, scope)):
        return None
    of = resolve(node.args[0], scope)
    if not isinstance(of, Instance):
        return rules.LIKELY_SEEDED
    if issubclass(of.cls, (str, bytes)):
        return rules.SEEDED
    return None if issubclass(of.cls, (int, float)) else rules.LIKELY_SEEDED


def shows_address(node: ast.expr, scope: Scope) -> bool:
    """Whether the text of an expression is likely to be that of `object`, which tells where it
    lies. What is only declared as anything may well have a text of its own."""
    value = resolve(node, scope)
    if not isinstance(value, Instance):
        return False
    cls = value.cls
    anything = cls is object and not isinstance(node, ast.Call)
    if anything or cls.__module__ == "typing" or inspect.isabstract(cls):
        return False
    shown = [inspect.getattr_static(cls, name) for name in ("__repr__", "__str__")]
    return shown == [vars(object)["__repr__"], vars(object)["__str__"]]


def is_naive(value: Any) -> bool:
    """Whether it is a `datetime` that is made without a time zone."""
    if not isinstance(value, Instance) or not issubclass(value.cls, datetime.datetime):
        return False
    call = value.literal
    if not isinstance(call, ast.Call) or any(isinstance(each, ast.Starred) for each in call.args):
        return False
    zoned = any(each.arg in ("tzinfo", None) for each in call.keywords)
    return not zoned and len(call.args) < _ZONE_PLACE


def _is_raised(above: Sequence[ast.AST]) -> bool:
    """Whether it is part of an error alone: what is raised comes into no state."""
    for child, parent in zip(reversed(above), reversed(above[:-1]), strict=False):
        if isinstance(parent, ast.Assert):
            return child is parent.msg
        if isinstance(parent, ast.Raise):
            return True
    return isinstance(above[-1], ast.Raise)


def _is_kept_apart(parent: ast.AST) -> bool:
    return (
        isinstance(parent, ast.Call)
        and isinstance(parent.func, ast.Attribute)
        and parent.func.attr in ("add", "discard", "remove", "get", "pop")
    )


def _gathered(node: ast.expr, above: Sequence[ast.AST], scope: Scope) -> int | None:
    """Where, counted from the outermost, the set or dict stands that holds it as an item or a
    key; None for none."""
    place = len(above) - 1
    parent = above[place]
    if isinstance(parent, ast.SetComp | ast.Set):
        return place
    if isinstance(parent, ast.DictComp):
        return place if parent.key is node else None
    if isinstance(parent, ast.Dict):
        return place if node in parent.keys else None
    if not isinstance(parent, ast.GeneratorExp | ast.ListComp | ast.List | ast.Tuple):
        return None
    around = above[place - 1]
    if isinstance(around, ast.Call) and _name(around, scope) in _SETS:
        return place - 1
    return None


def _of_hashes(node: ast.Compare, scope: Scope) -> bool:
    """Whether nothing but hashes is compared, for being equal."""
    return all(isinstance(each, ast.Eq | ast.NotEq) for each in node.ops) and all(
        isinstance(each, ast.Call) and _name(each, scope) == "builtins.hash"
        for each in (node.left, *node.comparators)
    )


def _name(call: ast.Call, scope: Scope) -> str | None:
    return full_name(resolve(call.func, scope))


_SETS = ("builtins.set", "builtins.frozenset")
_GIVEN_BACK = (ast.Return, ast.Lambda, ast.keyword, ast.Dict, ast.List, ast.Tuple)
_ZONE_PLACE = 8  # datetime's tzinfo is its eighth argument
