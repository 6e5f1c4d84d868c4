"""What an expression in a function's source means, as far as that stands without running it.

Names are looked up as Python does: in the function, its closure, its module, the builtins. A local
name is followed where it is bound once. Nothing is called, and no property is read.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import PurePath
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

from .members import kind_of


class Instance:
    """Some object of a class, of which nothing else is known."""

    def __init__(self, cls: type, literal: ast.expr | None = None) -> None:
        self.cls = cls
        self.literal = literal


class Named:
    """What is imported inside a function, and known by its full name alone."""

    def __init__(self, name: str) -> None:
        self.name = name


UNKNOWN: Any = object()
"""A value that only a run would show."""

GIVEN: Any = object()
"""The same, of a parameter that is bound by the call alone."""

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp

_MODULES = {"posix": "os", "nt": "os", "posixpath": "os.path", "ntpath": "os.path"}
_MODULES |= {
    "genericpath": "os.path",
    "_io": "io",
    "_socket": "socket",
    "_collections": "collections",
    "_operator": "operator",
    "_heapq": "heapq",
    "_functools": "functools",
    "_bisect": "bisect",
    "_contextvars": "contextvars",
    "_decimal": "decimal",
}
_MODULES |= {"immutables._map": "immutables", "pathlib._local": "pathlib", "_datetime": "datetime"}
"""Where things say that they are made, and where everybody finds them."""


def full_name(value: Any) -> str | None:
    """``module.qualified.name`` of a module, class or function; None for other things."""
    if isinstance(value, Named):
        return value.name
    if isinstance(value, ModuleType):
        return _MODULES.get(value.__name__, value.__name__)
    owner = getattr(value, "__self__", None) if inspect.isroutine(value) else None
    if isinstance(owner, type):
        return f"{full_name(owner)}.{value.__name__}"
    if not isinstance(value, type) and not inspect.isroutine(value):
        return None
    module = getattr(value, "__module__", None) or "builtins"
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
    return f"{_MODULES.get(module, module)}.{name}"


class Scope:
    """The names of one function or comprehension, and behind them those around it."""

    def __init__(
        self, bound: dict[str, Any], around: Scope | Mapping[str, Any], missing: set[str]
    ) -> None:
        self.bound = bound
        self.around = around
        self.missing = missing

    def look(self, name: str) -> Any:
        """The value of a name; `UNKNOWN` where it is local, or is not there yet."""
        if name in self.bound:
            value = self.bound[name]
            if isinstance(value, ast.expr):
                # What it is bound to may name itself.
                self.bound[name] = UNKNOWN
                value = self.bound[name] = resolve(value, self)
            return UNKNOWN if value is GIVEN else value
        if isinstance(self.around, Scope):
            return self.around.look(name)
        if name in self.around:
            return self.around[name]
        if hasattr(builtins, name):
            return getattr(builtins, name)
        self.missing.add(name)
        return UNKNOWN

    def is_shared(self, name: str) -> bool:
        """Whether a name is bound outside the function that is looked at."""
        if name in self.bound:
            return False
        return self.around.is_shared(name) if isinstance(self.around, Scope) else True


def bindings(node: Function, module: str) -> dict[str, Any]:
    """The names that are local to a function: what each is bound to, if it is bound once."""
    found: dict[str, list[Any]] = {each.arg: [GIVEN] for each in arguments(node)}
    elsewhere: set[str] = set()
    body = list(_own(node.body if isinstance(node.body, list) else [node.body]))
    for part in body:
        if isinstance(part, (ast.Global, ast.Nonlocal)):
            elsewhere.update(part.names)
        elif isinstance(part, ast.Assign):
            for target in part.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(part.value)
        elif isinstance(part, (ast.AnnAssign, ast.NamedExpr)):
            if isinstance(part.target, ast.Name):
                found.setdefault(part.target.id, []).append(part.value or UNKNOWN)
        elif isinstance(part, (ast.Import, ast.ImportFrom)):
            for name, value in _imported(part, module):
                found.setdefault(name, []).append(value)
        elif isinstance(part, _NAMING) and part.name is not None:
            found.setdefault(part.name, []).append(UNKNOWN)
        elif isinstance(part, ast.MatchMapping) and part.rest:
            found.setdefault(part.rest, []).append(UNKNOWN)
    counted = _counted(body)
    for name, times in counted.items():
        if times > len([each for each in found.get(name, []) if isinstance(each, ast.expr)]):
            found.setdefault(name, []).append(UNKNOWN)
    return {
        name: values[0] if len(values) == 1 else UNKNOWN
        for name, values in found.items()
        if name not in elsewhere
    }


def stores(body: list[Any]) -> dict[str, int]:
    """How often each name is bound in the body of a function or class."""
    return _counted(_own(body))


def _counted(parts: Iterable[ast.AST]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for part in parts:
        if isinstance(part, ast.Name) and isinstance(part.ctx, (ast.Store, ast.Del)):
            counted[part.id] = counted.get(part.id, 0) + 1
    return counted


def _own(body: list[Any]) -> Iterator[ast.AST]:
    """What stands in a function itself, without what its inner functions bind."""
    pending = list(body)
    while pending:
        part = pending.pop()
        yield part
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(part, Comprehension):
            # Its targets are its own; a walrus in it binds around it.
            walruses = (each for each in ast.walk(part) if isinstance(each, ast.NamedExpr))
            for each in walruses:
                yield each
                yield each.target
            continue
        pending.extend(ast.iter_child_nodes(part))


def arguments(node: Function) -> list[ast.arg]:
    """All parameters, the positional ones first."""
    args = node.args
    optional = [each for each in (args.vararg, args.kwarg) if each is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *optional]


def _imported(node: ast.Import | ast.ImportFrom, module: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            full = alias.name if alias.asname else alias.name.partition(".")[0]
            yield alias.asname or full, sys.modules.get(full, Named(full))
        return
    source = node.module or ""
    if node.level:
        try:
            source = importlib.util.resolve_name(
                "." * node.level + source, module.rpartition(".")[0]
            )
        except ImportError:
            source = ""
    for alias in node.names:
        held = getattr(sys.modules.get(source), alias.name, None)
        yield alias.asname or alias.name, Named(f"{source}.{alias.name}") if held is None else held


def resolve(node: ast.expr, scope: Scope) -> Any:
    """The object that an expression gives, an `Instance` or `Named` for one, or `UNKNOWN`."""
    if isinstance(node, ast.Name):
        return scope.look(node.id)
    if isinstance(node, ast.Attribute):
        return _attribute(resolve(node.value, scope), node.attr)
    if isinstance(node, ast.Call):
        return _called(node, scope)
    if isinstance(node, ast.Constant):
        return Instance(type(node.value))
    if isinstance(node, ast.JoinedStr):
        return Instance(str)
    if isinstance(node, (ast.Set, ast.SetComp)):
        return Instance(set, node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, _SET_OPERATORS):
        sides = [resolve(each, scope) for each in (node.left, node.right)]
        if any(is_set(side) for side in sides) or _is_keys(node.left):
            return Instance(set)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        left = resolve(node.left, scope)
        return left if _is_path(left) else UNKNOWN
    if isinstance(node, ast.NamedExpr):
        return resolve(node.value, scope)
    return _item(node, scope) if isinstance(node, ast.Subscript) else UNKNOWN


def is_set(value: Any) -> bool:
    """Whether it is, or is known to be, a set or frozenset."""
    cls = value.cls if isinstance(value, Instance) else type(value)
    return issubclass(cls, (set, frozenset))


def _is_keys(node: ast.expr) -> bool:
    """``d.keys() | ...``: of dicts' keys these operators make a set."""
    return isinstance(node, ast.Call) and not node.args and _attr(node.func) == "keys"


def _attr(node: ast.expr) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else None


def _called(node: ast.Call, scope: Scope) -> Any:
    function = plain(resolve(node.func, scope))
    if isinstance(function, type):
        return Instance(function, node if issubclass(function, _BY_CALL) else None)
    if function is getattr and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
        return _attribute(resolve(node.args[0], scope), str(node.args[1].value))
    if not isinstance(node.func, ast.Attribute):
        return UNKNOWN
    owner = resolve(node.func.value, scope)
    if node.func.attr in _SET_METHODS and is_set(owner):
        return Instance(set)
    return owner if node.func.attr in _PATH_METHODS and _is_path(owner) else UNKNOWN


def plain(function: Any) -> Any:
    """What a partial calls."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _is_path(value: Any) -> bool:
    return isinstance(value, Instance) and issubclass(value.cls, PurePath)


def _attribute(owner: Any, name: str) -> Any:
    if isinstance(owner, Named):
        return Named(f"{owner.name}.{name}")
    if isinstance(owner, ModuleType):
        return vars(owner).get(name, UNKNOWN)
    if isinstance(owner, type):
        try:
            held = inspect.getattr_static(owner, name)
        except AttributeError:
            return UNKNOWN
        # A classmethod is bound to the class by which it is asked for.
        if isinstance(held, (classmethod, staticmethod)) or inspect.isroutine(held):
            return getattr(owner, name)
        return UNKNOWN if hasattr(type(held), "__get__") else held
    if isinstance(owner, Instance):
        if issubclass(owner.cls, PurePath):
            return Instance(owner.cls) if name == "parent" else UNKNOWN
        kind = kind_of(owner.cls, name)
        return UNKNOWN if kind is None else Instance(kind)
    return UNKNOWN if owner is UNKNOWN else _member(owner, name)


def _member(owner: Any, name: str) -> Any:
    """A member of an object that is there, without running anything of it."""
    held = inspect.getattr_static(owner, name, UNKNOWN)
    if isinstance(held, FunctionType):
        return MethodType(held, owner)
    if isinstance(held, (classmethod, staticmethod)):
        return held.__get__(owner, type(owner))
    if isinstance(held, MemberDescriptorType):  # of a class with slots
        return getattr(owner, name, UNKNOWN)
    return UNKNOWN if hasattr(type(held), "__get__") else held


def _item(node: ast.Subscript, scope: Scope) -> Any:
    """What stands in a plain container under a constant."""
    owner, key = resolve(node.value, scope), node.slice
    if type(owner) not in (dict, list, tuple) or not isinstance(key, ast.Constant):
        return UNKNOWN
    try:
        return owner[key.value]
    except (LookupError, TypeError):
        return UNKNOWN


def method_of(cls: type, name: str) -> FunctionType | None:
    """The function behind a method or property of a class."""
    held = inspect.getattr_static(cls, name, None)
    if isinstance(held, property):
        held = held.fget
    elif isinstance(held, (staticmethod, classmethod)):
        held = held.__func__
    return held if isinstance(held, FunctionType) else None


_NAMING = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.ExceptHandler, ast.MatchAs, ast.MatchStar),
)
_BY_CALL = (set, frozenset, datetime)
_SET_OPERATORS = (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)
_PATH_METHODS = frozenset(
    ("joinpath", "with_name", "with_stem", "with_suffix", "relative_to", "with_segments")
)
_SET_METHODS = frozenset(("union", "intersection", "difference", "symmetric_difference", "copy"))
