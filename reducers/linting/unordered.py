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
    if isinstance(parent, ast.Call) and node in parent.args:
        return _handed_on(node, parent, above[:-1], scope)
    if isinstance(parent, ast.Attribute):
        call = above[-2]
        taken = parent.attr == "pop" and isinstance(call, ast.Call) and call.func is parent
        return rules.LIKELY_UNORDERED if taken else None
    if isinstance(parent, ast.Starred):
        return _kept(parent, above[:-1], scope) if not isinstance(above[-2], ast.Set) else None
    if isinstance(parent, ast.comprehension) and parent.iter is node:
        made = above[-2]
        return _kept(made, above[:-2], scope) if isinstance(made, _SEQUENCES) else None
    if isinstance(parent, ast.For) and parent.iter is node:
        return None if _in_any_order(parent) else rules.LIKELY_UNORDERED
    if isinstance(parent, ast.Assign | ast.AugAssign) and parent.value is node:
        return _spread(parent, above)
    return _shown(node, above, scope)


def _spread(node: ast.Assign | ast.AugAssign, above: Sequence[ast.AST]) -> Rule | None:
    """Of a set whose items are put one after another into names, or into a list."""
    if isinstance(node, ast.AugAssign):
        if not isinstance(node.op, ast.Add):
            return None
        return None if _is_sorted(node.target, above) else rules.LIKELY_UNORDERED
    for target in node.targets:
        if isinstance(target, ast.Tuple | ast.List):
            # Into one name alone goes the only item.
            if len(target.elts) > 1 or isinstance(target.elts[0], ast.Starred):
                return rules.LIKELY_UNORDERED
        elif isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Slice):
            return None if _is_sorted(target.value, above) else rules.LIKELY_UNORDERED
    return None


def _shown(node: ast.expr, above: Sequence[ast.AST], scope: Scope) -> Rule | None:
    """Of a set that may stand in tuples, lists and dicts: whether they are made a text."""
    child: ast.AST = node
    for place in range(len(above) - 1, -1, -1):
        parent = above[place]
        if isinstance(parent, ast.FormattedValue):
            return _kept(parent, above[:place], scope)
        if isinstance(parent, ast.BinOp):
            shown = isinstance(parent.op, ast.Mod) and parent.right is child
            shown = shown and _is_text(parent.left, scope)
            return _likely(_kept(parent, above[:place], scope)) if shown else None
        if isinstance(parent, ast.Call):
            if child is parent.func:
                return None
            if _name(parent, scope) in _TEXTS:
                return _kept(parent, above[:place], scope)
            shown = _is_format(parent, scope)
            return _likely(_kept(parent, above[:place], scope)) if shown else None
        if not isinstance(parent, ast.Tuple | ast.List | ast.Dict | ast.keyword):
            return None
        child = parent
    return None


def _likely(rule: Rule | None) -> Rule | None:
    """What a format leaves out, it does not show."""
    return None if rule is None else rules.LIKELY_UNORDERED


def _is_format(call: ast.Call, scope: Scope) -> bool:
    func = call.func
    if not isinstance(func, ast.Attribute) or func.attr not in ("format", "format_map"):
        return False
    return _is_text(func.value, scope)


def _is_text(node: ast.expr, scope: Scope) -> bool:
    value = resolve(node, scope)
    return isinstance(value, str) or (isinstance(value, Instance) and issubclass(value.cls, str))


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


def _handed_on(
    node: ast.expr, call: ast.Call, above: Sequence[ast.AST], scope: Scope
) -> Rule | None:
    func = call.func
    if isinstance(func, ast.Attribute) and func.attr in ("extend", "extendleft"):
        return None if _is_sorted(func.value, above) else rules.LIKELY_UNORDERED
    name = _name(call, scope)
    if name in rules.ORDERED or name == "builtins.dict.fromkeys" or _is_join(call):
        return _kept(call, above, scope)
    if name in (*rules.ORDERLESS, "functools.reduce") and not _is_orderless_call(call, name, scope):
        return _likely(_kept(call, above, scope))
    return _shown(node, (*above, call), scope)


def _is_orderless_call(call: ast.Call, name: str | None, scope: Scope) -> bool:
    """Whether a call gives the same for its items in any order."""
    if name in _PICKS:
        return not _ties(call)  # of several with one key it is the first
    if name == "builtins.sum":
        start = next((each.value for each in call.keywords if each.arg == "start"), None)
        start = call.args[1] if len(call.args) > 1 else start
        return start is None or not _is_sequence(start, scope)
    if name == "functools.reduce":
        return bool(call.args) and _name_of(call.args[0], scope) in _MERGERS
    return name in rules.ORDERLESS or _is_merge(call)


def _is_sequence(node: ast.expr, scope: Scope) -> bool:
    if isinstance(node, ast.List | ast.Tuple | ast.ListComp):
        return True
    value = resolve(node, scope)
    kind = value.cls if isinstance(value, Instance) else type(value)
    return issubclass(kind, (list, tuple))


def _ties(call: ast.Call) -> bool:
    """Whether it goes by a key that may be the same for two items. Not so a text of the item, or
    a key that holds the item itself."""
    key = next((each.value for each in call.keywords if each.arg == "key"), None)
    if key is None or (isinstance(key, ast.Name) and key.id in ("str", "repr")):
        return False
    if not isinstance(key, ast.Lambda):
        return not (isinstance(key, ast.Constant) and key.value is None)
    parts = key.body.elts if isinstance(key.body, ast.Tuple) else [key.body]
    items = {each.arg for each in key.args.args}
    return not any(isinstance(each, ast.Name) and each.id in items for each in parts)


def _is_merge(call: ast.Call) -> bool:
    """``found.union(*sets)``: a set, or what adds to one."""
    return isinstance(call.func, ast.Attribute) and call.func.attr in _MERGES


def _kept(made: ast.AST, above: Sequence[ast.AST], scope: Scope) -> Rule | None:
    """Of a sequence that was made of a set: whether anything puts it in order again."""
    child = made
    for parent in reversed(above):
        if isinstance(parent, ast.Call):
            name = _name(parent, scope)
            if child is not parent.func and _is_orderless_call(parent, name, scope):
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
    if any(_is_sorted(each, above) for each in node.targets):
        return None
    return rules.LIKELY_UNORDERED


def _is_sorted(node: ast.expr, above: Sequence[ast.AST]) -> bool:
    """Whether the function sorts what stands under a name, or asks it for no order."""
    if not isinstance(node, ast.Name):
        return False
    function = next(each for each in reversed(above) if isinstance(each, Function))
    for each in ast.walk(function):
        if not isinstance(each, ast.Call) or _ties(each):
            continue
        func = each.func
        if isinstance(func, ast.Attribute) and func.attr == "sort":
            held: ast.expr | None = func.value
        elif isinstance(func, ast.Name) and func.id in ("sorted", "len", "set") and each.args:
            held = each.args[0]
        else:
            continue
        if isinstance(held, ast.Name) and held.id == node.id:
            return True
    return False


def _makes_state(call: ast.Call, scope: Scope) -> bool:
    """Whether a call keeps what it is given: a class, or `replace`."""
    name = _name(call, scope) or ""
    return isinstance(resolve(call.func, scope), type) or name.endswith(".replace")


def _is_join(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "join"


def _name(call: ast.Call, scope: Scope) -> str | None:
    return _name_of(call.func, scope)


def _name_of(node: ast.expr, scope: Scope) -> str | None:
    return full_name(resolve(node, scope))


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
        named = call.func.value
        same = isinstance(held, ast.Name) and isinstance(named, ast.Name) and held.id == named.id
        return same and call.func.attr in ("set", "delete", "union", "difference")
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        func = node.value.func
        return isinstance(func, ast.Attribute) and func.attr in ("add", "discard", "remove")
    return False


def _loaded(target: ast.expr) -> ast.expr:
    return ast.Name(target.id, ast.Load()) if isinstance(target, ast.Name) else target


_PICKS = ("builtins.min", "builtins.max", "builtins.sorted")
_TEXTS = ("builtins.str", "builtins.repr", "builtins.ascii", "builtins.format")
_MERGES = ("union", "intersection", "difference", "symmetric_difference", "update", "isdisjoint")
_MERGERS = (
    *(f"operator.{name}" for name in ("or_", "and_", "xor")),
    *(f"builtins.{cls}.{name}" for cls in ("set", "frozenset") for name in _MERGES[:2]),
    *("builtins.min", "builtins.max", "math.gcd", "math.lcm"),
)
"""Functions of two that come to the same in any order."""

_SEQUENCES = (ast.ListComp, ast.GeneratorExp)
_PASSES = (
    *(ast.Tuple, ast.List, ast.Dict, ast.keyword, ast.Starred, ast.IfExp, ast.BoolOp),
    *(ast.FormattedValue, ast.JoinedStr),
)
