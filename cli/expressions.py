"""Small expressions over a state, as a person types them: ``usage.cost > 0.05``.

simpleeval walks the tree; what may stand in it, what a name leads to and how much work one
evaluation may do is decided here. Nothing of Python is within reach: a name leads to a member of
the state's JSON form or to one of `FUNCTIONS`, never to an attribute of an object.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import simpleeval
from immutables import Map

from reducers import ReducerError, diff, to_json
from reducers.json_form import MISSING, items, members
from reducers.pointers import child, listed

from .exits import Stop, wrong_usage
from .rendering.safe import one_line

CHARACTERS_MAX = 1_000
"""Of one expression: more than a person types, and little for a parser."""

ITEMS_MAX = 500_000
"""Items that one evaluation may look at, all functions, comparisons and loops together: about a
second."""

ITEM_CHARACTERS = 100
"""Characters of a text that count as one item: together 50 million, some 0.1 s and 50 MB."""

TEXT_CHARACTERS_MAX = 100_000
"""Of a text that + makes."""

INTEGER_BITS_MAX = 4_096
"""Of an integer that arithmetic makes, some 1,200 digits. Each product of one that was made before
would have twice as many: loops within loops never end."""

DIGITS_MAX = 15
"""Places that round takes: as many as a float has. Rounding an integer to -10**9 never ends."""

TEXT_SHOWN = 200
"""Characters of an expression that a message repeats: of a longer one it is known which it was."""

NAMES_SHOWN = 12
"""Members named when one is not there: enough to see a typing error."""

STATE = "state"
"""The name of the whole state, for members that are no Python names: ``state["a b"]``."""

_NODES = (
    *(ast.Expression, ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Subscript, ast.Constant),
    *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.IfExp),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
    *(ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.List, ast.Tuple),
    *(ast.Call, ast.ListComp, ast.GeneratorExp, ast.comprehension),
)

_PLAIN = (str, int, float, bool, type(None))


class Expression:
    """An expression that was read, to be asked of many states: a predicate for `bisect`.

    What stands nowhere in a map, a dict or a list is None, because it may come later; so is what
    is computed from None, and no order holds for it. A field that a state's class does not have
    can never come, and is an error. Raises `Stop` (exit code 2) for what is no expression.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self._tree = _parsed(self.text)
        self._evaluator = _Evaluator(self._tree)

    def __call__(self, state: Any) -> bool:
        """Whether it holds for a state. Raises `Stop` (exit code 2) as `value`."""
        return bool(self.value(state))

    def value(self, state: Any) -> Any:
        """What it is for a state. Raises `Stop` (exit code 2) for a field that is not there, for
        kinds of values that do not go together, and where it looks at too much."""
        try:
            return self._evaluator.ask(state, self.text, self._tree)
        except Stop:
            raise
        except simpleeval.IterableTooLong:
            raise self._wrong("it looks at too many items", "ask for less") from None
        except RecursionError:
            raise self._wrong("it is nested too deeply", "write it flatter") from None
        except ZeroDivisionError:
            raise self._wrong("it divides by zero", "ask for the divisor first") from None
        except (simpleeval.InvalidExpression, TypeError, ValueError, OverflowError, ReducerError):
            # Their messages may hold values of the state.
            raise self._wrong(
                "kinds of values that do not go together", "compare numbers with numbers"
            ) from None

    @property
    def never_found(self) -> list[str]:
        """The members that it asked for and that no state had so far: most often a typing error."""
        return sorted(self._evaluator.missed - self._evaluator.met)

    def _wrong(self, what: str, next_step: str) -> Stop:
        return wrong_usage(f"expression {_shown(self.text)}: {what}", next_step)


def _parsed(text: str) -> ast.expr:
    if not text:
        raise wrong_usage("the expression is empty", "write one, for example usage.cost > 0.05")
    if len(text) > CHARACTERS_MAX:
        raise wrong_usage(f"an expression of {len(text)} characters", f"{CHARACTERS_MAX} at most")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in a text
            tree = ast.parse(text, mode="eval")
            for node in ast.walk(tree):
                _check(node, text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        place = f" near column {exc.offset}" if isinstance(exc, SyntaxError) and exc.offset else ""
        raise wrong_usage(
            f"{_shown(text)} is no expression{place}", "write one, for example usage.cost > 0.05"
        ) from None
    return tree.body


def _shown(text: str) -> str:
    """An expression within a message, whose end is to be read as well."""
    return repr(one_line(text, TEXT_SHOWN))


def _check(node: ast.AST, text: str) -> None:
    """Raises `Stop` for what an expression may not hold."""
    what = ""
    if not isinstance(node, _NODES):
        what = type(node).__name__.lower()
    elif isinstance(node, ast.Constant) and type(node.value) not in _PLAIN:
        what = type(node.value).__name__
    elif isinstance(node, ast.comprehension) and (
        node.is_async or not isinstance(node.target, ast.Name)
    ):
        what = "a loop over more than one name"
    elif isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            known = ", ".join(FUNCTIONS)
            raise wrong_usage(
                f"expression {_shown(text)}: no function {name or 'by attribute'!r}",
                f"there are {known}",
            )
        if node.keywords:
            what = "an argument by name"
    if what:
        raise wrong_usage(
            f"expression {_shown(text)}: {what} has no place in it",
            "use names, indices, comparisons, and, or, not, + - * / // %, in, and functions",
        )


class _Evaluator(simpleeval.SimpleEval):  # type: ignore[misc]  # it has no types
    """simpleeval over one state at a time; `met` and `missed` are the members asked for."""

    def __init__(self, tree: ast.expr) -> None:
        functions = {name: self._bounded(call) for name, call in FUNCTIONS.items()}
        super().__init__(operators=dict(_OPERATORS), functions=functions, names={})
        for each in (ast.Add, ast.Lt, ast.LtE, ast.Gt, ast.GtE):
            self.operators[each] = self._counted(_OPERATORS[each])
        self.operators[ast.Eq] = self.operators[ast.Is] = self._equal
        self.operators[ast.NotEq] = lambda one, other: not self._equal(one, other)
        self.operators[ast.IsNot] = self.operators[ast.NotEq]
        for name in ("min", "max"):
            self.functions[name] = self._bounded(FUNCTIONS[name], whole=True)
        self.operators[ast.In] = self._contains
        self.operators[ast.NotIn] = lambda item, inside: not self._contains(item, inside)
        self.nodes |= {
            ast.Name: self._named,
            ast.List: lambda node: [self._eval(each) for each in node.elts],
            ast.Tuple: lambda node: [self._eval(each) for each in node.elts],
            ast.ListComp: self._eval_loop,
            ast.GeneratorExp: self._eval_loop,
        }
        self.met: set[str] = set()
        self.missed: set[str] = set()
        # Made once: an expression is asked of a hundred thousand states.
        self._words = {node: ast.unparse(node) for node in ast.walk(tree) if _names(node)}
        self._state: Any = None
        self._variables: dict[str, Any] = {}
        self._looked_at = 0

    def ask(self, state: Any, text: str, tree: ast.expr) -> Any:
        self._state, self._variables, self._looked_at = state, {}, 0
        try:
            return self.eval(text, previously_parsed=tree)
        finally:
            self._state = None

    def _check_disallowed_items(self, item: Any) -> None:
        # Looks through whole containers for functions, at each step. None can come up here:
        # nothing but FUNCTIONS is ever called, and attributes are members of data.
        return

    def _named(self, node: ast.Name) -> Any:
        if node.id in self._variables:
            return self._variables[node.id]
        found = _member(self._state, node.id)
        if found is not MISSING:
            return self._found(node, found)
        return self._state if node.id == STATE else self._absent(node, self._state)

    def _eval_attribute(self, node: ast.Attribute) -> Any:
        return self._inside(node, self._eval(node.value), node.attr)

    def _eval_subscript(self, node: ast.Subscript) -> Any:
        return self._inside(node, self._eval(node.value), self._eval(node.slice))

    def _inside(self, node: ast.expr, value: Any, key: Any) -> Any:
        if value is None:
            self.missed.add(self._words[node])
            return None
        found = _member(value, key)
        return self._absent(node, value) if found is MISSING else self._found(node, found)

    def _found(self, node: ast.expr, value: Any) -> Any:
        self.met.add(self._words[node])
        return _in_json(value)

    def _absent(self, node: ast.expr, value: Any) -> None:
        """Nothing, where a later state may have it. Raises `Stop` where none can."""
        words = self._words[node]
        there = members(value)
        if there is None and items(value) is None:
            raise wrong_usage(
                f"no {words!r} in the state: it is asked of what has no members",
                f"{STATE} is the whole state" if value is self._state else "leave the last part",
            )
        if there is not None and not isinstance(value, (dict, Map)):
            shown = ", ".join(list(there)[:NAMES_SHOWN])
            more = ", ..." if len(there) > NAMES_SHOWN else ""
            raise wrong_usage(f"no {words!r} in the state", f"there are {shown}{more}")
        self.missed.add(words)

    def _eval_loop(self, node: ast.ListComp | ast.GeneratorExp) -> list[Any]:
        found: list[Any] = []
        self._loop(node, 0, found)
        return found

    def _loop(self, node: ast.ListComp | ast.GeneratorExp, depth: int, found: list[Any]) -> None:
        if depth == len(node.generators):
            found.append(self._eval(node.elt))
            return
        loop = node.generators[depth]
        each = self._eval(loop.iter)
        self._look_at(each)
        outer = self._variables
        for item in _each(each):
            self._variables = {**outer, loop.target.id: _in_json(item)}  # type: ignore[attr-defined]
            if all(self._eval(test) for test in loop.ifs):
                self._loop(node, depth + 1, found)
        self._variables = outer

    def _bounded(self, call: Callable[..., Any], whole: bool = False) -> Callable[..., Any]:
        return self._counted(
            lambda *given: None if given and given[0] is None else call(*given), whole
        )

    def _counted(self, call: Callable[..., Any], whole: bool = False) -> Callable[..., Any]:
        """A call that counts what it is given: its items, or the `whole` of it."""
        look = self._look_through if whole else self._look_at

        def counted(*arguments: Any) -> Any:
            for argument in arguments:
                look(argument)
            return call(*arguments)

        return counted

    def _contains(self, item: Any, inside: Any) -> bool:
        self._look_at(inside)
        if isinstance(inside, str):
            return isinstance(item, str) and item in inside
        if members(inside) is not None:
            return isinstance(item, str) and _member(inside, item) is not MISSING
        return any(self._equal(item, _in_json(each)) for each in _each(inside))

    def _equal(self, one: Any, other: Any) -> bool:
        if type(one) not in _PLAIN and type(other) not in _PLAIN:
            self._look_through(one)
            self._look_through(other)
        elif isinstance(one, str) and isinstance(other, str) and len(one) == len(other):
            self._look_at(one)  # texts of two lengths are told apart by them
        return _equal(one, other)

    def _look_through(self, value: Any) -> None:
        """Counts all that is in a value, no further than to where it is too much."""
        waiting = [value]
        while waiting:
            each = waiting.pop()
            self._look_at(each)
            self._looked_at += 1
            if type(each) not in _PLAIN:
                there = members(each)
                waiting.extend(items(each) or () if there is None else there.values())

    def _look_at(self, value: Any) -> None:
        if isinstance(value, str):
            self._looked_at += len(value) // ITEM_CHARACTERS
        elif hasattr(value, "__len__"):
            self._looked_at += len(value)
        if self._looked_at > ITEMS_MAX:
            raise simpleeval.IterableTooLong


def _names(node: ast.AST) -> bool:
    return isinstance(node, (ast.Name, ast.Attribute, ast.Subscript))


def _member(value: Any, key: Any) -> Any:
    """What stands under a name or at an index, also one from the end, or `MISSING`."""
    if isinstance(key, str):
        return child(value, key)
    each = listed(value)
    if each is None:
        return MISSING if members(value) is None else child(value, str(key))
    inside = type(key) is int and -len(each) <= key < len(each)
    return each[key] if inside else MISSING


def _in_json(value: Any) -> Any:
    """A value as JSON has it; containers stay as they are until they are looked into."""
    if type(value) in _PLAIN or members(value) is not None or items(value) is not None:
        return value
    return to_json(value)


def _each(value: Any) -> Iterable[Any]:
    """The items of a list, the names of an object, nothing of None. Raises TypeError."""
    if value is None:
        return ()
    there = members(value)
    found = items(value) if there is None else there
    if found is None:
        raise TypeError("no list")
    return found


def _values(value: Any) -> list[Any]:
    there = members(value)
    if there is None:
        raise TypeError("no object")
    return list(there.values())


def _listed(value: Any) -> list[Any]:
    """What can be summed and compared: nothing is left out of it."""
    return [each for each in _each(value) if each is not None]


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(list(_each(value)))


def _equal(one: Any, other: Any) -> bool:
    if type(one) in _PLAIN and type(other) in _PLAIN:
        return bool(one == other)
    return not diff(one, other)


def _numbers(call: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """For numbers only: % of a text formats, * of a list repeats it."""

    def apply(one: Any, other: Any) -> Any:
        if one is None or other is None:
            return None
        if not isinstance(one, (int, float)) or not isinstance(other, (int, float)):
            raise TypeError("no number")
        made = call(one, other)
        if isinstance(made, int) and made.bit_length() > INTEGER_BITS_MAX:
            raise simpleeval.IterableTooLong
        return made

    return apply


def _add(one: Any, other: Any) -> Any:
    if isinstance(one, str) and isinstance(other, str):
        if len(one) + len(other) > TEXT_CHARACTERS_MAX:
            raise simpleeval.IterableTooLong
        return one + other
    return _numbers(operator.add)(one, other)


def _ordered(call: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Order of numbers and of texts; none with None."""

    def apply(one: Any, other: Any) -> bool:
        if one is None or other is None:
            return False
        if type(one) not in _PLAIN or type(other) not in _PLAIN:
            raise TypeError("no order")
        return call(one, other)

    return apply


def _lower(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError("no text")
    return text.lower()


def _round(value: Any, digits: int = 0) -> Any:
    if abs(digits) > DIGITS_MAX:
        raise ValueError("too many digits")
    return round(value, digits)


def _signed(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else call(value)


_OPERATORS: Mapping[type, Callable[..., Any]] = {
    ast.Add: _add,
    ast.Sub: _numbers(operator.sub),
    ast.Mult: _numbers(operator.mul),
    ast.Div: _numbers(operator.truediv),
    ast.FloorDiv: _numbers(operator.floordiv),
    ast.Mod: _numbers(operator.mod),
    ast.Not: operator.not_,
    ast.USub: _signed(operator.neg),
    ast.UAdd: _signed(operator.pos),
    ast.Eq: _equal,
    ast.NotEq: lambda one, other: not _equal(one, other),
    ast.Is: _equal,
    ast.IsNot: lambda one, other: not _equal(one, other),
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
}

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "len": _length,
    "any": lambda value: any(_each(value)),
    "all": lambda value: all(_each(value)),
    "sum": lambda value: sum(_listed(value)),
    "min": lambda value: min(_listed(value), default=None),
    "max": lambda value: max(_listed(value), default=None),
    "keys": lambda value: list(_each(value)),
    "values": _values,
    "abs": abs,
    "round": _round,
    "lower": _lower,
    "startswith": lambda text, start: isinstance(text, str) and text.startswith(start),
    "endswith": lambda text, end: isinstance(text, str) and text.endswith(end),
}
"""What may be called; each takes what it is given and looks at nothing else."""
