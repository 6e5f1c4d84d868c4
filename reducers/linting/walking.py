"""The walk over a function's source: everything in it that makes two runs differ."""

from __future__ import annotations

import ast
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import msgspec

from . import rules
from .identity import address_of, is_naive, seeded, shows_address
from .members import factories
from .resolving import (
    UNKNOWN,
    Comprehension,
    Function,
    Instance,
    Named,
    Scope,
    bindings,
    full_name,
    is_set,
    plain,
    resolve,
    stores,
)
from .rules import Rule
from .unordered import order_of


class Finding(msgspec.Struct, frozen=True):
    """Something in a function's source that is not pure: `what` at a line of a file. What is
    `certain` is refused, the rest is a warning."""

    certain: bool
    what: str
    file: str
    line: int
    function: str


Follow = Callable[[Any, type | None], None]
"""Is called with a function that the walk comes upon, and the class of what it is a method of."""


class Walk(ast.NodeVisitor):
    """One function. `findings` are what is wrong in it; `follow` is told what it names. What is
    found in the defaults of `chosen` parameters is not certain: a caller may give others."""

    def __init__(
        self,
        function: FunctionType,
        scope: Scope,
        follow: Follow,
        *,
        helper: bool,
        chosen: frozenset[str] = frozenset(),
    ) -> None:
        self.findings: list[Finding] = []
        self._function = function
        self._scope = scope
        self._follow = follow
        self._helper = helper
        self._chosen = chosen
        self._above: list[ast.AST] = []

    def walk(self, node: Function) -> None:
        """Looks at the body, and at nothing that runs when the function is defined."""
        self._above.append(node)
        for part in node.body if isinstance(node.body, list) else [node.body]:
            self.visit(part)
        self._above.pop()

    def visit(self, node: ast.AST) -> None:
        """Looks at a node, knowing what it stands in."""
        before = self._scope
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            inner = bindings(node, self._function.__module__)
            self._scope = Scope(inner, before, before.missing)
        elif isinstance(node, Comprehension):
            names = {
                each.id: UNKNOWN
                for part in node.generators
                for each in ast.walk(part.target)
                if isinstance(each, ast.Name)
            }
            self._scope = Scope(names, before, before.missing)
        elif isinstance(node, ast.ClassDef):
            self._scope = Scope(dict.fromkeys(stores(node.body), UNKNOWN), before, before.missing)
        if isinstance(node, ast.expr):
            self._check_order(node, before)
        method = getattr(self, f"visit_{type(node).__name__}", None)
        if method is not None:
            method(node)
        self._above.append(node)
        self.generic_visit(node)
        self._above.pop()
        self._scope = before

    def visit_Call(self, node: ast.Call) -> None:
        """Functions by their names, methods by the class of what they are called on."""
        target = plain(resolve(node.func, self._scope))
        for name in self._names(node.func, target):
            if name in rules.CHANGERS and node.args:
                self._check_changed(node)
                return
            if name in ("builtins.id", "builtins.hash"):
                self._check_identity(node, name)
                return
            if name in _TEXTS and node.args and shows_address(node.args[0], self._scope):
                self._tell(rules.LIKELY_ADDRESS, node)
                return
            if name == "builtins.next" and node.args:
                self._check_next(node)
                return
            rule = _called(name, target, len(node.args) + len(node.keywords))
            if rule is not None:
                self._tell(rule, node)
                return
        if isinstance(node.func, ast.Attribute):
            self._check_method(node, node.func)
        elif target is not UNKNOWN and not isinstance(node.func, ast.Name):
            self._follow(target, None)
        if isinstance(target, type):
            for name in ("__new__", "__init__", "__post_init__"):
                self._follow_method(target, name)
            self._check_factories(node, target)

    def _check_factories(self, node: ast.Call, target: type) -> None:
        """What a class calls for members that it is not given."""
        given = {each.arg for each in node.keywords}
        if None in given or any(isinstance(each, ast.Starred) for each in node.args):
            return  # what `**fields` gives is not known
        for place, name, factory in factories(target):
            if name in given or (place is not None and place < len(node.args)):
                continue
            rule = rules.CALLS.get(full_name(plain(factory)) or "")
            if rule is None:
                self._follow(factory, None)
            else:
                self._tell(rule, node, f"what makes {name!r} of {target.__name__}")

    def _names(self, node: ast.expr, target: Any) -> Iterator[str]:
        """The names under which a callable may stand in the tables."""
        name = full_name(target)
        if name is not None:
            yield name
        if isinstance(node, ast.Attribute):
            owner = resolve(node.value, self._scope)
            cls = owner.cls if isinstance(owner, Instance) else owner
            if isinstance(cls, ModuleType):
                yield f"{full_name(cls)}.{node.attr}"
            elif isinstance(cls, type):
                for base in cls.__mro__:
                    yield f"{full_name(base)}.{node.attr}"

    def _check_method(self, node: ast.Call, func: ast.Attribute) -> None:
        owner = resolve(func.value, self._scope)
        if func.attr == "timestamp" and is_naive(owner):
            self._tell(rules.ZONE, node)
        elif isinstance(owner, Instance):
            self._follow_method(owner.cls, func.attr)
        elif func.attr == "astimezone" and not node.args and not node.keywords:
            self._tell(rules.ZONE, node)
        elif owner is UNKNOWN:
            held = self._held_in(func.value) if func.attr in rules.MUTATORS else None
            if held is not None:
                self._tell(rules.MUTATION if _holds(held) else rules.LIKELY_MUTATION, node)
        elif not isinstance(owner, (type, ModuleType, Named, FunctionType)):
            self._check_kept(node, owner, func)

    def _held_in(self, node: ast.expr) -> Any:
        """The container, kept outside the handler, that this is an item of; None for others."""
        if not isinstance(node, ast.Subscript):
            return None
        while isinstance(node, ast.Subscript):
            node = node.value
        root = resolve(node, self._scope)
        return root if isinstance(root, _CONTAINERS) else None

    def _check_changed(self, node: ast.Call) -> None:
        """A function that changes what it is handed."""
        first = resolve(node.args[0], self._scope)
        if _outlives(first):
            self._tell(rules.MUTATION, node)

    def _check_kept(self, node: ast.Call, owner: Any, func: ast.Attribute) -> None:
        """A method of an object that the module, or the function around, keeps."""
        if owner is os.environ:
            return  # it is told where it is named
        if isinstance(owner, _CONTAINERS):
            if func.attr in rules.MUTATORS:
                self._tell(rules.MUTATION, node)
            return
        bases = [f"{base.__module__}.{base.__qualname__}" for base in type(owner).__mro__]
        if not rules.GENERATORS.isdisjoint(bases):
            self._tell(rules.RANDOM, node)
            return
        for base in type(owner).__mro__:
            rule = rules.CALLS.get(f"{full_name(base)}.{func.attr}")
            rule = rule or rules.CLIENTS.get(base.__module__.partition(".")[0])
            if rule is not None:
                self._tell(rule, node)
                return

    def _check_identity(self, node: ast.Call, name: str) -> None:
        if name == "builtins.id":
            rule = address_of(node, self._above, self._scope)
        elif self._function.__name__ == "__hash__" or not node.args:
            return
        else:
            rule = seeded(node, self._above, self._scope)
        if rule is not None:
            self._tell(rule, node)

    def _check_next(self, node: ast.Call) -> None:
        of = node.args[0]
        value = resolve(of, self._scope)
        if isinstance(value, Instance) or value is UNKNOWN or not isinstance(of, ast.Name):
            return
        if hasattr(type(value), "__next__"):
            self._tell(rules.MUTATION, node, f"next({of.id})")

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        """What is shown in an f-string."""
        if shows_address(node.value, self._scope):
            self._tell(rules.LIKELY_ADDRESS, node.value, f"the text of {ast.unparse(node.value)}")

    def visit_Name(self, node: ast.Name) -> None:
        """Names that are read, and those that are bound outside."""
        if isinstance(node.ctx, ast.Load):
            self._check_named(node)
        elif self._scope.is_shared(node.id):
            self._tell(rules.MUTATION, node, f"to bind {node.id!r}, which is not its own,")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Members that are read, and those that are set on what outlives the call."""
        if isinstance(node.ctx, ast.Load):
            self._check_named(node)
            owner = resolve(node.value, self._scope)
            if isinstance(owner, Instance):
                self._follow_method(owner.cls, node.attr)
            elif isinstance(owner, ModuleType):
                rule = rules.ATTRIBUTES.get(f"{full_name(owner)}.{node.attr}")
                if rule is not None:
                    self._tell(rule, node, ast.unparse(node))
        else:
            self._check_set(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """Items that are set in what outlives the call."""
        if not isinstance(node.ctx, ast.Load):
            self._check_set(node)

    def _check_set(self, node: ast.Attribute | ast.Subscript) -> None:
        owner = resolve(node.value, self._scope)
        if _outlives(owner) or self._held_in(node.value) is not None or self._is_module(node.value):
            self._tell(rules.MUTATION, node, f"to set {ast.unparse(node)}")

    def _is_module(self, node: ast.expr) -> bool:
        """`globals()`, and `vars()` of something that outlives the call."""
        if not isinstance(node, ast.Call):
            return False
        function = resolve(node.func, self._scope)
        if function is vars and node.args:
            return _outlives(resolve(node.args[0], self._scope))
        return function is globals

    def _check_named(self, node: ast.Name | ast.Attribute) -> None:
        value = resolve(node, self._scope)
        if value is UNKNOWN or isinstance(value, Instance):
            return
        if value is os.environ or value is sys.argv or full_name(value) == "os.environ":
            self._tell(rules.ENVIRONMENT, node, ast.unparse(node))
            return
        if self._is_called(node):
            self._follow(value, None)
            return
        # Handed on, it may be called or not.
        rule = rules.CALLS.get(full_name(plain(value)) or "")
        if rule is not None and not isinstance(value, type):
            self._tell(rule._replace(certain=False), node, ast.unparse(node))
        self._follow(value, None)

    def _is_called(self, node: ast.expr) -> bool:
        above = self._above[-1]
        return isinstance(above, ast.Call) and above.func is node

    def _follow_method(self, cls: type, name: str) -> None:
        if not is_set(Instance(cls)):
            self._follow(name, cls)

    def _check_order(self, node: ast.expr, scope: Scope) -> None:
        # Seldom is anything a set, and to ask is to look at the whole expression.
        if not isinstance(node, _MAY_BE_SETS) or not is_set(resolve(node, scope)):
            return
        rule = order_of(node, resolve(node, scope), self._above, scope)
        if rule is not None:
            self._tell(rule, node, f"what is made of {_shortened(ast.unparse(node))}")

    def _tell(self, rule: Rule, node: ast.expr, shown: str | None = None) -> None:
        if shown is None:
            shown = f"{ast.unparse(node.func if isinstance(node, ast.Call) else node)}()"
        certain = rule.certain and not (self._helper and self._is_conditional())
        if self._chosen:
            names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            certain = certain and not names & self._chosen
        place = self._function.__code__.co_filename
        name = self._function.__qualname__
        self.findings.append(Finding(certain, f"{shown} {rule.reason}", place, node.lineno, name))

    def _is_conditional(self) -> bool:
        """Whether a helper comes here only at times: its callers may be those who never do."""
        return any(isinstance(each, _CONDITIONS) for each in self._above)


def _called(name: str, target: Any, arguments: int) -> Rule | None:
    if rules.ZONED.get(name) == arguments:
        return rules.ZONE
    rule = rules.CALLS.get(name)
    if rule is not None and arguments >= rules.PURE_FROM.get(name, 99):
        return None
    if rule is None and _is_of_random(target):
        return rules.RANDOM
    return rule


def _is_of_random(target: Any) -> bool:
    """`random.choice` and the like are methods of a generator that the module keeps."""
    owner = getattr(target, "__self__", None)
    bases = [f"{base.__module__}.{base.__qualname__}" for base in type(owner).__mro__]
    return not rules.GENERATORS.isdisjoint(bases)


def _outlives(value: Any) -> bool:
    """Whether it is an object that was there before the call."""
    return value is not UNKNOWN and value is not None and not isinstance(value, (Instance, Named))


def _holds(container: Any) -> bool:
    """Whether what stands in a container can be changed in place."""
    if getattr(container, "default_factory", None) in _CONTAINERS:
        return True
    held = container.values() if isinstance(container, dict) else container
    return any(isinstance(each, _CONTAINERS) for each in held)


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


_CONTAINERS = (dict, list, set, bytearray, deque)
_CONDITIONS = (ast.If, ast.IfExp, ast.BoolOp, ast.ExceptHandler, ast.Match, ast.While, ast.For)
_TEXTS = ("builtins.repr", "builtins.str", "builtins.ascii", "builtins.format")
_MAY_BE_SETS = (ast.Name, ast.Attribute, ast.Call, ast.Set, ast.SetComp, ast.BinOp)
