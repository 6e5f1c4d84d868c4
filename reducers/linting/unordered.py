"""Where the order of a set's items, which differs from process to process, comes into a state."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from . import rules
from .resolving import Function, Instance, Scope, full_name, resolve
from .rules import Rule


def order_of(node: ast.expr, value: Any, above: Sequence[ast.AST], scope: Scope) -> Rule | None:
    """What is to be said of a set that stands in these nodes, the outermost first: None where its
    order makes no difference."""
    if _is_ordered(node, value):
        return None
    parent = above[-1]
    if isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name | ast.Attribute):
        if node in parent.args:
            return _handed_on(parent, above[:-1], scope)
        return None
    if isinstance(parent, ast.Attribute):
        call = above[-2]
        taken = parent.attr == "pop" and isinstance(call, ast.Call) and call.func is parent
        return rules.LIKELY_UNORDERED if taken else None
    if isinstance(parent, ast.Starred):
        return _kept(above[-2], above[:-2], scope) if not isinstance(above[-2], ast.Set) else None
    if isinstance(parent, ast.comprehension) and parent.iter is node:
        made = above[-2]
        return _kept(made, above[:-2], scope) if isinstance(made, _SEQUENCES) else None
    if isinstance(parent, ast.FormattedValue):
        return _kept(parent, above[:-1], scope)
    if isinstance(parent, ast.For) and parent.iter is node:
        return None if _in_any_order(parent) else rules.LIKELY_UNORDERED
    return None


def _is_ordered(node: ast.expr, value: Any) -> bool:
    """Whether it has one item at most, or only numbers, whose hash is the same everywhere."""
    if not isinstance(value, Instance):
        return len(value) < 2 or all(isinstance(each, (int, float)) for each in value)
    literal = value.literal
    if isinstance(literal, ast.Set):
        items = literal.elts
        numbers = all(
            isinstance(each, ast.Constant) and isinstance(each.value, (int, float))
            for each in items
        )
        one = len(items) == 1 and not isinstance(items[0], ast.Starred)
        return numbers or one
    # A name that is bound to an empty set is so to add to it.
    return literal is node and isinstance(literal, ast.Call) and not literal.args


def _handed_on(call: ast.Call, above: Sequence[ast.AST], scope: Scope) -> Rule | None:
    name = _name(call, scope)
    if name in rules.ORDERED or name == "builtins.dict.fromkeys" or _is_join(call):
        return _kept(call, above, scope)
    if name in _PICKS and _by_key(call):
        return rules.LIKELY_UNORDERED  # of several with one key it is the first
    return None


def _by_key(call: ast.Call) -> bool:
    return any(each.arg == "key" for each in call.keywords)


def _kept(made: ast.AST, above: Sequence[ast.AST], scope: Scope) -> Rule | None:
    """Of a sequence that was made of a set: whether anything puts it in order again."""
    child = made
    for parent in reversed(above):
        if isinstance(parent, ast.Call):
            name = _name(parent, scope)
            if name in rules.ORDERLESS and not (name in _PICKS and _by_key(parent)):
                return None
            if child is parent.func:
                return rules.LIKELY_UNORDERED
            passes = name in rules.ORDERED or _is_join(parent) or _makes_state(parent, scope)
            if not passes:
                return rules.LIKELY_UNORDERED
        elif isinstance(parent, (ast.Return, ast.Lambda)):
            return rules.UNORDERED
        elif isinstance(parent, (ast.Raise, ast.Assert)):
            return None  # what is raised comes into no state
        elif isinstance(parent, ast.Assign):
            return _assigned(parent, above)
        elif not isinstance(parent, _PASSES):
            return rules.LIKELY_UNORDERED
        child = parent
    return rules.LIKELY_UNORDERED


def _assigned(node: ast.Assign, above: Sequence[ast.AST]) -> Rule | None:
    """A list under a name may be sorted later."""
    names = {each.id for each in node.targets if isinstance(each, ast.Name)}
    function = next(each for each in reversed(above) if isinstance(each, Function))
    for each in ast.walk(function):
        if isinstance(each, ast.Call):
            func = each.func
            if isinstance(func, ast.Attribute) and func.attr == "sort":
                held: ast.expr | None = func.value
            elif isinstance(func, ast.Name) and func.id in ("sorted", "len", "set") and each.args:
                held = each.args[0]
            else:
                continue
            if isinstance(held, ast.Name) and held.id in names:
                return None
    return rules.LIKELY_UNORDERED


def _makes_state(call: ast.Call, scope: Scope) -> bool:
    """Whether a call keeps what it is given: a class, or `replace`."""
    name = _name(call, scope) or ""
    return isinstance(resolve(call.func, scope), type) or name.endswith(".replace")


def _is_join(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "join"


def _name(call: ast.Call, scope: Scope) -> str | None:
    return full_name(resolve(call.func, scope))


def _in_any_order(loop: ast.For) -> bool:
    """Whether a loop's body only puts each item into, or takes it out of, something that has no
    order of its own."""
    return all(_is_orderless(each, loop.target) for each in loop.body)


def _is_orderless(node: ast.stmt, target: ast.expr) -> bool:
    if isinstance(node, ast.If):
        return all(_is_orderless(each, target) for each in (*node.body, *node.orelse))
    if isinstance(node, (ast.Pass, ast.Continue)):
        return True
    if isinstance(node, ast.Delete):
        return all(isinstance(each, ast.Subscript) for each in node.targets)
    if isinstance(node, ast.AugAssign):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        if isinstance(node.targets[0], ast.Subscript):
            return ast.dump(node.targets[0].slice) == ast.dump(_loaded(target))
        held, call = node.targets[0], node.value
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            return False
        same = isinstance(held, ast.Name) and isinstance(call.func.value, ast.Name)
        same = same and held.id == call.func.value.id  # type: ignore[attr-defined]  # names, both
        return same and call.func.attr in ("set", "delete", "union", "difference")
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        func = node.value.func
        return isinstance(func, ast.Attribute) and func.attr in ("add", "discard", "remove")
    return False


def _loaded(target: ast.expr) -> ast.expr:
    return ast.Name(target.id, ast.Load()) if isinstance(target, ast.Name) else target


_PICKS = ("builtins.min", "builtins.max")
_SEQUENCES = (ast.ListComp, ast.GeneratorExp)
_PASSES = (
    *(ast.Tuple, ast.List, ast.Dict, ast.keyword, ast.Starred, ast.IfExp, ast.BoolOp),
    *(ast.FormattedValue, ast.JoinedStr),
)
